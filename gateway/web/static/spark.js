// The small line on a tile: minutes of the last hour (single readings while the gateway is young), then what this
// page has seen live. Gaps stay gaps.

import { svg } from "./dom.js";
import { fetchJson, isStale, nowMs, store } from "./live.js";

const WINDOW_MS = 3_600_000;
const MIN_SPAN_MS = 60_000;
const YOUNG_MS = 600_000;
const POINTS = 120;
const AT_ONCE = 3;

const waiting = [];
let running = 0;

/** Histories are asked for a few at a time, and only for tiles that were scrolled into view. */
function enqueue(job) {
  waiting.push(job);
  next();
}

async function next() {
  if (running >= AT_ONCE || !waiting.length) return;
  running += 1;
  try {
    await waiting.shift()();
  } catch {
    // no history now: the line grows from live values alone
  }
  running -= 1;
  next();
}

const watcher = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    watcher.unobserve(entry.target);
    enqueue(() => entry.target.spark.load());
  }
}, { rootMargin: "200px" });

export class Spark {
  constructor(value) {
    this.value = value;
    this.points = []; // [ms, number or null]
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.node = svg("svg", { class: "spark", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" },
      this.area, this.line);
    this.node.spark = this;
    watcher.observe(this.node);
  }

  async load() {
    const { device, metric } = this.value;
    const young = nowMs() - store.site.started_ms < YOUNG_MS;
    const asked = young ? "step=1" : `step=60&from=${Math.round(nowMs()) - WINDOW_MS}`;
    const history = await fetchJson(`/api/history?device=${device}&metric=${metric}&${asked}`);
    const known = history.points.map(([ms, mean]) => [young ? ms : Math.min(ms + 30_000, nowMs()), mean]);
    const since = known.length ? known[known.length - 1][0] : 0;
    this.points = [...known, ...this.points.filter(([ms]) => ms > since)];
    this.draw();
  }

  /** Take the newest value of the tile, thinned to what the line can show. */
  push() {
    const { value, time_ms: timeMs, every_s: everyS } = this.value;
    if (timeMs === null) return;
    const last = this.points[this.points.length - 1];
    const span = last ? Math.min(WINDOW_MS, timeMs - this.points[0][0]) : 0;
    if (last && timeMs - last[0] < Math.max(everyS * 1000, span / POINTS)) return;
    if (last && isGap(last[0], timeMs, everyS)) this.points.push([last[0] + 1, null]);
    this.points.push([timeMs, value]);
    this.draw();
  }

  draw() {
    const now = nowMs();
    while (this.points.length && this.points[0][0] < now - WINDOW_MS) this.points.shift();
    const numbers = this.points.filter(([, v]) => v !== null).map(([, v]) => v);
    if (numbers.length < 2 || isStale(this.value.time_ms, this.value.every_s)) {
      this.line.setAttribute("d", "");
      this.area.setAttribute("d", "");
      return;
    }
    const from = Math.min(this.points[0][0], now - MIN_SPAN_MS);
    const [low, high] = bounds(numbers);
    const x = (ms) => (((ms - from) / (now - from)) * 100).toFixed(1);
    const y = (v) => (26 - ((v - low) / (high - low)) * 24).toFixed(1);
    let line = "", area = "", first = null, last = null;
    for (const [ms, v] of [...this.points, [now, null]]) {
      if (v === null) {
        if (first !== null && last !== first) area += `L${x(last)} 28L${x(first)} 28Z`;
        first = null;
        continue;
      }
      const command = `${first === null ? "M" : "L"}${x(ms)} ${y(v)}`;
      line += command;
      area += command;
      first ??= ms;
      last = ms;
    }
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area.includes("Z") ? area : "");
  }
}

const isGap = (before, after, everyS) => after - before > Math.max(90_000, 3 * everyS * 1000 + 5_000);

/** Lowest and highest with some air: a tremble in the last digit must not look like a mountain. */
function bounds(numbers) {
  const low = Math.min(...numbers), high = Math.max(...numbers);
  const least = Math.max(Math.abs(high) * 0.02, 1e-9);
  const air = Math.max(0, least - (high - low)) / 2;
  return [low - air, high + air];
}
