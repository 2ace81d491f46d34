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
  hourBars($("hours"), byHour(line.counted), t("by_hour"));
  const sums = rows => [...rows].map(([name, s]) => [name, number(s.ok + s.ng), number(s.ok), number(s.ng), percent(s.ok / (s.ok + s.ng))]);
  const heads = [t("when"), t("parts"), t("ok"), t("ng"), t("yield")], shifts = new Map(), bundles = new Map();
  for (const h of line.counted) {
    const name = shiftName(h.shift), s = shifts.get(name) || { ok: 0, ng: 0 };
    s.ok += h.ok; s.ng += h.ng; shifts.set(name, s);
    for (const [bundle, b] of Object.entries(h.bundles)) { const sum = bundles.get(bundle) || { ok: 0, ng: 0 }; sum.ok += b.ok; sum.ng += b.ng; bundles.set(bundle, sum); }
  }
  $("shifts").replaceChildren(table(heads, sums(shifts)));
  $("bundles").replaceChildren(table([t("bundle"), ...heads.slice(1)], sums(bundles)));
  $("reasons").replaceChildren(table([t("reason"), t("parts")], Object.entries(line.total.reasons).sort((a, b) => b[1] - a[1]).map(([reason, n]) => [t(`reason_${reason}`), number(n)])));
}
// A shift divides an hour; hours in which nothing came have room, too.
function byHour(counted) {
  const hours = new Map();
  for (const c of counted) { const h = hours.get(c.hour) || { hour: c.hour, ok: 0, ng: 0 }; h.ok += c.ok; h.ng += c.ng; hours.set(c.hour, h); }
  const found = [...hours.values()].sort((a, b) => a.hour - b.hour), rows = [];
  for (const h of found) {
    const last = rows.length ? rows[rows.length - 1].hour : h.hour - 3600;
    // A clock that was set forward by days leaves no hundreds of empty hours.
    if (h.hour - last < 72 * 3600) for (let empty = last + 3600; empty < h.hour; empty += 3600) rows.push({ hour: empty, ok: 0, ng: 0 });
    rows.push(h);
  }
  return rows;
}
// Day and time, by the box's clock.
function shiftName(shift) {
  const [day, at] = shift.split(" "), [year, month, date] = day.split("-").map(Number), name = new Date(year, month - 1, date).toLocaleDateString(words.language, { month: "short", day: "numeric" });
  return at ? `${name} ${at}` : name;
}
function drawHealth() {
  latencyCurve($("latency"), line.times_ms, line.budget_ms, t("latency"));
  $("camera").textContent = line.camera ? `${t(line.camera.up ? "camera_up" : "camera_down")} (${line.camera.state})` : "–";
  const a = line.archive, d = line.disk, gb = v => number(v / 1e9, 1);
  $("disk").textContent = d ? t("disk_free", { free: gb(d.free_bytes), total: gb(d.total_bytes) }) : t("disk_unknown");
  drawDrift();
  $("archive").replaceChildren(a ? table([t("archive"), ""], archiveRows(a)) : make("p", { class: "soft" }, t("no_archive")));
}
// What it holds, and what it let go or never kept where there is any of that.
function archiveRows(a) {
  const gone = ["evicted_ng", "evicted_ok"].filter(k => a.holds[k]).map(k => [t(`archive_${k}`), number(a.holds[k])]);
  return [...["ng", "ok"].map(k => [t(`archive_${k}`), number(a.holds[k] || 0)]), [t("archive_bytes"), number((a.holds.bytes || 0) / 1e6, 1)], ...gone, ...Object.entries(a.dropped).map(([why, n]) => [t(`unkept_${why}`), number(n)])];
}
// How the pictures stand beside the good images; a bundle of before holds nothing to compare with, and
// while none judges nobody knows.
function drawDrift() {
  const d = line.drift, watched = d ? Object.keys(d.shares) : [];
  $("drift_told").textContent = !watched.length ? t(STATES[line.state] ? "drift_unwatched" : "drift_unknown") : d.cause ? t(`drift_is_${d.cause}`) : t("drift_none");
  $("drift").replaceChildren(watched.length ? table([t("drift_cause"), t("drift_outside")], watched.map(cause => [t(`drift_${cause}`), percent(d.shares[cause])])) : "");
}
function drawRolls() {
  const w = line.web, box = $("running"), old = box.querySelector(".scroll");
  if (!w) { box.replaceChildren(make("p", { class: "soft" }, t("no_web"))); return; }
  // Beside the map: they stay when it is moved.
  const lanes = w.rows.length ? w.rows[0].lanes : [], names = make("div", { class: "lanes" }, ...lanes.map(lane => make("b", {}, lane.name)));
  const before = old ? { at: old.scrollLeft / Math.max(1, old.scrollWidth), atEnd: old.scrollLeft + old.clientWidth > old.scrollWidth - 8, held: document.activeElement === old } : { at: 1, atEnd: true, held: false };
  const scroll = make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": t("running_roll") }, runningMap(w));
  box.replaceChildren(make("p", {}, t("lines_judged", { n: number(w.end_line) }) + (w.end_mm === null ? "" : ` · ${number(w.end_mm / 1000, 2)} m`)), make("div", { class: "map" }, names, scroll), make("p", { class: "soft" }, t("map_hint")));
  scroll.scrollLeft = before.atEnd ? scroll.scrollWidth : before.at * scroll.scrollWidth;
  if (before.held) scroll.focus();
}
// The newest stretches of the web, lane by lane: the last one on the right. Wider than the card
// when zoomed; then it is moved, and follows the web only while its end is in view.
function runningMap(w) {
  const zoom = Number($("zoom").value), shown = Math.max(220, ($("running").clientWidth || 600) - 90), width = shown * zoom, each = 26, rows = w.rows, lanes = rows.length ? rows[0].lanes : [], bottom = lanes.length * (each + 4) + 4;
  const first = rows.length ? rows[0].first_line : 0, end = rows.length ? rows[rows.length - 1].end_line : 1, x = l => (l - first) / Math.max(1, end - first) * width;
  const laneTop = n => n * (each + 4) + 2, named = new Map(lanes.map((lane, n) => [lane.name, n]));
  const told = (from, to, row) => (row.first_mm === null || row.end_mm === null ? [`${number(from)}`, `${number(to)}`] : [`${number(row.first_mm / 1000, 2)} m`, `${number(row.end_mm / 1000, 2)} m`]);
  const parts = rows.flatMap(row => row.lanes.map((lane, n) => {
    const [from, to] = told(row.first_line, row.end_line, row), box = svg("rect", { class: lane.ok ? "fgood" : "fbad", x: x(row.first_line), y: laneTop(n), width: Math.max(1, x(row.end_line) - x(row.first_line) - (zoom > 2 ? 1 : 0)), height: each });
    box.append(title(t("roll_place", { lane: lane.name, from, to, what: t(lane.ok ? "ok" : "ng") })));
    return box;
  }));
  for (const row of rows) for (const d of row.defects) {
    if (!named.has(d.lane)) continue;
    const spot = svg("circle", { class: "spot", cx: Math.min(width - 4, Math.max(4, x(d.line))), cy: laneTop(named.get(d.lane)) + each / 2, r: Math.min(8, 2 + zoom) });
    spot.append(title(t("roll_place", { lane: d.lane, from: d.mm === null ? number(d.line) : `${number(d.mm / 1000, 3)} m`, to: "", what: short(d.peak) })));
    parts.push(spot);
  }
  for (let k = 0, ticks = Math.max(2, Math.round(width / 130)); k <= ticks; k++) {
    const l = first + k / ticks * (end - first), row = rows.find(r => l <= r.end_line), mm = row && row.first_mm !== null && row.end_mm !== null ? row.first_mm + (l - row.first_line) / Math.max(1, row.end_line - row.first_line) * (row.end_mm - row.first_mm) : null;
    parts.push(rule(x(l), bottom, x(l), bottom + 5), note(x(l), bottom + 19, mm === null ? number(l) : `${number(mm / 1000, 2)} m`, k === 0 ? "start" : k === ticks ? "end" : "middle"));
  }
  return svg("svg", { viewBox: `0 0 ${width} ${bottom + 24}`, width, height: bottom + 24, role: "img", "aria-label": t("running_roll") }, ...parts);
}
const title = text => { const e = svg("title", {}); e.textContent = text; return e; };
function zoomBy(times) { $("zoom").value = Number($("zoom").value) * times; draw(); }
function bindRolls() {
  $("zoom").addEventListener("input", draw);
  $("running").addEventListener("keydown", e => { if (e.key === "+" || e.key === "-") { zoomBy(e.key === "+" ? 1.5 : 1 / 1.5); e.preventDefault(); } });
}
