/* What holds the screens together: the page asks the server for the world, remembers the key of whoever joined (until the tab is
 * closed, so that reloading goes on), sends moves and shows what comes back.
 */
"use strict";

(async () => {
  const root = document.getElementById("play"), place = `activebmr ${location.pathname}`;
  const banner = el("p", { class: "banner", role: "alert" });
  const screen = el("div", { class: "screen" });
  banner.hidden = true;
  root.replaceChildren(banner, screen);
  let key = sessionStorage.getItem(place), world = null, game = null, state = null, busy = false;

  async function ask(name, body = {}) {
    const headers = { "content-type": "application/json", ...(key ? { "x-key": key } : {}) };
    let answer;
    try {
      answer = await fetch(`api/${name}`, { method: "POST", headers, body: JSON.stringify(body), credentials: "omit", redirect: "error" });
    } catch {
      throw new Error("The game does not answer: is the program that runs it still there? Try again.");
    }
    const data = await answer.json().catch(() => ({ error: "The answer could not be read." }));
    if (!answer.ok) throw Object.assign(new Error(data.error || `The server answered ${answer.status}.`), { status: answer.status });
    return data;
  }

  function complain(error) {
    banner.textContent = error ? error.message : "";
    banner.hidden = !error;
  }

  /** One request at a time; after one that came too late, or twice, the game is shown as it stands. */
  async function act(name, body) {
    if (busy) return;
    busy = true;
    if (game) game.busy(true);
    try {
      const next = await ask(name, body).catch(async (error) => {
        if (error.status === 409) return ask("state");
        throw error;
      });
      complain(null);
      await show(next);
    } catch (error) {
      complain(error);
      if (error.status === 401) forget();
    } finally {
      busy = false;
      if (game) game.busy(false);
    }
  }

  function forget() {
    sessionStorage.removeItem(place);
    key = null;
    game = null;
    welcome();
  }

  function welcome() {
    welcomeScreen(screen, world, {
      async start(name) {
        try {
          const joined = await ask("join", { name });
          key = joined.key;
          sessionStorage.setItem(place, key);
          complain(null);
          await show(joined.state);
        } catch (error) {
          complain(error);
        }
      },
    });
  }

  async function show(next) {
    state = next;
    if (state.phase === "over") {
      game = null;
      screen.replaceChildren(el("section", { class: "card welcome" }, el("h1", { text: "Thank you" }),
        el("p", { class: "thinking", text: "The observer and the agent think about your game; this takes some seconds, or longer if many have finished just now …" })));
      try {
        let told = await ask("debrief");
        while (told.waiting) { // others have finished too, and are thought about first
          await new Promise((resolve) => setTimeout(resolve, 1000));
          told = await ask("debrief");
        }
        afterScreen(screen, world, told, state);
      } catch (error) {
        complain(error);
        screen.append(el("button", { class: "main", type: "button", text: "Try again", on: { click: () => show(state) } }));
      }
      return;
    }
    if (!game) {
      game = gameScreen(screen, world, {
        begin: () => act("begin"),
        move: (controls, seconds) => act("move", { trial: state.trial, time: state.moments.length - 1, controls, seconds }),
        believe: (hypothesis) => act("believe", { trial: state.trial, hypothesis }),
        leave: () => act("leave"),
      });
    }
    game.show(state);
  }

  try {
    world = await ask("world");
    document.title = `${world.paradigm}: play`;
    if (key) await act("state");
    else welcome();
  } catch (error) {
    complain(error);
  }
})();
