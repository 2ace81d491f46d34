const onDraw = [];
const evaluated = D.kind === "evaluation";
// Blocks of a web are of any height.
const sized = lines => (lines ? `${count(lines)} × ${count(D.frame.width_px)} px` : `${count(D.frame.width_px)} px wide`);

function head() {
  const level = evaluated ? null : D.advice.some(a => a.level === "weak") ? "weak" : D.advice.some(a => a.level === "look") ? "look" : "good";
  const say = { weak: ["✕", "Not ready.", "Something below would disappoint on the line."], look: ["!", "Look first.", "Somebody has to decide what stands below under “what to do next”."], good: ["✓", "Nothing is weak.", "Install it, and watch the first shift."] }[level];
  const f = D.frame, facts = [`${sized(f.height_px)}${f.channels === 3 ? ", colour" : ""}`, D.web ? "endless web" : "one part a frame", `tiles of ${D.tiles.size_px} px`, `${D.method.name} on ${D.features.backbone}`, D.label];
  $("head").append(...[make("div", { class: "eyebrow" }, evaluated ? "kenpin · how well a bundle does" : "kenpin · report of a build"), make("h1", {}, evaluated ? `${D.name} on ${D.dataset.name}` : D.name), make("div", { class: "lead" }, facts.join(" · ")),
    say ? make("div", { class: "banner " + level, role: "status" }, make("span", { class: "mark", "aria-hidden": "true" }, say[0]), make("div", {}, make("b", {}, say[1]), " ", say[2])) : null,
    make("div", { class: "cards" }, evaluated ? evaluationCards() : buildCards())].filter(Boolean));
}
function buildCards() {
  const rejected = over(goodScores, chosen), found = over(twinScores, chosen), s = D.speed;
  return [card(digits(chosen), "threshold: OK up to this score"), card(D.threshold.at_most === null ? `${rejected} of ${goodScores.length}` : "≤ " + percent(D.threshold.at_most), D.threshold.at_most === null ? "good ones rejected" : "false rejects, with 95 % confidence"),
    twinScores.length ? card(percent(found / twinScores.length), "of drawn defects found, barely visible to loud") : null,
    D.ng.length ? card(`${over(D.ng.map(o => o.score), chosen)} of ${D.ng.length}`, "NG images found") : null,
    card(fixed(s.median_ms, s.median_ms < 10 ? 1 : 0) + " ms", "a frame, here"), card(s.lines_per_s >= 10000 ? fixed(s.lines_per_s / 1000, 0) + " k" : count(s.lines_per_s), "lines a second, here"), card(fixed(D.memory.bundle_mib, 1), "MiB bundle")];
}
function evaluationCards() {
  const i = D.dataset.images, p = D.dataset.pixels;
  return [card(i.auroc === null ? "–" : fixed(i.auroc, 3), "AUROC of images"), card(`${i.false_rejects} of ${i.good}`, "good rejected", i.false_rejects ? "bad" : "good"), card(`${i.escapes} of ${i.ng}`, "defects escape", i.escapes ? "bad" : "good"), i.f1 === null ? null : card(fixed(i.f1, 3), "F1 at the threshold"), p.aupro === null ? null : card(fixed(p.aupro, 3), "AUPRO, FPR up to 0.3"), p.auroc === null ? null : card(fixed(p.auroc, 3), "AUROC of pixels")];
}

