"use strict";
// The threshold, seen and moved: nothing changes until it is applied.
let scores = null, limit = 0, drawn = null, loading = false, loadedFor = "";
async function loadThreshold(keep) {
  if (loading) return;
  loading = true;
  loadedFor = line ? line.bundle : "";
  try {
    const answer = await fetch("/api/threshold");
    if (!answer.ok) { scores = null; $("effect").replaceChildren(make("p", { class: "bad" }, (await answer.json()).error)); return; }
    const before = scores;
    scores = await answer.json();
    const moved = keep && before && before.of === scores.of && limit !== before.ok;
    if (!moved) limit = scores.ok;
    drawHistogram();
  } finally { loading = false; }
}
function drawHistogram() {
  if (!scores) return;
  const rows = [["row_good", scores.good, "f1"], ["row_seen", scores.seen, "f3"], ["row_reviewed_good", scores.reviewed_good, "f1"], ["row_reviewed_defects", scores.reviewed_defects, "f2"], ["row_drawn", Object.values(scores.twins).flat(), "f2"], ["row_ng", scores.ng_scores, "f2"]].filter(row => row[1].length);
  const box = $("histogram"), width = wideOf(box), every = rows.flatMap(row => row[1]).concat(scores.ok).filter(v => v > 0), low = Math.min(...every) / 1.06, high = Math.max(...every) * 1.06, each = 74, gap = 28, first = 20, height = first + rows.length * (each + gap) + 22, bins = Math.max(24, Math.min(70, Math.round(width / 13)));
  // Scores span decades: equal ratios are equally wide.
  const at = v => (Math.log(Math.max(v, low)) - Math.log(low)) / (Math.log(high) - Math.log(low)) * width, value = x => Math.exp(Math.log(low) + x / width * (Math.log(high) - Math.log(low)));
  const parts = rows.flatMap(([name, all, cls], r) => {
    const base = first + (r + 1) * (each + gap) - 4, counts = new Array(bins).fill(0);
    for (const v of all) counts[Math.min(bins - 1, Math.max(0, Math.floor(at(v) / width * bins)))]++;
    const top = Math.max(...counts);
    return [note(2, base - each - 7, t(name), "start", "strong"), note(width - 2, base - each - 7, number(all.length), "end"), rule(0, base, width, base), ...counts.map((c, b) => c ? svg("rect", { class: cls, x: b * width / bins + .5, width: width / bins - 1, y: base - Math.max(1.5, c / top * (each - 4)), height: Math.max(1.5, c / top * (each - 4)) }) : null)];
  });
  const base = height - 22, marks = [];
  let last = -99;
  for (const v of roundMarks(low, high)) if (at(v) - last > 44 && at(v) > 12 && at(v) < width - 20) { last = at(v); marks.push(rule(last, base, last, base + 4), note(last, base + 17, short(v), "middle")); }
  const shade = svg("rect", { class: "over", y: 0, height: base }), handle = rule(0, 0, 0, base, "limit"), grip = svg("path", { class: "grip" }), label = note(0, 12, "", "start", "strong");
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "drag", role: "img", "aria-label": t("histogram_label") }, ...parts, ...marks, shade, rule(at(scores.ok), 16, at(scores.ok), base, "limit now"), handle, grip, label);
  const move = e => { const r = root.getBoundingClientRect(); setLimit(Number(value(Math.min(width, Math.max(0, (e.clientX - r.left) / r.width * width))).toPrecision(4))); };
  root.addEventListener("pointerdown", e => { root.setPointerCapture(e.pointerId); move(e); });
  root.addEventListener("pointermove", e => { if (e.buttons) move(e); });
  box.replaceChildren(root);
  drawn = { at, value, width, place() {
    const p = Math.min(width, Math.max(0, at(limit))), end = p > width - 170;
    shade.setAttribute("x", p); shade.setAttribute("width", Math.max(0, width - p)); handle.setAttribute("x1", p); handle.setAttribute("x2", p); grip.setAttribute("d", `M${p} 20l-8 -10v-9h16v9z`);
    label.setAttribute("x", end ? p - 12 : p + 12); label.setAttribute("text-anchor", end ? "end" : "start"); label.textContent = `${t("threshold")} ${short(limit)}`;
  } };
  setLimit(limit);
}
function setLimit(value) {
  limit = value;
  if (!drawn) return;
  drawn.place();
  if (document.activeElement !== $("slider")) $("slider").value = Math.round(1000 * drawn.at(limit) / drawn.width);
  $("slider").setAttribute("aria-valuetext", short(limit));
  drawEffect();
}
function drawEffect() {
  const rows = [], n = scores.good.length, rejected = over(scores.good, limit), most = atMost(scores.good, limit, scores);
  rows.push(make("div", { class: "row" }, make("b", {}, t("of", { a: number(rejected), b: number(n) })), ` ${t("good_rejected")}`, make("div", { class: "soft" }, t("at_most", { share: percent(most) }))));
  for (const [kind, own] of Object.entries(scores.twins)) { const missed = own.length - over(own, limit), [low, high] = between(missed, own.length); rows.push(make("div", { class: "row" }, t("escapes", { kind: t(`kind_${kind}`), share: percent(missed / own.length), low: percent(low), high: percent(high) }))); }
  const counted = (key, own) => { const a = over(own, limit), [low, high] = between(a, own.length); return t(key, { a: number(a), b: number(own.length), low: percent(low), high: percent(high) }); };
  for (const [key, own] of [["reviewed_rejected", scores.reviewed_good], ["reviewed_found", scores.reviewed_defects], ["ng_found", scores.ng_scores]]) if (own.length) rows.push(make("div", { class: "row" }, counted(key, own)));
  if (scores.reviewed_others) rows.push(make("div", { class: "row soft" }, t("reviewed_others", { n: number(scores.reviewed_others) })));
  const low = Math.min(limit, scores.ok), high = Math.max(limit, scores.ok), changed = scores.seen.filter(v => v > low && v <= high).length, strip = line ? line.strip.filter(one => one.score !== null && scores.alike.includes(one.bundle) && one.score > low && one.score <= high) : [];
  rows.push(make("div", { class: "row" }, make("b", {}, limit === scores.ok ? t("no_change") : t(limit < scores.ok ? "become_ng" : "become_ok", { n: number(changed), of: number(scores.seen.length) })), make("div", { class: "changes", tabindex: "0", role: "group", "aria-label": t("changed_pictures") }, strip.filter(one => one.picture).slice(-20).reverse().map(one => make("img", { src: picture(one.seq, "small"), alt: short(one.score) })))));
  $("effect").replaceChildren(...rows);
}
let toldChange = "";
function drawChange() {
  const c = line.change;
  $("apply_note").textContent = t(c.trust ? "needs_signature" : "apply_hint");
  $("back").disabled = !c.back;
  $("back").textContent = t("go_back") + (c.back ? ` (${c.back})` : "");
  if (c.step) $("change").textContent = t(`change_${c.step}`, { bundle: c.bundle, detail: c.detail });
  const told = `${c.step} ${c.bundle}`;
  if (toldChange && told !== toldChange && c.step === "active") loadThreshold();
  toldChange = told;
  // Opened before the line had told its bundle or judged anything, or another came into force.
  if (!scores || !scores.seen.length || loadedFor !== line.bundle) loadThreshold(true);
}
function bindThreshold() {
  $("slider").addEventListener("input", () => setLimit(Number(drawn.value($("slider").value / 1000 * drawn.width).toPrecision(4))));
  $("reset").addEventListener("click", () => setLimit(scores.ok));
  $("default").addEventListener("click", () => setLimit(Number(scores.default.toPrecision(4))));
  $("apply").addEventListener("submit", async e => {
    e.preventDefault();
    const answer = await post("/api/threshold", { ok: limit, of: scores ? scores.of : "", why: $("reason").value });
    if (answer.proposed) $("change").textContent = t("proposed");
  });
  $("back").addEventListener("click", async () => {
    if (!$("reason").reportValidity()) return;
    await post("/api/back", { to: line.change.back, why: $("reason").value });
  });
}
