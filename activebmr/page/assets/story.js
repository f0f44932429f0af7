/* What happens at a moment, in sentences: what is seen, what changes in beliefs, what is done and why.
 *
 *   storyOf({labels, policies, heading, sentences, classes, now, before, last, adoptedNow}) -> [[kind, text], ...]
 *
 * now, before: {qs, posterior, parts, worth, policy, ties, short, lead, outcomes}; ties: how many policies are as good as the best;
 * short: nats that the chosen one is worth less; lead: nats from the best to the next that is worse. before is null at the first moment of a trial; last:
 * whether nothing follows in this trial. Kinds are "sees", "believes", "does" and "insight".
 */
"use strict";

const SURE = 0.95;

function storyOf(about) {
  const lines = [["sees", seen(about)], ["believes", believed(about)]];
  if (about.adoptedNow) lines.push(["insight", about.adoptedNow]);
  lines.push(["does", about.last ? "The trial is over: nothing is left to do." : done(about)]);
  return lines.filter(([, text]) => text);
}

function list(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}`;
}

function seen({ labels, now }) {
  const what = now.outcomes.map((o, m) => (o >= 0 ? `${labels.modality[m]}: ${labels.outcome[m][o]}` : null)).filter(Boolean);
  return what.length ? `It observes ${what.join(" · ")}.` : "It observes nothing.";
}

function believed({ labels, now, before, sentences, classes }) {
  const words = [];
  if (before) {
    const moved = now.qs.map((q, f) => q.reduce((sum, p, k) => sum + Math.abs(p - before.qs[f][k]), 0) / 2);
    const open = moved.map((m, f) => [m, f]).filter(([m, f]) => m > 0.05 && labels.control[f].length < 2).sort((a, b) => b[0] - a[0]);
    for (const [, f] of open.slice(0, 2)) {
      const best = most(now.qs[f]), p = now.qs[f][best];
      if (p <= 0.5) continue;
      words.push(p > SURE ? `Now it knows that ${labels.factor[f]} is ${labels.state[f][best]}.`
        : `It now believes that ${labels.factor[f]} is ${labels.state[f][best]} with ${percent(p)}.`);
    }
  }
  if (now.posterior && known(now.posterior[0])) {
    const left = Math.exp(-sumOver(now.posterior, classes).reduce((sum, p) => sum + (p > 0 ? p * Math.log(p) : 0), 0));
    const best = Math.max(...sumOver(now.posterior, classes));
    if (best > SURE) words.push("It is all but sure of one hypothesis.");
    else words.push(`It is as unsure as between ${left < 10 ? left.toFixed(1).replace(".0", "") : Math.round(left)} equally likely hypotheses.`);
  }
  return words.join(" ");
}

function sumOver(posterior, classes) {
  if (!classes) return posterior;
  const sums = [];
  posterior.forEach((p, k) => { sums[classes[k]] = (sums[classes[k]] || 0) + p; });
  return sums;
}

const REASONS = {
  state: "to learn about states",
  param: "to learn about parameters",
  model: "to learn which hypothesis is true",
  utility: "for what it prefers to see",
  later: "for what later steps promise",
};

function done({ policies, heading, now }) {
  const k = now.policy;
  if (k < 0 || k >= policies.length) return "";
  const name = `It chooses “${policies[k]}” (${heading})`, { worth, ties, short, lead } = now, n = worth.length;
  if (n === 1) return `${name}: there is nothing else to choose.`;
  if (short > 0) return `${name}, drawn by chance: ${amount(short)} less than the best.`;
  if (ties === n) return `${name} by chance: all policies are worth the same.`;
  const best = Math.max(...worth), margin = 1e-3 * Math.max(...Object.values(now.parts).map((p) => Math.abs(p[k]))) + 1e-7;
  // the parts in which it leads most, beside the mean of the others that are possible
  const others = worth.map((_, j) => j).filter((j) => worth[j] < best - margin && worth[j] > best - 30);
  const pool = others.length ? others : worth.map((_, j) => j).filter((j) => j !== k);
  const leads = Object.keys(REASONS).map((part) => [now.parts[part][k] - pool.reduce((s, j) => s + now.parts[part][j], 0) / pool.length, part]);
  const why = leads.filter(([v]) => v > 0.15 * Math.max(...leads.map(([u]) => u)) && v > 1e-6).sort((a, b) => b[0] - a[0]).slice(0, 2);
  const reason = why.length ? ` ${list(why.map(([, part]) => REASONS[part]))}` : "";
  return ties > 1 ? `${name}${reason}: one of ${ties} equally good policies, ${amount(lead)} ahead of the others.`
    : `${name}${reason}: ${amount(lead)} ahead of the next best.`;
}

function amount(value) {
  return value < 0.005 ? "a hair" : `${nats(value)} nats`;
}
