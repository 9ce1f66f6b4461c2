// The gateway's data in this browser: fetched once, then kept current by /events.

const SILENT_MS = 12_000; // a summary comes every 5 s
const AGAIN_MS = 3_000;

export const store = {
  site: null,
  devices: [],
  links: [],
  values: new Map(), // "device metric" -> entry of /api/latest
  limits: [], // of /api/limits, kept by alarms.js
  outputs: [], // of /api/outputs, kept by outputs.js
  states: new Map(), // metric -> {number: {en, zh}}
  connected: false,
  heardMs: null, // by our own clock, for durations only
  offsetMs: 0, // the gateway's clock minus ours
};

export const keyOf = (device, metric) => `${device} ${metric}`;
export const nowMs = () => Date.now() + store.offsetMs;

/** The rule of the gateway (web/state.py): three rounds missed and five seconds of slack. */
export const isStale = (timeMs, everyS) => timeMs === null || nowMs() - timeMs > (3 * everyS + 5) * 1000;

export async function fetchJson(path, signal, options = {}) {
  const response = await fetch(path, { signal: signal ?? AbortSignal.timeout(8_000), ...options });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error ?? response.statusText);
  return body;
}

async function load() {
  const [site, devices, links, values, vocabulary] = await Promise.all(
    ["site", "devices", "links", "latest", "vocabulary"].map((name) => fetchJson(`/api/${name}`)),
  );
  store.site = site;
  store.offsetMs = site.now_ms - Date.now();
  store.devices = devices;
  store.links = links;
  store.values = new Map(values.map((value) => [keyOf(value.device, value.metric), value]));
  store.states = new Map(vocabulary.map((metric) => [metric.name, metric.states]));
}

function takeLatest(changed) {
  for (const { device, metric, ...news } of changed) {
    const entry = store.values.get(keyOf(device, metric));
    if (entry) Object.assign(entry, news);
  }
}

function takeSummary({ device_list, link_list, ...summary }) {
  Object.assign(store.site, summary);
  store.offsetMs = summary.now_ms - Date.now();
  store.devices = device_list;
  store.links = link_list;
}

/** Start, and never give up. ``loaded`` after each (re)load, ``changed`` with each change of values, ``told`` otherwise. */
export function connect({ loaded, changed, told }) {
  let source = null;
  let startedMs = null; // of the gateway: another one means that it was restarted, perhaps with another site file

  const heard = () => { store.heardMs = performance.now(); };
  const lose = () => {
    source?.close();
    source = null;
    store.connected = false;
    told();
    setTimeout(open, AGAIN_MS);
  };
  const on = (name, take, tell) => source.addEventListener(name, (event) => {
    heard();
    store.connected = true;
    const body = JSON.parse(event.data);
    take(body);
    tell(body);
  });

  async function open() {
    try {
      await load();
    } catch {
      setTimeout(open, AGAIN_MS);
      told();
      return;
    }
    heard();
    if (startedMs !== store.site.started_ms) {
      startedMs = store.site.started_ms;
      loaded();
    }
    source = new EventSource("/events");
    source.onerror = lose;
    on("latest", takeLatest, changed);
    on("summary", takeSummary, told);
  }

  setInterval(() => {
    if (source && performance.now() - store.heardMs > SILENT_MS) lose();
  }, 2_000);
  open();
}
