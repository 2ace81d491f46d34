"use strict";
// The regularised incomplete beta function, as runtime/bundles/operating_point.py has it: NIST DLMF 8.17.22 by Lentz.
function lgamma(x) {
  const g = [76.18009172947146, -86.50532032941677, 24.01409824083091, -1.231739572450155, .1208650973866179e-2, -.5395239384953e-5];
  let y = x, sum = 1.000000000190015;
  const t = x + 5.5 - (x + .5) * Math.log(x + 5.5);
  for (const c of g) sum += c / ++y;
  return Math.log(2.5066282746310005 * sum / x) - t;
}
function betaBelow(x, a, b) {
  if (x <= 0 || x >= 1) return x >= 1 ? 1 : 0;
  if (x > (a + 1) / (a + b + 2)) return 1 - betaBelow(1 - x, b, a);
  const front = Math.exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * Math.log(x) + b * Math.log1p(-x)), tiny = 1e-300;
  let value = 1, c = 1, d = 0;
  for (let step = 0; step < 400; step++) {
    const m = Math.floor(step / 2);
    const term = step === 0 ? 1 : step % 2 === 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 + term * d; d = 1 / (Math.abs(d) > tiny ? d : tiny);
    c = 1 + term / (Math.abs(c) > tiny ? c : tiny);
    value *= c * d;
    if (Math.abs(1 - c * d) < 1e-12) break;
  }
  return front * (value - 1) / a;
}
function betaQuantile(chance, a, b) {
  let low = 0, high = 1;
  for (let k = 0; k < 60; k++) { const middle = (low + high) / 2; if (betaBelow(middle, a, b) < chance) low = middle; else high = middle; }
  return (low + high) / 2;
}
// Clopper and Pearson: between which shares `found` of `n` lies, and below which, with 95 % confidence.
const between = (found, n) => [found === 0 ? 0 : betaQuantile(.025, found, n - found + 1), found === n ? 1 : betaQuantile(.975, found + 1, n - found)];
const below = (found, n) => betaQuantile(.95, found + 1, Math.max(n - found, 1e-9));
const over = (scores, limit) => scores.reduce((n, score) => n + (score > limit), 0);
// What is rejected of all good ones, with 95 % confidence at most: counted, or from the scores' tail where that
// says less. What lies above a limit is no more than what lies above a lower one.
const atMost = (scores, limit, { worth, extrapolated }) => Math.min(below(over(scores, limit) * worth / scores.length, worth), ...extrapolated.filter(([threshold]) => threshold <= limit).map(([, share]) => share));
