/* After the game: what an observer of your game could have known, and what the agent did in your place, trial by trial.
 *
 *   afterScreen(root, world, told, state)      told: what the server's `debrief` says
 */
"use strict";

function afterScreen(root, world, told, state) {
  const sides = [["observer", told.observer], ["agent", told.agent]].filter(([, side]) => side && side.trials.length);
  const chart = el("div", { class: "chart" });
  const where = el("span", { class: "where", "aria-live": "polite" });
  const slider = el("input", { type: "range", min: 0, step: 1, "aria-label": "moment" });
  const step = (d) => go(Number(slider.value) + d);
  const controls = el("div", { class: "line scrub" },
    el("button", { type: "button", class: "step", text: "◀", "aria-label": "moment before", on: { click: () => step(-1) } }), slider,
    el("button", { type: "button", class: "step", text: "▶", "aria-label": "next moment", on: { click: () => step(1) } }), where);
  const panels = sides.map(([who, side]) => sidePanel(world, told, who, side));
  root.replaceChildren(
    el("header", { class: "top" }, el("h1", { text: `${world.paradigm}: your game, and the agent’s` }),
      state.unsaved ? el("b", { class: "problem", text: "Your last trials could not be saved: tell whoever runs this." }) : null),
    headline(world, told, state),
    el("section", { class: "card" }, el("h3", { text: told.hypotheses.length ? "How sure one could be of the best hypothesis, trial by trial" : "Trial by trial" }),
      told.hypotheses.length ? el("p", { class: "hint", text: "Log odds in nats at the end of each trial. Press a trial to see what was thought in it." }) : null, chart),
    ...(sides.length ? [controls, el("div", { class: "sides" }, ...panels.map((p) => p.node))] : []));
  if (!sides.length) return;

  // moments of both games in step: as many in each trial as the longer one has
  const trials = Math.max(...sides.map(([, side]) => side.trials.length));
  const moments = [];
  for (let i = 0; i < trials; i++) {
    const n = Math.max(...sides.map(([, side]) => (side.trials[i] || []).length));
    for (let t = 0; t < n; t++) moments.push([i, t]);
  }
  slider.max = moments.length - 1;
  slider.addEventListener("input", () => go(Number(slider.value)));
  document.addEventListener("keydown", (event) => {
    if (!root.isConnected || event.target === slider || event.ctrlKey || event.metaKey || event.altKey) return;
    const d = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (d) step(d);
  });
  const drawChart = trialChart(chart, world, told, (trial) => go(moments.findIndex(([i]) => i === trial)));
  new ResizeObserver(() => go(Number(slider.value))).observe(chart);

  function go(k) {
    const at = Math.max(0, Math.min(moments.length - 1, k));
    slider.value = at;
    const [trial, time] = moments[at];
    where.textContent = `trial ${trial + 1}, time ${time + 1}`;
    drawChart(trial);
    for (const panel of panels) panel.show(trial, time);
  }
  go(0);
}

/** Who needed how many trials, and what was won. */
function headline(world, told, state) {
  const { you, observer, agent } = told, rules = told.hypotheses.length > 0;
  const total = (side) => (side && isScored(world) ? `score ${signed(round2(side.score.reduce((a, b) => a + b, 0)))} in ${plural(side.score.length, "trial")}` : "");
  const sure = (side) => {
    if (!side) return ["–", "no trial was played"];
    if (!side.odds) return ["–", "it has no hypotheses to compare"];
    if (!side.sure) return ["not yet", `after ${plural(side.trials.length, "trial")} its log odds are still within ${round2(side.window)} nats${side.own_window ? "" : " (odds of 20 to 1; it has no window of its own)"}`];
    const own = side.own_window ? "" : " (it has no window of its own for that: odds of 20 to 1)";
    const right = side.right === null ? "" : side.right ? ", and right" : ", but of a wrong hypothesis";
    return [plural(side.sure, "trial"), `to be sure: log odds beyond ${round2(side.window)} nats${own}${right}`];
  };
  const yours = () => {
    const asked = Object.keys(you.beliefs).length;
    if (!asked) return [plural(state.played, "trial"), world.ask ? "you were not asked yet what you believe" : "played; you were not asked what you believe"];
    return you.sure ? [plural(you.sure, "trial"), "until you named the right hypothesis, and kept to it"] : ["not yet", "you did not name the right hypothesis last"];
  };
  const tile = (title, [big, words], extra, kind) => el("div", { class: `tile ${kind}` }, el("h3", { text: title }), el("b", { class: "big", text: big }),
    el("p", { text: words }), el("p", { class: "hint", text: extra }));
  const none = ["–", "there are no hypotheses to find here"];
  const truth = told.truth !== null && rules ? el("p", { class: "truth" }, el("span", { text: "True was: " }), el("b", { text: told.hypotheses[told.truth] })) : null;
  return el("section", { class: "card headline" }, truth, el("div", { class: "tiles" },
    tile("You", rules ? yours() : [plural(state.played, "trial"), "played"], total(you), "you"),
    tile("What you saw was enough", rules ? sure(observer) : none, observer ? `${observer.ideal ? "an ideal" : "an"} observer of your game (“${observer.scheme}”)` : "", "observer"),
    tile("The agent in your place", rules ? sure(agent) : none, [`“${agent.scheme}”`, total(agent)].filter(Boolean).join(", "), "agent")));
}

