/* The time line of an agent: log odds of its best hypothesis at every moment against Occam's window, what it won and lost, and
 * the moment of insight. It is the scrubber too: pressed or dragged, it sends root the event "seek", {detail: {trial, time}}.
 *
 *   timelinePanel(root)
 *       .set({lengths: [moments of each trial], odds: [[nats]] or null, right: [[whether the best hypothesis is true]] or null,
 *             window: nats or null, wins: [n], losses: [n], marks: [{trial, time, kind: "insight" or "wrong", text}]})
 *       .show({trial, time})
 */
"use strict";

function timelinePanel(root) {
  root.replaceChildren();
  root.classList.add("timeline");
  const svg = shape("svg", { role: "slider", tabindex: 0, "aria-label": "time line", "aria-valuemin": 1 });
  const words = el("div", { class: "timeline-words" });
  root.append(words, svg);
  let data = null, at = { trial: 0, time: 0 }, width = 0, big = 1, head = null, box = null; // big: size of the type, 1 for 14 pixels

  const starts = () => { let sum = 0; return data.lengths.map((n) => (sum += n) - n); };
  const total = () => data.lengths.reduce((a, b) => a + b, 0);
  const place = (trial, time) => box.left + ((trial + (time + 0.5) / Math.max(1, data.lengths[trial])) / data.lengths.length) * (box.right - box.left);

  function seek(event) {
    if (!data || !total()) return;
    const bounds = svg.getBoundingClientRect();
    const share = (event.clientX - bounds.left - box.left) / (box.right - box.left) * data.lengths.length;
    let trial = Math.max(0, Math.min(data.lengths.length - 1, Math.floor(share)));
    while (trial > 0 && !data.lengths[trial]) trial--;
    const n = data.lengths[trial];
    const time = Math.max(0, Math.min(n - 1, Math.floor((share - trial) * n)));
    root.dispatchEvent(new CustomEvent("seek", { detail: { trial, time } }));
  }
  svg.addEventListener("pointerdown", (event) => { svg.setPointerCapture(event.pointerId); seek(event); });
  svg.addEventListener("pointermove", (event) => { if (event.buttons & 1) seek(event); });
  new ResizeObserver(() => { if (data && root.clientWidth !== width) draw(); }).observe(root);

  function draw() {
    width = root.clientWidth;
    if (!width) return;
    big = parseFloat(getComputedStyle(root).fontSize) / 14;
    const odds = data.odds, height = Math.round((odds ? 98 : 50) * big);
    box = { left: odds ? 34 * big : 8, right: width - 10, top: 16 * big, bottom: height - 29 * big };
    svg.replaceChildren();
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.setAttribute("height", height);
    const n = data.lengths.length, each = (box.right - box.left) / n;
    for (let k = 0; k < n; k++) {
      svg.append(shape("rect", { class: k % 2 ? "odd" : "even", x: box.left + k * each, y: box.top, width: each, height: box.bottom - box.top }));
    }
    const only = n === 1 ? Math.max(1, data.lengths[0]) : 0; // moments are counted where there is one trial
    if (only) {
      const by = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((s) => (s * each) / only >= 24) || 1000;
      for (let k = 0; k < only; k++) {
        if ((k + 1) % by === 0 || k === 0) svg.append(shape("text", { class: "label", x: place(0, k), y: height - 3 * big, "text-anchor": "middle", text: k + 1 }));
      }
    }
    const step = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((s) => s * each >= 24) || 1000;
    for (let k = 0; k < n && !only; k++) {
      if ((k + 1) % step && k !== 0) continue;
      if (k === 0 && step > 1 && step * each < 40) continue;
      svg.append(shape("text", { class: "label", x: box.left + (k + 0.5) * each, y: height - 3 * big, "text-anchor": "middle", text: k + 1 }));
    }
    if (odds) curve(odds);
    payoffs(each);
    for (const mark of data.marks) flag(mark);
    head = shape("line", { class: "head", y1: box.top - 4, y2: box.bottom + 16 });
    svg.append(head);
    move();
  }

  function beyond(odds) {
    return data.window > 0 && odds.some((row) => row.some((v) => v > data.window * 1.35));
  }

  function curve(odds) {
    const all = odds.flat().filter((v) => known(v));
    const finite = all.filter(Number.isFinite), most = Math.max(0, ...finite), edge = data.window, far = beyond(odds);
    const top = edge ? Math.max(edge * 1.35, most) : Math.max(4, most) * 1.05, low = Math.min(0, ...finite);
    // beyond the window there may be hundreds of nats: they share the upper third
    const up = (v) => far && v > edge ? edge * (1 + 0.5 * (Math.log(v / edge) / Math.log(top / edge))) : v;
    const y = (v) => box.bottom - ((up(Math.max(low, Math.min(top, v))) - low) / (up(top) - low)) * (box.bottom - box.top);
    const label = (v, text) => svg.append(shape("text", { class: "label", x: box.left - 5, y: y(v) + 4 * big, "text-anchor": "end", text }));
    svg.append(shape("line", { class: "nought", x1: box.left, x2: box.right, y1: y(0), y2: y(0) }));
    label(0, "0");
    if (data.window) {
      svg.append(shape("line", { class: "window", x1: box.left, x2: box.right, y1: y(data.window), y2: y(data.window) }));
      label(data.window, nats(data.window, Number.isInteger(data.window) ? 0 : 1));
      if (far) label(top, all.includes(Infinity) ? "∞" : nats(top, 0));
    } else label(top / 1.05, nats(top / 1.05, 0));
    const points = [];
    odds.forEach((row, trial) => row.slice(0, data.lengths[trial]).forEach((v, time) => {
      if (known(v)) points.push({ x: place(trial, time), y: y(v), right: data.right ? data.right[trial][time] : true });
    }));
    let path = "";
    points.forEach((p, k) => { path += `${k ? "L" : "M"}${p.x.toFixed(1)} ${p.y.toFixed(1)}`; });
    svg.append(shape("path", { class: "odds", d: path }));
    const r = points.length > 260 ? 1.4 : 2.2;
    for (const p of points) svg.append(shape("circle", { class: p.right ? "right" : "wrong", cx: p.x, cy: p.y, r }));
  }

  function payoffs(each) {
    data.lengths.forEach((_, k) => {
      const won = data.wins[k], lost = data.losses[k], x = box.left + (k + 0.5) * each, y = box.bottom + 9 * big;
      if (won > 0) svg.append(shape("circle", { class: "won", cx: lost > 0 ? x - 4 * big : x, cy: y, r: Math.min(3.6 * big, each / 2.4) }));
      if (lost > 0) {
        const r = Math.min(3.2 * big, each / 2.6), at = won > 0 ? x + 4 * big : x;
        svg.append(shape("path", { class: "lost", d: `M${at - r} ${y - r}L${at + r} ${y + r}M${at - r} ${y + r}L${at + r} ${y - r}` }));
      }
    });
  }

  function flag({ trial, time, kind, text }) {
    const x = place(trial, time), end = x > (box.left + box.right) / 2;
    svg.append(
      shape("line", { class: `flag ${kind}`, x1: x, x2: x, y1: 3, y2: box.bottom }),
      shape("path", { class: `flag ${kind}`, d: end ? `M${x} 2l-9 4.5l9 4.5z` : `M${x} 2l9 4.5l-9 4.5z` }),
      shape("text", { class: `flag ${kind}`, x: end ? x - 13 : x + 13, y: 11 * big, "text-anchor": end ? "end" : "start", text }),
    );
  }

  function move() {
    if (!head || !total()) return;
    const x = place(at.trial, at.time);
    head.setAttribute("x1", x);
    head.setAttribute("x2", x);
    svg.setAttribute("aria-valuemax", total());
    svg.setAttribute("aria-valuenow", starts()[at.trial] + at.time + 1);
    svg.setAttribute("aria-valuetext", `trial ${at.trial + 1}, moment ${at.time + 1}`);
  }

  return {
    set(next) {
      data = next;
      const won = data.wins.some((v) => v > 0), lost = data.losses.some((v) => v > 0);
      words.replaceChildren(
        el("b", { text: data.odds ? "How sure it is of its best hypothesis (log odds, nats)" : data.lengths.length > 1 ? "Trials" : "Moments" }),
        ...(data.odds && data.right ? [key("right", "the best one is true"), key("wrong", "it is not")] : []),
        ...(data.odds && data.window ? [key("window", `Occam’s window: beyond it, it adopts the hypothesis${beyond(data.odds) ? " (the scale there is logarithmic)" : ""}`)] : []),
        ...(won ? [key("won", "won")] : []), ...(lost ? [key("lost", "lost")] : []),
      );
      draw();
    },
    show(next) { at = next; move(); },
  };

  function key(kind, text) {
    return el("span", { class: `key ${kind}` }, el("i", { class: kind }), el("span", { text }));
  }
}
