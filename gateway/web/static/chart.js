// One chart: band from lowest to highest, line of means, gaps left open and shaded, a read-out for finger, mouse and keys.

import { svg } from "./dom.js";
import { clock, clockSeconds, day, dayAndClock, number, scale, written, zoneOffset } from "./format.js";
import { compass, pick, t } from "./i18n.js";

const USUAL_HEIGHT = 260;
const PAD = { left: 52, right: 14, top: 14, bottom: 26 };
const TIME_STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720, 1440, 2880, 7200, 10_080];

/**
 * Draw a body of /api/history into ``node``. ``look``: {zone, metric (entry of /api/latest), states, limits (of /api/limits), readout(text),
 * spans ({from_ms, to_ms, kind}), marks ({ms, kind, text}), height}. Every point stands at the middle of its step.
 */
export function drawChart(node, history, look) {
  const width = Math.max(280, node.clientWidth), height = look.height ?? USUAL_HEIGHT;
  const half = (history.step_s * 1000) / 2;
  const points = history.points.map(([ms, mean, low, high]) => ({ ms: ms + half, mean, low, high }))
    .filter(({ ms }) => ms >= history.from_ms && ms <= history.to_ms);
  const range = valueRange(points, history.kind, look.limits);
  const x = (ms) => PAD.left + ((ms - history.from_ms) / (history.to_ms - history.from_ms)) * (width - PAD.left - PAD.right);
  const bottom = height - PAD.bottom;
  const y = (v) => bottom - ((v - range.low) / (range.high - range.low)) * (bottom - PAD.top);
  const root = svg("svg", {
    class: "chart", viewBox: `0 0 ${width} ${height}`, width, height, tabindex: "0", role: "img",
  });
  const gapMs = history.step_s ? history.step_s * 1500 : Math.max(3 * look.metric.every_s + 5, 15) * 1000;
  const runs = continuousRuns(points, gapMs);
  root.append(
    spanShades(look.spans ?? [], history, x, bottom),
    gapShades(points, runs, history, x, bottom, look.nowMs),
    valueAxis(range, y, width, look, history.kind),
    timeAxis(history, x, bottom, look.zone),
    ...series(runs, history.kind, x, y),
    limitLines(look, y, width),
    eventMarks(look.marks ?? [], x, bottom),
  );
  addCursor(root, points.filter((p) => p.mean !== null), history, x, y, bottom, look, width);
  node.replaceChildren(root);
  return root;
}

function valueRange(points, kind, limits) {
  if (kind === "direction") return { low: 0, high: 360, ticks: [0, 90, 180, 270, 360] };
  const lows = points.filter((p) => p.low !== null).map((p) => p.low);
  const highs = points.filter((p) => p.high !== null).map((p) => p.high);
  let low = Math.min(...lows), high = Math.max(...highs);
  if (!lows.length) [low, high] = [0, 1];
  if (lows.length && limits.length) {
    low = Math.min(low, ...limits.map((l) => l.value));
    high = Math.max(high, ...limits.map((l) => l.value));
  }
  if (kind === "state") [low, high] = [Math.min(0, low), Math.max(1, high)];
  const least = Math.max(Math.abs(high) * 0.01, 1e-6);
  if (high - low < least) { low -= least / 2; high += least / 2; }
  const step = niceStep((high - low) / 4, kind === "state");
  low = Math.floor(low / step + 1e-9) * step;
  high = Math.ceil(high / step - 1e-9) * step;
  const ticks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
  return { low, high, ticks, step };
}

function niceStep(raw, whole) {
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((s) => s >= raw * 0.999);
  return whole ? Math.max(1, Math.ceil(step)) : step;
}

/** Points without a hole between them. */
function continuousRuns(points, gapMs) {
  const runs = [];
  let run = [];
  for (const point of points) {
    const last = run[run.length - 1];
    if (point.mean === null || (last && point.ms - last.ms > gapMs)) {
      if (run.length) runs.push(run);
      run = [];
    }
    if (point.mean !== null) run.push(point);
  }
  if (run.length) runs.push(run);
  return runs;
}

