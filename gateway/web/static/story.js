// One alarm: its figures, its timeline, all that happened to it, and what people do about it.

import { figure, measured, onlyOurs, placeOf, stateText, statisticText, titleOf, windowText } from "./alarmwords.js";
import { outputName, sentence } from "./controlwords.js";
import { byId, h } from "./dom.js";
import { clock, clockSeconds, dayAndClock, duration, percent, when } from "./format.js";
import { pick, t } from "./i18n.js";
import { fetchJson, nowMs, store } from "./live.js";
import { attempt, change, nameField, rememberName } from "./signin.js";
import { drawTimeline } from "./timeline.js";

const STEPS = ["acknowledge", "act", "close"];

let open = null; // {id, body, plot}

export const addressOf = (id) => `#alarm=${encodeURIComponent(id)}`;

/** Open what an address names; true when it names an alarm. */
export function openAlarmFromAddress(hash) {
  if (!hash.startsWith("#alarm=")) return false;
  openAlarm(decodeURIComponent(hash.slice(7)));
  return true;
}

export function openAlarm(id) {
  closeAlarm();
  open = { id, body: null, plot: h("div", { class: "timeline" }) };
  history.replaceState(null, "", addressOf(id));
  byId("alarm").replaceChildren(h("p", { class: "muted" }, t("chart.loading")));
  byId("alarm").showModal();
  reloadStory();
}

export function closeAlarm() {
  if (!open) return;
  open = null;
  history.replaceState(null, "", location.pathname + location.search);
  byId("alarm").close();
}

/** Bring the open alarm up to date; nothing when none is open. */
export async function reloadStory() {
  const asked = open;
  if (!asked) return;
  try {
    const body = await fetchJson(`/api/alerts/${encodeURIComponent(asked.id)}`);
    if (open !== asked) return;
    if (JSON.stringify(body) !== JSON.stringify(asked.body)) {
      asked.body = body;
      tell(body);
    }
    await drawTimeline(asked.plot, body);
  } catch (error) {
    if (open === asked) byId("alarm").replaceChildren(head(t("alarms.title")), h("p", { class: "error" }, t("alarms.failed", { error: error.message })));
  }
}

/** The line of an alarm that still holds goes on. */
setInterval(() => { if (open?.body?.active && !document.hidden) drawTimeline(open.plot, open.body); }, 5_000);

const head = (title, under) => h("div", { class: "sheethead" },
  h("div", {}, h("h2", { id: "alarm-title" }, title), under ? h("p", { class: "muted" }, under) : null),
  h("button", { type: "button", class: "ghost close", "aria-label": t("chart.close"), onclick: closeAlarm }, "✕"));

const given = (value) => value !== undefined && value !== null;

function tell(alarm) {
  const { details } = alarm;
  const zone = store.site.timezone;
  const typed = byId("alarm").querySelector("textarea")?.value ?? "";
  const facts = [
    ["state", stateText(alarm)],
    ["since", dayAndClock(alarm.raised_ms, zone)],
    alarm.cleared_ms ? ["cleared", dayAndClock(alarm.cleared_ms, zone)] : null,
    given(details.value) ? ["value", figure(alarm, details.value)] : null,
    given(details.limit) ? ["limit", figure(alarm, details.limit)] : null,
    given(details.peak) ? ["peak", figure(alarm, details.peak)] : null,
    details.window ? ["window", details.window === "reading" ? windowText(alarm) : `${statisticText(alarm)}, ${windowText(alarm)}`] : null,
    details.window_end_ms > details.window_start_ms ? ["span", `${dayAndClock(details.window_start_ms, zone)} – ${clock(details.window_end_ms, zone)}`] : null,
    given(details.valid_share) && details.window !== "reading" ? ["share", percent(details.valid_share)] : null,
    given(details.background) ? ["background", figure(alarm, details.background)] : null,
    given(details.count_today) ? ["count", `${details.count_today} (${t("alarm.allowed", { n: details.allowance ?? 0 })})`] : null,
    given(details.sprayed_minutes) ? ["sprayed", t(`alarm.sprayed.${details.sprayed ?? "keep"}`, { n: details.sprayed_minutes })] : null,
    details.schedule ? ["schedule", t(`schedule.${details.schedule}`)] : null,
    details.stage ? ["stage", t(`stage.${details.stage}`)] : null,
  ].filter(Boolean);
  const law = [details.edition, details.source, details.confidence ? t(`confidence.${details.confidence}`) : null].filter(Boolean).join(" · ");
  byId("alarm").replaceChildren(...[
    head(titleOf(alarm), `${placeOf(alarm)} · ${t(`severity.${alarm.severity}`)}${details.simulated ? ` · ${t("alarm.simulated")}` : ""}`),
    h("p", { class: "said" }, details.text && pick(details.text) ? pick(details.text) : measured(alarm)),
    open.plot,
    h("dl", { class: "facts" }, facts.map(([name, text]) => h("div", {}, h("dt", {}, t(`alarm.fact.${name}`)), h("dd", {}, text)))),
    law ? h("p", { class: "law muted" }, `${t("alarm.fact.rule")}: ${law}`) : null,
    h("h3", {}, t("alarm.story")),
    h("ol", { class: "story" }, alarm.events.map((event) => told(alarm, event))),
    answers(alarm, typed),
  ].filter(Boolean));
}

