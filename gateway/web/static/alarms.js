// Alarms: what, where, since when, against which rule. Above them how the days and nights stand; a tap opens the story.

import { byId, h, setText } from "./dom.js";
import { clock, dayAndClock, duration, number, percent, when, written } from "./format.js";
import { pick, t } from "./i18n.js";
import { fetchJson, keyOf, nowMs, store } from "./live.js";
import { redrawSheet } from "./sheet.js";

const STEPS = ["acknowledge", "act", "close"];
const PERIOD_SIGNS = { day: "☀", night: "☾" };

let list = []; // of /api/alerts
let verdicts = [];
let answerable = false;
let past = false; // the last seven days instead of what is open
let revision = null;
let failed = null;
let open = null; // {id, body}

const levelOf = ({ severity, active }) => (!active ? "over" : ["alarm", "critical"].includes(severity) ? "fault" : "warning");
const titleOf = (alarm) => (alarm.cause === "no_data" ? t("alarm.nodata", { rule: pick(ruleTitle(alarm)) }) : pick(ruleTitle(alarm)));
const ruleTitle = ({ details, rule }) => details.title ?? { en: rule, zh: rule };

function placeOf(alarm) {
  const device = store.devices.find((d) => d.name === (alarm.details.device ?? alarm.subject) || d.name === alarm.subject);
  return device ? pick(device.label) : pick(alarm.details.label ?? { en: alarm.subject, zh: alarm.subject });
}

/** A number in the unit of its metric; rules on shares carry their own unit. */
function figure(alarm, value) {
  if (value === null || value === undefined) return "–";
  const entry = [...store.values.values()].find((v) => v.metric === alarm.details.metric);
  if (!entry || alarm.details.unit === "%") return `${number(value, 1)} ${alarm.details.unit ?? ""}`.trim();
  return Object.values(written({ ...entry, decimals: Math.max(entry.decimals, value % 1 ? 1 : 0) }, value)).join(" ").trim();
}

const windowText = ({ details }) => (details.window ? t(`window.${details.window}`) : "");
const statisticText = (alarm) => {
  const noise = alarm.details.metric?.startsWith("noise_") && alarm.details.statistic === "mean";
  return noise ? "Leq" : t(`statistic.${alarm.details.statistic}`);
};

function measured(alarm) {
  const { details } = alarm;
  if (details.value === undefined || details.limit === undefined) return details.text ? pick(details.text) : details.note ?? "";
  const warned = alarm.severity === "warning" && details.warn !== null && details.warn !== undefined && details.value <= details.limit;
  return t(details.direction === "below" ? "alarm.below" : "alarm.above", {
    value: figure(alarm, details.value), limit: figure(alarm, warned ? details.warn : details.limit),
    statistic: statisticText(alarm), window: windowText(alarm), share: percent(details.valid_share ?? 0),
  });
}

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
    [list, answerable, verdicts, revision, failed] = [found.alerts, found.answerable, judged, wanted, null];
    if (JSON.stringify(limits) !== JSON.stringify(store.limits)) {
      store.limits = limits;
      redrawSheet();
    }
  } catch (error) {
    failed = error.message;
  }
  show();
  if (open) await loadStory();
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
    h("span", { class: "what" }, h("strong", {}, titleOf(alarm)), h("span", { class: `chip ${alarm.state}` }, t(`alarm.state.${alarm.state}`))),
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

// --- one alarm ----------------------------------------------------------------------------------------------------

export const addressOf = (id) => `#alarm=${encodeURIComponent(id)}`;

/** Open what an address names; true when it names an alarm. */
export function openAlarmFromAddress(hash) {
  if (!hash.startsWith("#alarm=")) return false;
  openAlarm(decodeURIComponent(hash.slice(7)));
  return true;
}

export function openAlarm(id) {
  closeAlarm();
  open = { id, body: null };
  history.replaceState(null, "", addressOf(id));
  byId("alarm").replaceChildren(h("p", { class: "muted" }, t("chart.loading")));
  byId("alarm").showModal();
  loadStory();
}

export function closeAlarm() {
  if (!open) return;
  open = null;
  history.replaceState(null, "", location.pathname + location.search);
  byId("alarm").close();
}

async function loadStory() {
  const asked = open;
  try {
    const body = await fetchJson(`/api/alerts/${encodeURIComponent(asked.id)}`);
    if (open !== asked || JSON.stringify(body) === JSON.stringify(asked.body)) return;
    asked.body = body;
    tell(body);
  } catch (error) {
    if (open === asked) byId("alarm").replaceChildren(head(t("alarms.title")), h("p", { class: "error" }, t("alarms.failed", { error: error.message })));
  }
}

const head = (title, under) => h("div", { class: "sheethead" },
  h("div", {}, h("h2", { id: "alarm-title" }, title), under ? h("p", { class: "muted" }, under) : null),
  h("button", { type: "button", class: "ghost close", "aria-label": t("chart.close"), onclick: closeAlarm }, "✕"));