function advised() {
  if (!D.advice) return null;
  const tags = { weak: "weak", look: "decide", know: "good to know" };
  return section("next", "What to do next", make("ul", { class: "advice" }, ...(D.advice.length ? D.advice.map(a => make("li", { class: a.level }, make("span", { class: "tag" }, tags[a.level]), a.says, make("span", { class: "do" }, a.do))) : [make("li", {}, "Nothing: install the bundle.")])), make("h3", {}, "Onto the box"), make("code", { class: "command" }, `edge-run bundles install LINE.toml ${D.bundle}`));
}
function thresholdSection() {
  const chart = make("div", {}), side = make("div", { class: "effect", "aria-live": "polite" }), slider = make("input", { type: "range", min: 0, max: 1000, step: 1, "aria-label": "threshold" });
  let drawn = null;
  const reset = make("button", { class: "only-screen", on: { click: () => setLimit(chosen) } }, "reset");
  const made = section("threshold", "The threshold", soft("Drag the line, or the slider with the arrow keys: nothing is changed by it, it only shows what would happen. Scores above it are rejected."), make("div", { class: "two" }, make("div", {}, chart, slider), side));
  made.firstChild.append(reset);
  slider.addEventListener("input", () => { const { x } = drawn; setLimit(Number(x.value(x.at(x.low) + slider.value / 1000 * (x.at(x.high) - x.at(x.low))).toPrecision(4))); });
  const say = () => { if (!drawn) return; const { x } = drawn; drawn.place(); if (document.activeElement !== slider) slider.value = Math.round(1000 * (x.at(limit) - x.at(x.low)) / (x.at(x.high) - x.at(x.low))); slider.setAttribute("aria-valuetext", digits(limit)); effect(side); };
  onDraw.push(() => { drawn = histogram(chart); say(); });
  listeners.push(say);
  return made;
}
function tradeSection() {
  if (!D.twins.length) return null;
  const box = make("div", {}), cells = make("div", { class: "matrix" });
  const kinds = KINDS.filter(kind => D.curve[0].found[kind]), points = kind => D.curve.map(p => [p.rate, p.found[kind].share]);
  let drawn = null, mark = null;
  onDraw.push(() => {
    drawn = curves(box, kinds.map((kind, k) => ({ name: MANY[kind], cls: "s" + (KINDS.indexOf(kind) + 1), points: points(kind), band: D.curve.map(p => [p.rate, p.found[kind].low, p.found[kind].high]) })), { log: true, low: D.curve[0].rate, high: D.curve[D.curve.length - 1].rate, marks: [.001, .002, .005, .01, .02, .05, .1, .2], text: percent, across: "good ones rejected", label: "found defects against rejected good ones" });
    mark = rule(0, drawn.y.at(0), 0, drawn.y.at(1), "limit"); drawn.root.append(mark); place();
  });
  // Thresholds fall as the rate rises; between two points the line is straight.
  function rateOf(value) {
    const c = D.curve;
    for (let k = 1; k < c.length; k++) if (c[k].threshold <= value && value <= c[k - 1].threshold) { const t = (c[k - 1].threshold - value) / (c[k - 1].threshold - c[k].threshold || 1); return c[k - 1].rate * (c[k].rate / c[k - 1].rate) ** t; }
    return value > c[0].threshold ? null : c[c.length - 1].rate;
  }
  function place() { if (!mark) return; const rate = rateOf(limit); mark.style.display = rate === null ? "none" : ""; if (rate !== null) { mark.setAttribute("x1", drawn.x.at(rate)); mark.setAttribute("x2", drawn.x.at(rate)); } matrix(cells); }
  listeners.push(place);
  const guessed = D.curve.filter(p => p.rule === "gumbel"), last = guessed.length ? guessed[guessed.length - 1].rate : null;
  return section("trade", "What is found for how many false rejects", soft("Defects of many sizes and contrasts were drawn into good images that the bundle had not seen." + (last ? ` Below ${percent(last)} the threshold is extrapolated: there are too few good ${thingsGood}.` : "")), make("div", { class: "even" }, make("div", {}, make("h3", {}, "The operating curve"), box), make("div", {}, make("h3", {}, "How faint may it be? % found at the threshold above"), cells)));
}
function evaluationSections() {
  if (!evaluated) return [];
  const d = D.dataset, roc = make("div", {}), pro = make("div", {}), made = [];
  const both = [d.images.roc && make("div", {}, make("h3", {}, `ROC of images, area ${fixed(d.images.auroc, 4)}`), roc), d.pixels.pro && make("div", {}, make("h3", {}, `Per-region overlap, area ${fixed(d.pixels.aupro, 4)} up to 30 %`), pro)].filter(Boolean);
  if (d.images.roc) onDraw.push(() => { const c = curves(roc, [{ name: "ROC", cls: "s1", points: d.images.roc }], { across: "good ones rejected", label: "ROC curve" }), good = over(labelledGood.map(o => o.score), chosen) / labelledGood.length, bad = over(labelledNg.map(o => o.score), chosen) / labelledNg.length; c.root.append(svg("circle", { class: "grip", cx: c.x.at(good), cy: c.y.at(bad), r: 6 }), note(c.x.at(good) + 11, c.y.at(bad) + 5, "the threshold", "start", "strong")); });
  if (d.pixels.pro) onDraw.push(() => curves(pro, [{ name: "PRO", cls: "s2", points: d.pixels.pro }], { x: scale(0, .3, 48, Math.max(280, pro.clientWidth) - 12, false), across: "defect-free pixels above the threshold", marks: [0, .05, .1, .15, .2, .25, .3], label: "per-region overlap" }));
  if (both.length) made.push(section("curves", "Curves", make("div", { class: "even" }, both)));
  const rows = Object.entries(d.images.kinds).map(([kind, k]) => [kind, count(k.count), k.auroc === null ? "–" : fixed(k.auroc, 4), `${k.count - k.escapes} of ${k.count}`, count(k.escapes)]);
  made.push(section("kinds", "By kind of defect", rows.length ? table(["kind", "images", "AUROC", "found", "escape"], rows) : soft("The set holds no defects."), d.tiles ? soft(`Squares of ${d.tiles.side_px} px: AUROC ${fixed(d.tiles.auroc, 4)}${d.tiles.within_image ? `, within their own image ${fixed(d.tiles.within_image.pooled, 4)} over ${count(d.tiles.within_image.pairs)} pairs` : ""}.`) : null));
  if (d.refused.length) made.push(section("refused", "Refused, and so in no figure", table(["image", "kind", "why"], d.refused.map(one => [one.name, one.kind, one.why]), [1, 2])));
  if (d.notes.length) made.push(section("notes", "Before you believe the figures", make("ul", { class: "advice" }, d.notes.map(text => make("li", { class: "look" }, text)))));
  return made;
}

head();
$("main").append(...[advised(), thresholdSection(), ...evaluationSections(), tradeSection(), galleries(), places(), quantised(), speedAndMemory(), material()].filter(Boolean));
for (const made of document.querySelectorAll("section")) $("nav").append(make("a", { href: "#" + made.id }, made.querySelector("h2").textContent));
$("foot").append(`${D.label} · ${Object.entries(D.versions).map(([name, v]) => name + " " + v).join(", ")} · the numbers are in the .json of the same name`);
const draw = () => onDraw.forEach(act => act());
draw();
let wide = innerWidth;
addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; draw(); } });
// For tests: what is shown, and what is said of a count.
window.report = { limit: () => limit, setLimit, between, below, percent };
