// The threshold, seen and moved. Everything that depends on it listens here.
const chosen = D.threshold.ok, listeners = [];
let limit = chosen;
function setLimit(value) { limit = value; for (const act of listeners) act(); }
const plainGood = D.good.scores.filter(one => !one.odd);
const goodScores = plainGood.map(one => one.score);
const twinScores = D.twins.flatMap(twin => twin.scores);
const labelled = D.labelled || [], labelledGood = labelled.filter(one => one.kind === "good"), labelledNg = labelled.filter(one => one.kind !== "good");
const thingsGood = D.web ? "strips" : "images";
// Five colours are told apart: where there are more kinds, the last one stands for the rest.
const kindsNg = [...new Set(labelledNg.map(one => one.kind))].map(kind => ({ name: kind, scores: labelledNg.filter(one => one.kind === kind).map(one => one.score) })).sort((a, b) => b.scores.length - a.scores.length);
const ownColours = kindsNg.length > 5 ? 4 : 5, kindsRest = kindsNg.slice(ownColours);
const colourOf = k => "f" + (Math.min(k, ownColours) + 1);

// What each row of the histogram shows.
const ROWS = [
  { name: "good " + thingsGood + ", each judged as if unseen", series: [{ name: "good", cls: "f1", scores: goodScores }] },
  labelledGood.length && { name: "good, of the labelled set", series: [{ name: "good", cls: "f3", scores: labelledGood.map(one => one.score) }] },
  !D.labelled && twinScores.length && { name: "defects drawn in, barely visible to loud", series: KINDS.map((kind, k) => ({ name: MANY[kind], cls: "f" + (k + 1), scores: D.twins.filter(t => t.kind === kind).flatMap(t => t.scores) })).filter(s => s.scores.length) },
  D.ng.length && { name: "NG images", series: [{ name: "NG", cls: "f2", scores: D.ng.map(one => one.score) }] },
  labelledNg.length && { name: "NG, of the labelled set", series: [...kindsNg.slice(0, ownColours), ...(kindsRest.length ? [{ name: `${kindsRest.length} other kinds`, scores: kindsRest.flatMap(one => one.scores) }] : [])].map((one, k) => ({ ...one, cls: colourOf(k) })) },
].filter(Boolean);
const EVERY = ROWS.flatMap(row => row.series.flatMap(s => s.scores)).concat(chosen);

function histogram(box) {
  const width = Math.max(280, box.clientWidth), left = 6, right = 6, each = width < 520 ? 84 : 104, gap = 30, bottom = 26, first = 22;
  const height = first + ROWS.length * (each + gap) + bottom, x = scaleOf(EVERY, left, width - right), bins = Math.max(24, Math.min(72, Math.round(width / 14)));
  const parts = [];
  ROWS.forEach((row, r) => {
    const base = first + (r + 1) * (each + gap) - 4, counts = row.series.map(s => { const c = new Array(bins).fill(0); for (const v of s.scores) c[Math.min(bins - 1, Math.max(0, Math.floor((x.at(v) - left) / (width - left - right) * bins)))]++; return c; });
    let top = 1;
    for (let b = 0; b < bins; b++) top = Math.max(top, counts.reduce((sum, c) => sum + c[b], 0));
    parts.push(note(left, base - each - 9, row.name, "start", "strong"), note(width - right, base - each - 9, count(row.series.reduce((n, s) => n + s.scores.length, 0)), "end"), rule(left, base, width - right, base));
    for (let b = 0; b < bins; b++) {
      let y = base;
      counts.forEach((c, k) => { if (!c[b]) return; const h = Math.max(1.5, c[b] / top * (each - 6)); y -= h; parts.push(svg("rect", { class: row.series[k].cls, x: left + b * (width - left - right) / bins + .6, y, width: (width - left - right) / bins - 1.2, height: h, rx: 1 })); });
    }
  });
  const base = first + ROWS.length * (each + gap) - 4;
  parts.push(...axis(x, base, x.marks, digits, 44));
  const shade = svg("rect", { class: "over", y: 0, height: base }), line = rule(0, 0, 0, base, "limit"), old = rule(x.at(chosen), 14, x.at(chosen), base, "limit default"), grip = svg("path", { class: "grip" }), label = note(0, 11, "", "start", "strong");
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "drag", role: "img", "aria-label": "histogram of scores with the threshold, which can be dragged" }, ...parts, shade, old, line, grip, label);
  const place = () => {
    const p = Math.min(width - right, Math.max(left, x.at(limit)));
    shade.setAttribute("x", p); shade.setAttribute("width", Math.max(0, width - right - p));
    line.setAttribute("x1", p); line.setAttribute("x2", p); grip.setAttribute("d", `M${p} 20l-7 -9v-9h14v9z`);
    const end = p > width - 150; label.setAttribute("x", end ? p - 12 : p + 12); label.setAttribute("text-anchor", end ? "end" : "start"); label.textContent = "threshold " + digits(limit);
  };
  const move = e => { const r = root.getBoundingClientRect(); setLimit(Number(x.value(Math.min(width - right, Math.max(left, (e.clientX - r.left) / r.width * width))).toPrecision(4))); };
  root.addEventListener("pointerdown", e => { root.setPointerCapture(e.pointerId); move(e); });
  root.addEventListener("pointermove", e => { if (e.buttons) move(e); });
  box.replaceChildren(root);
  const kinds = ROWS.find(row => row.series.length > 1);
  if (kinds) box.append(legend(kinds.series.map(s => [s.cls, s.name])));
  place();
  return { x, place };
}

