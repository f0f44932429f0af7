/* Rooms in a ring: grey corridors that all maps share, doors that the agent has tried (coloured arrows), its room and the cheese. */
function mazeScene(root, world) {
  const { rooms, doors, corridors, cheese } = world.data, shared = corridors[0].length, names = world.labels.state[0];
  const make = (tag, attributes, parent, text) => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    if (text !== undefined) node.textContent = text;
    return parent.appendChild(node);
  };
  const svg = make("svg", { viewBox: "0 0 400 322", role: "img", "aria-label": "maze" }, root);
  const R = 108, r = Math.min(25, 260 / rooms / 1.6), at = Array.from({ length: rooms }, (_, k) => {
    const angle = (2 * Math.PI * k) / rooms - Math.PI / 2;
    return [200 + 1.25 * R * Math.cos(angle), 152 + R * Math.sin(angle)];
  });
  /** An arrow from a room to another, bent a little so that both ways are seen. */
  const arc = (a, b, bend) => {
    const [ax, ay] = at[a], [bx, by] = at[b], d = Math.hypot(bx - ax, by - ay), ux = (bx - ax) / d, uy = (by - ay) / d;
    const mx = (ax + bx) / 2 - uy * bend, my = (ay + by) / 2 + ux * bend;
    const end = (x, y, gap) => { const n = Math.hypot(mx - x, my - y); return [x + ((mx - x) / n) * gap, y + ((my - y) / n) * gap]; };
    const [sx, sy] = end(ax, ay, r + 2), [tx, ty] = end(bx, by, r + 7);
    const angle = Math.atan2(ty - my, tx - mx), wing = (turn) => `${tx - 8 * Math.cos(angle + turn)} ${ty - 8 * Math.sin(angle + turn)}`;
    return `M${sx} ${sy}Q${mx} ${my} ${tx} ${ty}M${wing(0.5)}L${tx} ${ty}L${wing(-0.5)}`;
  };
  const layer = make("g", {}, svg), tried = make("g", {}, svg);
  corridors.forEach((row, a) => row.forEach((b) => {
    make("path", { d: arc(a, b, 8), fill: "none", stroke: "var(--muted)", "stroke-opacity": 0.4, "stroke-width": 1.3 }, layer);
  }));
  const step = make("path", { fill: "none", stroke: "var(--ink)", "stroke-width": 3.4, "stroke-linejoin": "round" }, svg);
  const drawn = names.map((name, k) => {
    const group = make("g", { transform: `translate(${at[k][0]} ${at[k][1]})` }, svg);
    const disc = make("circle", { r, stroke: "var(--ink)", "stroke-width": 1.6 }, group);
    const text = make("text", { y: 5, "text-anchor": "middle", "font-weight": 600 }, group, name.replace(/^room /, ""));
    if (k === cheese) make("path", { d: `M${r - 6} ${-r - 4}l22 -13q6 6 4 14z`, fill: "var(--c1)", stroke: "var(--ink)", "stroke-linejoin": "round" }, group);
    make("title", {}, group, name + (k === cheese ? ": the cheese is here" : ""));
    return { disc, text };
  });
  const exits = Array.from({ length: doors }, (_, door) => {
    const group = make("g", { transform: `translate(${200 + (door - (doors - 1) / 2) * 84} 306)` }, svg);
    const box = make("rect", { x: -38, y: -13, width: 76, height: 24, rx: 12, "stroke-width": 1.5 }, group);
    const text = make("text", { y: 4, "text-anchor": "middle" }, group, world.labels.control[0][door]);
    group.style.cursor = "pointer";
    group.addEventListener("click", () => root.dispatchEvent(new CustomEvent("choose", { detail: { controls: [door] }, bubbles: true })));
    return { box, text };
  });
  make("text", { x: 8, y: 14, class: "quiet" }, svg, "grey: the same in all maps");
  const learnt = make("text", { x: 392, y: 14, "text-anchor": "end", class: "quiet" }, svg);

  return {
    show(moment) {
      const all = [...moment.previous, moment], room = (m) => m.outcomes[0];
      const known = new Map();
      for (let t = 1; t < all.length; t++) {
        const door = all[t - 1].controls[0], from = room(all[t - 1]);
        if (door >= shared) known.set(`${from} ${door}`, [from, room(all[t]), door]);
      }
      tried.replaceChildren();
      for (const [a, b, door] of known.values()) {
        make("path", { d: arc(a, b, 22), fill: "none", stroke: `var(--c${[2, 5, 3][door % 3]})`, "stroke-width": 2.4, "stroke-linejoin": "round" }, tried);
      }
      const before = all[all.length - 2];
      step.setAttribute("d", before && room(before) !== room(moment) ? arc(room(before), room(moment), before.controls[0] < shared ? 8 : 22) : "");
      drawn.forEach(({ disc, text }, k) => {
        const on = k === room(moment);
        disc.setAttribute("fill", on ? "var(--c0)" : "var(--card, var(--paper))");
        text.style.fill = on ? "#ffffff" : "var(--ink)";
      });
      const next = moment.controls ? moment.controls[0] : -1;
      exits.forEach(({ box, text }, door) => {
        box.setAttribute("fill", door === next ? "var(--accent)" : "none");
        box.setAttribute("stroke", door === next ? "var(--accent)" : "var(--line, var(--muted))");
        text.style.fill = door === next ? "var(--card, var(--paper))" : "var(--muted)";
      });
      const open = rooms * (doors - shared);
      learnt.textContent = open ? `coloured: ${known.size} of ${open} others tried` : "";
    },
  };
}
