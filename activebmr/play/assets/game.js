/* The screens of the game: joining, a trial, what is believed. Each draws itself into an empty element; every text is set with
 * textContent (see panels.js).
 *
 *   welcomeScreen(root, world, {start(name)})
 *   gameScreen(root, world, {move(controls, seconds), begin(), believe(hypothesis), leave()}) -> {show(state), busy(flag)}
 */
"use strict";

let paradigmScene = null; // set by scene.js, which the server makes of the paradigm's

const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;
const signed = (v) => (v > 0 ? `+${v}` : v < 0 ? `−${Math.abs(v)}` : "0");
const round2 = (v) => Math.round(100 * v) / 100;
const isScored = (world) => Object.keys(world.scored).length > 0 || world.rewarding;

/** The scene of the paradigm, or the general one if it has none or fails. */
function drawnScene(root, world) {
  const given = { labels: world.labels, data: world.data };
  if (paradigmScene) {
    try {
      return paradigmScene(root, given);
    } catch (error) {
      console.warn("the paradigm's own scene failed", error);
    }
  }
  root.replaceChildren();
  return generalScene(root, given);
}

function welcomeScreen(root, world, { start }) {
  const name = el("input", { id: "name", type: "text", maxlength: world.name_length, autocomplete: "off", spellcheck: "false" });
  const begin = el("button", { class: "main", type: "submit", text: "Start" });
  const moves = world.times - 1;
  const form = el("form", { on: { submit: (event) => { event.preventDefault(); begin.disabled = true; start(name.value).finally(() => { begin.disabled = false; }); } } },
    el("label", { for: "name", text: "Your name, or any word by which you know yourself (may stay empty)" }),
    el("div", { class: "line" }, name, begin));
  root.replaceChildren(el("section", { class: "card welcome" },
    el("h1", { text: world.paradigm }),
    el("p", { class: "about", text: world.description }),
    el("p", { text: `You take the agent’s place for ${plural(world.trials, "trial")} of ${plural(moves, "move")} each. You see what it `
      + "would see, and no more; what you do decides what you see next." }),
    world.ask ? el("p", { text: `After every ${world.ask === 1 ? "trial" : `${plural(world.ask, "trial")}`} you are asked which of `
      + `${world.hypotheses.length} hypotheses you believe.` }) : null,
    el("p", { text: `Afterwards you see what an observer could have known who saw just what you saw, and how the agent “${world.against}” `
      + "did in your place." }),
    form,
    el("p", { class: "hint", text: "Your moves, and how long each took, are saved under that name on the computer that runs this game." })));
  name.focus();
}

