"use strict";
const D = JSON.parse(document.getElementById("data").textContent);
const $ = id => document.getElementById(id);
const MANY = { spot: "spots", scratch: "scratches", stain: "stains", band: "bands", grain: "grain" }, KINDS = Object.keys(MANY);

function make(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) e.addEventListener(event, act);
    else if (value === true) e.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter(child => child !== null && child !== undefined && child !== false));
  return e;
}
const fixed = (v, digits) => v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const count = v => fixed(v, 0);
const digits = v => v === 0 ? "0" : Math.abs(v) >= 1000 ? count(v) : Number(v.toPrecision(4)).toString();
const percent = v => v === null ? "–" : v > 0 && v < .00995 ? fixed(100 * v, 2) + " %" : fixed(100 * v, v < .0995 && v > 0 ? 1 : 0) + " %";
const plural = (n, one, many) => count(n) + " " + (n === 1 ? one : many || one + "s");

