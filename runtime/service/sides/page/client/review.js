"use strict";
// Archived frames, and what people say of them: good after all, or a real defect.
const WORDS = ["scratch", "spot", "stain", "band", "hole", "dent", "edge", "print", "foreign", "other"];
const archived = (n, which) => `/api/archived/${n}/${which}`;
let oldest = null;
async function listArchive(more) {
  const kind = $("archive_kind").value, before = more && oldest !== null ? `&before=${oldest}` : "";
  const got = await fetch(`/api/archive?kind=${kind}${before}`), answer = await got.json(), found = answer.frames || [];
  if (kind !== $("archive_kind").value) return;
  if (!more) $("archived").replaceChildren();
  if (found.length) oldest = found[found.length - 1].number;
  $("archived").append(...found.map(archivedCard));
  $("older").hidden = !found.length;
  $("archive_empty").hidden = $("archived").children.length > 0;
  $("archive_empty").textContent = got.ok ? t(answer.error ? "no_archive" : "archive_empty") : answer.error;
}
const goodWord = one => t(one.reason ? "review_good" : "review_passed");
const mayReview = () => ["review", "set", "admin"].includes(me.role);
function archivedCard(one) {
  const card = make("li", { class: "archived" });
  const fill = () => {
    const said = one.review ? make("p", { class: one.review.says === "good" ? "said good" : "said bad" }, t(one.review.says === "good" ? "said_good" : "said_defect", { user: one.review.user, time: clock(one.review.at), word: one.review.word ? t(`word_${one.review.word}`) : "" })) : null;
    card.replaceChildren(...[make("button", { class: "picture", "aria-label": `${t("picture")} ${one.number}`, on: { click: () => judge(one, fill) } }, make("img", { src: archived(one.number, "heat"), alt: "", loading: "lazy" })), make("p", {}, t("archived_facts", { n: number(one.number), reason: one.reason ? t(`reason_${one.reason}`) : t("ok"), score: short(one.score), limit: short(one.limit) })), said,
      mayReview() ? make("div", { class: "bar" }, make("button", { on: { click: () => review(one, { says: "good", word: "", region: null }, fill) } }, goodWord(one)), make("button", { on: { click: () => judge(one, fill) } }, t("review_defect"))) : null].filter(Boolean));
  };
  fill();
  return card;
}
async function review(one, what, fill) {
  const answer = await post("/api/review", { number: one.number, ...what });
  if (answer.error) { $("review_error").textContent = answer.error; return false; }
  one.review = answer.review; fill();
  return true;
}
// Large, with a box that a finger or a mouse draws, and a word.
let region = null;
function drawBox(box) {
  const s = $("box").style;
  region = box; $("box").hidden = !box;
  if (box) { s.left = `${100 * box[0]}%`; s.top = `${100 * box[1]}%`; s.width = `${100 * (box[2] - box[0])}%`; s.height = `${100 * (box[3] - box[1])}%`; }
}
function judge(one, fill) {
  drawBox(one.review ? one.review.region : null); $("review_error").textContent = "";
  $("judged").src = archived(one.number, "plain"); $("judged").alt = t("picture");
  $("words").replaceChildren(...WORDS.map(word => make("option", { value: word }, t(`word_${word}`))));
  if (one.review && one.review.word) $("words").value = one.review.word;
  $("judge_form").hidden = !mayReview(); $("judge_good").textContent = goodWord(one);
  $("judge_form").onsubmit = async e => { e.preventDefault(); if (await review(one, { says: "defect", word: $("words").value, region }, fill)) $("judge").close(); };
  $("judge_good").onclick = async () => { if (await review(one, { says: "good", word: "", region: null }, fill)) $("judge").close(); };
  $("judge").showModal();
}
function drawLearnt() { const c = line.change; $("learnt").textContent = c.step ? t(`change_${c.step}`, { bundle: c.bundle, detail: c.detail }) : ""; }
function bindReview() {
  $("learn").addEventListener("submit", e => { e.preventDefault(); post("/api/learn", { of: line.bundle, why: $("learn_reason").value }); });
  const frame = $("judged_frame"), at = e => { const r = $("judged").getBoundingClientRect(); return [Math.min(1, Math.max(0, (e.clientX - r.left) / r.width)), Math.min(1, Math.max(0, (e.clientY - r.top) / r.height))]; };
  let from = null;
  frame.addEventListener("pointerdown", e => { from = at(e); frame.setPointerCapture(e.pointerId); e.preventDefault(); });
  frame.addEventListener("pointermove", e => {
    if (!from) return;
    const to = at(e), box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
    drawBox(box[2] - box[0] > .005 && box[3] - box[1] > .005 ? box.map(v => Number(v.toFixed(4))) : null);
  });
  frame.addEventListener("pointerup", () => { from = null; });
  $("judge_close").addEventListener("click", () => $("judge").close());
  $("older").addEventListener("click", () => listArchive(true));
  $("archive_kind").addEventListener("change", () => listArchive(false));
}
