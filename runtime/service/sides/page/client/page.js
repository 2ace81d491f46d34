"use strict";
const me = { csrf: "" };
async function post(address, body) {
  let told;
  try {
    const answer = await fetch(address, { method: "POST", headers: { "Content-Type": "application/json", "X-Kenpin": me.csrf || "" }, body: JSON.stringify(body) });
    if (answer.status === 401 && address !== "/login") location.reload();
    told = await answer.json();
  } catch { told = { error: t("unreached") }; }
  // Whatever was refused is said, and stays until something is done that is not.
  $("trouble").hidden = !told.error; $("trouble").textContent = told.error || "";
  return told;
}
const TABS = { live: () => { drawLast(); drawCounts(); drawAlarms(); drawStrip(); }, threshold: () => drawChange(), review: drawLearnt, production: drawProduction, health: drawHealth, rolls: drawRolls };
let tab = "live";
function draw() {
  if (!line) return;
  drawState();
  TABS[tab]();
}
function openTab(name) {
  tab = TABS[name] ? name : "live";
  for (const one of Object.keys(TABS)) $(`tab_${one}`).hidden = one !== tab;
  for (const e of $("tabs").children) { if (e.dataset.tab === tab) e.setAttribute("aria-current", "page"); else e.removeAttribute("aria-current"); }
  if (tab === "threshold") loadThreshold();
  if (tab === "review") listArchive(false);
  if (tab === "rolls") listRolls();
  draw();
}
async function listRolls() {
  const { rolls } = await (await fetch("/api/rolls")).json();
  $("rolls").replaceChildren(...(rolls.length ? rolls.map(name => make("li", {}, make("a", { href: `/roll/${encodeURIComponent(name)}`, target: "_blank", rel: "noopener" }, name))) : [make("li", { class: "soft" }, t("no_rolls"))]));
}
function listen() {
  const stream = new EventSource("/api/events");
  stream.onmessage = e => { line = JSON.parse(e.data); draw(); };
  stream.addEventListener("over", () => { stream.close(); location.reload(); });
  stream.onerror = () => { if (line) { line.silent = true; draw(); } };
}
function drawTabs() {
  $("tabs").replaceChildren(...Object.keys(TABS).map(name => make("button", { "data-tab": name, on: { click: () => { location.hash = name; } } }, t(`tab_${name}`))));
}
async function useLanguage(language) {
  await speak(language);
  alarmsTold = ""; frames.clear(); $("strip").replaceChildren(); sources.clear();
  if (me.user) { drawTabs(); openTab(tab); if (tab === "threshold") drawHistogram(); }
}
async function begin() {
  Object.assign(me, await (await fetch("/api/me")).json());
  const kept = localStorage.getItem("language"), language = me.languages.includes(kept) ? kept : me.language;
  const names = { en: "English", de: "Deutsch", ja: "日本語", zh: "中文" };
  $("language").replaceChildren(...me.languages.map(one => make("option", { value: one, lang: one }, names[one] || one)));
  $("language").value = language;
  $("language").addEventListener("change", () => { localStorage.setItem("language", $("language").value); useLanguage($("language").value); });
  await useLanguage(language);
  $("line").textContent = me.line;
  if (!me.user) {
    $("login").hidden = false;
    $("notice").textContent = me.notice;
    $("login").addEventListener("submit", async e => {
      e.preventDefault();
      const form = new FormData($("login")), answer = await post("/login", { name: form.get("name"), password: form.get("password") });
      if (answer.error) $("login_error").textContent = answer.error; else location.reload();
    });
    return;
  }
  $("user").textContent = me.login ? `${me.user} (${t(`role_${me.role}`)})` : "";
  $("logout").hidden = !me.login;
  $("logout").addEventListener("click", async () => { await post("/logout", {}); location.reload(); });
  $("apply_card").hidden = $("learn_card").hidden = !["set", "admin"].includes(me.role);
  $("only_ng").addEventListener("change", drawStrip);
  $("ng_open").addEventListener("click", () => { withMap = !withMap; drawLast(); });
  $("large_close").addEventListener("click", () => $("large").close());
  bindThreshold(); bindReview(); bindRolls();
  openTab(location.hash.slice(1) || "live");
  addEventListener("hashchange", () => openTab(location.hash.slice(1)));
  let wide = innerWidth;
  addEventListener("resize", () => { if (innerWidth !== wide) { wide = innerWidth; draw(); drawHistogram(); } });
  listen();
}
begin();
