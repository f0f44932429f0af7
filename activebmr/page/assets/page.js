/* The page of a result: one clock for one scheme, or for two side by side, and the panels that it moves.
 *
 *   thinkingPage(root, contents, scene, {keys: element})      contents: what `contents.py` makes; scene: a function, or null
 */
"use strict";

/* Drawn, as the fonts of many machines lack these signs; 16 units square. */
const ICONS = {
  play: "M4 2L13 8L4 14Z", pause: "M4 2H7V14H4ZM9 2H12V14H9Z",
  back: "M11 2L12.5 3.5L8 8L12.5 12.5L11 14L5 8Z", on: "M5 2L3.5 3.5L8 8L3.5 12.5L5 14L11 8Z",
  before: "M8 2V14L1 8ZM15 2V14L8 8Z", after: "M8 2V14L15 8ZM1 2V14L8 8Z",
  first: "M2 2H4V14H2ZM14 2V14L5 8Z", last: "M12 2H14V14H12ZM2 2V14L11 8Z",
  theme: "M8 1A7 7 0 1 0 8 15A7 7 0 1 0 8 1ZM8 3V13A5 5 0 0 1 8 3Z",
};

function icon(name) {
  return shape("svg", { viewBox: "0 0 16 16", "aria-hidden": "true", class: "icon" }, shape("path", { d: ICONS[name], "fill-rule": "evenodd" }));
}

const SPEEDS = [["slow", 1600], ["normal", 800], ["fast", 300]];

