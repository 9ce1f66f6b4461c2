// Numbers, ages and times for people. Times are those of the site, wherever the browser is.

import { locale, t } from "./i18n.js";

const formats = new Map();

function cached(key, make) {
  const full = `${locale()} ${key}`;
  if (!formats.has(full)) formats.set(full, make());
  return formats.get(full);
}

export function number(value, decimals = 0) {
  return cached(`n${decimals}`, () => new Intl.NumberFormat(locale(), {
    minimumFractionDigits: decimals, maximumFractionDigits: decimals,
  })).format(value === 0 ? 0 : value);
}

const KILO = { W: "kW", var: "kvar", VA: "kVA", L: "m³" };

/** How to write numbers of this size: {factor, unit, decimals}. 128400 W reads better as 128.4 kW. */
export function scale(metric, size) {
  if (KILO[metric.unit] && size >= 10_000) return { factor: 0.001, unit: KILO[metric.unit], decimals: 1 };
  return { factor: 1, unit: metric.unit, decimals: size >= 10_000 ? 0 : metric.decimals };
}

export function written(metric, value) {
  const { factor, unit, decimals } = scale(metric, Math.abs(value));
  const text = number(value * factor, decimals);
  return unit === "°" ? { text: `${text}°`, unit: "" } : { text, unit };
}

export const percent = (share, decimals = 0) => `${number(share * 100, decimals)} %`;

export function bytes(count) {
  const steps = ["B", "KiB", "MiB", "GiB", "TiB"];
  let step = 0;
  while (count >= 1024 && step < steps.length - 1) { count /= 1024; step += 1; }
  return `${number(count, count < 10 && step > 0 ? 1 : 0)} ${steps[step]}`;
}

/** A length of time in one unit. */
export function duration(seconds) {
  if (seconds < 90) return t("unit.s", { n: number(Math.round(seconds)) });
  if (seconds < 5400) return t("unit.min", { n: number(Math.round(seconds / 60)) });
  if (seconds < 129_600) return t("unit.h", { n: number(Math.round(seconds / 3600)) });
  return t("unit.d", { n: number(Math.round(seconds / 86_400)) });
}

export function ago(timeMs, nowMs) {
  if (timeMs === null || timeMs === undefined) return t("age.never");
  const seconds = Math.max(0, (nowMs - timeMs) / 1000);
  return seconds < 2.5 ? t("age.now") : t("age.ago", { age: duration(seconds) });
}

const zoned = (zone, key, parts) => cached(`${zone} ${key}`, () => new Intl.DateTimeFormat(locale(), {
  timeZone: zone, hourCycle: "h23", ...parts,
}));

export const clock = (ms, zone) => zoned(zone, "hm", { hour: "2-digit", minute: "2-digit" }).format(ms);
export const clockSeconds = (ms, zone) =>
  zoned(zone, "hms", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(ms);
export const day = (ms, zone) => zoned(zone, "d", { month: "short", day: "numeric" }).format(ms);
export const dayAndClock = (ms, zone) =>
  zoned(zone, "dhm", { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }).format(ms);

/** The time alone for today, with the day for anything older. */
export const when = (ms, nowMs, zone) => (nowMs - ms < 43_200_000 ? clock(ms, zone) : dayAndClock(ms, zone));

/** Milliseconds that the site's clocks are ahead of UTC at that moment. */
export function zoneOffset(ms, zone) {
  const parts = cached(`${zone} parts`, () => new Intl.DateTimeFormat("en-GB", {
    timeZone: zone, hourCycle: "h23", year: "numeric", month: "numeric", day: "numeric",
    hour: "numeric", minute: "numeric", second: "numeric",
  })).formatToParts(ms);
  const part = Object.fromEntries(parts.map((p) => [p.type, Number(p.value)]));
  return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - Math.floor(ms / 1000) * 1000;
}
