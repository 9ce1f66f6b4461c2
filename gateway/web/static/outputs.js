// Outputs (cannons, valves): how each stands, why, what refuses a start; and taking one over for a while.

import { placeOf, titleOf } from "./alarmwords.js";
import { inOurWords } from "./controlwords.js";
import { byId, h, setText } from "./dom.js";
import { duration, number, when } from "./format.js";
import { currentLanguage, pick, t } from "./i18n.js";
import { logPart, refreshLog } from "./journal.js";
import { fetchJson, nowMs, store } from "./live.js";
import { attempt, change, nameField, rememberName } from "./signin.js";
import { addressOf } from "./story.js";

const LEVELS = { on: "ok", starting: "ok", stopping: "waiting", off: "waiting", unknown: "warning", fault: "fault" };
const MINUTES = [5, 15, 30, 60, 120];
const USUAL_MINUTES = 15;
const MOVING_MS = 5_000, ELSE_MS = 60_000;

const parts = { title: h("h2", {}), problem: h("p", { class: "error" }), cards: h("div", { class: "cards" }) };
const cards = new Map(); // name -> {key, node, today}
let alarms = [];
let revision = null;
let failed = null;
let askedMs = 0;

/** Ask again when an output has changed, and now and then while one runs; ``force`` without a reason. */
export async function refreshOutputs(force = false) {
  const known = store.site?.outputs;
  byId("outputs").hidden = !known;
  if (!known) return;
  const moves = store.outputs.some((output) => output.is_on || output.blocked_by.length); // with time, without an event
  const oldMs = moves ? MOVING_MS : ELSE_MS;
  if (!force && failed === null && known.revision === revision && performance.now() - askedMs < oldMs) return;
  askedMs = performance.now();
  const news = force || known.revision !== revision;
  revision = known.revision;
  try {
    const [found, open] = await Promise.all([fetchJson("/api/outputs"), fetchJson("/api/alerts")]);
    [store.outputs, alarms, failed] = [found.outputs, open.alerts, null];
  } catch (error) {
    failed = error.message;
  }
  show();
  if (news) await refreshLog();
}

function show() {
  if (!byId("outputs").contains(parts.cards)) byId("outputs").replaceChildren(...Object.values(parts), logPart);
  setText(parts.title, t("outputs.title"));
  parts.problem.hidden = !failed;
  setText(parts.problem, failed ? t("outputs.failed", { error: failed }) : "");
  const nodes = store.outputs.map(card);
  if (nodes.some((node, i) => node !== parts.cards.children[i]) || nodes.length !== parts.cards.childElementCount) parts.cards.replaceChildren(...nodes);
}

/** A card is made anew only when something on it has changed: a button must not vanish below a finger. */
function card(output) {
  const { on_s_today: onS, ...rest } = output;
  const key = JSON.stringify([rest, rest.alarms.map(named), store.site.answerable, currentLanguage()]);
  let known = cards.get(output.name);
  if (known?.key !== key) {
    const today = h("dd", {});
    known = { key, today, node: draw(output, today) };
    cards.set(output.name, known);
  }
  setText(known.today, duration(onS));
  return known.node;
}

function draw(output, today) {
  const since = t("since", { time: when(output.since_ms, nowMs(), store.site.timezone) });
  const held = output.owner === "manual" && output.lease_until_ms;
  return h("article", { class: `card output ${output.state}`, "data-output": output.name },
    h("header", {}, h("h3", {}, pick(output.label)), h("span", { class: "zone" }, output.zone),
      h("span", { class: `chip mode ${output.mode}` }, t(`output.mode.${output.mode}`))),
    h("p", { class: "stands" }, h("span", { class: `dot ${LEVELS[output.state]}`, "aria-hidden": "true" }),
      h("strong", {}, t(`output.state.${output.state}`)), h("span", { class: "muted" }, since)),
    output.reason ? h("p", { class: "why" }, t(`control.reason.${output.reason}`)) : null,
    held ? h("p", { class: "hand" }, t("output.hand", { by: output.by, time: when(output.lease_until_ms, nowMs(), store.site.timezone) })) : null,
    output.alarms.length ? h("p", { class: "asks" }, `${t("output.asks")} `, output.alarms.map((id) => h("a", { href: addressOf(id) }, named(id)))) : null,
    output.blocked_by.length && output.mode !== "off" ? h("div", { class: "blocked" }, t("output.blocked"),
      h("ul", {}, output.blocked_by.map((code) => h("li", {}, t(`control.reason.${code}`))))) : null,
    h("dl", { class: "facts" },
      h("div", {}, h("dt", {}, t("output.today")), today),
      fact("output.starts", number(output.starts_last_hour)),
      fact("output.deadman", output.dead_man_s === null ? t("output.deadman.never") : t("output.deadman.after", { time: duration(output.dead_man_s) }))),
    hands(output));
}

const fact = (name, text) => h("div", {}, h("dt", {}, t(name)), h("dd", {}, text));

function named(id) {
  const alarm = alarms.find((each) => each.id === id);
  return alarm ? `${titleOf(alarm)} · ${placeOf(alarm)}` : id.split("@")[0];
}

function hands(output) {
  if (output.mode === "off") return h("p", { class: "hint muted" }, t("output.unused"));
  if (!store.site.answerable) return h("p", { class: "hint muted" }, t("output.nopassword"));
  return h("div", { class: "steps" }, ["on", "off", "auto"].map((want) => h("button", {
    type: "button", class: "step", "data-want": want, onclick: () => ask(output, want),
  }, t(`output.want.${want}`))));
}

// --- taking over ----------------------------------------------------------------------------------------------------

/** Ask who and for how long before anything moves: a thumb on a phone is quick. */
function ask(output, want) {
  const dialog = byId("hand");
  const by = nameField();
  const minutes = h("select", {}, MINUTES.map((n) => h("option", { value: n, selected: n === USUAL_MINUTES }, t("unit.min", { n }))));
  const problem = h("p", { class: "error", role: "alert" });
  const button = h("button", { type: "button", class: "step main", onclick: () => tell(output, want, by.value, Number(minutes.value), problem, button) }, t(`output.want.${want}`));
  dialog.replaceChildren(
    h("h2", { id: "hand-title" }, t(`output.ask.${want}`, { name: pick(output.label) })),
    h("p", { class: "muted" }, t(`output.why.${want}`)),
    h("div", { class: "answer" }, by,
      want === "auto" ? "" : h("label", { class: "minutes" }, h("span", {}, t("output.minutes")), minutes),
      problem,
      h("div", { class: "steps" }, h("button", { type: "button", class: "step", onclick: () => dialog.close() }, t("signin.cancel")), button)));
  dialog.showModal();
}

async function tell(output, want, by, minutes, problem, button) {
  rememberName(by);
  button.disabled = true;
  const done = await attempt(problem, () => change(`/api/outputs/${output.name}/${want}`, want === "auto" ? { by } : { by, minutes }));
  button.disabled = false;
  setText(problem, inOurWords(problem.textContent));
  if (done) byId("hand").close();
  await refreshOutputs(true);
}

byId("hand").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });
