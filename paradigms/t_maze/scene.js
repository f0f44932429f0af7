/* The T: centre, cue below it, an arm at each side; the animal, its way, the light of the cue, and what it finds. */
function tMazeScene(root, world) {
  const { labels } = world;
  const context = labels.factor.indexOf("context"), place = labels.factor.indexOf("place");
  const at = [[200, 88], [200, 192], [62, 88], [338, 88]]; // centre, cue, left arm, right arm
  const leads = [[1, 2, 3], [0, 2, 3], [0, 0, 0], [0, 0, 0]];
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 258", role: "img", "aria-label": "T-maze" }, root);
  make("path", { d: "M62 88H338M200 88V192", stroke: "var(--line, var(--muted))", "stroke-width": 58, "stroke-linecap": "round", fill: "none" }, svg);
  make("path", { d: "M62 88H338M200 88V192", stroke: "var(--paper)", "stroke-width": 52, "stroke-linecap": "round", fill: "none" }, svg);
  const words = [[200, 46, "centre"], [244, 240, "cue"], [62, 46, "left arm"], [338, 46, "right arm"]];
  for (const [x, y, text] of words) make("text", { x, y, "text-anchor": "middle", class: "quiet" }, svg, text);
  const rewards = [2, 3].map((arm) => {
    const group = make("g", { transform: `translate(${at[arm][0]} ${at[arm][1]})` }, svg);
    make("path", { d: "M-15 9L13 -9Q17 -2 15 9Z", fill: "var(--c1)", stroke: "var(--ink)", "stroke-width": 1.2, "stroke-linejoin": "round" }, group);
    make("circle", { cx: 4, cy: 3, r: 2.3, fill: "var(--paper)" }, group);
    return group;
  });
  const lamp = make("g", { transform: "translate(200 236)" }, svg);
  const bulb = make("circle", { r: 12, stroke: "var(--muted)", "stroke-width": 1.5 }, lamp);
  const sign = make("text", { y: 5, "text-anchor": "middle", "font-weight": 700 }, lamp);
  const trail = make("path", { fill: "none", stroke: "var(--accent)", "stroke-width": 2.4, "stroke-dasharray": "1 6", "stroke-linecap": "round" }, svg);
  const mouse = make("g", {}, svg);
  make("circle", { cx: -8, cy: -10, r: 5.6, fill: "var(--c0)" }, mouse);
  make("circle", { cx: 8, cy: -10, r: 5.6, fill: "var(--c0)" }, mouse);
  make("circle", { r: 12.5, fill: "var(--c0)", stroke: "var(--paper)", "stroke-width": 1.5 }, mouse);
  for (const x of [-4.5, 4.5]) make("circle", { cx: x, cy: -2, r: 1.8, fill: "var(--paper)" }, mouse);
  make("circle", { cy: 4.5, r: 2, fill: "var(--paper)" }, mouse);
  mouse.style.transition = "transform 0.35s";
  const found = make("text", { "text-anchor": "middle", "font-weight": 700 }, svg);
  found.style.fontSize = "15px";
  const hidden = make("text", { x: 12, y: 16, class: "quiet" }, svg);
  const visits = make("text", { x: 12, y: 244, class: "quiet" }, svg);
  at.forEach(([x, y], k) => {
    const area = make("circle", { cx: x, cy: y, r: 28, fill: "transparent" }, svg);
    area.style.cursor = "pointer";
    area.addEventListener("click", () => {
      const control = here < 0 ? -1 : leads[here].indexOf(k);
      if (control < 0) return;
      const controls = labels.factor.map(() => 0);
      controls[place] = control;
      root.dispatchEvent(new CustomEvent("choose", { detail: { controls }, bubbles: true }));
    });
  });
  let here = -1;

  return {
    show(moment) {
      const [where, light, reward] = moment.outcomes, [x, y] = at[Math.max(0, where)];
      here = where;
      const side = moment.states ? moment.states[context] : -1, up = labels.outcome[1][light] === "up";
      mouse.style.transform = `translate(${x}px, ${y}px)`;
      const to = moment.controls && where >= 0 ? leads[where][moment.controls[place]] : -1;
      trail.setAttribute("d", to >= 0 ? `M${x} ${y}L200 88L${at[to][0]} ${at[to][1]}` : "");
      rewards.forEach((node, k) => {
        node.style.display = k === side && k + 2 !== where ? "" : "none";
        node.style.opacity = 0.35;
      });
      bulb.setAttribute("fill", light > 0 ? (up ? "var(--c6)" : "var(--c4)") : "var(--paper)");
      sign.textContent = light > 0 ? (up ? "▲" : "▼") : "";
      sign.style.fill = "#1b1f24";
      found.setAttribute("x", x);
      found.setAttribute("y", y + 46);
      found.textContent = ["", "✓ reward", "✗ punished"][Math.max(0, reward)];
      found.style.fill = reward === 1 ? "var(--c2)" : "var(--c5)";
      hidden.textContent = side < 0 ? "" : "pale: where the reward is now; the animal cannot see it";
      const all = [...moment.previous, moment];
      visits.textContent = "";
      const wins = all.filter((m) => m.outcomes[2] === 1).length, losses = all.filter((m) => m.outcomes[2] === 2).length;
      if (wins + losses) visits.textContent = `${wins} ✓  ${losses} ✗ so far`;
    },
  };
}
