/* Three variables: what is done to each (left alone, set to 0 or 1) and what is then seen. The graph itself is hidden. */
function causalScene(root, world) {
  const { labels } = world, names = labels.factor.slice(0, 3), spots = [[200, 52], [92, 190], [308, 190]];
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 250", role: "img", "aria-label": "three variables" }, root);
  for (const [a, b] of [[0, 1], [0, 2], [1, 2]]) {
    const [ax, ay] = spots[a], [bx, by] = spots[b];
    make("path", { d: `M${ax} ${ay}L${bx} ${by}`, stroke: "var(--line, var(--muted))", "stroke-width": 2, "stroke-dasharray": "3 7" }, svg);
    make("text", { x: (ax + bx) / 2, y: (ay + by) / 2 + 5, "text-anchor": "middle", class: "quiet" }, svg, "?");
  }
  const drawn = names.map((name, k) => {
    const group = make("g", { transform: `translate(${spots[k][0]} ${spots[k][1]})` }, svg);
    const hand = make("rect", { x: -40, y: -40, width: 80, height: 80, rx: 12, fill: "none", stroke: "var(--c3)", "stroke-width": 3 }, group);
    const disc = make("circle", { r: 31, stroke: "var(--ink)", "stroke-width": 2 }, group);
    const letter = make("text", { y: 1, "text-anchor": "middle", "font-weight": 700 }, group, name);
    letter.style.fontSize = "18px";
    const value = make("text", { y: 18, "text-anchor": "middle" }, group);
    const done = make("text", { x: k === 2 ? -46 : 46, y: k ? -34 : 0, "text-anchor": k === 2 ? "end" : "start" }, group);
    return { hand, disc, letter, value, done };
  });
  make("text", { x: 8, y: 14, class: "quiet" }, svg, "which causes which?");
  const told = make("text", { x: 8, y: 244, class: "quiet" }, svg);

  return {
    show(moment) {
      const seen = moment.outcomes[0] > 0 ? labels.outcome[0][moment.outcomes[0]] : "???", before = moment.previous[moment.previous.length - 1];
      drawn.forEach(({ hand, disc, letter, value, done }, k) => {
        const action = before && before.controls ? labels.control[k][before.controls[k]] : "", next = moment.controls ? labels.control[k][moment.controls[k]] : "";
        const on = seen[k] === "1", set = action.startsWith("set");
        hand.style.display = set || next.startsWith("set") ? "" : "none";
        hand.setAttribute("stroke-dasharray", set ? "none" : "4 5");
        disc.setAttribute("fill", on ? "var(--c1)" : "var(--card, var(--paper))");
        disc.setAttribute("stroke-dasharray", seen[k] === "?" ? "4 5" : "none");
        letter.style.fill = value.style.fill = on ? "#1b1f24" : "var(--ink)";
        value.textContent = { 1: "on", 0: "off" }[seen[k]] || "";
        done.textContent = next ? (next === "left" ? "" : `next: ${next}`) : action.replace("left", "left alone");
        done.style.fill = "var(--c3)";
      });
      told.textContent = before ? "square: set by the agent; the others show what follows" : "square: what it will set now";
    },
  };
}
