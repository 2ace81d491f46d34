const section = (id, title, ...children) => make("section", { id }, make("div", { class: "bar" }, make("h2", {}, title)), ...children);
const soft = text => make("p", { class: "soft" }, text);
function table(heads, rows, left) {
  const side = k => ((left || []).includes(k) ? "text" : null);
  return make("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": heads.join(", ") }, make("table", {}, make("thead", {}, make("tr", {}, heads.map((head, k) => make("th", { scope: "col", class: side(k) }, head)))), make("tbody", {}, rows.map(row => make("tr", {}, row.map((cell, k) => make("td", { class: side(k) }, cell)))))));
}
const card = (value, text, cls) => make("div", { class: "card " + (cls || "") }, make("b", {}, value), make("span", {}, text));

// Pictures, each with its map or without, and large when it is asked for.
let withMaps = true;
const flipped = [];
function picture(p, cls) {
  const image = make("img", { alt: p.name, loading: "lazy" }), show = () => { image.src = withMaps && p.heat || p.plain; };
  flipped.push(show); show();
  const ng = p.score !== null && p.score > limit;
  return make("figure", { class: p.score === null ? cls || "" : ng ? "ng" : "ok" }, make("button", { "aria-label": "enlarge " + p.name, on: { click: () => enlarge(p) } }, image),
    make("figcaption", {}, p.score === null ? null : make("span", { class: "score" }, digits(p.score)), p.name, p.note ? make("div", { class: "soft" }, p.note) : null));
}
function enlarge(p) {
  const box = $("large"), close = make("button", { on: { click: () => box.close() } }, "close");
  const tall = image => image.naturalWidth > 1.6 * image.naturalHeight ? "pair" : "pair side";
  const pair = make("div", { class: "pair side" }, [p.plain, p.heat].filter(Boolean).map(src => make("img", { src, alt: p.name, on: { load: e => { pair.className = p.heat ? tall(e.target) : "pair"; } } })));
  box.replaceChildren(make("div", { class: "bar" }, make("h2", {}, p.name), p.score === null ? null : make("span", { class: "soft" }, "score " + digits(p.score)), close), pair);
  box.onclick = e => { if (e.target === box) box.close(); };
  box.showModal();
}
function gallery(title, pictures, text, cls) {
  if (!pictures || !pictures.length) return null;
  const wide = D.frame.width_px > 2.2 * D.frame.height_px && cls !== "small";
  return make("div", {}, make("h3", {}, title), text ? soft(text) : null, make("div", { class: "gallery " + (cls || (wide ? "wide" : "")) }, pictures.map(p => picture(p))));
}
function galleries() {
  const P = D.pictures, shown = [
    gallery("Good images that score highest", P.highest, "Each judged as if its part had never been seen. What lies above the threshold would have been rejected: is it really good?"),
    gallery("Defects drawn in, and missed: the loudest", P.missed, "Of each kind and size the loudest that stays below the threshold. If such a defect matters, the bundle is not ready for it.", "small"),
    gallery("Defects drawn in, and found: the faintest", P.faintest, "", "small"),
    gallery(D.labelled ? "NG images that score lowest" : "NG images: the lowest scores", P.ng_low, "These escape, or come nearest to it."), gallery("NG images: the highest scores", P.ng_high),
    gallery("Good images of the labelled set that score highest", P.good_high, "These are rejected, or come nearest to it."), gallery("Good images of the labelled set that score lowest", P.good_low),
    gallery("What the learned measure tells apart", P.embedding && P.embedding.slice(0, 1), "Good tiles should lie together, and what is NG or drawn in away from them. A tile of an NG image amid the good ones shows no defect, or one that the bundle hardly tells from them.", "chart"),
    gallery("Farthest from everything good", P.embedding && P.embedding.slice(1), "Each with the good tile that it is nearest to, on its right. Where a pair differs by its light or place more than by a defect, the bundle has learned that: more good images of the kind help."),
    gallery("What is inspected", P.inspected, "Stripes: not inspected, by images.mask or web.ignore, lanes, edges and ends. Red boxes: where the highest scores of good images crowd together; leave such a place out if it is no material.", "few"),
    gallery("Good images as they usually are", P.usual, "", "few"), gallery("What was learned from", P.samples, "", "few"),
  ].filter(Boolean);
  if (!shown.length) return null;
  const made = section("pictures", "Pictures", ...shown);
  const toggle = make("button", { class: "only-screen", "aria-pressed": "true", on: { click: () => { withMaps = !withMaps; toggle.setAttribute("aria-pressed", withMaps); flipped.forEach(show => show()); } } }, "maps");
  made.firstChild.append(toggle);
  return made;
}

