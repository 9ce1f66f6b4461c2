// The spray log: what control was asked, did and saw, as sentences, the newest first.

import { outputName, sentence } from "./controlwords.js";
import { h } from "./dom.js";
import { dayAndClock, clockSeconds, number } from "./format.js";
import { pick, t } from "./i18n.js";
import { fetchJson, nowMs, store } from "./live.js";
import { addressOf } from "./story.js";

const SPANS_MS = { today: 86_400_000, week: 604_800_000 };
const BETWEEN = ["intent", "written"]; // steps on the way, of interest when something went wrong
const AT_FIRST = 8;

let entries = [];
let complete = true;
let failed = null;
let span = "today";
let only = ""; // name of an output
let everyStep = false;
let all = false;

export const logPart = h("div", { class: "log", id: "log" });

/** Ask again. */
export async function refreshLog() {
  const to = Math.round(nowMs()) + 1;
  try {
    const body = await fetchJson(`/api/journal?from=${to - SPANS_MS[span]}&to=${to}${only ? `&output=${only}` : ""}`);
    [entries, complete, failed] = [body.entries, body.complete, null];
  } catch (error) {
    failed = error.message;
  }
  show();
}

function show() {
  const shown = entries.filter((entry) => everyStep || !BETWEEN.includes(entry.step));
  const rows = all ? shown : shown.slice(0, AT_FIRST);
  logPart.replaceChildren(
    h("div", { class: "sectionhead" }, h("h3", {}, t("journal.title")), filters()),
    failed ? h("p", { class: "error" }, t("journal.failed", { error: failed })) : "",
    rows.length ? table(rows) : h("p", { class: "card calm" }, t("journal.none")),
    shown.length > rows.length
      ? h("button", { type: "button", class: "ghost more", onclick: () => { all = true; show(); } }, t("journal.more", { n: number(shown.length - rows.length) })) : "",
    complete ? "" : h("p", { class: "muted" }, t("journal.cut")));
}

function filters() {
  const again = () => { all = false; refreshLog(); };
  const choose = h("select", { "aria-label": t("journal.output"), onchange: (event) => { only = event.target.value; again(); } },
    h("option", { value: "" }, t("journal.all")),
    store.outputs.map((output) => h("option", { value: output.name, selected: output.name === only }, pick(output.label))));
  const button = (name, pressed, onclick) => h("button", { type: "button", class: "ghost", "data-log": name, "aria-pressed": String(pressed), onclick }, t(`journal.${name}`));
  return h("div", { class: "filters" }, store.outputs.length > 1 ? choose : null,
    Object.keys(SPANS_MS).map((name) => button(name, span === name, () => { span = name; again(); })),
    button("steps", everyStep, () => { everyStep = !everyStep; show(); }));
}

const LEVELS = { confirmed: "ok", fault: "fault", failed: "fault", unconfirmed: "warning", refused: "warning" };

const table = (rows) => h("ol", { class: "card entries" }, rows.map((entry) => {
  const zone = store.site.timezone;
  const error = entry.details.error ?? entry.details.note;
  return h("li", { class: entry.step },
    h("time", {}, nowMs() - entry.at_ms < 43_200_000 ? clockSeconds(entry.at_ms, zone) : dayAndClock(entry.at_ms, zone)),
    h("span", { class: "name" }, outputName(entry.output)),
    h("span", { class: "what" }, h("span", { class: `dot ${LEVELS[entry.step] ?? ""}`, "aria-hidden": "true" }), sentence(entry),
      entry.by && entry.by !== "sitegate" ? ` · ${entry.by}` : "", error ? h("q", {}, error) : null,
      entry.alarm ? h("a", { href: addressOf(entry.alarm) }, t("journal.alarm")) : null));
}));
