/* A box with sensors: the two (or more) that are looked at are open and on or off; the hidden causes are in it. */
function boxScene(root, world) {
  const { labels } = world, look = labels.factor.indexOf("look"), wiring = labels.factor.indexOf("wiring");
  const sensors = [...new Set(labels.state[wiring].join("").replace(/\|/g, ""))].sort();
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 190", role: "img", "aria-label": "a box with sensors" }, root);
  const x = (k) => 200 + (k - (sensors.length - 1) / 2) * Math.min(72, 370 / sensors.length);
  make("rect", { x: 8, y: 108, width: 384, height: 74, rx: 10, fill: "var(--paper)", stroke: "var(--line, var(--muted))" }, svg);
  make("text", { x: 200, y: 151, "text-anchor": "middle", class: "quiet" }, svg, "how many hidden causes are in the box?");
  const drawn = sensors.map((name, k) => {
    const group = make("g", { transform: `translate(${x(k)} 60)` }, svg);
    make("path", { d: "M0 24V48", stroke: "var(--line, var(--muted))", "stroke-width": 3 }, group);
    const rays = make("path", { d: "M0 -36V-29M-25 -25L-21 -21M25 -25L21 -21", stroke: "var(--c1)", "stroke-width": 3, "stroke-linecap": "round" }, group);
    const lamp = make("circle", { r: 23, "stroke-width": 2 }, group);
    const letter = make("text", { y: 6, "text-anchor": "middle", "font-weight": 700 }, group, name);
    const next = make("circle", { r: 29, fill: "none", stroke: "var(--accent)", "stroke-width": 2, "stroke-dasharray": "3 5" }, group);
    return { rays, lamp, letter, next, name };
  });
  make("text", { x: 8, y: 14, class: "quiet" }, svg, "dotted: where it looks next; pale: closed");
  const looked = (words) => words.replace(/ and /g, ", ").split(", ").map((w) => w.trim());

  return {
    show(moment) {
      const before = moment.previous[moment.previous.length - 1];
      const names = before && before.controls ? looked(labels.control[look][before.controls[look]]) : [];
      const next = moment.controls ? looked(labels.control[look][moment.controls[look]]) : [];
      for (const { rays, lamp, letter, next: ring, name } of drawn) {
        const place = names.indexOf(name), on = place >= 0 && moment.outcomes[place] === 1;
        rays.style.display = on ? "" : "none";
        lamp.setAttribute("fill", on ? "var(--c1)" : "var(--card, var(--paper))");
        lamp.setAttribute("stroke", place >= 0 ? "var(--ink)" : "var(--line, var(--muted))");
        lamp.setAttribute("stroke-dasharray", place >= 0 ? "none" : "4 5");
        letter.style.fill = on ? "#1b1f24" : place >= 0 ? "var(--ink)" : "var(--muted)";
        ring.style.display = next.includes(name) ? "" : "none";
      }
    },
  };
}
