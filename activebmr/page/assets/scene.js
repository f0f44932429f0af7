/* The scene of worlds that have none of their own: every factor as a row of states, the true one filled, and what is observed.
 *
 *   generalScene(root, world) -> {show(moment)}, as every scene; see the documentation of `activebmr.page`.
 */
"use strict";

function generalScene(root, world) {
  const { labels } = world, left = 96, width = 400;
  const rows = [
    ...labels.factor.map((name, f) => ({ name, cells: labels.state[f], of: "states", index: f })),
    ...labels.modality.map((name, m) => ({ name, cells: labels.outcome[m], of: "outcomes", index: m })),
  ];
  const gap = 14, each = Math.min(30, (260 - gap - 30) / rows.length), high = Math.min(22, each - 5);
  const svg = shape("svg", { viewBox: `0 0 ${width} 260`, role: "img", "aria-label": "the world" });
  root.replaceChildren(svg);
  const short = (text, room) => (text.length * 6 <= room ? text : room < 14 ? "" : `${text.slice(0, Math.max(1, Math.floor(room / 6) - 1))}…`);
  const caption = (text, y) => svg.append(shape("text", { class: "caption", x: 6, y, text }));
  caption("the world", 12);
  caption("what it observes", 12 + labels.factor.length * each + gap + 4);
  const drawn = rows.map((row, k) => {
    const y = 18 + k * each + (row.of === "outcomes" ? gap + 4 : 0), room = (width - left - 6) / row.cells.length;
    svg.append(shape("text", { class: "name", x: left - 8, y: y + high * 0.72, "text-anchor": "end", text: short(row.name, left - 6) }));
    const cells = row.cells.map((name, c) => {
      const box = shape("rect", { x: left + c * room + 1.5, y, width: Math.max(1, room - 3), height: high, rx: Math.min(6, room / 4) });
      const text = shape("text", { x: left + (c + 0.5) * room, y: y + high * 0.72, "text-anchor": "middle", text: short(name, room - 6) });
      return svg.appendChild(shape("g", { class: "cell" }, shape("title", { text: `${row.name}: ${name}` }), box, text));
    });
    return { ...row, cells };
  });
  return {
    show(moment) {
      for (const row of drawn) {
        const value = moment[row.of] ? moment[row.of][row.index] : -1;
        row.cells.forEach((cell, c) => cell.setAttribute("class", `cell ${row.of} ${c === value ? "on" : ""}`));
      }
    },
  };
}
