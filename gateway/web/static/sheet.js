// The sheet that opens when a value is tapped: its chart, range buttons, and the range in words.

import { byId, h, setText } from "./dom.js";
import { drawChart } from "./chart.js";
import { number, percent, written } from "./format.js";
import { currentLanguage, pick, t } from "./i18n.js";
import { fetchJson, keyOf, nowMs, store } from "./live.js";
import { legend, spansOf } from "./timeline.js";

/** Label -> how far back and how fine, in ms and s; 1 s means every single reading. */
const RANGES = {
  "15m": [900_000, 1], "1h": [3_600_000, 60], "6h": [21_600_000, 60], "24h": [86_400_000, 300], "7d": [604_800_000, 1800], "30d": [2_592_000_000, 7200],
};
const POINT_TEXTS = { gauge: "chart.minutes", level_db: "chart.minutes", direction: "chart.minutevector" };
const AGAIN_MS = { "15m": 5_000 };
const AGAIN_DEFAULT_MS = 30_000;

let open = null; // {entry, range, history, spans, parts, asking, timer}

/** An hour, or a quarter of one while the gateway has not run that long. */
const usualRange = () => (nowMs() - store.site.started_ms < RANGES["15m"][0] ? "15m" : "1h");

export function openSheet(entry, range = usualRange()) {
  closeSheet();
  const device = store.devices.find((d) => d.name === entry.device);
  const parts = {
    value: h("p", { class: "now" }),
    readout: h("p", { class: "readout muted", "aria-live": "polite" }),
    plot: h("div", { class: "plot" }),
    legend: h("div", {}),
    words: h("dl", { class: "facts" }),
    files: h("div", {}),
  };
  const ranges = rangeButtons(Object.keys(RANGES), (name) => { open.range = name; load(); });
  const sheet = byId("sheet");
  sheet.replaceChildren(
    h("div", { class: "sheethead" },
      h("div", {}, h("h2", { id: "sheet-title" }, pick(entry.label)), h("p", { class: "muted" }, h("a", { href: `#/${device.name}` }, pick(device.label)), ` · ${device.zone}`)),
      parts.value,
      h("button", { type: "button", class: "ghost close", "aria-label": t("chart.close"), onclick: closeSheet }, "✕")),
    ranges, parts.readout, parts.plot, parts.legend, parts.words, parts.files,
  );
  open = { entry, range, history: null, spans: [], parts, asking: null, timer: null };
  history.replaceState(null, "", `#/${entry.device}/${entry.metric}`);
  sheet.showModal();
  refreshSheet();
  load();
}

export const rangeButtons = (names, choose) =>
  h("div", { class: "ranges", role: "group", "aria-label": t("chart.range") }, names.map((name) =>
    h("button", { type: "button", "data-range": name, onclick: () => choose(name) }, t(`range.${name}`))));

/** A link that saves that time as a table, in minutes or, beyond a week, in quarters of an hour. */
export function downloads(device, metric, fromMs, toMs) {
  const step = toMs - fromMs > 604_800_000 ? 900 : 60;
  const what = `device=${device}${metric ? `&metric=${metric}` : ""}&from=${fromMs}&to=${toMs}&step=${step}&lang=${currentLanguage()}`;
  return h("p", { class: "files" }, h("a", { href: `/api/history.csv?${what}`, download: "" }, t("csv.save", { n: number(step / 60) })),
    h("span", { class: "muted" }, t("csv.hint")));
}

export function closeSheet() {
  if (!open) return;
  clearTimeout(open.timer);
  open.asking?.abort();
  open = null;
  if (location.hash.split("/").length === 3) history.replaceState(null, "", location.pathname + location.search);
  byId("sheet").close();
}

/** Open what an address names: #/device/metric. */
export function openFromAddress(hash) {
  const [, device, metric] = hash.split("/");
  const entry = store.values.get(keyOf(device, metric));
  if (!entry) closeSheet();
  else if (open?.entry !== entry) openSheet(entry);
}

/** The current value at the top follows the live data. */
export function refreshSheet() {
  if (!open) return;
  const { entry, parts } = open;
  setText(parts.value, entry.value === null ? t(`mark.${entry.mark}`) : Object.values(nowText(entry)).join(" "));
}

function nowText(entry) {
  const state = store.states.get(entry.metric)?.[entry.value];
  return state ? { text: pick(state) } : written(entry, entry.value);
}

async function load() {
  clearTimeout(open.timer);
  open.asking?.abort();
  const asked = open;
  const [span, step] = RANGES[asked.range];
  asked.asking = new AbortController();
  for (const button of byId("sheet").querySelectorAll("[data-range]")) {
    button.setAttribute("aria-pressed", String(button.dataset.range === asked.range));
  }
  if (!asked.history) setText(asked.parts.readout, t("chart.loading"));
  const to = Math.round(nowMs());
  const { device, metric } = asked.entry;
  asked.parts.files.replaceChildren(downloads(device, metric, to - span, to));
  try {
    const [found, spans] = await Promise.all([
      fetchJson(`/api/history?device=${device}&metric=${metric}&from=${to - span}&to=${to}&step=${step}`, asked.asking.signal),
      spansOf(device, metric, to - span, to, step, asked.asking.signal),
    ]);
    Object.assign(asked, { history: found, spans });
    if (open === asked) draw();
  } catch (error) {
    if (error.name === "AbortError" || open !== asked) return;
    setText(asked.parts.readout, t("chart.failed", { error: error.message }));
  }
  asked.timer = setTimeout(load, AGAIN_MS[asked.range] ?? AGAIN_DEFAULT_MS);
}

function draw() {
  const { entry, history, spans, parts } = open;
  const minutes = history.step_s / 60;
  const idle = !history.step_s ? t("chart.raw")
    : t(POINT_TEXTS[history.kind] ?? "chart.minutelast", { n: number(minutes) });
  const empty = history.points.every(([, mean]) => mean === null);
  const readout = (text) => setText(parts.readout, text ?? (empty ? t("chart.empty") : idle));
  const chart = drawChart(parts.plot, history, {
    zone: store.site.timezone, metric: entry, states: store.states.get(entry.metric), nowMs: nowMs(), readout, spans,
    limits: store.limits.filter((l) => l.now && l.device === entry.device && l.metric === entry.metric),
  });
  readout(null);
  parts.legend.replaceChildren(legend([...new Set(spans.map((each) => each.kind))]));
  const facts = inWords(entry, history);
  chart.setAttribute("aria-label", `${pick(entry.label)}: ${facts.map(([name, text]) => `${name} ${text}`).join(", ")}`);
  parts.words.replaceChildren(...facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text))));
}

/** Draw again what is known: another width, other limits. */
export function redrawSheet() {
  if (open?.history) draw();
}

function inWords(entry, { summary, kind }) {
  const write = (value) => Object.values(written(entry, value)).join(" ").trim();
  const facts = [];
  const add = (name, value) => { if (value !== null && value !== undefined) facts.push([t(name), write(value)]); };
  if (kind === "counter") add("chart.growth", summary.growth);
  else if (kind !== "state") {
    add("chart.low", summary.low);
    add(kind === "level_db" ? "chart.energymean" : "chart.mean", summary.mean);
    add("chart.high", summary.high);
  }
  facts.push([t("chart.share"), percent(summary.share)]);
  return facts;
}

// told later: by then the next one may be open
byId("sheet").addEventListener("close", () => { if (!byId("sheet").open) closeSheet(); });
byId("sheet").addEventListener("click", (event) => { if (event.target === event.currentTarget) closeSheet(); });
addEventListener("resize", redrawSheet);
