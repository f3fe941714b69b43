"use strict";
// The sample browser and the choice of plots. All texts are set as text, never as markup; the state is in the address, behind #.
(() => {
const DATA = JSON.parse(document.getElementById("data").textContent);
const PAGE = 20, LONGEST_DIFF = 4e6, LEAST_KEPT = 0.25, COLOURS = 8;
const DEFAULTS = { q: "", category: "", scorer: "", against: "", order: "", page: "1", marks: "1" };
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const WORDS = globalThis.Intl && Intl.Segmenter ? new Intl.Segmenter(undefined, { granularity: "word" }) : null;

const seen = text => String(text).replace(UNSEEN, c => "⟨U+" + c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩");
const make = (tag, named, ...inside) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(named || {})) {
    if (name === "text") made.textContent = seen(value);
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (typeof value === "boolean") made.toggleAttribute(name, value);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...inside.filter(one => one !== null));
  return made;
};
const number = value => value === null || value === undefined ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 4 }).replace("-", "−");

// The state
let state = {}, open = new Set(), hidden = new Set();
const read = () => {
  const given = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
  state = Object.fromEntries(Object.entries(DEFAULTS).map(([name, value]) => [name, given.get(name) ?? value]));
  open = new Set(given.getAll("open"));
  hidden = new Set(given.getAll("hide"));
};
const write = () => {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== DEFAULTS[name]) kept.set(name, value);
  open.forEach(id => kept.append("open", id));
  hidden.forEach(name => kept.append("hide", name));
  const text = kept.toString();
  try { history.replaceState(null, "", "#" + (text || "samples")); } catch { /* a browser that forbids it for files: the page works on */ }
};
const change = (name, value) => {
  state[name] = value;
  if (name !== "page" && name !== "marks") state.page = "1";
  write(); list();
};

// What is shown, and in which order
const scorerPlace = () => Math.max(0, DATA.scorers.findIndex(one => one.name === state.scorer));
const valueOf = (answer, place) => answer && answer.scores[place] ? answer.scores[place][0] : null;
const gainOf = (sample, alignment, place) => {
  const scorer = DATA.scorers[place], value = valueOf(sample.answers[alignment], place);
  const base = scorer.compares ? 0.5 : valueOf(sample.answers[0], place);
  if (value === null || base === null) return null;
  return (value - base) * (scorer.better === "lower" ? -1 : 1);
};
const rank = sample => {
  const chosen = DATA.alignments.indexOf(state.against), place = scorerPlace();
  const gains = DATA.alignments.map((_, i) => i).filter(i => i > 0 && (chosen < 0 || i === chosen)).map(i => gainOf(sample, i, place)).filter(g => g !== null);
  const sized = gains.map(g => state.order === "gain" ? g : state.order === "loss" ? -g : Math.abs(g));
  return sized.length ? Math.max(...sized) : -Infinity;
};
const haystack = sample => sample.haystack ??= [sample.id, ...sample.messages.map(t => t.content), ...sample.answers.map(a => (a && a.answer) || "")].join("\n").toLowerCase();
const matching = () => {
  const words = state.q.trim().toLowerCase();
  const found = DATA.samples.filter(one => (!state.category || one.category === state.category) && (!words || haystack(one).includes(words)));
  if (!state.order || !DATA.scorers.length) return found;
  const ranks = new Map(found.map(one => [one, rank(one)]));
  return found.sort((a, b) => ranks.get(b) === ranks.get(a) ? 0 : ranks.get(b) - ranks.get(a));
};

