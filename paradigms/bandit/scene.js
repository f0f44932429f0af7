/* The context (a colour at a side), three arms, the one that is pulled and what it pays. */
function banditScene(root, world) {
  const { labels } = world;
  const [colour, side, arm] = ["colour", "side", "arm"].map((name) => labels.factor.indexOf(name));
  const colours = labels.outcome[0], sides = labels.outcome[1], arms = labels.control[arm];
  const paints = { red: "var(--c5)", green: "var(--c2)", blue: "var(--c0)" };
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 236", role: "img", "aria-label": "context and arms" }, root);
  const x = (k, n) => 200 + (k - (n - 1) / 2) * 112;
  make("text", { x: 12, y: 16, class: "quiet" }, svg, "context");
  sides.forEach((name, k) => {
    make("circle", { cx: x(k, sides.length), cy: 40, r: 20, fill: "none", stroke: "var(--line, var(--muted))", "stroke-dasharray": "4 4" }, svg);
    make("text", { x: x(k, sides.length), y: 76, "text-anchor": "middle", class: "quiet" }, svg, name);
  });
  const disc = make("g", {}, svg);
  const paint = make("circle", { r: 20, cy: 40 }, disc);
  const letter = make("text", { "text-anchor": "middle", y: 46, "font-weight": 700 }, disc);
  letter.style.fill = "#ffffff";
  letter.style.fontSize = "17px";
  disc.style.transition = "transform 0.3s";
  make("text", { x: 12, y: 106, class: "quiet" }, svg, "arms");
  const drawn = arms.map((name, k) => {
    const group = make("g", { transform: `translate(${x(k, arms.length)} 104)` }, svg);
    const box = make("rect", { x: -40, y: 0, width: 80, height: 92, rx: 10, fill: "none", "stroke-width": 2 }, group);
    const window = make("rect", { x: -28, y: 12, width: 56, height: 40, rx: 6, fill: "var(--paper)", stroke: "var(--line, var(--muted))" }, group);
    const paid = make("text", { y: 38, "text-anchor": "middle", "font-weight": 700 }, group);
    const lever = make("g", { transform: "translate(48 14)" }, group);
    make("path", { d: "M0 0V36", stroke: "var(--muted)", "stroke-width": 4, "stroke-linecap": "round" }, lever);
    const knob = make("circle", { r: 8, fill: "var(--muted)" }, lever);
    knob.style.transition = "transform 0.3s";
    make("text", { y: 77, "text-anchor": "middle" }, group, name);
    const next = make("text", { y: 110, "text-anchor": "middle", "font-weight": 600 }, group, "▲ next");
    next.style.fill = "var(--accent)";
    group.style.cursor = "pointer";
    group.addEventListener("click", () => {
      const controls = labels.factor.map(() => 0);
      controls[arm] = k;
      root.dispatchEvent(new CustomEvent("choose", { detail: { controls }, bubbles: true }));
    });
    return { box, window, paid, knob, next };
  });

  return {
    show(moment) {
      const [tint, where, payoff] = moment.outcomes, before = moment.previous[moment.previous.length - 1];
      const pulled = before && before.controls ? before.controls[arm] : -1, next = moment.controls ? moment.controls[arm] : -1;
      disc.style.display = tint >= 0 && where >= 0 ? "" : "none";
      if (tint >= 0 && where >= 0) {
        disc.style.transform = `translateX(${x(where, sides.length)}px)`;
        paint.setAttribute("fill", paints[colours[tint]] || `var(--c${tint % 8})`);
        letter.textContent = colours[tint][0].toUpperCase();
      }
      drawn.forEach((one, k) => {
        const on = k === pulled;
        one.box.setAttribute("stroke", on ? "var(--ink)" : "var(--line, var(--muted))");
        one.window.setAttribute("fill", on && payoff === 2 ? "var(--c1)" : "var(--paper)");
        one.paid.textContent = on ? (payoff === 2 ? "★ paid" : "nothing") : "";
        one.paid.style.fill = payoff === 2 ? "#1b1f24" : "var(--muted)";
        one.paid.style.fontSize = payoff === 2 ? "13px" : "11px";
        one.knob.style.transform = on ? "translateY(36px)" : "none";
        one.knob.setAttribute("fill", on ? "var(--c0)" : "var(--muted)");
        one.next.style.display = k === next ? "" : "none";
      });
    },
  };
}
