/* The teacher's page: where to play, in letters that a class can read, and how everybody is doing. Its key stands behind the # of
 * the address, which browsers send to nobody.
 */
"use strict";

(async () => {
  const root = document.getElementById("play"), key = location.hash.slice(1);
  const banner = el("p", { class: "banner", role: "alert" }), screen = el("div", { class: "screen" });
  banner.hidden = true;
  root.replaceChildren(banner, screen);

  async function ask(name) {
    const headers = { "content-type": "application/json", "x-key": key };
    const answer = await fetch(`api/${name}`, { method: "POST", headers, body: "{}", credentials: "omit", redirect: "error" });
    const data = await answer.json();
    if (!answer.ok) throw new Error(data.error);
    return data;
  }

  /** The address without "http://", with its code set apart. */
  function address(url) {
    const { host, pathname } = new URL(url);
    return el("p", { class: "address" }, el("span", { text: `http://${host}` }), el("b", { text: pathname }));
  }

  const median = (list) => {
    const sorted = list.map((v) => v ?? Infinity).sort((a, b) => a - b), n = sorted.length;
    if (!n) return null;
    return (sorted[Math.floor((n - 1) / 2)] + sorted[Math.ceil((n - 1) / 2)]) / 2;
  };
  const words = (v) => (v === null || v === undefined || !Number.isFinite(v) ? "not yet" : String(v));

  function show(world, { people, addresses, most: limit }) {
    const scored = Object.keys(world.scored).length > 0 || world.rewarding, over = people.filter((p) => p.thought);
    const place = addresses[0] || location.href.replace(/class.*$/, "");
    const columns = [
      ["participant", (p) => `${p.participant}${p.name ? ` ${p.name}` : ""}`],
      ["trials", (p) => p.played],
      ...(scored ? [["score", (p) => Math.round(100 * p.score) / 100]] : []),
      ...(world.ask ? [["named it after", (p) => (p.thought ? words(p.said) : "")]] : []),
      ["what was seen was enough after", (p) => (p.thought ? words(p.enough) : "")],
      [`“${world.against}” was sure after`, (p) => (p.thought ? words(p.agent) : "")],
    ];
    const bar = (p) => {
      const filled = el("span", { class: "bar" });
      filled.style.width = `${(100 * p.played) / world.trials}%`;
      return el("span", { class: "track" }, filled);
    };
    const middle = (name) => {
      const v = median(over.map((p) => p[name]));
      return v === null || !Number.isFinite(v) ? "not yet" : `after ${v === 1 ? "1 trial" : `${v} trials`}`;
    };
    screen.replaceChildren(
      el("header", { class: "top" }, el("h1", { text: world.paradigm }), el("span", { class: "where", text: `${people.length} of at most ${limit} participants, ${people.filter((p) => p.phase === "over").length} have finished` })),
      el("section", { class: "card" }, el("h3", { text: "Play at" }), address(place)),
      over.length ? el("section", { class: "card" }, el("h3", { text: `Half of those who have finished (${over.length})` }), el("p", {
        text: `had seen enough: ${middle("enough")}. In their places the agent “${world.against}” was sure: ${middle("agent")}.`
          + (world.ask ? ` They named the right hypothesis for good: ${middle("said")}.` : ""),
      })) : "",
      el("section", { class: "card" }, el("table", { class: "past class" },
        el("thead", {}, el("tr", {}, ...columns.map(([name]) => el("th", { text: name })), el("th"))),
        el("tbody", {}, ...people.map((p) => el("tr", {}, ...columns.map(([, cell]) => el("td", { text: cell(p) })), el("td", { class: "progress" }, bar(p))))))));
  }

  let world = null;
  for (;;) {
    try {
      world = world || await ask("world");
      show(world, await ask("class"));
      banner.hidden = true;
    } catch (error) {
      banner.textContent = error instanceof TypeError ? "The game does not answer any more." : error.message;
      banner.hidden = false;
    }
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
})();
