// The lower half of the page: devices, links, and what is stored and waiting to be sent.

import { byId, h, svg } from "./dom.js";
import { ago, bytes, duration, number, percent, when } from "./format.js";
import { pick, t } from "./i18n.js";
import { isStale, nowMs, store } from "./live.js";

const COLUMNS = ["name", "state", "age", "quality", "kind", "zone", "link"];

const dot = (level) => h("span", { class: `dot ${level}`, "aria-hidden": "true" });
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

function deviceState(device) {
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
        h("strong", {}, pick(device.label)), h("code", {}, device.name),
        device.last_error && level !== "ok" ? h("span", { class: "error" }, device.last_error) : null,
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
  byId("devices").replaceChildren(
    h("h2", {}, t("nav.devices")),
    h("table", { role: "table", class: "card" },
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, COLUMNS.map((c) => h("th", { role: "columnheader", scope: "col" }, t(`device.${c}`))))),
      h("tbody", { role: "rowgroup" }, rows)));
}

function showLinks() {
  byId("links").replaceChildren(h("h2", {}, t("nav.links")), h("div", { class: "cards" }, store.links.map((link) => {
    const level = { up: "ok", down: "fault", silent: "fault" }[link.state] ?? "waiting";
    const causes = (counts) => Object.entries(counts).filter(([, n]) => n).map(([cause, n]) => `${t(`cause.${cause}`)} ${number(n)}`);
    const failures = [...causes(link.failures), ...causes(link.write_failures).map((each) => t("link.onwrite", { each }))];
    return h("article", { class: "card" },
      h("header", {}, h("h3", {}, link.name), h("span", { class: "zone" }, t(`link.kind.${link.kind}`)),
        h("span", { class: "age" }, dot(level), t(link.state === "silent" ? "link.silent" : `state.${link.state}`),
          link.since_ms ? ` · ${t("since", { time: when(link.since_ms, nowMs(), store.site.timezone) })}` : "")),
      h("p", { class: "address" }, link.address),
      link.last_error && level !== "ok" ? h("p", { class: "error" }, link.last_error) : null,
      h("dl", { class: "facts" },
        fact(t("link.busy"), percent(link.busy_share), meter(link.busy_share, t("link.busy"))),
        fact(t("link.requests"), number(link.requests)),
        fact(t("link.answers"), number(link.answers)),
        link.writes ? fact(t("link.writes"), number(link.writes)) : null,
        fact(t("link.late"), number(link.late_rounds)),
        fact(t("link.reconnects"), number(link.reconnects)),
        fact(t("link.devices"), number(link.devices.length)),
        fact(t("link.failures"), failures.join(" · ") || t("none"), null, true)));
  })));
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
      sink.last_error && level === "fault" ? h("p", { class: "error" }, sink.last_error) : null,
      h("dl", { class: "facts" },
        fact(t("sink.pending"), number(buffer.pending[sink.name] ?? 0)),
        fact(t("sink.oldest"), sink.oldest_pending_ms ? ago(sink.oldest_pending_ms, nowMs()) : t("none")),
        fact(t("sink.sent"), number(sink.sent_values)),
        fact(t("sink.quarantined"), number(sink.quarantined))));
  });
  byId("buffer").replaceChildren(h("h2", {}, t("nav.buffer")),
    h("div", { class: "cards" }, store_, cards.length ? cards : h("p", { class: "card muted" }, t("sink.none"))));
}