/** What was judged or sprayed, behind the line; short ones stay visible. */
function spanShades(spans, history, x, bottom) {
  return svg("g", { class: "spans" }, spans.map(({ from_ms, to_ms, kind }) => {
    const start = x(Math.max(from_ms, history.from_ms)), stop = x(Math.min(to_ms, history.to_ms));
    const sprayed = kind === "sprayed"; // a band at the foot: both may hold at once
    return svg("rect", { class: kind, x: start, width: Math.max(1.5, stop - start), y: sprayed ? bottom - 10 : PAD.top, height: sprayed ? 10 : bottom - PAD.top });
  }));
}

function eventMarks(marks, x, bottom) {
  return svg("g", { class: "marks" }, marks.map(({ ms, kind, text }) => svg("g", { class: kind },
    svg("title", {}, text), svg("line", { x1: x(ms), x2: x(ms), y1: PAD.top, y2: bottom }),
    svg("circle", { cx: x(ms), cy: PAD.top, r: 4 }))));
}

function gapShades(points, runs, history, x, bottom, nowMs) {
  const group = svg("g", { class: "gaps" });
  const end = Math.min(history.to_ms, nowMs);
  const slack = history.step_s ? history.step_s * 1500 : 20_000;
  const shade = (from, to) => {
    const start = Math.max(from, history.from_ms), stop = Math.min(to, end);
    if (stop <= start) return;
    group.append(svg("rect", { x: x(start), y: PAD.top, width: x(stop) - x(start), height: bottom - PAD.top }));
    if (x(stop) - x(start) > 60) {
      group.append(svg("text", { x: (x(start) + x(stop)) / 2, y: PAD.top + 16, "text-anchor": "middle" }, t("chart.gap")));
    }
  };
  let before = history.from_ms;
  for (const run of runs) {
    const first = run[0].ms;
    if (before !== history.from_ms || first - before > slack) shade(before, first);
    before = run[run.length - 1].ms;
  }
  if (end - before > slack * 1.5 || !runs.length) shade(before, end);
  return group;
}

function valueAxis(range, y, width, look, kind) {
  const group = svg("g", { class: "axis" });
  const { factor, unit } = scale(look.metric, Math.max(Math.abs(range.low), Math.abs(range.high)));
  const decimals = range.step ? Math.max(0, Math.min(4, -Math.floor(Math.log10(range.step * factor) + 1e-9) + (/^25/.test(String(range.step * factor).replace(/[0.]/g, "")) ? 1 : 0))) : 0;
  for (const tick of range.ticks) {
    const text = kind === "direction" && look.metric.domain === "weather" ? compass(tick)
      : kind === "state" && look.states?.[tick] ? pick(look.states[tick]) : number(tick * factor, decimals);
    group.append(
      svg("line", { x1: PAD.left, x2: width - PAD.right, y1: y(tick), y2: y(tick) }),
      svg("text", { x: PAD.left - 8, y: y(tick) + 4, "text-anchor": "end" }, text),
    );
  }
  if (unit && kind !== "direction") group.append(svg("text", { class: "unit", x: PAD.left + 4, y: PAD.top - 3 }, unit));
  return group;
}

/** A dashed line per level that holds now, named at its right end; lines of one level are drawn once. */
function limitLines(look, y, width) {
  const group = svg("g", { class: "limits" });
  const { factor, decimals } = scale(look.metric, Math.max(0, ...look.limits.map((l) => Math.abs(l.value))));
  for (const limit of new Map(look.limits.map((l) => [`${l.value} ${l.warning}`, l])).values()) {
    const level = limit.warning ? "warning" : "fault";
    group.append(
      svg("line", { class: level, x1: PAD.left, x2: width - PAD.right, y1: y(limit.value), y2: y(limit.value) }),
      svg("text", { class: level, x: width - PAD.right, y: y(limit.value) - 4, "text-anchor": "end" },
        `${number(limit.value * factor, limit.value % 1 ? decimals : 0)} · ${pick(limit.label)}`),
    );
  }
  return group;
}

