/* Panels that show what an agent believes and why it chooses; used by the page of a result and by play.
 *
 * Plain scripts, no modules: each file declares functions, and whoever writes a page puts the files of `assets.py` one after
 * another into one script. Every text is set with textContent, no markup is ever made of data.
 *
 *   el(tag, {class, text, title, on: {click: f}, attribute: value}, ...children)   an HTML element
 *   shape(tag, {attribute: value, text}, ...children)                               an SVG element
 *
 * A panel is a function of an empty element and of what never changes; it returns {show(now)}, which draws a moment:
 *
 *   beliefsPanel(root, {factors: [name], states: [[name]]})
 *       .show({qs: [[p]], truth: [index] or null})           posterior over the states of each factor, and what is true
 *   valuesPanel(root, {policies: [name], heading: "gaze, choice"})
 *       .show({parts: {utility, state, param, model}, worth, q, chosen, scale, note})
 *                                                             nats of every policy, from `valueParts`; q: its posterior;
 *                                                             chosen: its index, or -1; note: a sentence instead of bars
 *   hypothesesPanel(root, {sentences: [text], classes: [k] or null, most: 4})
 *       .show({posterior: [p] or null, truth: index or -1, adopted: index or -1, note})
 *                                                             sorted by probability; those of one class are one row
 *   valueParts({utility, state, param, model, worth})         the parts as bars: see there
 *   valueScale([parts])                                       how far bars reach over some moments: the `scale` of a panel
 *
 * The time line is in timeline.js, sentences about a moment in story.js, the scene of worlds without one in scene.js.
 *
 * Probabilities lie in 0..1, nats are nats, indices count from 0 (people read them from 1). What is unknown is null or NaN.
 */
"use strict";

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element: `class`, `text`, `on` (listeners) and plain attributes; false and null leave an attribute out. */
function el(tag, settings = {}, ...children) {
  return filled(document.createElement(tag), settings, children);
}

/** An SVG element, with the same settings. */
function shape(tag, settings = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), settings, children);
}