// Mean and spread of the good images' maps, by position.
function places() {
  if (!D.positions) return null;
  const { mean, spread } = D.positions;
  if (D.web) {
    const box = make("div", {}), all = [...mean[0], ...spread[0]], top = Math.max(...all) * 1.08 || 1, width = D.frame.width_px;
    const points = row => row.map((v, k) => [(k + .5) / row.length * width, v / top]);
    onDraw.push(() => { const c = curves(box, [{ name: "usual score", cls: "s1", points: points(mean[0]) }, { name: "spread (standard deviation)", cls: "s2", points: points(spread[0]) }], { x: scale(0, width, 48, Math.max(280, box.clientWidth) - 12, false), across: "px across the web", text: count, marks: evenMarks(0, width), label: "mean and spread of good strips across the web" }); for (const t of c.root.querySelectorAll("text[text-anchor=end]")) t.textContent = digits(parseFloat(t.textContent) / 100 * top); });
    return section("places", "Where good material scores high", soft("Over all good strips, by column. A peak at one place is a hem, an edge or a lamp: leave it out by web.ignore, or give more images."), box);
  }
  return section("places", "Where good material scores high", soft("Over all good images, by position. A bright place is where the bundle is unsure of what is normal: an edge, a hole, a print that varies. images.mask leaves out what is no material."), make("div", { class: "even" }, heatmap("usual score", mean), heatmap("spread (standard deviation)", spread)));
}
function heatmap(title, values) {
  const rows = values.length, cols = values[0].length, flat = values.flat(), low = Math.min(...flat), high = Math.max(...flat), canvas = make("canvas", { role: "img", "aria-label": `${title}, from ${digits(low)} to ${digits(high)}` });
  canvas.width = cols; canvas.height = rows; canvas.style.aspectRatio = `${D.frame.width_px} / ${D.frame.height_px}`;
  const c = canvas.getContext("2d"), image = c.createImageData(cols, rows);
  flat.forEach((v, k) => { const [r, g, b] = viridis((v - low) / (high - low || 1)); image.data.set([r, g, b, 255], 4 * k); });
  c.putImageData(image, 0, 0);
  const said = make("span", {}, ""), ramp = make("div", { class: "ramp" });
  ramp.style.background = `linear-gradient(90deg, ${VIRIDIS.map(v => `rgb(${v.join()})`).join()})`;
  canvas.addEventListener("pointermove", e => { const r = canvas.getBoundingClientRect(), col = Math.min(cols - 1, Math.floor((e.clientX - r.left) / r.width * cols)), row = Math.min(rows - 1, Math.floor((e.clientY - r.top) / r.height * rows)); said.textContent = `${count((col + .5) / cols * D.frame.width_px)}, ${count((row + .5) / rows * D.frame.height_px)} px: ${digits(values[row][col])}`; });
  return make("div", { class: "heatmap" }, make("h3", {}, title), canvas, ramp, make("div", { class: "ends" }, make("span", {}, digits(low)), said, make("span", {}, digits(high))));
}