function timeAxis(history, x, bottom, zone) {
  const group = svg("g", { class: "axis" });
  const label = history.to_ms - history.from_ms > 2 * 86_400_000 ? day : clock;
  const span = history.to_ms - history.from_ms;
  const room = Math.max(2, Math.floor((x(history.to_ms) - x(history.from_ms)) / 70));
  const step = 60_000 * (TIME_STEPS_MIN.find((m) => span / (m * 60_000) <= room) ?? 1440);
  const offset = zoneOffset(history.from_ms, zone);
  for (let ms = Math.ceil((history.from_ms + offset) / step) * step - offset; ms < history.to_ms; ms += step) {
    group.append(
      svg("line", { class: "tick", x1: x(ms), x2: x(ms), y1: bottom, y2: bottom + 4 }),
      svg("text", { x: x(ms), y: bottom + PAD.bottom - 7, "text-anchor": "middle" }, label(ms, zone)),
    );
  }
  return group;
}

function series(runs, kind, x, y) {
  const at = (ms, v) => `${x(ms).toFixed(1)} ${y(v).toFixed(1)}`;
  if (kind === "direction") {
    const dots = runs.flat().map((p) => `M${at(p.ms, p.mean)}h0`).join("");
    return [svg("path", { class: "dots", d: dots })];
  }
  const band = runs.map((run) => "M" + [...run.map((p) => at(p.ms, p.high)), ...run.slice().reverse().map((p) => at(p.ms, p.low))].join("L") + "Z");
  const line = runs.map((run) => {
    if (run.length === 1) return `M${at(run[0].ms, run[0].mean)}h0`;
    if (kind !== "state") return "M" + run.map((p) => at(p.ms, p.mean)).join("L");
    return run.map((p, i) => (i ? `H${x(p.ms).toFixed(1)}V${y(p.mean).toFixed(1)}` : `M${at(p.ms, p.mean)}`)).join("");
  });
  const parts = [svg("path", { class: "mean", d: line.join("") })];
  if (kind === "gauge" || kind === "level_db") parts.unshift(svg("path", { class: "band", d: band.join("") }));
  return parts;
}

function addCursor(root, points, history, x, y, bottom, look, width) {
  const line = svg("line", { class: "cursor", y1: PAD.top, y2: bottom, visibility: "hidden" });
  const dot = svg("circle", { class: "cursor", r: 4.5, visibility: "hidden" });
  root.append(line, dot);
  let at = points.length - 1;

  const show = (index) => {
    if (!points.length) return;
    at = Math.max(0, Math.min(points.length - 1, index));
    const point = points[at];
    for (const [name, value] of [["x1", x(point.ms)], ["x2", x(point.ms)], ["visibility", "visible"]]) line.setAttribute(name, value);
    for (const [name, value] of [["cx", x(point.ms)], ["cy", y(point.mean)], ["visibility", "visible"]]) dot.setAttribute(name, value);
    look.readout(describe(point, history, look));
  };
  const hide = () => {
    line.setAttribute("visibility", "hidden");
    dot.setAttribute("visibility", "hidden");
    look.readout(null);
  };
  const follow = (event) => {
    const box = root.getBoundingClientRect();
    const left = ((event.clientX - box.left) / box.width) * width;
    let best = 0;
    points.forEach((point, i) => { if (Math.abs(x(point.ms) - left) < Math.abs(x(points[best].ms) - left)) best = i; });
    show(best);
  };
  root.addEventListener("pointermove", follow);
  root.addEventListener("pointerdown", follow);
  root.addEventListener("pointerleave", hide);
  root.addEventListener("blur", hide);
  root.addEventListener("focus", () => { if (root.matches(":focus-visible")) show(points.length - 1); });
  root.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -points.length, End: points.length }[event.key];
    if (!move) return;
    event.preventDefault();
    show(at + move);
  });
}

function describe(point, history, look) {
  const write = (v) => {
    const { factor, decimals } = scale(look.metric, Math.abs(v));
    return number(v * factor, decimals);
  };
  const start = point.ms - (history.step_s * 1000) / 2;
  const time = history.step_s === 0 ? clockSeconds(start, look.zone)
    : history.to_ms - history.from_ms > 43_200_000 ? dayAndClock(start, look.zone) : clock(start, look.zone);
  const state = history.kind === "state" ? look.states?.[point.mean] : null;
  const mean = state ? pick(state) : Object.values(written(look.metric, point.mean)).join(" ").trim();
  const spread = point.low !== point.high && history.kind !== "direction" ? ` (${write(point.low)} – ${write(point.high)})` : "";
  return `${time} · ${mean}${spread}`;
}
