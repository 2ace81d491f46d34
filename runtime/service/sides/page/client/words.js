"use strict";
// Texts by key in the reader's language; a missing one would show its key, and fails a test.
const $ = id => document.getElementById(id);
const words = { language: "en", texts: {} };
function t(key, values) {
  const text = words.texts[key] || key;
  return values ? text.replace(/\{(\w+)\}/g, (_, name) => values[name] === undefined ? "" : values[name]) : text;
}
async function speak(language) {
  const answer = await fetch(`/file/${language}.json`);
  if (!answer.ok) throw new Error(`no texts in ${language}`);
  words.texts = await answer.json(); words.language = language;
  document.documentElement.lang = language;
  for (const e of document.querySelectorAll("[data-t]")) e.textContent = t(e.dataset.t);
  for (const e of document.querySelectorAll("[data-label]")) e.setAttribute("aria-label", t(e.dataset.label));
}
const number = (v, digits) => v.toLocaleString(words.language, { minimumFractionDigits: digits || 0, maximumFractionDigits: digits || 0 });
const short = v => v === null || v === undefined ? "–" : Math.abs(v) >= 1000 ? number(v) : Number(v.toPrecision(4)).toLocaleString(words.language, { maximumSignificantDigits: 4 });
const percent = v => Number.isFinite(v) ? v.toLocaleString(words.language, { style: "percent", maximumFractionDigits: v > .995 && v < 1 || v < .01 ? 2 : 1 }) : "–";
const clock = s => new Date(1000 * s).toLocaleTimeString(words.language, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const hour = s => new Date(1000 * s).toLocaleTimeString(words.language, { hour: "2-digit", minute: "2-digit" });

function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) e.addEventListener(event, act);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter(c => c !== null && c !== undefined && c !== false));
  return e;
}

// Why, in one sentence, and where.
const PLACES = [["place_nw", "place_n", "place_ne"], ["place_w", "place_c", "place_e"], ["place_sw", "place_s", "place_se"]];
function whereIs(place) {
  if (!place) return "";
  const third = v => v < 1 / 3 ? 0 : v < 2 / 3 ? 1 : 2;
  return t(PLACES[third(place[1])][third(place[0])]);
}
function whyNot(one) {
  const known = ["defect", "unsure"].includes(one.reason) && one.score !== null && one.limit > 0;
  const values = { place: whereIs(one.place) || t("place_unknown"), score: short(one.score), limit: short(one.limit), times: known ? number(one.score / one.limit, 1) : "", ms: number(one.total_ms, 0), n: number(one.defects) };
  const said = t(`why_${one.reason}`, values);
  // What the service says is in English: better than nothing where there is more to it.
  const where = one.lanes.length ? ` ${t("in_lanes", { lanes: one.lanes.join(", ") })}` : "";
  return (known || !one.detail ? said : `${said} (${one.detail})`) + where;
}
