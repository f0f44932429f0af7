/* One agent under one scheme: its time line, the scene, the story and the three panels.
 *
 *   lane(contents, scheme, agent, arrays, scene) -> {node, lengths, start(), show(trial, time)}
 */
"use strict";

function lane(contents, scheme, agent, arrays, scene) {
  const { labels, hypotheses } = contents, classes = hypotheses.classes;
  const factors = labels.factor.length, truth = contents.truth[agent];
  const lengths = part(arrays.lengths), adopted = scheme.adopted[agent];
  const box = (name, title, hint, ...children) => el("section", { class: `card ${name}` },
    title ? el("h3", { text: title }) : null, hint ? el("p", { class: "hint", text: hint }) : null, ...children);
  const parts = ["line", "picture", "story", "beliefs", "values", "hypotheses"].map((name) => [name, el("div", { class: name })]);
  const slot = Object.fromEntries(parts);
  const believes = scheme.hypotheses;
  const node = el("div", { class: "lane" },
    box("head", null, null, el("div", { class: "scheme" }, el("b", { text: scheme.name }), el("span", { text: scheme.sentence })), slot.line),
    box("world", "What happens", null, slot.picture, slot.story),
    el("div", { class: "mind" },
      box("rules", "Which hypothesis it holds true", believes ? null : "It has no hypotheses to compare.", believes ? slot.hypotheses : null),
      box("states", "What it believes about the world", "Bars: probability. Ring: what is true, which the agent may not see.", slot.beliefs)),
    box("choice", "Why it chooses",
      "What each policy is worth, in nats. Right: what it expects to learn. Left: what it gives up beside the best.", slot.values));
  const line = timelinePanel(slot.line);
  const beliefs = beliefsPanel(slot.beliefs, { factors: labels.factor, states: labels.state });
  const values = valuesPanel(slot.values, { policies: scheme.policies, heading: scheme.heading });
  const rules = believes ? hypothesesPanel(slot.hypotheses, { sentences: hypotheses.sentences, classes }) : null;
  const world = { labels, data: contents.data };
  let shown = drawScene();
  const scales = {};

  /** The scene of the paradigm; if it fails, the general one, with the reason below it. */
  function drawScene(general = false) {
    if (scene && !general) {
      try {
        return scene(slot.picture, world);
      } catch (error) {
        return broken(error);
      }
    }
    return generalScene(slot.picture, world);
  }

  function broken(error) {
    const again = drawScene(true);
    slot.picture.append(el("p", { class: "hint", text: `The paradigm’s own scene failed (${error.message}); this is the general one.` }));
    return again;
  }

  function mindAt(trial, time) {
    const of = (name) => part(arrays[name], trial, time);
    const state = of("state"), param = of("param"), model = of("model"), utility = of("utility"), rest = of("rest");
    const worth = rest.map((v, k) => v + utility[k] + state[k] + param[k] + model[k]);
    const posterior = believes ? (part(arrays.compared, trial, time)[0] ? of("posterior") : null) : null;
    const [chosen, ties, short, lead] = ["policy", "ties", "short", "lead"].map((name) => part(arrays[name], trial, time)[0]);
    return {
      qs: labels.factor.map((_, f) => of(`qs${f}`)),
      posterior, worth, q: of("q"), policy: chosen, ties, short, lead, outcomes: of("outcomes"), controls: of("controls"), states: of("states"),
      parts: valueParts({ utility, state, param, model, worth }),
    };
  }

  function momentAt(trial, time) {
    const states = part(arrays.states, trial, time), last = time >= lengths[trial] - 1;
    return {
      trial, time,
      states: states.every((s) => s < 0) ? null : states,
      outcomes: part(arrays.outcomes, trial, time),
      controls: last ? null : part(arrays.controls, trial, time),
    };
  }

  /** How far bars reach in a trial, so that they can be compared from moment to moment. */
  function scaleOf(trial) {
    if (!scales[trial]) {
      const times = Array.from({ length: Math.max(1, lengths[trial] - 1) }, (_, t) => t);
      scales[trial] = valueScale(times.map((t) => mindAt(trial, t).parts));
    }
    return scales[trial];
  }

  return {
    node, lengths,
    start() {
      const odds = believes ? lengths.map((_, k) => part(arrays.odds, k)) : null;
      line.set({
        lengths, odds, window: scheme.window[agent], wins: part(arrays.wins), losses: part(arrays.losses),
        right: believes && truth >= 0 ? lengths.map((_, k) => part(arrays.right, k).map((v) => v > 0)) : null,
        marks: adopted.model < 0 ? [] : [{
          trial: adopted.trial, time: adopted.time, kind: adopted.right ? "insight" : "wrong",
          text: `${adopted.right ? "insight" : "adopts a wrong hypothesis"} ${scheme.when} trial ${adopted.trial + 1}`,
        }],
      });
    },
    show(trial, wanted) {
      if (!lengths[trial]) { node.classList.add("absent"); return; }
      const time = Math.min(wanted, lengths[trial] - 1), last = time >= lengths[trial] - 1;
      node.classList.toggle("absent", wanted >= lengths[trial]);
      line.show({ trial, time });
      const now = mindAt(trial, time), moment = momentAt(trial, time);
      moment.previous = Array.from({ length: time }, (_, t) => momentAt(trial, t));
      try {
        shown.show(moment);
      } catch (error) {
        shown = broken(error);
        shown.show(moment);
      }
      const here = adopted.model >= 0 && adopted.trial === trial && adopted.time === time;
      const since = adopted.model >= 0 && (trial > adopted.trial || (trial === adopted.trial && time >= adopted.time));
      const sentence = adopted.model >= 0 ? hypotheses.sentences[adopted.model] : "";
      const told = storyOf({
        labels, now, last, classes, policies: scheme.policies, heading: scheme.heading, sentences: hypotheses.sentences,
        before: time ? mindAt(trial, time - 1) : null,
        adoptedNow: here ? `${adopted.right ? "Insight! It adopts" : "It adopts a wrong hypothesis:"} “${sentence}”.` : "",
      });
      slot.story.replaceChildren(...told.map(([kind, text]) => el("p", { class: kind, text })));
      beliefs.show({ qs: now.qs, truth: moment.states });
      values.show({
        parts: now.parts, worth: now.worth, q: now.q, chosen: last ? -1 : now.policy, scale: scaleOf(trial), idle: last,
        note: last ? "The trial is over: nothing is chosen at its last moment." : "",
      });
      if (rules) rules.show({ posterior: now.posterior, truth, adopted: since ? adopted.model : -1 });
    },
  };
}
