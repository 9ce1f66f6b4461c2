// The top of the page: what is wrong now; then all values by domain, the important ones large.

import { byId, h, setClass, setText, svg } from "./dom.js";
import { ago, duration, number, when, written } from "./format.js";
import { compass, pick, t } from "./i18n.js";
import { isStale, nowMs, store } from "./live.js";
import { openSheet } from "./sheet.js";
import { Spark } from "./spark.js";

const DOMAINS = ["air", "noise", "weather", "energy", "water", "electrical", "equipment"];
const SIGNS = { // shape as well as colour, for people who see no colours
  ok: "M9 16.5l5 5 9-11", warning: "M16 8v10M16 23v.5", fault: "M10.5 10.5l11 11M21.5 10.5l-11 11", waiting: "M16 9v7l5 3",
};

let cells = []; // everything that shows one value; each has update()

export function buildStatus() {
  const sign = svg("path", {});
  const light = svg("svg", { viewBox: "0 0 32 32", "aria-hidden": "true" }, svg("circle", { cx: 16, cy: 16, r: 15 }), sign);
  const parts = {
    light, sign, title: h("h2", { "aria-live": "polite" }), facts: h("p", { class: "muted" }), list: h("ul", { class: "findings", "aria-live": "polite" }), shown: null,
  };
  byId("status").replaceChildren(...[
    h("div", { class: "hero" }, light, h("div", {}, parts.title, parts.facts)),
    parts.list,
    store.site.alarms ? null : h("p", { class: "rules muted" }, t("status.rules")),
  ].filter(Boolean));
  byId("status").parts = parts;
}

export function refreshStatus() {
  const { light, sign, title, facts, list } = byId("status").parts;
  const values = [...store.values.values()];
  const good = values.filter((v) => v.value !== null && !isStale(v.time_ms, v.every_s)).length;
  const current = store.devices.filter((d) => ["good", "partly"].includes(d.state) && !isStale(d.last_answer_ms, d.every_s)).length;
  const status = store.site.status === "ok" && good === 0 ? "waiting" : store.site.status;
  const { active = 0, worst = null } = store.site.alarms ?? {};
  const colour = status !== "fault" && active ? (worst === "warning" ? "warning" : "fault") : status;
  setClass(light, `light ${colour}`);
  sign.setAttribute("d", active && status !== "fault" ? SIGNS.warning : SIGNS[status]);
  // a limit that is exceeded is what is wrong now, however well the devices answer
  setText(title, active && status !== "fault" ? t("status.alarms", { active: number(active) }) : t(`status.${status}`));
  setText(facts, t("status.facts", {
    good: number(good), all: number(values.length), devices: number(current), total: number(store.devices.length),
  }));
  const text = JSON.stringify(store.site.findings) + document.documentElement.lang;
  if (byId("status").parts.shown === text) return;
  byId("status").parts.shown = text;
  list.replaceChildren(...store.site.findings.map((f) => h("li", { class: f.level },
    h("span", {}, pick(f.text)),
    f.since_ms ? h("span", { class: "since" }, t("since", { time: when(f.since_ms, nowMs(), store.site.timezone) })) : null)));
}

export function buildValues() {
  cells = [];
  const byDomain = new Map(DOMAINS.map((domain) => [domain, new Map()]));
  const machines = new Set([...store.values.values()].filter((v) => v.domain === "equipment").map((v) => v.device));
  for (const entry of store.values.values()) {
    // A machine is shown whole: the wind at the crane's tip belongs to the crane.
    const devices = byDomain.get(machines.has(entry.device) ? "equipment" : entry.domain);
    if (!devices.has(entry.device)) devices.set(entry.device, []);
    devices.get(entry.device).push(entry);
  }
  const sections = [...byDomain].filter(([, devices]) => devices.size).map(([domain, devices]) =>
    h("section", { class: `domain span${Math.min(3, devices.size)}`, "aria-labelledby": `domain-${domain}` },
      h("h2", { id: `domain-${domain}` }, t(`domain.${domain}`)),
      h("div", { class: "cards" }, [...devices].map(([name, entries]) => deviceCard(name, entries)))));
  byId("values").replaceChildren(...sections);
}

