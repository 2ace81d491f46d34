"use strict";
const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
  e.append(...children.filter(c => c !== null));
  return e;
}
const note = (x, y, text, anchor, cls) => { const e = svg("text", { x, y, "text-anchor": anchor || "start", class: cls || "" }); e.textContent = text; return e; };
const rule = (x1, y1, x2, y2, cls) => svg("line", { x1, y1, x2, y2, class: cls || "rule" });
const wideOf = box => Math.max(260, box.clientWidth || 600);

// Round numbers for an axis of equal ratios: 1, 2 and 5 of each power of ten, or, where it spans too little for three of them, multiples of one of those.
function roundMarks(low, high) {
  const powers = [], steps = [];
  for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k++) for (const m of [1, 2, 5]) powers.push(m * 10 ** k);
  const inside = powers.filter(v => v >= low && v <= high);
  if (inside.length >= 3) return inside;
  const power = 10 ** Math.floor(Math.log10((high - low) / 3)), step = power * ([5, 2].find(m => m * power <= (high - low) / 3) || 1);
  for (let n = Math.ceil(low / step); n * step <= high; n++) steps.push(n * step);
  return steps;
}

function table(heads, rows) {
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": heads.join(", ") }, make("table", {}, make("thead", {}, make("tr", {}, heads.map(h => make("th", { scope: "col" }, h)))), make("tbody", {}, rows.map(row => make("tr", {}, row.map(cell => make("td", {}, cell)))))));
}

// Bars by hour: good ones up to the top, rejected ones in another colour on the same bar.
function hourBars(box, hours, title) {
  const width = wideOf(box), height = 170, left = 46, bottom = 24, top = 10, most = Math.max(1, ...hours.map(h => h.ok + h.ng)), each = (width - left) / Math.max(8, hours.length), y = v => height - bottom - v / most * (height - bottom - top);
  const parts = [0, .5, 1].map(s => svg("g", {}, rule(left, y(s * most), width, y(s * most)), note(left - 6, y(s * most) + 4, number(s * most), "end")));
  let last = -Infinity;
  hours.forEach((h, k) => {
    const x = left + k * each + 1, w = Math.max(1, each - 2);
    parts.push(svg("rect", { class: "fgood", x, y: y(h.ok), width: w, height: y(0) - y(h.ok) }), svg("rect", { class: "fbad", x, y: y(h.ok + h.ng), width: w, height: y(h.ok) - y(h.ok + h.ng) }));
    if (x - last > 58) { last = x; parts.push(note(x, height - 7, hour(h.hour))); }
  });
  box.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, ...parts));
}

function latencyCurve(box, times, budget, title) {
  const width = wideOf(box), height = 180, left = 52, top = 12, bottom = 10, most = Math.max(budget * 1.15, ...times), y = v => height - bottom - v / most * (height - bottom - top), x = k => left + k / Math.max(1, times.length - 1) * (width - left - 4);
  const path = times.map((v, k) => `${k ? "L" : "M"}${x(k).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const sorted = times.slice().sort((a, b) => a - b), at = q => sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : 0;
  box.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title }, rule(left, y(0), width, y(0)), note(left - 6, y(0) + 4, "0", "end"), rule(left, y(budget), width, y(budget), "limit"), note(left - 6, y(budget) + 4, number(budget), "end", "strong"), svg("path", { class: "line", d: path || "M0 0" }), note(left + 6, y(budget) - 5, t("budget_ms", { ms: number(budget) }), "start", "strong")),
    make("p", { class: "soft" }, t("latency_told", { median: number(at(.5), 1), p99: number(at(.99), 1), most: number(sorted.length ? sorted[sorted.length - 1] : 0, 1), n: number(times.length) })));
}