// A bar from 0 to 1 with its 95 % interval.
function gauge(name, found, n, cls) {
  const [low, high] = between(found, n), share = found / n;
  return make("div", { class: "gauge" }, make("span", { class: "name", title: name }, name),
    svg("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", "aria-hidden": "true" }, svg("rect", { x: 0, y: 2, width: 100, height: 8, rx: 2, fill: "var(--rule)" }), svg("rect", { class: cls, x: 0, y: 2, width: 100 * share, height: 8, rx: 2 }), svg("rect", { x: 100 * low, y: 5.4, width: Math.max(.6, 100 * (high - low)), height: 1.2, fill: "var(--ink)", opacity: .55 })),
    make("span", { class: "number" }, `${count(found)} of ${count(n)} · ${percent(share)}`));
}
const seenPictures = new Map(Object.values(D.pictures).flat().map(p => [p.name, p]));

function effect(box) {
  const n = goodScores.length, rejected = over(goodScores, limit), rows = [];
  rows.push(make("div", { class: "row" }, make("b", {}, `${count(rejected)} of ${count(n)}`), ` good ${thingsGood} rejected`, make("div", { class: "soft" }, `with 95 % confidence at most ${percent(atMost(goodScores, limit, D.good))} of all good ones`)));
  if (labelledGood.length) rows.push(make("div", { class: "row" }, gauge("false rejects", over(labelledGood.map(o => o.score), limit), labelledGood.length, "f3"), kindsNg.map((kind, k) => gauge(kind.name, over(kind.scores, limit), kind.scores.length, colourOf(k)))));
  else if (twinScores.length) rows.push(make("div", { class: "row" }, make("span", { class: "soft" }, "drawn defects that are found"), KINDS.map((kind, k) => { const own = D.twins.filter(t => t.kind === kind).flatMap(t => t.scores); return own.length ? gauge(MANY[kind], over(own, limit), own.length, "f" + (k + 1)) : null; })));
  if (D.ng.length) rows.push(make("div", { class: "row" }, gauge("NG images", over(D.ng.map(o => o.score), limit), D.ng.length, "f2")));
  const low = Math.min(limit, chosen), high = Math.max(limit, chosen);
  const changed = [...plainGood, ...labelled, ...D.ng].filter(one => one.score > low && one.score <= high), becomes = limit < chosen ? "NG" : "OK";
  const shown = changed.map(one => seenPictures.get(one.name)).filter(Boolean).slice(0, 12);
  rows.push(make("div", { class: "row" }, make("b", {}, limit === chosen ? "No verdict changes" : `${plural(changed.length, "verdict")} would become ${becomes}`), limit === chosen ? make("div", { class: "soft" }, "move the line, and see which would") : null,
    shown.length ? make("div", { class: "changes", tabindex: "0", role: "group", "aria-label": "pictures of those that would change" }, shown.map(p => make("figure", {}, make("img", { src: p.heat || p.plain, alt: "" }), make("figcaption", {}, p.name)))) : changed.length ? make("div", { class: "soft" }, changed.slice(0, 8).map(one => one.name).join(", ")) : null));
  if (limit !== chosen) rows.push(make("div", { class: "row" }, make("span", { class: "soft" }, "to make a bundle with it:"), make("code", { class: "command" }, `edge-compile threshold ${D.folder || D.bundle || D.name} --ok ${Number(limit.toPrecision(4))}`)));
  box.replaceChildren(...rows);
}

// Which contrast of which size is found at the threshold.
function matrix(box) {
  box.replaceChildren(...KINDS.filter(kind => D.twins.some(t => t.kind === kind)).map(kind => {
    const own = D.twins.filter(t => t.kind === kind), sizes = [...new Set(own.map(t => t.size_px))].sort((a, b) => a - b), contrasts = [...new Set(own.map(t => t.contrast))].sort((a, b) => b - a);
    const table = make("table", {}, make("caption", {}, MANY[kind]), make("tr", {}, make("th", { scope: "col" }, "levels"), sizes.map(size => make("th", { scope: "col" }, size + " px"))));
    for (const contrast of contrasts) table.append(make("tr", {}, make("th", { scope: "row" }, String(contrast)), sizes.map(size => {
      const twin = own.find(t => t.size_px === size && t.contrast === contrast);
      if (!twin) return make("td", {});
      const share = over(twin.scores, limit) / twin.scores.length, cell = make("td", { title: `${over(twin.scores, limit)} of ${twin.scores.length} found` }, fixed(100 * share, 0));
      // Dark text on every shade: checked at both ends for 4.5 to 1.
      cell.style.background = `rgb(${[236, 140, 88].map((c, i) => Math.round(c + share * ([98, 203, 150][i] - c))).join()})`; cell.style.color = "#10141a";
      return cell;
    })));
    return table;
  }));
}
