/* The balls, where the agent looks, what it answers and what it is told. Balls that were not looked at yet are pale. */
function threeBallScene(root, world) {
  const { labels } = world;
  const gaze = labels.factor.indexOf("gaze"), answer = labels.factor.indexOf("choice");
  const balls = labels.factor.slice(0, gaze), colours = labels.state[0], undecided = labels.state[answer].length - 1;
  const paints = { red: "var(--c5)", green: "var(--c2)", blue: "var(--c0)", yellow: "var(--c6)", violet: "var(--c3)", orange: "var(--c1)", black: "var(--ink)" };
  const paint = (c) => paints[colours[c]] || `var(--c${c % 8})`;
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 222", role: "img", "aria-label": "balls, gaze and answer" }, root);
  const x = (k) => 200 + (k - (balls.length - 1) / 2) * Math.min(112, 370 / balls.length), r = Math.min(36, 150 / balls.length);
  const high = 84, shift = "transform 0.3s";
  let here = null;

  const send = (gazeTo, answerTo) => {
    const controls = labels.factor.map(() => 0);
    controls[gaze] = gazeTo;
    controls[answer] = answerTo;
    root.dispatchEvent(new CustomEvent("choose", { detail: { controls }, bubbles: true }));
  };
  const next = make("circle", { r: r + 9, cy: high, fill: "none", stroke: "var(--muted)", "stroke-width": 1.5, "stroke-dasharray": "3 5" }, svg);
  const ring = make("circle", { r: r + 8, cy: high, fill: "none", stroke: "var(--ink)", "stroke-width": 2.6 }, svg);
  const eye = make("g", {}, svg);
  make("path", { d: "M-17 0Q0 -15 17 0Q0 15 -17 0Z", fill: "var(--card, var(--paper))", stroke: "var(--ink)", "stroke-width": 1.8 }, eye);
  make("circle", { r: 5.4, fill: "var(--ink)" }, eye);
  for (const node of [ring, eye, next]) node.style.transition = shift;
  const drawn = balls.map((name, k) => {
    const group = make("g", { transform: `translate(${x(k)} ${high})` }, svg);
    const ball = make("circle", { r, "stroke-width": 2.4 }, group);
    const letter = make("text", { "text-anchor": "middle", y: r * 0.27, "font-weight": 700 }, group);
    letter.style.fontSize = `${r * 0.75}px`;
    make("text", { "text-anchor": "middle", y: r + 24, class: "quiet" }, group, name);
    group.addEventListener("click", () => { if (here) send(k, here.choice); });
    return { ball, letter };
  });
  const nowhere = make("text", { x: 200, y: 22, "text-anchor": "middle", class: "quiet" }, svg, "it looks at no ball");
  make("text", { x: 12, y: 180, class: "quiet" }, svg, "answer");
  const wide = Math.min(66, 210 / colours.length);
  const chips = colours.map((name, c) => {
    const group = make("g", { transform: `translate(${62 + c * (wide + 6)} 164)` }, svg);
    const box = make("rect", { width: wide, height: 25, rx: 12, "stroke-width": 1.6 }, group);
    const text = make("text", { x: wide / 2, y: 17, "text-anchor": "middle" }, group, name);
    group.addEventListener("click", () => { if (here) send(here.gaze, c); });
    return { box, text };
  });
  const told = make("text", { x: 392, y: 182, "text-anchor": "end", "font-weight": 700 }, svg);
  told.style.fontSize = "17px";
  make("text", { x: 12, y: 214, class: "quiet" }, svg, "pale: not looked at yet · dotted ring: where it looks next");

  /** Where it looks and what it answers, from the states or, where these are not known, from what it sees and does. */
  function standing(moment) {
    const before = moment.previous[moment.previous.length - 1];
    if (moment.states) return { gaze: moment.states[gaze], choice: moment.states[answer] };
    return { gaze: moment.outcomes[1], choice: before && before.controls ? before.controls[answer] : undecided };
  }

  return {
    show(moment) {
      here = standing(moment);
      const seen = {};
      for (const { outcomes } of [...moment.previous, moment]) {
        if (outcomes[1] >= 0 && outcomes[1] < balls.length && outcomes[0] < colours.length) seen[outcomes[1]] = outcomes[0];
      }
      drawn.forEach(({ ball, letter }, k) => {
        const looked = k in seen, colour = looked ? seen[k] : moment.states ? moment.states[k] : -1;
        ball.setAttribute("fill", colour < 0 ? "none" : paint(colour));
        ball.setAttribute("fill-opacity", looked ? 1 : 0.18);
        ball.setAttribute("stroke", colour < 0 ? "var(--muted)" : paint(colour));
        ball.setAttribute("stroke-dasharray", looked ? "none" : "5 4");
        letter.textContent = colour < 0 ? "?" : colours[colour][0].toUpperCase();
        letter.style.fill = looked ? "#ffffff" : colour < 0 ? "var(--muted)" : paint(colour);
      });
      const place = (node, k, y) => {
        node.style.display = k >= 0 && k < balls.length ? "" : "none";
        if (k >= 0 && k < balls.length) node.style.transform = `translate(${x(k)}px, ${y}px)`;
      };
      place(ring, here.gaze, 0);
      place(eye, here.gaze, high - r - 24);
      place(next, moment.controls && moment.controls[gaze] !== here.gaze ? moment.controls[gaze] : -1, 0);
      nowhere.style.display = here.gaze >= balls.length ? "" : "none";
      chips.forEach(({ box, text }, c) => {
        const on = c === here.choice;
        box.setAttribute("fill", on ? paint(c) : "none");
        box.setAttribute("stroke", on ? paint(c) : "var(--line, var(--muted))");
        text.style.fill = on ? "#ffffff" : "var(--muted)";
        text.style.fontWeight = on ? 700 : 400;
      });
      told.textContent = ["", "✓ right", "✗ wrong"][Math.max(0, moment.outcomes[2])];
      told.style.fill = moment.outcomes[2] === 1 ? "var(--c2)" : "var(--c5)";
    },
  };
}
