// The pair browser: filters the pairs of the page's JSON and fills one of them at a time into the card that the
// page came with. Texts are only ever set as text.
"use strict";

const root = document.getElementById("pairs-browser");
const part = (name) => document.getElementById(`pairs-${name}`);
const data = JSON.parse(part("data").textContent);
const WINDOW = 100; // rows of the list at a time

const KINDS = [
  ["all", "All on this page", () => true, null],
  ["certain", "Most certain", (pair) => pair.drawn.includes("certain"), (a, b) => b.margin - a.margin],
  ["uncertain", "Least certain", (pair) => pair.drawn.includes("uncertain"),
    (a, b) => Math.abs(a.margin) - Math.abs(b.margin)],
  ["contexts", "Contexts disagree", (pair) => pair.contexts.length > 0, null],
  ["against", "Against the reward", (pair) => pair.margin < 0, (a, b) => a.margin - b.margin],
];

let iteration = data.iterations[0];
let hits = [];
let place = 0;

// Upper case folds more than lower case does: final sigma, sharp s.
const fold = (text) => text.normalize("NFKC").toUpperCase();
const count = (value) => value.toLocaleString("en");
const names = new Map(Object.entries(data.names));
const nameOf = (code) => names.get(code) ?? code;

// As `written` in browser.py.
function written(value) {
  if (value === null) return "–";
  const size = Math.abs(value);
  const digits = size >= 10 ? value.toFixed(2) : size >= 0.001 ? value.toFixed(3) : value.toExponential(1);
  return (Number.isInteger(value) ? value.toFixed(0) : digits).replaceAll("-", "\u2212");
}

function element(tag, text, css) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (css) made.className = css;
  return made;
}

function haystack(pair) {
  if (pair.folded === undefined) {
    pair.folded = fold([pair.prompt.text, pair.chosen.pieces.join(""), pair.rejected.pieces.join("")].join("\n"));
  }
  return pair.folded;
}

// ---- the card ----

function fillText(box, text, more) {
  box.querySelector('[data-slot="text"]').replaceChildren(...text);
  const rest = box.querySelector('[data-slot="more"]');
  rest.hidden = more === 0;
  rest.textContent = `… ${count(more)} more characters`;
}

function fillSide(card, name, pair) {
  const side = pair[name];
  const box = card.querySelector(`[data-side="${name}"]`);
  const facts = [];
  if (iteration.ranked) facts.push(element("li", `reward ${written(side.score)}`));
  facts.push(element("li", `${count(side.characters)} characters`));
  if (side.tokens !== null) facts.push(element("li", `${count(side.tokens)} tokens`));
  const language = element("li");
  if (side.language === null) language.textContent = "language undecided";
  else if (side.language === pair.language) language.textContent = `in ${nameOf(side.language)}`;
  else language.append(element("strong", `in ${nameOf(side.language)}, not ${nameOf(pair.language)}`, "pair-wrong"));
  facts.push(language);
  box.querySelector('[data-slot="meta"]').replaceChildren(...facts);
  box.querySelector('[data-slot="text"]').lang = side.language ?? pair.language;
  fillText(box, side.pieces.map((piece, at) => (at % 2 ? element("mark", piece) : piece)), side.more);
}

function fillCard(card, pair) {
  const slot = (name) => card.querySelector(`[data-slot="${name}"]`);
  const margin = iteration.ranked ? `: margin ${written(pair.margin)}` : "";
  slot("title").textContent = `${nameOf(pair.language)}${margin}`;
  slot("id").textContent = pair.id;
  const notes = pair.contexts.map((name) => `Read under the context ${name}, the reward orders the two the other way round.`);
  slot("notes").replaceChildren(...[...pair.notes, ...notes].map((note) => element("li", note)));
  slot("notes").hidden = pair.notes.length + notes.length === 0;
  const prompt = card.querySelector('[data-side="prompt"]');
  prompt.querySelector('[data-slot="text"]').lang = pair.language;
  fillText(prompt, [pair.prompt.text], pair.prompt.more);
  fillSide(card, "chosen", pair);
  fillSide(card, "rejected", pair);
  slot("numbers").hidden = !iteration.ranked;
  slot("numbers").querySelector("tbody").replaceChildren(
    ...iteration.numbers.map((name, at) => {
      const row = element("tr");
      const head = element("th", name.replaceAll("_", " "));
      head.scope = "row";
      row.append(head, ...pair.numbers[at].map((value) => element("td", written(value))));
      return row;
    }),
  );
}

// ---- the list beside it ----

function fillList() {
  const start = Math.floor(place / WINDOW) * WINDOW;
  const rows = hits.slice(start, start + WINDOW).map((pair, at) => {
    const button = element("button");
    button.type = "button";
    button.dataset.place = start + at;
    const line = element("span", pair.prompt.text.slice(0, 120).replace(/\s+/gu, " "), "pairs-line");
    line.dir = "auto";
    line.lang = pair.language;
    button.append(element("span", nameOf(pair.language)));
    button.append(element("span", iteration.ranked ? written(pair.margin) : "", "pairs-margin"), line);
    const row = element("li");
    row.append(button);
    return row;
  });
  const list = part("list");
  list.querySelector("ol").replaceChildren(...rows);
  list.querySelector(".pairs-window").textContent =
    hits.length > WINDOW ? `${count(start + 1)} to ${count(start + rows.length)} of ${count(hits.length)}` : "";
  list.dataset.start = start;
}

