"use strict";
// What the stream tells, drawn; pictures are fetched only where they are shown.
let line = null;
const picture = (seq, which) => `/api/picture/${seq}/${which}`;
const sources = new Map();
function show(image, src, alt) {
  if (sources.get(image.id) === src) return;
  sources.set(image.id, src);
  // Until it is there, what is seen is another frame's.
  image.classList.toggle("loading", Boolean(src));
  image.addEventListener("load", () => image.classList.remove("loading"), { once: true });
  if (src) { image.src = src; image.alt = alt; } else { image.removeAttribute("src"); image.alt = alt; }
}
const STATES = { "operational.ready": "good", "operational.single": "good", "operational.continuous": "good" };

function drawState() {
  const s = line.state, cls = line.silent ? "bad" : STATES[s] ? (line.degraded ? "warn" : "good") : "bad";
  $("state").className = `pill ${cls}`;
  $("state").textContent = line.silent ? t("state_silent") : t(`state_${s.replace(/\W/g, "_")}`) + (line.degraded ? ` · ${t("degraded")}` : "") + (line.about.sim ? ` · ${t("simulated")}` : "");
  $("silent").hidden = !line.silent;
  $("line").textContent = line.about.line;
  document.title = `${line.about.line} · kenpin`;
}

let withMap = true;
function drawLast() {
  const last = line.last_ng, shown = line.pictured_ng;
  $("why").textContent = last ? whyNot(last) : t("none_rejected");
  if (!shown) { show($("ng"), "", t("no_picture")); show($("good"), "", t("no_picture")); $("ng_facts").textContent = ""; $("good_facts").textContent = ""; return; }
  show($("ng"), picture(shown.seq, withMap ? "heat" : "plain"), whyNot(shown));
  const older = last.seq !== shown.seq ? `${t("older_picture")} ` : "";
  const fit = () => document.querySelector(".last .pair").classList.toggle("tall", $("ng").naturalWidth > 2.2 * $("ng").naturalHeight);
  $("ng").onload = fit; fit();
  $("ng_facts").textContent = older + t("ng_facts", { seq: number(shown.seq), time: clock(shown.at), score: short(shown.score), limit: short(shown.limit), place: whereIs(shown.place) || "–" });
  show($("good"), line.nearest === null ? "" : picture(line.nearest, "plain"), t("nearest_good"));
  $("good_facts").textContent = line.nearest === null ? t("no_good_yet") : t("nearest_good");
}
function drawCounts() {
  const { ok, ng } = line.total;
  $("n_ok").textContent = number(ok); $("n_ng").textContent = number(ng); $("n_yield").textContent = percent(ok / (ok + ng));
  show($("live"), line.live === null ? "" : picture(line.live, "plain"), t("live_picture"));
}

let alarmsTold = "";
function drawAlarms() {
  const told = JSON.stringify([line.alarms, words.language]);
  if (told === alarmsTold) return;
  alarmsTold = told;
  $("alarms").replaceChildren(...(line.alarms.length ? line.alarms.map(a => make("li", { class: a.acknowledged ? "seen" : null }, make("b", {}, a.part), ` ${a.detail}`, a.acknowledged ? make("div", { class: "soft" }, t("seen_by", { user: a.acknowledged.by, time: clock(a.acknowledged.at) })) : make("div", {}, make("button", { on: { click: () => post("/api/acknowledge", { part: a.part }) } }, t("acknowledge"))))) : [make("li", { class: "seen" }, t("no_alarm"))]));
}

// The filmstrip: what is in it already stays, so that a finger on it does not lose its place.
const frames = new Map();
function drawStrip() {
  const box = $("strip"), only = $("only_ng").checked, wanted = line.strip.filter(one => !only || !one.ok), known = new Set(wanted.map(one => one.seq)), atEnd = box.scrollLeft < 8;
  for (const [seq, e] of frames) if (!known.has(seq)) { e.remove(); frames.delete(seq); }
  for (const one of wanted) {
    if (frames.has(one.seq)) continue;
    const e = make("button", { class: one.ok ? null : "ng", on: { click: () => enlarge(one) }, "aria-label": `${one.ok ? "" : "✕ "}${short(one.score)}, ${one.ok ? t("ok") : t("ng")} ${one.seq}, ${clock(one.at)}` }, one.picture ? make("img", { src: picture(one.seq, "small"), alt: "", loading: "lazy", on: { error: ev => ev.target.replaceWith(make("div", { class: "none" })) } }) : make("div", { class: "none" }), make("span", {}, one.ok ? short(one.score) : `✕ ${short(one.score)}`));
    frames.set(one.seq, e); box.prepend(e);
  }
  if (atEnd) box.scrollLeft = 0;
}
function enlarge(one) {
  $("large_title").textContent = `${one.ok ? t("ok") : t("ng")} · ${number(one.seq)} · ${clock(one.at)}`;
  $("large_why").textContent = one.ok ? t("why_ok", { score: short(one.score), limit: short(one.limit) }) : whyNot(one);
  for (const which of ["plain", "heat"]) { $(`large_${which}`).hidden = !one.picture; if (one.picture) { $(`large_${which}`).src = picture(one.seq, which); $(`large_${which}`).alt = t(which === "plain" ? "picture" : "with_map"); } }
  $("large").showModal();
}

