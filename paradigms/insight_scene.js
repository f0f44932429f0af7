/* Three places, of which one is looked at: what was seen there in this trial, the colour that is correct, report and feedback. */
function insightScene(root, world) {
  const { labels } = world;
  const [colour, gaze, report] = ["colour", "gaze", "report"].map((name) => labels.factor.indexOf(name));
  const colours = labels.state[colour], places = labels.state[gaze].slice(0, 3), undecided = labels.state[report].indexOf("undecided");
  const paints = { red: "var(--c5)", green: "var(--c2)", blue: "var(--c0)" };
  const paint = (c) => paints[colours[c]] || `var(--c${c % 8})`;
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 226", role: "img", "aria-label": "three places, gaze and report" }, root);
  const x = (k) => 200 + (k - 1) * 116;
  let here = null;
  const send = (gazeTo, reportTo) => {
    const controls = labels.factor.map(() => 0);
    controls[gaze] = gazeTo;
    controls[report] = reportTo;
    root.dispatchEvent(new CustomEvent("choose", { detail: { controls }, bubbles: true }));
  };
  const drawn = places.map((name, k) => {
    const group = make("g", { transform: `translate(${x(k)} 76)` }, svg);
    const frame = make("rect", { x: -46, y: -40, width: 92, height: 80, rx: 12, fill: "none" }, group);
    const spot = make("circle", { r: 25, "stroke-width": 2 }, group);
    const letter = make("text", { y: 8, "text-anchor": "middle", "font-weight": 700 }, group);
    letter.style.fontSize = "21px";
    make("text", { y: 58, "text-anchor": "middle", class: "quiet" }, group, k === 1 ? "centre: the cue" : name);
    group.style.cursor = "pointer";
    group.addEventListener("click", () => { if (here) send(k, here.report); });
    return { frame, spot, letter };
  });
  const eye = make("g", {}, svg);
  make("path", { d: "M-15 0Q0 -13 15 0Q0 13 -15 0Z", fill: "var(--card, var(--paper))", stroke: "var(--ink)", "stroke-width": 1.8 }, eye);
  make("circle", { r: 4.8, fill: "var(--ink)" }, eye);
  eye.style.transition = "transform 0.3s";
  make("text", { x: 12, y: 178, class: "quiet" }, svg, "report");
  const chips = colours.map((name, c) => {
    const group = make("g", { transform: `translate(${62 + c * 72} 161)` }, svg);
    const box = make("rect", { width: 66, height: 25, rx: 12, "stroke-width": 1.6 }, group);
    const text = make("text", { x: 33, y: 17, "text-anchor": "middle" }, group, name);
    group.style.cursor = "pointer";
    group.addEventListener("click", () => { if (here) send(here.gaze, c); });
    return { box, text };
  });
  const told = make("text", { x: 392, y: 180, "text-anchor": "end", "font-weight": 700 }, svg);
  told.style.fontSize = "17px";
  const correct = make("text", { x: 12, y: 216, class: "quiet" }, svg);

  return {
    show(moment) {
      const before = moment.previous[moment.previous.length - 1];
      here = moment.states ? { gaze: moment.states[gaze], report: moment.states[report] }
        : { gaze: moment.outcomes[1], report: before && before.controls ? before.controls[report] : undecided };
      const seen = {};
      for (const { outcomes } of [...moment.previous, moment]) {
        if (outcomes[1] >= 0 && outcomes[1] < 3 && outcomes[0] >= 0) seen[outcomes[1]] = outcomes[0];
      }
      drawn.forEach(({ frame, spot, letter }, k) => {
        const c = k in seen && seen[k] < colours.length ? seen[k] : -1, next = moment.controls && moment.controls[gaze] === k;
        frame.setAttribute("stroke", k === here.gaze ? "var(--ink)" : next ? "var(--accent)" : "var(--line, var(--muted))");
        frame.setAttribute("stroke-width", k === here.gaze ? 2.6 : 1.6);
        frame.setAttribute("stroke-dasharray", k !== here.gaze && next ? "3 5" : "none");
        spot.setAttribute("fill", c < 0 ? "none" : paint(c));
        spot.setAttribute("stroke", c < 0 ? "var(--muted)" : paint(c));
        spot.setAttribute("stroke-dasharray", c < 0 ? "4 5" : "none");
        letter.textContent = c < 0 ? (k in seen ? "–" : "?") : colours[c][0].toUpperCase();
        letter.style.fill = c < 0 ? "var(--muted)" : "#ffffff";
      });
      eye.style.display = here.gaze < 3 ? "" : "none";
      if (here.gaze < 3) eye.style.transform = `translate(${x(here.gaze)}px, 17px)`;
      chips.forEach(({ box, text }, c) => {
        const on = c === here.report;
        box.setAttribute("fill", on ? paint(c) : "none");
        box.setAttribute("stroke", on ? paint(c) : "var(--line, var(--muted))");
        text.style.fill = on ? "#ffffff" : "var(--muted)";
      });
      const word = labels.outcome[2][moment.outcomes[2]];
      told.textContent = { right: "✓ right", wrong: "✗ wrong" }[word] || "";
      told.style.fill = word === "right" ? "var(--c2)" : "var(--c5)";
      correct.textContent = moment.states ? `the correct colour is ${colours[moment.states[colour]]}, which the agent may not know` : "";
    },
  };
}