/** Log odds of both by trial against the window, your answers, and what each trial brought. Returns what marks a trial. */
function trialChart(root, world, told, press) {
  const lines = [["observer", told.observer], ["agent", told.agent]].filter(([, s]) => s);
  const n = Math.max(1, ...lines.map(([, s]) => s.trials.length));
  const scored = isScored(world), odds = lines.filter(([, s]) => s.odds);
  const beliefs = Object.entries(told.you.beliefs);
  const legend = el("p", { class: "legend" });
  const names = { observer: `what you saw (${told.observer && told.observer.ideal ? "ideal observer" : "observer"})`, agent: `the agent “${told.agent.scheme}”` };
  for (const [who] of odds) legend.append(el("span", { class: `key ${who}` }, el("i"), el("span", { text: names[who] })));
  if (beliefs.length) legend.append(el("span", { class: "key said" }, el("b", { text: "✓ ✗ ?" }), el("span", { text: "what you said: right, wrong, I do not know" })));
  const holder = el("div");
  root.replaceChildren(legend, holder);
  return (current) => {
    const width = Math.max(280, root.clientWidth), left = 40, right = width - 12, plot = odds.length ? 150 : 0;
    const rowsOf = [...(beliefs.length ? ["said"] : []), ...(scored ? ["you", "agent"] : [])];
    const top = 14, base = top + plot, rows = base + (plot ? 8 : 0), height = rows + 20 * rowsOf.length + 24, each = (right - left) / n;
    const x = (i) => left + (i + 0.5) * each;
    const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "log odds by trial" });
    svg.append(shape("rect", { class: "here", x: left + current * each, y: 2, width: each, height: height - 2, rx: 4 }));
    if (plot) {
      // each against its own window: windows of schemes may differ
      const tops = odds.map(([, s]) => Math.max(1.3 * s.window, Math.min(2.2 * s.window, ...[Math.max(...s.odds.filter(known))])));
      const high = Math.max(...tops), low = Math.min(0, ...odds.flatMap(([, s]) => s.odds.filter(known).map((v) => Math.max(v, -high / 3))));
      const y = (v) => base - ((Math.max(low, Math.min(high, v)) - low) / (high - low)) * (plot - 6);
      const tick = (v, text) => svg.append(shape("text", { class: "mark", x: left - 6, y: y(v) + 4, "text-anchor": "end", text }));
      svg.append(shape("line", { class: "nought", x1: left, x2: right, y1: y(0), y2: y(0) }));
      tick(0, "0");
      for (const w of new Set(odds.map(([, s]) => s.window))) {
        svg.append(shape("line", { class: "window", x1: left, x2: right, y1: y(w), y2: y(w) }), shape("text", { class: "mark", x: right, y: y(w) - 4, "text-anchor": "end", text: "sure" }));
        tick(w, String(round2(w)));
      }
      for (const [who, s] of odds) {
        const points = s.odds.map((v, i) => (known(v) ? [x(i), y(v)] : null)).filter(Boolean);
        svg.append(shape("polyline", { class: `odds ${who}`, points: points.map((p) => p.map((c) => c.toFixed(1)).join(",")).join(" ") }));
        for (const [a, b] of points) {
          svg.append(who === "agent" ? shape("rect", { class: `dot ${who}`, x: a - 3, y: b - 3, width: 6, height: 6 }) : shape("circle", { class: `dot ${who}`, cx: a, cy: b, r: 5 }));
        }
        if (s.sure) svg.append(shape("line", { class: `flag ${who}`, x1: x(s.sure - 1), x2: x(s.sure - 1), y1: top - 8, y2: base }));
      }
    }
    rowsOf.forEach((row, k) => {
      const y = rows + 20 * k + 15;
      svg.append(shape("text", { class: "mark", x: left - 6, y, "text-anchor": "end", text: { said: "said", you: "you", agent: "agent" }[row] }));
      if (row === "said") {
        for (const [trial, h] of beliefs) {
          const right_ = h >= 0 && told.classes && told.classes[h] === told.classes[told.truth];
          svg.append(shape("text", { class: `said ${h < 0 ? "" : right_ ? "won" : "lost"}`, x: x(trial - 1), y, "text-anchor": "middle", text: h < 0 ? "?" : right_ ? "✓" : "✗" },
            shape("title", { text: h < 0 ? "I do not know" : told.hypotheses[h] })));
        }
      } else told[row].score.forEach((v, i) => svg.append(shape("text", { class: `gain ${v > 0 ? "won" : v < 0 ? "lost" : ""}`, x: x(i), y, "text-anchor": "middle", text: each > 18 ? signed(round2(v)) : v > 0 ? "+" : v < 0 ? "−" : "·" })));
    });
    const every = Math.max(1, Math.ceil(26 / each));
    for (let i = 0; i < n; i++) {
      if ((i + 1) % every === 0 || i === 0) svg.append(shape("text", { class: "mark", x: x(i), y: height - 6, "text-anchor": "middle", text: i + 1 }));
      svg.append(shape("rect", { class: "press", x: left + i * each, y: 0, width: each, height, on: { click: () => press(i) } }, shape("title", { text: `trial ${i + 1}` })));
    }
    holder.replaceChildren(svg);
  };
}

