// One alarm in words: what, where, how much against which limit.

import { number, percent, written } from "./format.js";
import { pick, t } from "./i18n.js";
import { store } from "./live.js";

const ruleTitle = ({ details, rule }) => details.title ?? { en: rule, zh: rule };

export const titleOf = (alarm) =>
  (alarm.cause === "no_data" ? t("alarm.nodata", { rule: pick(ruleTitle(alarm)) }) : pick(ruleTitle(alarm)));

export function placeOf(alarm) {
  const device = store.devices.find((d) => d.name === (alarm.details.device ?? alarm.subject) || d.name === alarm.subject);
  return device ? pick(device.label) : pick(alarm.details.label ?? { en: alarm.subject, zh: alarm.subject });
}

/** A number in the unit of its metric; rules on shares carry their own unit. */
export function figure(alarm, value) {
  if (value === null || value === undefined) return "–";
  const entry = [...store.values.values()].find((v) => v.metric === alarm.details.metric);
  if (!entry || alarm.details.unit === "%") return `${number(value, 1)} ${alarm.details.unit ?? ""}`.trim();
  return Object.values(written({ ...entry, decimals: Math.max(entry.decimals, value % 1 ? 1 : 0) }, value)).join(" ").trim();
}

export const windowText = ({ details }) => (details.window ? t(`window.${details.window}`) : "");

export const statisticText = (alarm) => {
  const noise = alarm.details.metric?.startsWith("noise_") && alarm.details.statistic === "mean";
  return noise ? "Leq" : t(`statistic.${alarm.details.statistic}`);
};

/** Only the gateway has done something so far; people may still say that they have seen it. */
export const onlyOurs = ({ state, details }) => state === "acted" && !details.answered_by;

export const stateText = (alarm) => t(onlyOurs(alarm) ? "alarm.state.ours" : `alarm.state.${alarm.state}`);

export function measured(alarm) {
  const { details } = alarm;
  if (typeof details.value !== "number" || typeof details.limit !== "number") return details.text ? pick(details.text) : details.note ?? "";
  const warned = alarm.severity === "warning" && details.warn !== null && details.warn !== undefined && details.value <= details.limit;
  const places = { value: figure(alarm, details.value), limit: figure(alarm, warned ? details.warn : details.limit) };
  const direction = details.direction === "below" ? "below" : "above";
  if (details.window === "reading") return t(`alarm.${direction}.reading`, places);
  return t(`alarm.${direction}`, {
    ...places, statistic: statisticText(alarm), window: windowText(alarm), share: percent(details.valid_share ?? 0),
  });
}