function deviceCard(name, entries) {
  const device = store.devices.find((d) => d.name === name);
  const headlines = entries.filter((entry) => entry.headline);
  const large = headlines.length ? headlines : entries.slice(0, 4);
  const rest = entries.filter((entry) => !large.includes(entry));
  const age = h("span", { class: "age" });
  const card = h("article", { class: "card" },
    h("header", {}, h("h3", {}, h("a", { href: `#/${name}` }, pick(device.label))), h("span", { class: "zone" }, device.zone), age),
    h("div", { class: "tiles" }, large.map(tile)),
    rest.length ? foldedRows(rest) : null);
  cells.push({ update: () => {
    const good = Math.max(...entries.map((entry) => entry.last_good_ms ?? 0)) || null;
    setClass(age, isStale(good, device.every_s) ? "age old" : "age");
    setText(age, ago(good, nowMs()));
  } });
  return card;
}

function foldedRows(entries) {
  const box = h("details", {}, h("summary", {}, t("values.more", { n: entries.length })));
  const rows = entries.map((entry) => {
    const value = h("span", { class: "value" });
    const row = h("button", { type: "button", class: "row", onclick: () => openSheet(entry) }, h("span", {}, pick(entry.label)), value);
    cells.push({ update: () => {
      if (!box.open) return;
      const { text, unit, note, state } = show(entry);
      setClass(row, `row ${state}`);
      setText(value, [text, unit, note].filter(Boolean).join(" "));
    } });
    return row;
  });
  box.append(h("div", { class: "rows" }, rows));
  box.addEventListener("toggle", refreshValues);
  return box;
}

function tile(entry) {
  const device = store.devices.find((d) => d.name === entry.device);
  const value = h("span", { class: "number" });
  const unit = h("span", { class: "unit" });
  const note = h("span", { class: "note" });
  const picture = entry.kind === "direction" ? windArrow() : ["gauge", "level_db"].includes(entry.kind) ? new Spark(entry) : null;
  const node = h("button", {
    type: "button", class: "tile", "aria-label": t("chart.open", { device: pick(device.label), metric: pick(entry.label) }),
    onclick: () => openSheet(entry),
  }, h("span", { class: "label" }, pick(entry.label)), h("span", { class: "reading" }, value, unit), note, picture?.node);
  cells.push({ update: () => {
    const shown = show(entry);
    setClass(node, `tile ${shown.state}${picture ? "" : " plain"}`);
    setText(value, shown.text);
    setText(unit, shown.unit);
    setText(note, shown.note);
    node.setAttribute("aria-label", [pick(entry.label), shown.text, shown.unit, shown.note,
      t("chart.open", { device: pick(device.label), metric: pick(entry.label) })].filter(Boolean).join(" · "));
    picture?.push(entry);
  } });
  return node;
}

/** How one value stands: {text, unit, note, state}. What is not good is never shown as a number. */
function show(entry) {
  if (entry.value === null) {
    const known = entry.time_ms !== null;
    const note = entry.last_good_ms ? t("mark.lastgood", { age: ago(entry.last_good_ms, nowMs()) }) : "";
    return { text: "–", unit: `${entry.mark} · ${t(known ? `mark.${entry.mark}` : "mark.none")}`, note, state: "bad" };
  }
  const old = isStale(entry.time_ms, entry.every_s);
  const note = old ? t("age.old", { age: duration((nowMs() - entry.time_ms) / 1000) }) : "";
  const named = store.states.get(entry.metric)?.[entry.value];
  const state = old ? "stale" : named && entry.value ? "on" : "good";
  if (named) return { text: pick(named), unit: "", note, state };
  const { text, unit } = written(entry, entry.value);
  return { text, unit: entry.kind === "direction" && entry.domain === "weather" ? compass(entry.value) : unit, note, state };
}

/** An arrow that points where the wind blows to; the number says where it comes from. */
function windArrow() {
  const needle = svg("path", { d: "M0-11L5 9 0 5-5 9Z" });
  const node = svg("svg", { class: "arrow", viewBox: "-15 -15 30 30", "aria-hidden": "true" }, svg("circle", { r: 13.5 }), needle);
  return { node, push: (entry) => {
    const turn = (entry.value ?? 0) + (entry.domain === "weather" ? 180 : 0);
    needle.setAttribute("transform", `rotate(${turn.toFixed(0)})`);
    needle.setAttribute("visibility", entry.value === null ? "hidden" : "visible");
  } };
}

export function refreshValues() {
  for (const cell of cells) cell.update();
}