function markCurrent() {
  const list = part("list");
  if (Number(list.dataset.start) !== Math.floor(place / WINDOW) * WINDOW) fillList();
  list.querySelector('[aria-current="true"]')?.removeAttribute("aria-current");
  const current = list.querySelector(`[data-place="${place}"]`);
  if (!current) return;
  current.setAttribute("aria-current", "true");
  // Not scrollIntoView, which would scroll the page as well.
  const above = current.offsetTop - list.offsetTop;
  if (above < list.scrollTop) list.scrollTop = above;
  const below = above + current.offsetHeight - list.clientHeight;
  if (below > list.scrollTop) list.scrollTop = below;
}

// ---- filters ----

function show(to) {
  place = to;
  const some = hits.length > 0;
  part("empty").hidden = some;
  root.querySelector(".pairs-panes").hidden = !some;
  part("previous").setAttribute("aria-disabled", String(place <= 0));
  part("next").setAttribute("aria-disabled", String(place >= hits.length - 1));
  part("status").textContent = some
    ? `Pair ${count(place + 1)} of ${count(hits.length)}`
    : `None of ${count(iteration.pairs.length)} pairs`;
  if (!some) return;
  fillCard(part("cards").firstElementChild, hits[place]);
  markCurrent();
}

function step(by) {
  const to = place + by;
  if (to >= 0 && to < hits.length) show(to);
}

function bound(name, otherwise) {
  const given = part(name).valueAsNumber;
  return Number.isNaN(given) ? otherwise : given;
}

function inLanguage() {
  const language = part("language").value;
  return iteration.pairs.filter((pair) => language === "" || pair.language === language);
}

function applyFilters() {
  const [, , fits, order] = KINDS.find(([kind]) => kind === part("show").value);
  const from = bound("from", -Infinity);
  const to = bound("to", Infinity);
  const anyMargin = from === -Infinity && to === Infinity;
  const wanted = fold(part("search").value.trim());
  hits = inLanguage().filter(
    (pair) =>
      fits(pair) &&
      (anyMargin || (pair.margin !== null && pair.margin >= from && pair.margin <= to)) &&
      (wanted === "" || haystack(pair).includes(wanted)),
  );
  if (order) hits.sort(order);
  place = 0;
  fillList();
  show(0);
}

function choices(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => {
    const option = element("option", text);
    option.value = value;
    return option;
  }));
  if (options.some(([value]) => value === before)) select.value = before;
}

function offerKinds() {
  const pairs = inLanguage();
  const offered = KINDS.filter(([kind]) => kind === "all" || iteration.ranked || kind === "contexts")
    .map(([kind, text, fits]) => [kind, text, pairs.filter(fits).length])
    .filter(([kind, , found]) => kind === "all" || found > 0);
  choices(part("show"), offered.map(([kind, text, found]) => [kind, `${text} (${count(found)})`]));
}

function chooseIteration() {
  iteration = data.iterations.find(({ number }) => String(number) === part("iteration").value);
  const found = new Map();
  for (const { language } of iteration.pairs) found.set(language, (found.get(language) ?? 0) + 1);
  const languages = [...found].map(([code, pairs]) => [code, `${nameOf(code)} (${count(pairs)})`]);
  choices(part("language"), [["", `All (${count(iteration.pairs.length)})`], ...languages]);
  part("margins").hidden = !iteration.ranked;
  const margins = iteration.pairs.map(({ margin }) => margin).filter((margin) => margin !== null);
  part("from").placeholder = iteration.ranked ? written(Math.min(...margins)) : "";
  part("to").placeholder = iteration.ranked ? written(Math.max(...margins)) : "";
  offerKinds();
  applyFilters();
}

part("iteration").addEventListener("change", chooseIteration);
part("language").addEventListener("change", () => {
  offerKinds();
  applyFilters();
});
part("filters").addEventListener("input", ({ target }) => {
  if (target.id !== "pairs-iteration" && target.id !== "pairs-language") applyFilters();
});
part("filters").addEventListener("submit", (event) => event.preventDefault());
// Not the form's reset event, which comes before its fields are empty: a key pressed meanwhile would be lost.
part("reset").addEventListener("click", () => {
  part("filters").reset();
  chooseIteration();
});
part("previous").addEventListener("click", () => step(-1));
part("next").addEventListener("click", () => step(1));
part("list").addEventListener("click", ({ target }) => {
  const chosen = target.closest("[data-place]");
  if (chosen) show(Number(chosen.dataset.place));
});
root.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const by = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
  if (by === undefined) return;
  event.preventDefault();
  step(by);
});
document.querySelectorAll('a[href="#pairs-drawn"]').forEach((link) => {
  link.addEventListener("click", () => { part("drawn").open = true; });
});

part("cards").replaceChildren(part("cards").firstElementChild);
root.querySelector(".pairs-panes").classList.add("listed");
for (const name of ["filters", "bar", "list"]) part(name).hidden = false;
choices(part("iteration"), data.iterations.map(({ number }) => [String(number), String(number)]));
chooseIteration();