function gameScreen(root, world, actions) {
  const { labels, acting } = world;
  const few = world.moves.length <= 8 || acting.length === 1;
  const words = (u) => acting.map((f) => labels.control[f][u[f]]).join(" · ");
  const bar = el("header", { class: "top" });
  const strip = el("ol", { class: "strip", "aria-label": "trials so far" });
  const picture = el("div", { class: "picture" });
  const observed = el("dl", { class: "observed", "aria-live": "polite" });
  const doing = el("div", { class: "doing" });
  const past = el("tbody");
  root.replaceChildren(bar, strip, el("div", { class: "board" },
    el("section", { class: "card world" }, el("h3", { text: "The world" }), picture),
    el("div", { class: "side" },
      el("section", { class: "card" }, el("h3", { text: "What you observe" }), observed),
      el("section", { class: "card act" }, doing),
      el("section", { class: "card" }, el("h3", { text: "This trial" }), el("div", { class: "scroll" }, el("table", { class: "past" },
        el("thead", {}, el("tr", {}, el("th", { text: "time" }), ...labels.modality.map((m) => el("th", { text: m })), el("th", { text: "then you did" }))), past))))));
  const scene = drawnScene(picture, world);
  let state = null, shownAt = 0, selection = null, waiting = false;

  picture.addEventListener("choose", (event) => {
    const wanted = (event.detail || {}).controls;
    if (!state || state.phase !== "move" || waiting || !Array.isArray(wanted)) return;
    const given = (f) => Number.isInteger(wanted[f]) && wanted[f] >= 0;
    const full = labels.factor.map((_, f) => (!acting.includes(f) ? 0 : given(f) ? wanted[f] : selection ? selection[f] : 0));
    if (acting.every(given) && isMove(full)) return void go(full);
    if (!few) { selection = full; drawDoing(); } else if (isMove(full)) go(full);
  });
  document.addEventListener("keydown", (event) => {
    if (!root.isConnected || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (/^[1-9]$/.test(event.key)) {
      const button = doing.querySelectorAll("button.move")[Number(event.key) - 1];
      if (button && few) button.click();
    }
  });

  const isMove = (u) => world.moves.some((move) => move.every((v, f) => v === u[f]));

  function go(controls) {
    actions.move(controls, (performance.now() - shownAt) / 1000);
  }

  function drawDoing() {
    doing.replaceChildren();
    if (state.phase === "move") return void (few ? drawButtons() : drawGroups());
    if (state.phase === "ask") return void drawQuestion();
    const first = state.trial < 0, gained = state.each.length ? state.each[state.each.length - 1] : 0;
    doing.append(
      el("h3", { text: first ? "Ready?" : `Trial ${state.trial + 1} is over` }),
      !first && isScored(world) ? el("p", { class: `gain ${gained > 0 ? "won" : gained < 0 ? "lost" : ""}`, text: `It brought you ${signed(round2(gained))}.` }) : null,
      el("p", { class: "line" },
        el("button", { class: "main next", type: "button", text: first ? "Begin the first trial" : "Next trial", on: { click: actions.begin } }),
        !first ? el("button", { class: "link leave", type: "button", text: "Stop here", on: { click: () => {
          if (window.confirm("End the game here? What you played stays saved.")) actions.leave();
        } } }) : null));
    doing.querySelector("button").focus({ preventScroll: true });
  }

  function drawButtons() {
    doing.append(el("h3", { text: "What do you do?" }), el("div", { class: "moves" }, ...world.moves.map((move, k) => el("button", {
      class: "move", type: "button", title: k < 9 ? `key ${k + 1}` : null, on: { click: () => go(move) }, text: words(move),
    }))));
  }

  function drawGroups() {
    const last = [...state.moments].reverse().find((m) => m.controls);
    if (!selection) selection = last ? [...last.controls] : idle();
    const act = el("button", { class: "main go", type: "button", text: "Do it", on: { click: () => go(selection) } });
    doing.append(el("h3", { text: "What do you do?" }), ...acting.map((f) => el("fieldset", {}, el("legend", { text: labels.factor[f] }),
      el("div", { class: "moves" }, ...labels.control[f].map((name, u) => el("button", {
        class: "option", type: "button", "aria-pressed": String(selection[f] === u), text: name,
        on: { click: () => { selection = selection.map((v, g) => (g === f ? u : v)); drawDoing(); } },
      }))))), el("div", { class: "line" }, act, el("span", { class: "hint", text: words(selection) })));
    act.disabled = !isMove(selection);
  }

  /** Where a trial begins: the controls that lead to where things are, if they are named as states are; else the first move. */
  function idle() {
    const seen = state.moments.length ? state.moments[0].outcomes : [];
    const guess = labels.factor.map((_, f) => {
      if (!acting.includes(f)) return 0;
      const names = labels.control[f];
      const start = names.findIndex((n) => labels.modality.some((_, m) => labels.outcome[m][seen[m]] === n && labels.outcome[m].length === names.length));
      return start >= 0 ? start : names.length - 1;
    });
    return isMove(guess) ? guess : [...world.moves[0]];
  }

  function drawQuestion() {
    const filter = el("input", { type: "search", placeholder: "find words in the sentences", "aria-label": "find words in the sentences" });
    const choices = el("div", { class: "choices", role: "radiogroup", "aria-label": "hypotheses" });
    const answer = el("button", { class: "main answer", type: "button", text: "That is what I believe" });
    let chosen = null;
    const entries = [["I do not know", -1], ...world.hypotheses.map((text, k) => [text, k])].map(([text, k]) => {
      const input = el("input", { type: "radio", name: "belief", value: k, on: { change: () => { chosen = k; answer.disabled = false; } } });
      return { k, text, node: el("label", {}, input, el("span", { text })) };
    });
    filter.addEventListener("input", () => {
      // sentences that hold the words as they stand; if there are none, those that hold each of them somewhere
      const phrase = filter.value.toLowerCase().trim(), words = phrase.split(/\s+/);
      const whole = entries.some(({ k, text }) => k >= 0 && text.toLowerCase().includes(phrase));
      const fits = (text) => (whole ? text.includes(phrase) : words.every((w) => text.includes(w)));
      for (const { k, text, node } of entries) node.hidden = k >= 0 && !fits(text.toLowerCase());
    });
    answer.disabled = true;
    answer.addEventListener("click", () => actions.believe(chosen));
    choices.append(...entries.map((e) => e.node));
    doing.append(el("h3", { text: "Which hypothesis do you believe now?" }), world.hypotheses.length > 8 ? filter : null, choices, el("div", { class: "line" }, answer));
  }

  function drawBar() {
    const at = state.phase === "move" ? `time ${state.moments.length} of ${world.times}` : "";
    bar.replaceChildren(...[
      el("h1", { text: world.paradigm }),
      el("span", { class: "where", text: state.trial < 0 ? plural(world.trials, "trial") : `trial ${state.trial + 1} of ${world.trials}` }),
      el("span", { class: "where", text: at }),
      isScored(world) ? el("span", { class: "score", text: `score ${signed(round2(state.score))}` }) : null,
      isScored(world) ? el("span", { class: "hint", text: `${state.wins} won, ${state.losses} lost` }) : null,
      state.unsaved ? el("b", { class: "problem", text: "Your last trials could not be saved: tell whoever runs this." }) : null,
    ].filter(Boolean));
    const shown = Math.min(world.trials, 60);
    strip.replaceChildren(...Array.from({ length: shown }, (_, k) => {
      const i = k + Math.max(0, Math.min(state.trial - shown + 2, world.trials - shown)), gained = state.each[i];
      const kind = i >= state.played ? (i === state.trial && state.phase === "move" ? "now" : "later") : gained > 0 ? "won" : gained < 0 ? "lost" : "even";
      return el("li", { class: kind, title: `trial ${i + 1}` });
    }));
  }

  return {
    show(next) {
      const fresh = !state || state.trial !== next.trial || state.moments.length !== next.moments.length;
      if (!state || state.trial !== next.trial) selection = null;
      state = next;
      drawBar();
      const moments = state.moments, now = moments[moments.length - 1];
      observed.replaceChildren(...labels.modality.flatMap((name, m) => {
        const value = now ? now.outcomes[m] : -1, before = moments.length > 1 ? moments[moments.length - 2].outcomes[m] : value;
        const worth = (world.scored[m] || [])[value] || 0;
        return [el("dt", { text: name }), el("dd", { class: `${value !== before ? "new" : ""} ${worth > 0 ? "won" : worth < 0 ? "lost" : ""}`,
          text: value >= 0 ? labels.outcome[m][value] : "–" })];
      }));
      past.replaceChildren(...moments.map((m, t) => el("tr", {}, el("td", { text: t + 1 }),
        ...m.outcomes.map((o, k) => el("td", { text: o >= 0 ? labels.outcome[k][o] : "–" })), el("td", { text: m.controls ? words(m.controls) : "" }))));
      past.parentNode.parentNode.scrollTop = 1e6;
      if (now) {
        try {
          scene.show({ trial: state.trial, time: moments.length - 1, states: null, outcomes: now.outcomes, controls: now.controls,
            previous: moments.slice(0, -1).map((m, t) => ({ trial: state.trial, time: t, states: null, ...m })) });
        } catch (error) {
          console.warn("the scene could not show this moment", error);
        }
      }
      drawDoing();
      if (fresh) shownAt = performance.now();
    },
    busy(flag) {
      waiting = flag;
      root.classList.toggle("waiting", flag);
      for (const button of doing.querySelectorAll("button")) button.toggleAttribute("data-busy", flag);
    },
  };
}
