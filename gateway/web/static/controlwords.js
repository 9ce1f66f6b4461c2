// What control did, as a sentence; a refusal by an interlock in the language of the page.

import { CONTROL_TEXTS } from "./i18n_control.js";
import { pick, t } from "./i18n.js";
import { store } from "./live.js";

export function outputName(name) {
  const output = store.outputs.find((each) => each.name === name);
  return output ? pick(output.label) : name;
}

/** {step, command, reason} of a journal entry, or of an action noted in an alarm. */
export function sentence({ step, command, reason }) {
  const what = t(`journal.step.${step}`, { command: t(`journal.command.${command ?? ""}`) });
  return reason ? `${what} ${t(`control.reason.${reason}`)}` : what;
}

/** The gateway refuses in English; the reasons in it are sentences that this page knows in both languages. */
export function inOurWords(message) {
  const reasons = Object.entries(CONTROL_TEXTS)
    .filter(([key, [english]]) => key.startsWith("control.reason.") && message.includes(english)).map(([key]) => t(key));
  return reasons.length ? `${t("output.cannot")} ${reasons.join(" ")}` : message;
}