function filled(node, settings, children) {
  for (const [name, value] of Object.entries(settings)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") node.textContent = String(value);
    else if (name === "on") for (const [event, f] of Object.entries(value)) node.addEventListener(event, f);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

/** A probability in words of at most four letters. */
function percent(p) {
  if (!known(p)) return "–";
  if (p > 0 && p < 0.005) return "<1%";
  if (p < 1 && p >= 0.995) return ">99%";
  return `${Math.round(100 * p)}%`;
}

/** Nats with a true minus sign. */
function nats(value, digits = 2) {
  if (!known(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Math.abs(value).toFixed(Math.abs(value) >= 100 ? 0 : digits);
  return (value < 0 && Number(text) !== 0 ? "−" : "") + text;
}

const most = (values) => values.reduce((best, v, k) => (v > values[best] ? k : best), 0);

/** Room for names of so many letters, in em. */
const nameWidth = (letters, least, most) => `${Math.min(most, Math.max(least, 0.6 * letters + 0.4))}em`;

// --- beliefs ----------------------------------------------------------------------------------------------------------
/** Bars of a posterior over the states of each factor; a ring marks the true state. */
function beliefsPanel(root, { factors, states }) {
  root.replaceChildren();
  root.classList.add("beliefs");
  const blocks = factors.map((factor, f) => {
    const rows = states[f].map((name) => {
      const ring = el("span", { class: "ring", "aria-hidden": "true" });
      const bar = el("span", { class: "bar" });
      const number = el("span", { class: "number" });
      const row = el("div", { class: "row" }, ring, el("span", { class: "name", text: name, title: name }),
        el("span", { class: "track" }, bar), number);
      return { row, bar, number };
    });
    const head = el("h4", { text: factor });
    const more = el("p", { class: "more" });
    const longest = Math.max(...states[f].map((name) => name.length));
    const block = el("div", { class: "factor" }, head, ...rows.map((r) => r.row), more);
    block.style.setProperty("--name", nameWidth(longest, 2.4, 11));
    root.append(block);
    return { rows, more };
  });
  const MANY = 8; // rows of a factor that are always shown
  return {
    show({ qs, truth }) {
      blocks.forEach(({ rows, more }, f) => {
        const q = qs[f];
        const order = q.map((_, k) => k).sort((a, b) => q[b] - q[a] || a - b);
        const shown = new Set(rows.length > MANY ? order.slice(0, MANY) : order);
        if (truth && truth[f] >= 0) shown.add(truth[f]);
        let rest = 0;
        rows.forEach(({ row, bar, number }, k) => {
          row.hidden = !shown.has(k);
          if (row.hidden) rest += q[k];
          bar.style.width = `${100 * Math.min(1, Math.max(0, q[k]))}%`;
          number.textContent = percent(q[k]);
          row.classList.toggle("true", Boolean(truth) && truth[f] === k);
          row.classList.toggle("likely", q[k] > 0.5);
        });
        const hidden = rows.length - shown.size;
        more.textContent = hidden > 0 ? `and ${hidden} more, together ${percent(rest)}` : "";
      });
    },
  };
}

// --- values -----------------------------------------------------------------------------------------------------------
const PARTS = [
  { key: "state", name: "learns about states", hint: "expected information about what is hidden now" },
  { key: "param", name: "learns about parameters", hint: "expected information about how the world works: counts" },
  { key: "model", name: "learns about hypotheses", hint: "expected information about which hypothesis is true" },
  { key: "utility", name: "utility", hint: "expected preference of what will be seen, beside the best policy's" },
  { key: "later", name: "later steps", hint: "what the steps after the next one are worth, beside the best policy's" },
];

/** What policies are worth, as bars: gains to the right of zero, to the left what a policy has less than the best one.
 *
 * Utility, and what later steps are worth beyond the parts of the next, are log probabilities whose zero means nothing: only
 * their differences between policies do. So both are counted from the best policy of each.
 */
function valueParts({ utility, state, param, model, worth }) {
  const least = (values) => {
    const best = Math.max(...values.filter(Number.isFinite), -Infinity);
    return values.map((v) => (Number.isFinite(v) && Number.isFinite(best) ? v - best : v));
  };
  const later = worth.map((w, k) => w - utility[k] - state[k] - param[k] - model[k]);
  const rest = later.some((v) => Math.abs(v) > 0.02) ? least(later) : later.map(() => 0);
  return { state, param, model, utility: least(utility), later: rest };
}

/** How far bars reach over several moments: {right, left} in nats. */
function valueScale(moments) {
  let right = 0.05, left = 0;
  for (const parts of moments) {
    for (let k = 0; k < parts.utility.length; k++) {
      right = Math.max(right, parts.state[k] + parts.param[k] + parts.model[k] || 0);
      const short = parts.utility[k] + parts.later[k];
      if (Number.isFinite(short)) left = Math.max(left, -short);
    }
  }
  return { right, left: left < 0.02 ? 0 : Math.min(left, Math.max(2 * right, 3)) };
}

/** Stacked bars of what every policy is worth, its posterior, and an arrow at the one that is chosen. */
function valuesPanel(root, { policies, heading = "policy" }) {
  root.replaceChildren();
  root.classList.add("values");
  const MANY = 16; // policies that are always shown
  let all = false, last = null;
  const legend = el("div", { class: "legend" });
  const keys = PARTS.map((part) => {
    const key = el("span", { class: "key", title: part.hint }, el("i", { class: `part-${part.key}` }), el("span", { text: part.name }));
    legend.append(key);
    return key;
  });
  const note = el("p", { class: "note" });
  const table = el("div", { class: "policies" });
  const axis = el("div", { class: "axis" });
  const toggle = el("button", { class: "link", type: "button", on: { click: () => { all = !all; if (last) draw(last); } } });
  const head = el("div", { class: "policy head" }, el("span", { class: "name", text: heading, title: heading }),
    el("span", { class: "plot" }, axis), el("span", { class: "number", text: "posterior", title: "posterior over policies" }));
  const rows = policies.map((name) => {
    const pieces = Object.fromEntries(PARTS.map((part) => [part.key, el("i", { class: `part-${part.key}` })]));
    const cut = el("span", { class: "cut", text: "«" });
    const plot = el("span", { class: "plot" }, el("b", { class: "zero" }), ...Object.values(pieces), cut);
    const number = el("span", { class: "number" });
    const row = el("div", { class: "policy" }, el("span", { class: "name", text: name, title: name }), plot, number);
    return { row, pieces, cut, number, plot };
  });
  table.append(head, ...rows.map((r) => r.row));
  table.style.setProperty("--name", nameWidth(Math.max(heading.length * 0.8, ...policies.map((name) => name.length)), 4.5, 13));
  root.append(legend, note, table, toggle);

  function draw(now) {
    last = now;
    const { parts, q, chosen, scale } = now;
    note.textContent = now.note || "";
    note.hidden = !now.note;
    root.classList.toggle("idle", Boolean(now.idle));
    keys.forEach((key, k) => { key.hidden = !parts[PARTS[k].key].some((v) => Math.abs(v) > 0.0005); });
    const order = q.map((_, k) => k).sort((a, b) => q[b] - q[a] || now.worth[b] - now.worth[a] || a - b);
    const shown = new Set(all || rows.length <= MANY ? order : order.slice(0, MANY - 4));
    if (chosen >= 0) shown.add(chosen);
    const best = Math.max(...now.worth.filter(Number.isFinite));
    const span = scale.right + scale.left, at = (v) => 100 * (scale.left + v) / span;
    axis.replaceChildren(...ticks(scale).map((v) => {
      const tick = el("span", { class: "tick", text: nats(v, Number.isInteger(v) ? 0 : v >= 0.1 || v <= -0.1 ? 1 : 2) });
      tick.style.left = `${at(v)}%`;
      return tick;
    }));
    rows.forEach(({ row, pieces, cut, number, plot }, k) => {
      row.hidden = !shown.has(k);
      row.classList.toggle("chosen", k === chosen);
      row.classList.toggle("impossible", !(q[k] > 1e-4) && k !== chosen);
      plot.firstChild.style.left = `${at(0)}%`;
      let right = 0, left = 0;
      for (const part of PARTS) {
        const value = parts[part.key][k], piece = pieces[part.key];
        const size = Number.isFinite(value) ? Math.abs(value) : value < 0 ? span : 0;
        let from = 0, to = 0;
        if (value > 0) { from = right; to = right += size; } else if (value < 0) { to = -left; left += size; from = -left; }
        const a = at(Math.max(from, -scale.left)), b = at(Math.max(to, -scale.left));
        piece.style.left = `${a}%`;
        piece.style.width = `${Math.max(0, b - a)}%`;
        piece.title = `${part.name}: ${nats(value)} nats`;
      }
      cut.hidden = !(left > scale.left * 1.001 + 0.02);
      number.textContent = percent(q[k]);
      row.title = `${policies[k]}: ${nats(now.worth[k] - best)} nats beside the best; posterior ${percent(q[k])}`;
    });
    toggle.hidden = rows.length <= MANY;
    toggle.textContent = all ? "show the likeliest policies only" : `show all ${rows.length} policies`;
  }
  return { show: draw };
}

/** A few round numbers of nats, zero among them. */
function ticks({ right, left }) {
  const span = right + left, size = 10 ** Math.floor(Math.log10(span / 2));
  const step = [1, 2, 5, 10].map((m) => m * size).find((s) => span / s <= 3) || 10 * size;
  const out = [];
  for (let k = -Math.floor(left / step + 1e-9); k * step <= right + 1e-9; k++) out.push(k * step);
  return out;
}

// --- hypotheses -------------------------------------------------------------------------------------------------------
/** Hypotheses as sentences, the most probable first; those that agree everywhere are one. */
function hypothesesPanel(root, { sentences, classes = null, most: rowsShown = 4 }) {
  root.replaceChildren();
  root.classList.add("hypotheses");
  const classOf = classes || sentences.map((_, k) => k);
  const first = [], size = [];
  classOf.forEach((c, k) => { if (first[c] === undefined) first[c] = k; size[c] = (size[c] || 0) + 1; });
  let all = false, last = null;
  const note = el("p", { class: "note" });
  const list = el("ol");
  const rest = el("p", { class: "more" });
  const toggle = el("button", { class: "link", type: "button", on: { click: () => { all = !all; if (last) draw(last); } } });
  root.append(note, list, rest, toggle);

  function draw(now) {
    last = now;
    const { posterior, truth = -1, adopted = -1 } = now;
    const blank = !posterior || !known(posterior[0]);
    note.textContent = now.note || (blank ? "It has not compared its hypotheses yet." : "");
    note.hidden = !note.textContent;
    const sums = size.map(() => 0);
    if (!blank) classOf.forEach((c, k) => { sums[c] += posterior[k]; });
    const trueClass = truth >= 0 ? classOf[truth] : -1, held = adopted >= 0 ? classOf[adopted] : -1;
    const order = sums.map((_, c) => c).sort((a, b) => sums[b] - sums[a] || a - b);
    let shown = blank ? order.filter((c) => c === trueClass || c === held) : all ? order : order.slice(0, rowsShown);
    for (const c of [held, trueClass]) if (c >= 0 && !shown.includes(c)) shown = [...shown.slice(0, rowsShown - 1), c];
    list.replaceChildren(...shown.map((c) => {
      const bar = el("span", { class: "bar" });
      bar.style.width = `${100 * Math.min(1, sums[c])}%`;
      const tags = el("span", { class: "tags" });
      if (c === trueClass) tags.append(el("b", { class: "tag truth", text: "true" }));
      if (c === held) tags.append(el("b", { class: `tag ${c === trueClass ? "adopted" : "wrong"}`, text: "adopted" }));
      const words = sentences[first[c]] + (size[c] > 1 ? ` (and ${size[c] - 1} that say${size[c] > 2 ? "" : "s"} the same)` : "");
      return el("li", { class: c === trueClass ? "true" : null },
        el("span", { class: "number", text: blank ? "–" : percent(sums[c]) }),
        el("span", { class: "sentence" }, words, " ", tags), el("span", { class: "track" }, bar));
    }));
    const hidden = order.filter((c) => !shown.includes(c));
    const sum = hidden.reduce((total, c) => total + sums[c], 0);
    rest.textContent = hidden.length && !blank ? `and ${hidden.length} more, together ${percent(sum)}` : "";
    toggle.hidden = blank || order.length <= rowsShown;
    toggle.textContent = all ? "show the likeliest only" : `show all ${order.length}`;
  }
  return { show: draw };
}
