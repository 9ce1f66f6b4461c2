// Alarms: what, where, since when, against which rule. Below them how the days and nights stand; a tap opens the story.

import { measured, placeOf, stateText, titleOf } from "./alarmwords.js";
import { byId, h } from "./dom.js";
import { dayAndClock, number, percent, when, written } from "./format.js";
import { pick, t } from "./i18n.js";
import { fetchJson, keyOf, nowMs, store } from "./live.js";
import { redrawSheet } from "./sheet.js";
import { openAlarm, reloadStory } from "./story.js";

const PERIOD_SIGNS = { day: "☀", night: "☾" };

let list = []; // of /api/alerts
let verdicts = [];
let past = false; // the last seven days instead of what is open
let revision = null;
let failed = null;

const levelOf = ({ severity, active }) => (!active ? "over" : ["alarm", "critical"].includes(severity) ? "fault" : "warning");

/** Ask again when an alarm has changed; ``force`` without one. */
export async function refreshAlarms(force = false) {
  const known = store.site?.alarms;
  byId("alarms").hidden = !known;
  if (!known || (!force && known.revision === revision && failed === null)) return;
  const wanted = known.revision;
  try {
    const [found, judged, limits] = await Promise.all([
      fetchJson(past ? "/api/alerts?state=all" : "/api/alerts"), fetchJson("/api/verdicts"), fetchJson("/api/limits"),
    ]);
    [list, verdicts, revision, failed] = [found.alerts, judged, wanted, null];
    if (JSON.stringify(limits) !== JSON.stringify(store.limits)) {
      store.limits = limits;
      redrawSheet();
    }
  } catch (error) {
    failed = error.message;
  }
  show();
  await reloadStory();
}

/** Verdicts and the limits of day and night move on without an event. */
setInterval(() => { if (store.site && !document.hidden) refreshAlarms(true); }, 60_000);

function show() {
  const known = store.site.alarms;
  byId("alarms").replaceChildren(...[
    h("div", { class: "sectionhead" },
      h("h2", {}, t("alarms.title")),
      h("span", { class: "muted" }, t("alarms.count", { active: number(known.active), unanswered: number(known.unanswered) })),
      h("button", { type: "button", class: "ghost", "aria-pressed": String(past), onclick: () => { past = !past; refreshAlarms(true); } },
        t(past ? "alarms.open" : "alarms.past"))),
    failed ? h("p", { class: "error" }, t("alarms.failed", { error: failed })) : null,
    list.length ? h("ul", { class: "alarms" }, list.map(item)) : h("p", { class: "card calm" }, t(past ? "alarms.nonepast" : "alarms.none")),
    ...verdictCards(),
  ].filter(Boolean));
}

function item(alarm) {
  const since = t("since", { time: when(alarm.raised_ms, nowMs(), store.site.timezone) });
  return h("li", {}, h("button", { type: "button", class: `alarm ${levelOf(alarm)}`, "data-alarm": alarm.id, onclick: () => openAlarm(alarm.id) },
    h("span", { class: "what" }, h("strong", {}, titleOf(alarm)), h("span", { class: `chip ${alarm.state}` }, stateText(alarm))),
    h("span", { class: "where" }, `${placeOf(alarm)} · ${since}${alarm.active ? "" : ` · ${t("alarm.gone")}`}`),
    h("span", { class: "figure" }, measured(alarm))));
}

// --- days and nights ----------------------------------------------------------------------------------------------

function verdictCards() {
  const series = new Map();
  for (const verdict of verdicts) {
    const key = keyOf(verdict.device, verdict.metric);
    if (!series.has(key)) series.set(key, []);
    series.get(key).push(verdict);
  }
  if (!series.size) return [];
  return [h("div", { class: "cards verdicts" }, [...series.values()].map((found) => {
    const device = store.devices.find((d) => d.name === found[0].device);
    return h("article", { class: "card" },
      h("header", {}, h("h3", {}, t("verdict.title")), h("span", { class: "zone" }, device ? pick(device.label) : found[0].device)),
      h("div", { class: "periods" }, found.sort((a, b) => a.start_ms - b.start_ms).map(period)));
  }))];
}

function period(verdict) {
  const entry = store.values.get(keyOf(verdict.device, verdict.metric));
  const zone = store.site.timezone;
  const value = verdict.value === null ? "–" : Object.values(written(entry, verdict.value)).join(" ");
  return h("div", { class: `period ${verdict.result}`, "data-period": verdict.period },
    h("span", { class: "label" }, `${PERIOD_SIGNS[verdict.period] ?? ""} ${t(`window.${verdict.period}`)} · ${dayAndClock(verdict.start_ms, zone)}`),
    h("span", { class: "number" }, value),
    h("span", { class: "result" }, t(`verdict.${verdict.result}`)),
    h("span", { class: "note muted" }, [
      t("verdict.limit", { limit: number(verdict.limit) }), t("verdict.share", { share: percent(verdict.valid_share) }),
      verdict.exceedances ? t("verdict.windows", { n: verdict.exceedances }) : null, verdict.corrected ? t("alarm.corrected") : null,
    ].filter(Boolean).join(" · ")));
}
