const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes || {})) e.setAttribute(name, value);
  e.append(...children.filter(child => child !== null));
  return e;
}
const note = (x, y, text, anchor, cls) => { const e = svg("text", { x, y, "text-anchor": anchor || "start", class: cls || "" }); e.textContent = text; return e; };
const rule = (x1, y1, x2, y2, cls) => svg("line", { x1, y1, x2, y2, class: cls || "rule" });
const path = points => "M" + points.map(([x, y]) => x.toFixed(1) + " " + y.toFixed(1)).join("L");

// A scale maps values to pixels and back, and knows where its marks are.
function scale(low, high, from, to, log) {
  const f = log ? Math.log : v => v, back = log ? Math.exp : v => v, a = f(low), b = f(high), size = b - a || 1;
  const at = v => from + (f(log ? Math.max(v, low * 1e-3) : v) - a) / size * (to - from);
  return { at, low, high, log, value: x => back(a + (x - from) / (to - from) * size), marks: log ? logMarks(low, high) : evenMarks(low, high) };
}
function evenMarks(low, high) {
  const raw = (high - low) / 6 || 1, p = 10 ** Math.floor(Math.log10(raw)), step = [1, 2, 5, 10].map(k => k * p).find(v => v >= raw), marks = [];
  for (let v = Math.ceil(low / step) * step; v <= high + step * 1e-9; v += step) marks.push(Number(v.toPrecision(12)));
  return marks;
}
function logMarks(low, high) {
  const marks = [], few = Math.log10(high / low) > 2.5;
  for (let p = Math.floor(Math.log10(low)); p <= Math.ceil(Math.log10(high)); p++)
    for (const k of few ? [1, 3] : [1, 1.5, 2, 3, 5, 7]) { const v = Number((k * 10 ** p).toPrecision(4)); if (v >= low && v <= high) marks.push(v); }
  return marks;
}
function scaleOf(values, from, to) {
  let low = Infinity, high = -Infinity;
  for (const v of values) { if (v > 0 && v < low) low = v; if (v > high) high = v; }
  if (!(low < high)) { low = (high || 1) / 2; high = (high || 1) * 2; }
  const log = high / low > 12;
  return log ? scale(low / 1.08, high * 1.08, from, to, true) : scale(Math.max(0, low - .06 * (high - low)), high + .06 * (high - low), from, to, false);
}
// Marks that would run into each other are left out.
function axis(x, y, marks, text, room) {
  let last = -Infinity;
  return marks.map(v => { const p = x.at(v); if (p - last < room) return null; last = p; return svg("g", {}, rule(p, y, p, y + 4), note(p, y + 17, text(v), "middle")); }).filter(e => e);
}

// Curves in a square from 0 to 1: [{name, cls, points: [[x, y]], band: [[x, low, high]]}].
function curves(box, series, options) {
  const width = Math.max(280, box.clientWidth || 420), height = Math.round(Math.min(340, width * .72)), left = 48, right = 12, top = 12, bottom = 42;
  const x = options.x || scale(0, 1, left, width - right, false), y = scale(0, 1, height - bottom, top, false);
  const xs = options.log ? scale(options.low, options.high, left, width - right, true) : x;
  const parts = [0, .25, .5, .75, 1].map(v => svg("g", {}, rule(left, y.at(v), width - right, y.at(v)), note(left - 8, y.at(v) + 4, percent(v), "end")));
  parts.push(...axis(xs, height - bottom, options.marks || xs.marks, options.text || percent, 46), note((left + width - right) / 2, height - 6, options.across, "middle"));
  for (const one of series) {
    const at = ([a, b]) => [xs.at(a), y.at(b)];
    if (one.band) parts.push(svg("path", { class: "band " + one.cls.replace("s", "f"), d: path([...one.band.map(([a, low]) => at([a, low])), ...one.band.slice().reverse().map(([a, , high]) => at([a, high]))]) + "Z" }));
    parts.push(svg("path", { class: "line " + one.cls, d: path(one.points.map(at)) }));
  }
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": options.label }, ...parts);
  box.replaceChildren(root);
  if (series.length > 1) box.append(legend(series.map(one => [one.cls.replace("s", "f"), one.name])));
  return { root, x: xs, y };
}
const legend = pairs => make("div", { class: "legend" }, pairs.map(([cls, name]) => make("span", {}, make("i", { class: cls }), name)));

// Dark to bright, the same to everybody who tells light from dark (matplotlib's viridis, ten points).
const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137], [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
function viridis(share) {
  const t = Math.min(.9999, Math.max(0, share)) * (VIRIDIS.length - 1), i = Math.floor(t), f = t - i;
  return VIRIDIS[i].map((c, k) => Math.round(c + f * (VIRIDIS[i + 1][k] - c)));
}