function thinkingPage(root, contents, scene, { keys = root } = {}) {
  root.classList.add("abmr");
  root.replaceChildren();
  const at = { trial: 0, time: 0 }, picked = { agent: 0, schemes: [0, -1] };
  let timer = null, speed = 1, turn = 0, lanes = [];

  // --- the frame -----------------------------------------------------------------------------------------------------
  const many = contents.schemes.length > 1;
  const agent = choice("agent", contents.agents.map((number, k) => [k, `agent ${number}`]), (k) => { picked.agent = k; build(); });
  const first = choice("scheme", contents.schemes.map((s, k) => [k, s.name]), (k) => { picked.schemes[0] = k; build(); });
  const second = choice("beside", [[-1, "nothing"], ...contents.schemes.map((s, k) => [k, s.name])], (k) => { picked.schemes[1] = k; build(); });
  const theme = el("button", { class: "theme", type: "button", title: "dark or light", "aria-label": "dark or light", on: { click: flip } }, icon("theme"));
  const head = el("header", {},
    el("div", { class: "title" }, el("h1", { text: contents.paradigm }), el("p", { text: contents.description })),
    el("div", { class: "pickers" }, agent.label, first.label, many ? second.label : null, theme));
  const button = (name, title, f) => el("button", { type: "button", class: name, title, "aria-label": title, on: { click: f } }, icon(name));
  const play = button("play", "play or pause (space)", toggle);
  const clock = el("output", { class: "clock", "aria-live": "polite" });
  const pace = choice("speed", SPEEDS.map(([name], k) => [k, name]), (k) => { speed = k; if (timer) { pause(); toggle(); } });
  pace.select.value = "1";
  const saying = el("p", { class: "saying" });
  const transport = el("div", { class: "transport", role: "toolbar", "aria-label": "player" },
    button("first", "to the beginning (home)", () => go(0, 0)),
    button("before", "trial before (up or page up)", () => leap(-1)),
    button("back", "moment before (left)", () => step(-1)), play,
    button("on", "next moment (right)", () => step(1)),
    button("after", "next trial (down or page down)", () => leap(1)),
    button("last", "to the end (end)", toEnd), clock, pace.label, saying);
  const problem = el("p", { class: "problem", role: "alert", hidden: true });
  const stage = el("div", { class: "stage" });
  root.append(head, transport, problem, stage, el("footer", {},
    el("p", { text: "space: play or pause · ← →: moments · ↑ ↓: trials · home, end" }),
    el("p", { text: `activebmr ${contents.version}, seed ${contents.seed}` })));

  function choice(name, options, changed) {
    let pressed = false; // keys belong to the player again once something was chosen with the mouse
    const select = el("select", {
      "aria-label": name,
      on: {
        pointerdown: () => { pressed = true; },
        keydown: () => { pressed = false; },
        change: () => { if (pressed) select.blur(); changed(Number(select.value)); },
      },
    }, ...options.map(([value, text]) => el("option", { value, text })));
    return { select, label: el("label", { class: `pick ${name}` }, el("span", { text: name }), select) };
  }

  function flip() {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    if (root.parentElement === document.body) document.documentElement.dataset.theme = root.dataset.theme;
  }

  // --- the clock -----------------------------------------------------------------------------------------------------
  const length = (trial) => Math.max(0, ...lanes.map((lane) => lane.lengths[trial] || 0));

  function go(trial, time) {
    at.trial = Math.max(0, Math.min(contents.trials - 1, trial));
    at.time = Math.max(0, Math.min(length(at.trial) - 1, time));
    draw();
  }

  function step(by) {
    let { trial, time } = at;
    time += by;
    while (time >= length(trial) && trial < contents.trials - 1) { trial += 1; time = 0; }
    if (time < 0 && trial > 0) { trial -= 1; time = length(trial) - 1; }
    if (time >= length(trial)) return false;
    go(trial, time);
    return true;
  }

  function leap(by) {
    if (by < 0 && at.time > 0) go(at.trial, 0);
    else go(at.trial + by, 0);
  }

  function toEnd() { go(contents.trials - 1, Infinity); }

  function pause() {
    clearInterval(timer);
    timer = null;
    play.replaceChildren(icon("play"));
  }

  function toggle() {
    if (timer) { pause(); return; }
    if (at.trial === contents.trials - 1 && at.time >= length(at.trial) - 1) go(0, 0);
    timer = setInterval(() => { if (!root.isConnected || !step(1)) pause(); }, SPEEDS[speed][1]);
    play.replaceChildren(icon("pause"));
  }

  const KEYS = {
    " ": toggle, ArrowRight: () => step(1), ArrowLeft: () => step(-1), Home: () => go(0, 0), End: toEnd,
    ArrowDown: () => leap(1), ArrowUp: () => leap(-1), PageDown: () => leap(1), PageUp: () => leap(-1),
  };
  keys.addEventListener("keydown", (event) => {
    const f = KEYS[event.key];
    if (!f || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "SELECT") return;
    if (event.key === " " && event.target.tagName === "BUTTON" && event.target !== play) return; // it is pressed
    event.preventDefault();
    if (event.key !== " ") pause();
    f();
  });
  for (const other of transport.querySelectorAll("button")) if (other !== play) other.addEventListener("click", pause);

  // --- what is shown -------------------------------------------------------------------------------------------------
  async function build() {
    const mine = ++turn, shown = picked.schemes.filter((s, k) => s >= 0 && (k === 0 || s !== picked.schemes[0]));
    let read;
    try {
      read = await Promise.all(shown.map((s) => unpack(contents.schemes[s].packed[picked.agent], contents.schemes[s].layout)));
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
      return;
    }
    if (mine !== turn) return; // another choice was made meanwhile
    stage.classList.toggle("two", shown.length > 1);
    const { name, sentence } = contents.schemes[shown[0]];
    saying.replaceChildren(el("b", { text: name }), sentence ? `: ${sentence}` : "");
    saying.title = sentence;
    lanes = shown.map((s, k) => lane(contents, contents.schemes[s], picked.agent, read[k], scene));
    stage.replaceChildren(...lanes.map((one) => one.node));
    for (const one of lanes) {
      one.node.addEventListener("seek", (event) => { pause(); go(event.detail.trial, event.detail.time); }, true);
    }
    for (const one of lanes) one.start();
    go(at.trial, at.time);
  }

  function draw() {
    clock.replaceChildren(
      el("span", {}, "trial ", el("b", { text: at.trial + 1 }), ` of ${contents.trials}`),
      el("span", {}, "moment ", el("b", { text: at.time + 1 }), ` of ${length(at.trial)}`));
    for (const one of lanes) one.show(at.trial, at.time);
    tell();
  }

  // --- the address -----------------------------------------------------------------------------------------------------
  /** Begin at the moment that the address tells, such as #agent=5&scheme=paper&beside=reasoning&trial=7&moment=4. */
  function begin() {
    const told = new URLSearchParams(keys === document ? location.hash.slice(1) : "");
    const find = (name, values) => Math.max(-1, values.map(String).indexOf(told.get(name)));
    const names = contents.schemes.map((s) => s.name);
    picked.agent = Math.max(0, find("agent", contents.agents));
    picked.schemes = [Math.max(0, find("scheme", names)), find("beside", names)];
    agent.select.value = picked.agent;
    [first.select.value, second.select.value] = picked.schemes;
    at.trial = Math.max(0, (Number(told.get("trial")) || 1) - 1);
    at.time = Math.max(0, (Number(told.get("moment")) || 1) - 1);
  }

  function tell() {
    if (keys !== document || timer) return;
    const told = new URLSearchParams({ agent: contents.agents[picked.agent], scheme: contents.schemes[picked.schemes[0]].name });
    if (picked.schemes[1] >= 0) told.set("beside", contents.schemes[picked.schemes[1]].name);
    told.set("trial", at.trial + 1);
    told.set("moment", at.time + 1);
    try {
      history.replaceState(null, "", `#${told}`);
    } catch {
      // in a frame without an address of its own there is nothing to tell
    }
  }

  begin();
  return build();
}
