// When it happened: the judged window of an alarm, sprayed times, and the steps of its life beside the measured line.

import { drawChart } from "./chart.js";
import { h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { fetchJson, keyOf, nowMs, store } from "./live.js";

const DAY_MS = 86_400_000;
const RAW_MS = 870_000; // single readings are kept for a quarter of an hour
const LEAD_MS = 180_000;
const HEIGHT = 190;

/** Spans to shade behind a series: {from_ms, to_ms, kind: window | sprayed}. */
export async function spansOf(device, metric, fromMs, toMs, stepS, signal) {
  const [windows, sprayed] = await Promise.all([windowsOf(device, metric, fromMs, toMs, signal), sprayedOf(device, metric, fromMs, toMs, stepS, signal)]);
  return [...windows, ...sprayed];
}

async function windowsOf(device, metric, fromMs, toMs, signal) {
  if (!store.site.alarms) return [];
  const { alerts } = await fetchJson(`/api/alerts?state=all&from=${Math.max(0, fromMs - DAY_MS)}&to=${toMs}`, signal);
  return alerts.filter(({ details }) => details.metric === metric && details.device === device && isLong(details))
    .map(windowOf).filter((span) => span.to_ms > fromMs && span.from_ms < toMs);
}

/** A single reading is a window without length. */
const isLong = (details) => details.window_end_ms > details.window_start_ms;
const windowOf = ({ details }) => ({ from_ms: details.window_start_ms, to_ms: details.window_end_ms, kind: "window" });

async function sprayedOf(device, metric, fromMs, toMs, stepS, signal) {
  if (metric === "sprayed" || !store.values.has(keyOf(device, "sprayed"))) return [];
  const { points, step_s } = await fetchJson(`/api/history?device=${device}&metric=sprayed&from=${fromMs}&to=${toMs}&step=${stepS}`, signal);
  const spans = [];
  const stepMs = (step_s || store.values.get(keyOf(device, "sprayed")).every_s) * 1000;
  for (const [ms, , , high] of points) {
    const last = spans[spans.length - 1];
    if (!high) continue;
    if (last && ms - last.to_ms < stepMs * 1.5) last.to_ms = ms + stepMs;
    else spans.push({ from_ms: ms, to_ms: ms + stepMs, kind: "sprayed" });
  }
  return spans;
}

/** The swatches of what is drawn, below a chart. */
export const legend = (kinds) => h("p", { class: "legend muted" }, kinds.map((kind) =>
  h("span", {}, h("i", { class: kind }), t(`chart.span.${kind}`))));

/** Draw the life of an alarm into ``node``: nothing when its series is not one of this site. */
export async function drawTimeline(node, alarm) {
  const { details } = alarm;
  const entry = store.values.get(keyOf(details.device ?? alarm.subject, details.metric));
  if (!entry) return;
  const now = Math.round(nowMs());
  const begun = Math.min(alarm.raised_ms, details.window_start_ms ?? alarm.raised_ms);
  const ended = alarm.active ? now : Math.max(alarm.cleared_ms ?? alarm.raised_ms, Math.min(alarm.closed_ms ?? 0, (alarm.cleared_ms ?? 0) + 3_600_000));
  const lead = Math.max(LEAD_MS, (ended - begun) / 5);
  const from = Math.round(begun - lead), to = Math.round(Math.min(now, ended + lead));
  const step = from > now - RAW_MS ? 1 : to - from > DAY_MS / 4 ? 300 : 60;
  const { device, metric } = entry;
  let history, spans;
  try {
    [history, spans] = await Promise.all([
      fetchJson(`/api/history?device=${device}&metric=${metric}&from=${from}&to=${to}&step=${step}`),
      sprayedOf(device, metric, from, to, step),
    ]);
  } catch (error) {
    node.replaceChildren(h("p", { class: "error" }, t("chart.failed", { error: error.message })));
    return;
  }
  const first = history.points.find(([, mean]) => mean !== null)?.[0] ?? from;
  history.from_ms = Math.max(from, Math.min(first, begun)); // what lies before is context: none is needed where there is none
  if (isLong(details)) spans.unshift(windowOf(alarm));
  const readout = h("p", { class: "readout muted" });
  const plot = h("div", { class: "plot" });
  node.replaceChildren(readout, plot, legend([...new Set(spans.map((span) => span.kind))]));
  const chart = drawChart(plot, history, {
    zone: store.site.timezone, metric: entry, states: store.states.get(metric), nowMs: now, height: HEIGHT, limits: levels(alarm), spans,
    marks: alarm.events.filter((e) => e.at_ms >= history.from_ms && e.at_ms <= to).map((e) => ({ ms: e.at_ms, kind: e.kind, text: t(`alarm.event.${e.kind}`) })),
    readout: (text) => setText(readout, text ?? t("alarm.timeline")),
  });
  chart.setAttribute("aria-label", t("alarm.timeline"));
  setText(readout, t("alarm.timeline"));
}

function levels({ details, severity }) {
  const level = (value, warning) => {
    const name = t(warning ? "alarm.fact.warn" : "alarm.fact.limit");
    return typeof value === "number" ? { value, warning, label: { en: name, zh: name } } : null;
  };
  return [level(details.limit, severity === "warning" && typeof details.warn !== "number"), level(details.warn, true)].filter(Boolean);
}