function quantised() {
  const q = D.quantization;
  if (!q || !q.scores.int8) return null;
  const box = make("div", {}), worst = Object.entries(q.score_ratios).sort((a, b) => a[1] - b[1]);
  onDraw.push(() => {
    const pairs = ["normals", "twins"].map(which => q.scores.fp32[which].map((v, k) => [v, q.scores.int8[which][k]])), all = pairs.flat(2);
    const width = Math.max(280, box.clientWidth), height = Math.min(360, width * .75), x = scaleOf(all, 52, width - 12), y = scale(x.low, x.high, height - 42, 12, x.log);
    const dots = pairs.flatMap((own, k) => own.map(([a, b]) => svg("circle", { cx: x.at(a), cy: y.at(b), r: 3.4, class: "f" + (k + 1), opacity: .6 })));
    box.replaceChildren(svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": "scores by INT8 against scores by FP32" }, ...axis(x, height - 42, x.marks, digits, 40), ...x.marks.map(v => note(44, y.at(v) + 4, digits(v), "end")), rule(x.at(x.low), y.at(x.low), x.at(x.high), y.at(x.high)), ...dots, note((40 + width) / 2, height - 6, "score by FP32", "middle"), note(56, 14, "score by INT8")), legend([["f1", "good tiles"], ["f2", "the same with a loud defect pasted in"]]));
  });
  return section("int8", "INT8 against FP32", soft("The same tiles scored by both precisions, each fitted on its own features. On the line nothing is lost; far below it INT8 would see less. Loud pasted defects tell of the quantising only, not of real defects."),
    make("div", { class: "even" }, box, table(["pasted defect", "INT8 / FP32"], [...worst.map(([kind, ratio]) => [kind, fixed(ratio, 3)]), ["told from good, AUROC FP32", fixed(q.separation.fp32, 3)], ["told from good, AUROC INT8", fixed(q.separation.int8, 3)], ["least ratio allowed", fixed(q.settings.min_score_ratio, 2)], ...(q.in_float || []).map(name => ["stays in float, for defects would be lost", name])])));
}

function speedAndMemory() {
  const s = D.speed, m = D.memory;
  if (!s) return null;
  const rows = [["median, from a whole frame to its verdict", fixed(s.median_ms, 1) + " ms"], ["slowest hundredth", fixed(s.p99_ms, 1) + " ms"], ["line rate that the median holds", count(s.lines_per_s) + " lines/s"], ["line rate that the slowest hundredth holds", count(s.lines_per_s_p99) + " lines/s"], ["megapixels a second", fixed(s.megapixels_per_s, 1)], ...Object.entries(s.stages_ms).map(([name, ms]) => ["of it: " + name, fixed(ms, 2) + " ms"])];
  if (D.members) rows.push(...D.members.alone_ms.map(([name, ms]) => [`member ${name} alone, ${plural(D.members.tiles, "tile")}`, fixed(ms, 2) + " ms"]), ["all members alone, added", fixed(D.members.alone_ms.reduce((sum, [, ms]) => sum + ms, 0), 2) + " ms"], ["as the one network that they are", fixed(D.members.together_ms, 2) + " ms"]);
  const kept = [["bundle on the disk", fixed(m.bundle_mib, 1) + " MiB"], ["statistics in memory", fixed(m.statistics_mib, 1) + " MiB"], ["most memory while compiling", count(D.peak_memory_mib) + " MiB"], ["compiling took", fixed(D.seconds, 0) + " s"]];
  return section("speed", "Speed and memory on this machine", soft(`${plural(s.frames, "frame")} of ${sized(Math.round(s.lines_per_s * s.median_ms / 1000))} in memory, one after the other, on ${plural(s.cores, "core")} of ${D.host}; whatever ran beside is in it. The box may be faster or slower: edge-replay measures there.`), make("div", { class: "even" }, table(["speed", ""], rows), table(["memory", ""], kept)));
}

function material() {
  const i = D.images;
  if (!i) return null;
  const how = { group: "named by images.group", blocks: "neighbours by name, for images.group is not given", lines: "pieces along the web" }[i.how];
  const odd = D.good.scores.filter(one => one.odd), out = [...i.left_out.map(one => [one.name, one.why]), ...odd.map(one => [one.name, "learned from, but sets no threshold: its score does not belong to the others"])];
  return section("material", "What was learned from", soft(`${plural(i.count, "image")} in ${i.folder}, ${plural(i.parts, "part")}: ${how}.${i.kept.length ? " Kept however odd: " + i.kept.join(", ") + "." : ""}`),
    out.length ? table(["left out", "why"], out, [1]) : soft("Nothing was left out."));
}
