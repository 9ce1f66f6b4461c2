// The lower half of the page: devices, links, and what is stored and waiting to be sent.

import { byId, h, renew, svg } from "./dom.js";
import { ago, bytes, duration, number, percent, when } from "./format.js";
import { pick, t } from "./i18n.js";
import { isStale, nowMs, store } from "./live.js";

const unfolded = new Set(); // links whose frames are shown: the cards are made anew every few seconds
const COLUMNS = ["name", "state", "age", "quality", "kind", "zone", "link"];

export const dot = (level) => h("span", { class: `dot ${level}`, "aria-hidden": "true" });
const fact = (name, text, extra, wide) => h("div", { class: wide && "wide" }, h("dt", {}, name), h("dd", {}, text, extra ?? null));

function meter(share, label) {
  const level = share > 0.9 ? "fault" : share > 0.7 ? "warning" : "ok";
  return svg("svg", { class: `meter ${level}`, viewBox: "0 0 100 6", preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("rect", { class: "back", width: 100, height: 6 }), svg("rect", { class: "used", width: Math.max(0.6, share * 100), height: 6 }));
}

export function refreshTables() {
  showDevices();
  showLinks();
  showBuffer();
}

export function deviceState(device) {
  const late = ["good", "partly"].includes(device.state) && isStale(device.last_answer_ms, device.every_s);
  const state = late ? "stale" : device.state;
  const level = { good: "ok", partly: "warning", waiting: "waiting" }[state] ?? "fault";
  return { state, level };
}

function showDevices() {
  const rows = store.devices.map((device) => {
    const { state, level } = deviceState(device);
    const good = [...store.values.values()].filter(
      (v) => v.device === device.name && v.value !== null && !isStale(v.time_ms, v.every_s)).length;
    const cells = {
      name: [
        h("a", { href: `#/${device.name}` }, pick(device.label)), h("code", {}, device.name),
        device.reason && level !== "ok" ? h("span", { class: "error" }, pick(device.reason)) : null,
      ],
      state: [dot(level), t(`state.${state}`)],
      age: [ago(device.last_answer_ms, nowMs())],
      quality: [`${good} / ${device.metrics}`],
      kind: [pick(device.title)],
      zone: [device.zone],
      link: [device.link],
    };
    return h("tr", { role: "row" },
      COLUMNS.map((c) => h("td", { role: "cell", class: `c-${c}`, "data-name": t(`device.${c}`) }, cells[c])));
  });
  renew(byId("devices"),
    h("h2", { id: "devices-title" }, t("nav.devices")),
    h("table", { role: "table", class: "card" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((c) => h("th", { role: "columnheader", scope: "col" }, t(`device.${c}`))))),
      h("tbody", { role: "rowgroup" }, rows)));
}

function showLinks() {
  renew(byId("links"), h("h2", { id: "links-title" }, t("nav.links")), h("div", { class: "cards" }, store.links.map((link) => {
    const level = { up: "ok", down: "fault", silent: "fault" }[link.state] ?? "waiting";
    const causes = (counts) => Object.entries(counts).filter(([, n]) => n).map(([cause, n]) => `${t(`cause.${cause}`)} ${number(n)}`);
    const failures = [...causes(link.failures), ...causes(link.write_failures).map((each) => t("link.onwrite", { each }))];
    return h("article", { class: "card" },
      h("header", {}, h("h3", {}, link.name), h("span", { class: "zone" }, t(`link.kind.${link.kind}`)),
        h("span", { class: "age" }, dot(level), t(link.state === "silent" ? "link.silent" : `state.${link.state}`),
          link.since_ms ? ` · ${t("since", { time: when(link.since_ms, nowMs(), store.site.timezone) })}` : "")),
      h("p", { class: "address" }, link.address),
      link.reason && level !== "ok" ? h("p", { class: "error" }, pick(link.reason)) : null,
      h("dl", { class: "facts" },
        fact(t("link.busy"), percent(link.busy_share), meter(link.busy_share, t("link.busy"))),
        fact(t("link.requests"), number(link.requests)),
        fact(t("link.answers"), number(link.answers)),
        link.writes ? fact(t("link.writes"), number(link.writes)) : null,
        fact(t("link.late"), number(link.late_rounds)),
        fact(t("link.reconnects"), number(link.reconnects)),
        fact(t("link.failures"), failures.join(" · ") || t("none"), null, true)),
      members(link), lastExchange(link));
  })));
}

