// Changing something: one POST, with the password when the gateway asks for it. It is kept in memory only, and asked
// for once; on a page that needs it to be seen at all, the browser has asked already and sends it by itself.

import { byId, h, setText } from "./dom.js";
import { t } from "./i18n.js";
import { store } from "./live.js";

const WAIT_MS = 20_000; // the answer of an output comes after it was read back

let authorization = null;

/** Ask the gateway for a change. Throws an Error with one sentence; returns null when nobody gave the password. */
export async function change(path, body) {
  if (store.site.asks_password && authorization === null && !await askPassword("")) return null;
  let answer = await send(path, body);
  while (answer.status === 401) {
    authorization = null;
    if (!await askPassword(t("signin.wrong"))) return null;
    answer = await send(path, body);
  }
  if (answer.status === 429) {
    authorization = null;
    throw new Error(t("signin.locked", { n: Math.ceil(Number(answer.headers.get("Retry-After")) / 60) }));
  }
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? answer.statusText);
  return told;
}

const send = (path, body) => fetch(path, {
  method: "POST", body: JSON.stringify(body), signal: AbortSignal.timeout(WAIT_MS),
  headers: { "X-Sitegate": "1", "Content-Type": "application/json", ...(authorization ? { Authorization: authorization } : {}) },
});

/** Resolves to whether one was given; it may still be wrong. */
function askPassword(problem) {
  const dialog = byId("signin");
  const field = h("input", { type: "password", autocomplete: "off", "aria-label": t("signin.password"), placeholder: t("signin.password") });
  return new Promise((resolve) => {
    const settle = (entered) => {
      dialog.removeEventListener("close", closed);
      dialog.close();
      resolve(entered);
    };
    const closed = () => { if (!dialog.open) settle(false); }; // told later: by then the next one may be open
    const enter = () => {
      if (!field.value) return;
      authorization = `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`page:${field.value}`)))}`;
      settle(true);
    };
    field.addEventListener("keydown", (event) => { if (event.key === "Enter") enter(); });
    dialog.replaceChildren(
      h("h2", { id: "signin-title" }, t("signin.title")), h("p", { class: "muted" }, t("signin.why")),
      h("div", { class: "answer" }, field, h("p", { class: "error", role: "alert" }, problem),
        h("div", { class: "steps" },
          h("button", { type: "button", class: "step", onclick: () => settle(false) }, t("signin.cancel")),
          h("button", { type: "button", class: "step main", onclick: enter }, t("signin.enter")))));
    dialog.addEventListener("close", closed);
    dialog.showModal();
    field.focus();
  });
}

/** A field for the name under which a change is kept, filled with the last one given here. */
export function nameField() {
  const field = h("input", { type: "text", maxlength: "60", autocomplete: "name", "aria-label": t("alarm.who"), placeholder: t("alarm.who") });
  try {
    field.value = localStorage.getItem("name") ?? "";
  } catch { /* no storage in this browser: asked each time */ }
  return field;
}

export function rememberName(name) {
  try {
    localStorage.setItem("name", name.trim());
  } catch { /* see above */ }
}

/** Run a change and show under the fields what came of it; true when it was done. */
export async function attempt(problem, work) {
  setText(problem, "");
  try {
    return (await work()) !== null;
  } catch (error) {
    setText(problem, error.name === "TimeoutError" ? t("signin.noanswer") : error.message);
    return false;
  }
}