function tell(alarm) {
  const { details } = alarm;
  const zone = store.site.timezone;
  const typed = byId("alarm").querySelector("textarea")?.value ?? "";
  const facts = [
    [t("alarm.fact.state"), t(`alarm.state.${alarm.state}`)],
    [t("alarm.fact.since"), dayAndClock(alarm.raised_ms, zone)],
    alarm.cleared_ms ? [t("alarm.fact.cleared"), dayAndClock(alarm.cleared_ms, zone)] : null,
    details.value !== undefined ? [t("alarm.fact.value"), figure(alarm, details.value)] : null,
    details.limit !== undefined ? [t("alarm.fact.limit"), figure(alarm, details.limit)] : null,
    details.peak !== undefined && details.peak !== null ? [t("alarm.fact.peak"), figure(alarm, details.peak)] : null,
    details.window ? [t("alarm.fact.window"), `${statisticText(alarm)}, ${windowText(alarm)}`] : null,
    details.window_start_ms ? [t("alarm.fact.span"), `${dayAndClock(details.window_start_ms, zone)} – ${clock(details.window_end_ms, zone)}`] : null,
    details.valid_share !== undefined ? [t("alarm.fact.share"), percent(details.valid_share)] : null,
    details.background !== undefined && details.background !== null ? [t("alarm.fact.background"), figure(alarm, details.background)] : null,
    details.count_today !== undefined ? [t("alarm.fact.count"), `${details.count_today} (${t("alarm.allowed", { n: details.allowance ?? 0 })})`] : null,
    details.schedule ? [t("alarm.fact.schedule"), t(`schedule.${details.schedule}`)] : null,
    details.stage ? [t("alarm.fact.stage"), t(`stage.${details.stage}`)] : null,
  ].filter(Boolean);
  const law = [details.edition, details.source, details.confidence ? t(`confidence.${details.confidence}`) : null].filter(Boolean).join(" · ");
  byId("alarm").replaceChildren(...[
    head(titleOf(alarm), `${placeOf(alarm)} · ${t(`severity.${alarm.severity}`)}${details.simulated ? ` · ${t("alarm.simulated")}` : ""}`),
    details.text && pick(details.text) ? h("p", { class: "said" }, pick(details.text)) : h("p", { class: "said" }, measured(alarm)),
    h("dl", { class: "facts" }, facts.map(([name, text]) => h("div", {}, h("dt", {}, name), h("dd", {}, text)))),
    law ? h("p", { class: "law muted" }, `${t("alarm.fact.rule")}: ${law}`) : null,
    h("h3", {}, t("alarm.story")),
    h("ol", { class: "story" }, alarm.events.map((event) => told(alarm, event))),
    answers(alarm, typed),
  ].filter(Boolean));
}

function told(alarm, { kind, at_ms, details }) {
  const parts = [
    details.by ? t("alarm.by", { name: details.by }) : null,
    details.value !== undefined && details.value !== null ? figure(alarm, details.value) : null,
    details.outcome ? t(`verdict.${details.outcome}`) : null,
    kind === "cleared" && details.lasted_ms ? t("alarm.lasted", { time: duration(details.lasted_ms / 1000) }) : null,
    details.reason ? t(`reason.${details.reason}`) : null,
  ].filter(Boolean).join(" · ");
  return h("li", { class: kind },
    h("time", {}, when(at_ms, nowMs(), store.site.timezone)),
    h("span", {}, h("strong", {}, t(`alarm.event.${kind}`)), parts ? ` · ${parts}` : "", details.note ? h("q", {}, details.note) : null));
}

function answers(alarm, typed) {
  if (alarm.state === "closed") return null;
  if (!answerable) return h("p", { class: "muted" }, t("alarm.nopassword"));
  const by = h("input", { type: "text", maxlength: "60", autocomplete: "name", "aria-label": t("alarm.who"), placeholder: t("alarm.who") });
  const note = h("textarea", { rows: "2", maxlength: "1000", "aria-label": t("alarm.note"), placeholder: t("alarm.note") });
  by.value = remembered();
  note.value = typed;
  const problem = h("p", { class: "error", role: "alert" });
  const buttons = STEPS.filter((step) => step !== "acknowledge" || alarm.state === "open")
    .filter((step) => step !== "act" || alarm.state !== "acted")
    .map((step) => h("button", {
      type: "button", class: `step ${step}`, "data-step": step, disabled: step === "close" && alarm.active,
      title: step === "close" && alarm.active ? t("alarm.notyet") : null,
      onclick: () => answer(alarm, step, by.value, note.value, problem),
    }, t(`alarm.step.${step}`)));
  return h("div", { class: "answer" }, by, note, h("div", { class: "steps" }, buttons),
    alarm.active ? h("p", { class: "muted" }, t("alarm.notyet")) : null, problem);
}

async function answer(alarm, step, by, note, problem) {
  remember(by);
  setText(problem, "");
  try {
    await fetchJson(`/api/alerts/${encodeURIComponent(alarm.id)}/${step}`, null, {
      method: "POST", headers: { "X-Sitegate": "1", "Content-Type": "application/json" }, body: JSON.stringify({ by, note }),
    });
    const text = byId("alarm").querySelector("textarea");
    if (text) text.value = "";
    await refreshAlarms(true);
  } catch (error) {
    setText(problem, error.message);
  }
}

function remembered() {
  try {
    return localStorage.getItem("name") ?? "";
  } catch {
    return ""; // no storage in this browser: asked each time
  }
}

function remember(name) {
  try {
    localStorage.setItem("name", name.trim());
  } catch { /* see above */ }
}

// told later: by then the next one may be open
byId("alarm").addEventListener("close", () => { if (!byId("alarm").open) closeAlarm(); });
byId("alarm").addEventListener("click", (event) => { if (event.target === event.currentTarget) closeAlarm(); });