// Word differences
const UNMARKED = { long: "Too long to mark the differences.", nothing: "Nearly all words differ; none is marked." };
const split = text => WORDS ? Array.from(WORDS.segment(text), one => one.segment) : text.match(/\s+|[\p{L}\p{N}]+|[^\s\p{L}\p{N}]/gu) || [];
const diff = (before, after) => {
  const a = split(before), b = split(after);
  let start = 0, end = 0;
  while (start < Math.min(a.length, b.length) && a[start] === b[start]) start++;
  while (end < Math.min(a.length, b.length) - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end++;
  const n = a.length - start - end, m = b.length - start - end;
  if (n * m > LONGEST_DIFF) return "long";
  const width = m + 1, length = new Uint16Array((n + 1) * width);
  for (let i = n - 1; i >= 0; i--) for (let j = m - 1; j >= 0; j--)
    length[i * width + j] = a[start + i] === b[start + j] ? length[(i + 1) * width + j + 1] + 1 : Math.max(length[(i + 1) * width + j], length[i * width + j + 1]);
  const parts = [];
  const add = (kind, word) => { const last = parts[parts.length - 1]; if (last && last[0] === kind) last[1] += word; else parts.push([kind, word]); };
  a.slice(0, start).forEach(word => add("same", word));
  let i = 0, j = 0;
  while (i < n || j < m) {
    if (i < n && j < m && a[start + i] === b[start + j]) { add("same", a[start + i]); i++; j++; }
    else if (i < n && (j === m || length[(i + 1) * width + j] >= length[i * width + j + 1])) add("del", a[start + i++]);
    else add("ins", b[start + j++]);
  }
  a.slice(a.length - end).forEach(word => add("same", word));
  const kept = parts.reduce((sum, [kind, words]) => kind === "same" ? sum + words.length : sum, 0);
  return kept < LEAST_KEPT * Math.max(before.length, after.length) ? "nothing" : parts;
};

// One sample
const textBlock = text => make("div", { class: "text", dir: "auto", text });
const count = (n, word) => `${number(n)} ${word}${n === 1 ? "" : "s"}`;
const tree = (name, value) => {
  if (value === null || typeof value !== "object") return make("div", { class: "leaf", dir: "auto" }, make("span", { class: "key", text: name + ": " }), seen(value));
  const members = Object.entries(value), size = Array.isArray(value) ? `${members.length} in all` : "";
  const made = make("details", { class: "tree" }, make("summary", {}, make("span", { text: name }), make("span", { class: "key", text: " " + (size || headline(value)) })));
  made.addEventListener("toggle", () => made.append(...members.map(([key, one]) => tree(Array.isArray(value) ? "#" + (Number(key) + 1) : key, one))), { once: true });
  return made;
};
const headline = step => ["strategy", "role", "status", "ms", "calls", "visits", "value", "id"].filter(key => ["string", "number"].includes(typeof step[key]))
  .map(key => key === "ms" ? number(step[key]) + " ms" : ["calls", "visits", "value"].includes(key) ? number(step[key]) + " " + key : step[key]).join(" · ");
const traceTree = trace => {
  const steps = Array.isArray(trace.steps) ? trace.steps : [], { steps: _, ...rest } = trace;
  const name = step => step && step.strategy ? String(step.strategy) : "step";
  return make("details", { class: "tree" }, make("summary", { text: `Trace, ${count(steps.length, "step")}` }), ...steps.map(step => tree(name(step), step)), tree("the rest", rest));
};
const scoreTable = answer => {
  const rows = DATA.scorers.map((scorer, place) => [scorer, answer.scores[place]]).filter(([, score]) => score);
  if (!rows.length) return null;
  return make("table", { class: "scores" }, make("caption", { hidden: true, text: "Scores" }), make("tbody", {}, ...rows.map(([scorer, [value, why, details]]) =>
    make("tr", {}, make("th", { scope: "row", text: scorer.title }),
      make("td", {}, make("span", { text: value === null ? "unscored: " + (why || "no reason given") : number(value) }),
        details && Object.keys(details).length ? tree("details", details) : null)))));
};
const answerText = (answer, base) => {
  if (answer.error !== undefined) return make("p", { class: "error", text: "Error: " + answer.error });
  const parts = base && base !== answer && base.answer !== undefined && state.marks === "1" ? diff(base.answer, answer.answer || "") : undefined;
  if (!Array.isArray(parts)) return make("div", {}, parts ? make("p", { class: "meta", text: UNMARKED[parts] }) : null, textBlock(answer.answer || ""));
  const block = make("div", { class: "text", dir: "auto" });
  block.append(...parts.map(([kind, words]) => kind === "same" ? seen(words) : make(kind, { text: words })));
  return block;
};
const column = (sample, place) => {
  const answer = sample.answers[place], head = make("h4", { class: "dot c" + place % COLOURS }, make("span", { text: DATA.alignments[place] }));
  if (!answer) return make("article", {}, head, make("p", { class: "meta", text: "Not answered." }));
  const said = [answer.status, answer.finish === "length" ? "cut by the token limit" : null, count(answer.calls, "call"), `${number(answer.tokens[0])} + ${number(answer.tokens[1])} tokens`, `${number(answer.ms)} ms`];
  return make("article", {}, head, make("p", { class: "meta", text: said.filter(Boolean).join(" · ") }), answerText(answer, sample.answers[0]), scoreTable(answer), answer.trace ? traceTree(answer.trace) : null);
};
const inside = sample => {
  const known = Object.entries(sample.known);
  return make("div", { class: "inside" },
    ...sample.messages.map(turn => make("div", { class: "turn" }, make("b", { text: turn.role }), textBlock(turn.content))),
    known.length ? make("details", { class: "known" }, make("summary", { text: "What the data say" }),
      ...known.map(([name, value]) => make("div", {}, make("b", { text: name }), textBlock(Array.isArray(value) ? value.join("\n") : value)))) : null,
    make("div", { class: "answers", tabindex: "0", role: "region", "aria-label": "Answers side by side" },
      ...DATA.alignments.map((name, place) => hidden.has(name) ? null : column(sample, place))));
};
const chips = sample => DATA.scorers.length ? make("span", { class: "chips" }, ...DATA.alignments.map((name, place) => {
  if (hidden.has(name)) return null;
  const value = valueOf(sample.answers[place], scorerPlace());
  return value === null ? null : make("span", { class: "dot c" + place % COLOURS }, make("span", { text: name + " " + number(value) }));
})) : null;
const card = sample => {
  const asked = sample.messages.length ? sample.messages[sample.messages.length - 1].content : "";
  const made = make("details", { class: "sample", open: open.has(sample.id) }, make("summary", {},
    make("span", { class: "ask", dir: "auto", text: asked.slice(0, 300) || "(no text)" }), make("span", { class: "tag", text: [sample.category, sample.id].filter(Boolean).join(" · ").slice(0, 80) }), chips(sample)));
  if (open.has(sample.id)) made.append(inside(sample));
  made.addEventListener("toggle", () => {
    if (made.open === open.has(sample.id)) return;
    if (made.open) { open.add(sample.id); if (made.children.length === 1) made.append(inside(sample)); } else open.delete(sample.id);
    write();
  });
  return made;
};

// The list with its controls
const shelf = make("div", {}), counted = make("p", { class: "count", role: "status" }), pager = make("div", { class: "pager" });
const list = () => {
  const found = matching(), pages = Math.max(1, Math.ceil(found.length / PAGE)), page = Math.min(pages, Math.max(1, parseInt(state.page, 10) || 1));
  shelf.replaceChildren(...found.slice((page - 1) * PAGE, page * PAGE).map(card));
  const left = DATA.total - DATA.samples.length;
  counted.textContent = `${found.length.toLocaleString("en")} of ${DATA.samples.length.toLocaleString("en")} samples` + (left ? `; ${left.toLocaleString("en")} more are in the log, not on this page` : "");
  pager.replaceChildren(
    make("button", { type: "button", text: "Previous", disabled: page <= 1, onclick: () => change("page", String(page - 1)) }),
    make("span", { text: `Page ${page} of ${pages}` }),
    make("button", { type: "button", text: "Next", disabled: page >= pages, onclick: () => change("page", String(page + 1)) }));
};
const choice = (title, name, options) => make("label", { text: title }, make("select", { onchange: event => change(name, event.target.value), "data-state": name },
  ...options.map(([value, text]) => make("option", { value, text, selected: state[name] === value }))));
const controls = () => {
  const categories = [...new Set(DATA.samples.map(one => one.category).filter(one => one !== null))].sort();
  const row = make("div", { class: "controls" }, make("label", { text: "Search" }, make("input", { type: "search", value: state.q, oninput: event => change("q", event.target.value) })));
  if (categories.length) row.append(choice("Category", "category", [["", "all"], ...categories.map(one => [one, one])]));
  if (DATA.scorers.length) row.append(
    choice("Score shown", "scorer", DATA.scorers.map((one, place) => [place ? one.name : "", one.title])),
    choice("Order", "order", [["", "as in the data"], ["difference", "largest difference"], ["gain", "largest gain"], ["loss", "largest loss"]]),
    choice("Difference of", "against", [["", "any alignment"], ...DATA.alignments.slice(1).map(one => [one, one])]));
  return row;
};
const shown = () => make("fieldset", {}, make("legend", { hidden: true, text: "Alignments shown" }),
  ...DATA.alignments.map((name, place) => make("label", {}, make("input", { type: "checkbox", checked: !hidden.has(name), onchange: event => {
    if (event.target.checked) hidden.delete(name); else hidden.add(name);
    write(); list();
  } }), make("span", { class: "dot c" + place % COLOURS }, make("span", { text: name })))),
  make("label", {}, make("input", { type: "checkbox", checked: state.marks === "1", onchange: event => change("marks", event.target.checked ? "1" : "0") }), make("span", { text: `Mark words that differ from ${DATA.alignments[0]}` })));
const draw = () => {
  read();
  document.getElementById("browser").replaceChildren(controls(), shown(), counted, shelf, pager);
  list();
};

// The plots
const scorer = document.getElementById("plot-scorer"), cost = document.getElementById("plot-cost");
const plot = () => document.querySelectorAll("figure").forEach(one => {
  one.hidden = one.dataset.scorer !== scorer.value || (one.dataset.cost !== "" && cost !== null && one.dataset.cost !== cost.value);
});
if (scorer) { scorer.addEventListener("change", plot); cost.addEventListener("change", plot); plot(); }

addEventListener("hashchange", () => { if (location.hash.includes("=")) { draw(); document.getElementById("samples").scrollIntoView(); } });
draw();
if (location.hash.includes("=")) document.getElementById("samples").scrollIntoView();
})();
