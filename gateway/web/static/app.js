// Puts the page together: builds it once per language, then only refreshes texts.

import { refreshAlarms } from "./alarms.js";
import { closeDevice, openDeviceFromAddress, refreshDevice } from "./device.js";
import { byId, h, setClass, setText } from "./dom.js";
import { clock, dayAndClock, duration } from "./format.js";
import { chooseLanguage, otherLanguage, pick, setLanguage, t } from "./i18n.js";
import { connect, nowMs, store } from "./live.js";
import { refreshOutputs } from "./outputs.js";
import { buildStatus, buildValues, refreshStatus, refreshValues } from "./overview.js";
import { closeSheet, openFromAddress, refreshSheet } from "./sheet.js";
import { closeAlarm, openAlarmFromAddress } from "./story.js";
import { refreshTables } from "./tables.js";

function build() {
  setText(byId("skip"), t("skip"));
  const button = byId("language");
  setText(button, t("language.other"));
  button.setAttribute("aria-label", t("language.switch"));
  button.lang = otherLanguage() === "zh" ? "zh-CN" : "en";
  refreshConnection();
  if (!store.site) return;
  const { name, timezone, simulated, version, started_ms } = store.site;
  document.title = `${pick(name)} · Sitegate`;
  setText(byId("site-name"), pick(name));
  byId("simulated").hidden = !simulated;
  setText(byId("simulated").firstElementChild, t("simulated"));
  byId("sections").setAttribute("aria-label", t("nav.label"));
  byId("sections").replaceChildren(...["alarms", "outputs", "values", "devices", "links", "buffer"].filter((id) => store.site[id] !== null).map((id) =>
    h("a", { href: `#${id}` }, t(`nav.${id}`))));
  setText(byId("foot"), t("foot", { version, started: dayAndClock(started_ms, timezone), zone: timezone }));
  buildStatus();
  buildValues();
  refresh();
  refreshTables();
  refreshAlarms(true);
  refreshOutputs(true);
}

function openAddress(hash) {
  if (openAlarmFromAddress(hash)) return;
  closeAlarm();
  if (openDeviceFromAddress(hash)) closeSheet();
  else openFromAddress(hash);
}

function refresh() {
  setText(byId("site-line"), t("site.time", { time: clock(nowMs(), store.site.timezone) }));
  refreshStatus();
  refreshValues();
  refreshSheet();
  refreshDevice();
}

function refreshConnection() {
  setClass(byId("live"), store.connected ? "live on" : "live");
  setText(byId("live"), t(store.connected ? "live.on" : "live.off"));
  const silentS = store.heardMs === null ? performance.now() / 1000 : (performance.now() - store.heardMs) / 1000;
  const lost = !store.connected && silentS > 4;
  byId("lost").hidden = !lost;
  document.body.classList.toggle("offline", lost);
  if (!lost) return;
  setText(byId("lost"), store.site ? t("lost", { age: duration(silentS) }) : t("lost.never"));
}

byId("language").addEventListener("click", () => {
  closeSheet();
  closeDevice();
  closeAlarm();
  byId("hand").close();
  setLanguage(otherLanguage());
  build();
});

addEventListener("hashchange", () => openAddress(location.hash)); // a link, or the back button

chooseLanguage();
build();
connect({
  loaded: () => {
    const asked = location.hash; // closing the sheet forgets it
    closeSheet();
    closeDevice();
    closeAlarm();
    build();
    openAddress(asked);
  },
  changed: () => {
    refresh();
    refreshConnection();
  },
  told: () => {
    refreshConnection();
    if (!store.site) return;
    refresh();
    refreshTables();
    refreshAlarms();
    refreshOutputs();
  },
});
setInterval(() => {
  refreshConnection();
  if (store.site && !document.hidden) refresh();
}, 1_000);
