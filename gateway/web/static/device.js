// The sheet of one device: how it stands and where it hangs, all its charts over hours to weeks, and its minutes as a file.

import { drawChart } from "./chart.js";
import { byId, h, setText } from "./dom.js";
import { ago, duration, number, percent } from "./format.js";
import { pick, t } from "./i18n.js";
import { fetchJson, nowMs, store } from "./live.js";
import { downloads, openSheet, rangeButtons } from "./sheet.js";
import { deviceState, dot } from "./tables.js";

/** Label -> how far back and how fine, in ms and s. */
const RANGES = {
  "1h": [3_600_000, 60], "6h": [21_600_000, 60], "24h": [86_400_000, 300], "7d": [604_800_000, 1800], "30d": [2_592_000_000, 7200],
};
const HEIGHT = 150;
const FIRST_CHARTS = 8; // the important ones come first; more on demand

let open = null; // {device, entries, range, shown, parts, asking, drawn}

/** The last day, or less while the gateway has not run that long. */
const usualRange = () => ["1h", "6h"].find((name) => nowMs() - store.site.started_ms < RANGES[name][0]) ?? "24h";
const nameOf = (hash) => /^#\/([^/]+)$/.exec(hash)?.[1];

/** Open what an address names: #/device. Return whether it names one. */
export function openDeviceFromAddress(hash) {
  const device = store.devices.find((each) => each.name === nameOf(hash));
  if (!device) closeDevice();
  else if (open?.device.name !== device.name) openDevice(device);
  return Boolean(device);
}

function openDevice(device) {
  closeDevice();
  const all = [...store.values.values()].filter((entry) => entry.device === device.name);
  const entries = [...all.filter((entry) => entry.headline), ...all.filter((entry) => !entry.headline)];
  const parts = { stand: h("dl", { class: "facts stand" }), error: h("p", { class: "error" }), charts: h("div", { class: "charts" }), files: h("div", {}) };
  const dialog = byId("device");
  dialog.replaceChildren(
    h("div", { class: "sheethead" },
      h("div", {}, h("h2", { id: "device-title" }, pick(device.label)), h("p", { class: "muted" }, `${pick(device.title)} · ${device.zone}`)),
      h("button", { type: "button", class: "ghost close", "aria-label": t("chart.close"), onclick: closeDevice }, "✕")),
    parts.stand, parts.error,
    rangeButtons(Object.keys(RANGES), (name) => { open.range = name; load(); }),
    parts.charts, parts.files);
  open = { device, entries, range: usualRange(), shown: FIRST_CHARTS, parts, asking: null, drawn: [] };
  dialog.showModal();
  refreshDevice();
  load();
}

export function closeDevice() {
  if (!open) return;
  open.asking?.abort();
  open = null;
  if (nameOf(location.hash)) history.replaceState(null, "", location.pathname + location.search);
  byId("device").close();
}

/** How it stands follows the live data. */
export function refreshDevice() {
  if (!open) return;
  const device = open.device = store.devices.find((each) => each.name === open.device.name) ?? open.device;
  const { state, level } = deviceState(device);
  const facts = [
    ["device.state", [dot(level), t(`state.${state}`)]],
    ["device.age", [ago(device.last_answer_ms, nowMs())]],
    ["device.every", [duration(device.every_s)]],
    ["device.link", [device.link, device.address ? h("code", {}, ` ${device.address}`) : null]],
    ["device.failures", device.failures_in_row ? [number(device.failures_in_row)] : null],
    ["device.nexttry", device.next_try_in_s ? [duration(device.next_try_in_s)] : null],
  ];
  open.parts.stand.replaceChildren(...facts.filter(([, body]) => body).map(([name, body]) =>
    h("div", {}, h("dt", {}, t(name)), h("dd", {}, body))));
  setText(open.parts.error, level !== "ok" && device.reason ? pick(device.reason) : "");
}

async function load() {
  open.asking?.abort();
  const asked = open;
  const [span, step] = RANGES[asked.range];
  const { signal } = asked.asking = new AbortController();
  for (const button of byId("device").querySelectorAll("[data-range]")) {
    button.setAttribute("aria-pressed", String(button.dataset.range === asked.range));
  }
  const to = Math.round(nowMs());
  const rest = asked.entries.length - asked.shown;
  asked.drawn = asked.entries.slice(0, asked.shown).map(frame);
  asked.parts.charts.replaceChildren(...asked.drawn.map((each) => each.node),
    ...(rest > 0 ? [h("button", { type: "button", class: "step", onclick: () => { open.shown = Infinity; load(); } }, t("values.more", { n: rest }))] : []));
  asked.parts.files.replaceChildren(downloads(asked.device.name, null, to - span, to));
  for (const each of asked.drawn) { // one by one: a small box serves them, and polls meanwhile
    try {
      each.history = await fetchJson(`/api/history?device=${asked.device.name}&metric=${each.entry.metric}&from=${to - span}&to=${to}&step=${step}`, signal);
      each.draw();
    } catch (error) {
      if (error.name === "AbortError" || open !== asked) return;
      setText(each.readout, t("chart.failed", { error: error.message }));
    }
  }
}

/** The place of one chart, drawn when its history is there. */
function frame(entry) {
  const readout = h("p", { class: "readout muted" }), plot = h("div", { class: "plot" });
  const node = h("section", { class: "small" },
    h("div", { class: "sectionhead" }, h("h3", {}, pick(entry.label)),
      h("button", { type: "button", class: "ghost", "aria-label": t("chart.open", { device: pick(open.device.label), metric: pick(entry.label) }),
        onclick: () => { closeDevice(); openSheet(entry); } }, "⤢")),
    plot, readout);
  const each = { entry, node, plot, readout, history: null, draw() {
    const { summary, points } = each.history;
    const idle = points.every(([, mean]) => mean === null) ? t("chart.empty") : `${t("chart.share")} ${percent(summary.share)}`;
    const chart = drawChart(plot, each.history, {
      zone: store.site.timezone, metric: entry, states: store.states.get(entry.metric), nowMs: nowMs(), height: HEIGHT,
      limits: store.limits.filter((l) => l.now && l.device === entry.device && l.metric === entry.metric),
      readout: (text) => setText(readout, text ?? idle),
    });
    chart.setAttribute("aria-label", `${pick(entry.label)}: ${idle}`);
    setText(readout, idle);
  } };
  return each;
}

byId("device").addEventListener("close", () => { if (!byId("device").open) closeDevice(); });
byId("device").addEventListener("click", (event) => { if (event.target === event.currentTarget) closeDevice(); });
addEventListener("resize", () => { for (const each of open?.drawn ?? []) if (each.history) each.draw(); });