/** One game with the thoughts of whoever looks at it. */
function sidePanel(world, told, who, side) {
  const yours = who === "observer", { labels, acting } = world;
  const slot = Object.fromEntries(["picture", "words", "rules", "states", "choice"].map((name) => [name, el("div", { class: name })]));
  const card = (title, hint, child) => el("section", { class: "card" }, el("h3", { text: title }), hint ? el("p", { class: "hint", text: hint }) : null, child);
  const believes = side.trials.some((trial) => trial.some((m) => m.posterior));
  const values = side.trials.some((trial) => trial.some((m) => m.values));
  const node = el("section", { class: `side-by-side ${who}`, "aria-label": yours ? "your game" : "the agent's game" },
    el("h2", { text: yours ? "Your game" : "The agent’s game" }),
    el("p", { class: "hint", text: yours ? `thoughts of ${side.ideal ? "an ideal" : "an"} observer who sees what you saw: “${side.scheme}”${side.sentence ? `: ${side.sentence}` : ""}`
      : `“${side.scheme}”${side.sentence ? `: ${side.sentence}` : ""}` }),
    card("What happened", null, el("div", {}, slot.picture, slot.words)),
    believes ? card("Which hypothesis it holds true", null, slot.rules) : null,
    card("What it believes about the world", "Bars: probability. A ring marks what is true.", slot.states),
    values ? card(yours ? "What each move was worth, and which was yours" : "What each move was worth", "In nats: to the right what it expects to learn, to the left what it gives up beside the best.", slot.choice) : null);
  const scene = drawnScene(slot.picture, world);
  const beliefs = beliefsPanel(slot.states, { factors: told.factors, states: told.states });
  const rules = believes ? hypothesesPanel(slot.rules, { sentences: told.hypotheses, classes: told.classes, most: 5 }) : null;
  const bars = values ? valuesPanel(slot.choice, { policies: told.policies }) : null;
  const infinite = (list) => list.map((v) => (v === null ? NaN : v <= -1e9 ? -Infinity : v >= 1e9 ? Infinity : v));
  const parts = (m) => valueParts(Object.fromEntries(Object.entries(m.values).map(([name, list]) => [name, infinite(list)])));

  function show(trial, time) {
    const moments = side.trials[trial] || [];
    node.classList.toggle("none", !moments.length);
    if (!moments.length) return void (slot.words.textContent = yours ? "You did not play this trial." : "The agent did not play this trial.");
    const t = Math.min(time, moments.length - 1), m = moments[t];
    try {
      scene.show({ trial, time: t, states: m.states, outcomes: m.outcomes, controls: m.controls,
        previous: moments.slice(0, t).map((p, k) => ({ trial, time: k, states: p.states, outcomes: p.outcomes, controls: p.controls })) });
    } catch (error) {
      console.warn("the scene could not show this moment", error);
    }
    const seen = m.outcomes.map((o, k) => (o >= 0 ? `${labels.modality[k]}: ${labels.outcome[k][o]}` : null)).filter(Boolean).join(" · ");
    const did = m.controls ? acting.map((f) => labels.control[f][m.controls[f]]).join(", ") : null;
    const subject = yours ? "You" : "It";
    slot.words.replaceChildren(
      el("p", { text: `${subject} observed ${seen}.` }),
      el("p", { text: did ? `Then ${yours ? "you" : "it"} chose “${did}”${yours && m.chance !== null ? ` (an agent that thinks so would have, with ${percent(m.chance)})` : ""}.` : "The trial was over." }));
    beliefs.show({ qs: m.qs, truth: m.states });
    const sure = side.sure !== null && trial >= side.sure;
    if (rules) rules.show({ posterior: m.posterior, truth: told.truth === null ? -1 : told.truth, adopted: sure ? side.hypothesis : -1 });
    if (bars && m.values) {
      const own = parts(m);
      bars.show({ parts: own, worth: infinite(m.values.worth), q: m.q, chosen: m.chosen, scale: valueScale([own]), idle: !m.controls,
        note: m.controls ? "" : "Nothing is left to choose in this trial." });
    }
  }
  return { node, show };
}