function told(alarm, { kind, at_ms, details }) {
  const zone = store.site.timezone;
  const ours = details.by === "sitegate";
  const parts = [
    details.by ? t("alarm.by", { name: ours ? t("alarm.gateway") : details.by }) : null,
    given(details.value) ? figure(alarm, details.value) : null,
    details.outcome ? t(`verdict.${details.outcome}`) : null,
    kind === "cleared" && details.lasted_ms ? t("alarm.lasted", { time: duration(details.lasted_ms / 1000) }) : null,
    details.reason && !details.output ? t(`reason.${details.reason}`) : null,
  ].filter(Boolean).join(" · ");
  const note = details.output && details.step ? `${outputName(details.output)} · ${sentence(details)}`
    : ours && details.text ? pick(details.text) : details.note;
  return h("li", { class: `${kind}${ours ? " ours" : ""}` },
    h("time", { title: clockSeconds(at_ms, zone) }, when(at_ms, nowMs(), zone)),
    h("span", {}, h("strong", {}, t(`alarm.event.${kind}`)), parts ? ` · ${parts}` : "", note ? h("q", {}, note) : null));
}

function answers(alarm, typed) {
  if (alarm.state === "closed") return null;
  if (!store.site.answerable) return h("p", { class: "muted" }, t("alarm.nopassword"));
  const by = nameField();
  const note = h("textarea", { rows: "2", maxlength: "1000", "aria-label": t("alarm.note"), placeholder: t("alarm.note") });
  note.value = typed;
  const problem = h("p", { class: "error", role: "alert" });
  const buttons = STEPS.filter((step) => step !== "acknowledge" || alarm.state === "open" || onlyOurs(alarm))
    .filter((step) => step !== "act" || alarm.state !== "acted" || onlyOurs(alarm))
    .map((step) => h("button", {
      type: "button", class: `step ${step}`, "data-step": step, disabled: step === "close" && alarm.active,
      title: step === "close" && alarm.active ? t("alarm.notyet") : null,
      onclick: () => answer(alarm, step, by.value, note, problem),
    }, t(`alarm.step.${step}`)));
  return h("div", { class: "answer" }, by, note, h("div", { class: "steps" }, buttons),
    alarm.active ? h("p", { class: "muted" }, t("alarm.notyet")) : null, problem);
}

async function answer(alarm, step, by, note, problem) {
  rememberName(by);
  const path = `/api/alerts/${encodeURIComponent(alarm.id)}/${step}`;
  if (!await attempt(problem, () => change(path, { by, note: note.value }))) return;
  note.value = "";
  await reloadStory();
}

// told later: by then the next one may be open
byId("alarm").addEventListener("close", () => { if (!byId("alarm").open) closeAlarm(); });
byId("alarm").addEventListener("click", (event) => { if (event.target === event.currentTarget) closeAlarm(); });