function drawProduction() {
  hourBars($("hours"), line.hours, t("by_hour"));
  const sums = rows => [...rows].map(([name, s]) => [name, number(s.ok + s.ng), number(s.ok), number(s.ng), percent(s.ok / (s.ok + s.ng))]);
  const heads = [t("when"), t("parts"), t("ok"), t("ng"), t("yield")], shifts = new Map(), bundles = new Map();
  for (const h of line.hours) {
    const name = shiftOf(h.hour), s = shifts.get(name) || { ok: 0, ng: 0 };
    s.ok += h.ok; s.ng += h.ng; shifts.set(name, s);
    for (const [bundle, b] of Object.entries(h.bundles)) { const sum = bundles.get(bundle) || { ok: 0, ng: 0 }; sum.ok += b.ok; sum.ng += b.ng; bundles.set(bundle, sum); }
  }
  $("shifts").replaceChildren(table(heads, sums(shifts)));
  $("bundles").replaceChildren(table([t("bundle"), ...heads.slice(1)], sums(bundles)));
  $("reasons").replaceChildren(table([t("reason"), t("parts")], Object.entries(line.total.reasons).sort((a, b) => b[1] - a[1]).map(([reason, n]) => [t(`reason_${reason}`), number(n)])));
}
// An hour belongs to the shift that was running when it began.
function shiftOf(second) {
  const at = new Date(1000 * second), minutes = at.getHours() * 60 + at.getMinutes(), starts = line.shifts.map(s => [s, Number(s.slice(0, 2)) * 60 + Number(s.slice(3))]).sort((a, b) => a[1] - b[1]);
  if (!starts.length) return at.toLocaleDateString(words.language);
  const found = starts.filter(([, m]) => m <= minutes).pop() || starts[starts.length - 1], day = new Date(at);
  if (found[1] > minutes) day.setDate(day.getDate() - 1);
  return `${day.toLocaleDateString(words.language, { month: "short", day: "numeric" })} ${found[0]}`;
}
function drawHealth() {
  latencyCurve($("latency"), line.times_ms, line.budget_ms, t("latency"));
  $("camera").textContent = line.camera ? `${t(line.camera.up ? "camera_up" : "camera_down")} (${line.camera.state})` : "–";
  const a = line.archive, d = line.disk, plain = k => k.replaceAll("_", " "), gb = v => number(v / 1e9, 1);
  $("disk").textContent = d ? t("disk_free", { free: gb(d.free_bytes), total: gb(d.total_bytes) }) : t("disk_unknown");
  $("archive").replaceChildren(a ? table([t("archive"), ""], [...Object.entries(a.holds).map(([k, v]) => [t("holds", { what: plain(k) }), number(v)]), ...Object.entries(a.kept).map(([k, v]) => [t("kept", { what: plain(k) }), number(v)]), ...Object.entries(a.dropped).map(([k, v]) => [t("dropped", { what: plain(k) }), number(v)])]) : make("p", { class: "soft" }, t("no_archive")));
}
async function drawRolls() {
  const w = line.web;
  $("running").replaceChildren(w ? make("div", {}, make("p", {}, t("lines_judged", { n: number(w.end_line) }) + (w.end_mm === null ? "" : ` · ${number(w.end_mm / 1000, 2)} m`)), runningMap(w)) : make("p", { class: "soft" }, t("no_web")));
}
// The newest stretches of the web, lane by lane: the last one on the right.
function runningMap(w) {
  const width = 900, each = 22, lanes = w.rows.length ? w.rows[0].lanes : [], height = lanes.length * (each + 4) + 4, step = width / Math.max(40, w.rows.length);
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("running_roll") }, ...w.rows.flatMap((row, k) => row.lanes.map((lane, n) => svg("rect", { class: lane.ok ? "fgood" : "fbad", x: k * step, y: n * (each + 4) + 2, width: Math.max(1, step - 1), height: each }))), ...lanes.map((lane, n) => note(6, n * (each + 4) + 18, lane.name, "start", "strong")));
}