/** What is on the wire: who answers, at which address, and since when not. */
function members(link) {
  const rows = store.devices.filter((device) => device.link === link.name).map((device) => {
    const { state, level } = deviceState(device);
    return h("li", {}, dot(level), h("a", { href: `#/${device.name}` }, pick(device.label)), h("code", {}, device.address),
      h("span", { class: "muted" }, `${t(`state.${state}`)} · ${ago(device.last_answer_ms, nowMs())}`,
        device.next_try_in_s ? ` · ${t("device.nexttry")} ${duration(device.next_try_in_s)}` : ""),
      device.reason && level !== "ok" && link.state !== "down" ? h("span", { class: "error" }, pick(device.reason)) : null);
  });
  return [h("h4", {}, `${t("link.devices")} (${number(rows.length)})`), h("ul", { class: "members" }, rows)];
}

/** Raw bytes, for whoever stands at the cabinet with the device's manual. */
function lastExchange({ name, last_frames }) {
  if (!last_frames?.sent) return null;
  const box = h("details", { open: unfolded.has(name) }, h("summary", {}, t("link.frames")),
    h("dl", { class: "frames" }, ["sent", "received"].flatMap((way) =>
      [h("dt", {}, t(`link.${way}`)), h("dd", {}, h("code", {}, last_frames[way] || t("none")))])));
  box.addEventListener("toggle", () => (box.open ? unfolded.add(name) : unfolded.delete(name)));
  return box;
}

function showBuffer() {
  const { buffer, readings, sinks } = store.site;
  const share = buffer.max_bytes ? Math.min(1, buffer.bytes_on_disk / buffer.max_bytes) : 0;
  const left = buffer.hours_left === null ? t("buffer.unknown") : duration(buffer.hours_left * 3600);
  const used = t("buffer.used", { used: bytes(buffer.bytes_on_disk), max: bytes(buffer.max_bytes) });
  const store_ = h("article", { class: "card" },
    h("header", {}, h("h3", {}, t("buffer.title")), h("span", { class: "age" }, used)),
    meter(share, used),
    h("p", { class: "left" }, h("span", { class: "muted" }, t("buffer.left")), h("strong", {}, left)),
    h("dl", { class: "facts" },
      fact(t("buffer.records"), number(buffer.records)), fact(t("buffer.minutes"), number(readings.minutes)),
      fact(t("buffer.good"), number(readings.good)), fact(t("buffer.bad"), number(readings.bad)),
      fact(t("buffer.dropped"), number(buffer.dropped)), fact(t("buffer.damaged"), number(buffer.damaged))));
  const cards = sinks.map((sink) => {
    const level = { up: "ok", down: "fault" }[sink.state] ?? "waiting";
    return h("article", { class: "card" },
      h("header", {}, h("h3", {}, sink.name), h("span", { class: "zone" }, sink.kind),
        h("span", { class: "age" }, dot(level), t(`state.${sink.state}`),
          sink.since_ms ? ` · ${t("since", { time: when(sink.since_ms, nowMs(), store.site.timezone) })}` : "")),
      sink.reason && level === "fault" ? h("p", { class: "error" }, pick(sink.reason)) : null,
      h("dl", { class: "facts" },
        fact(t("sink.pending"), number(buffer.pending[sink.name] ?? 0)),
        fact(t("sink.oldest"), sink.oldest_pending_ms ? ago(sink.oldest_pending_ms, nowMs()) : t("none")),
        fact(t("sink.sent"), number(sink.sent_values)),
        fact(t("sink.quarantined"), number(sink.quarantined))));
  });
  renew(byId("buffer"), h("h2", { id: "buffer-title" }, t("nav.buffer")),
    h("div", { class: "cards" }, store_, cards.length ? cards : h("p", { class: "card muted" }, t("sink.none"))));
}
