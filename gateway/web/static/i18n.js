// Every word of the page in both languages. Names of devices and metrics come from the gateway with both labels.

const TEXTS = {
  "language.other": ["中文", "English"],
  "language.switch": ["切换到中文", "Switch to English"],
  "skip": ["Skip to the values", "跳到数据"],
  "simulated": ["Simulated site: no number here comes from a real device.",
    "模拟工地：本页所有数据均来自模拟器，不是真实设备。"],
  "live.on": ["Live", "实时"],
  "live.off": ["Connecting", "连接中"],
  "lost": ["Connection to the gateway lost. These values are {age} old. Trying again …",
    "与网关的连接已中断，所示为 {age}前的数据，正在重新连接……"],
  "lost.never": ["The gateway does not answer. Trying again …", "网关没有响应，正在重试……"],
  "site.time": ["Site time {time}", "工地时间 {time}"],
  "status.ok": ["All devices are answering", "所有设备数据正常"],
  "status.warning": ["Running, with something to look at", "运行中，有事项需留意"],
  "status.fault": ["Data is missing", "有数据缺失"],
  "status.waiting": ["Waiting for the first answers", "正在等待首批数据"],
  "status.facts": ["Values {good}/{all} good · devices {devices}/{total} current",
    "数据 {good}/{all} 项有效 · 设备 {devices}/{total} 台正常"],
  "status.rules": ["Emission limits are not judged here yet: no alarm rules are configured.",
    "尚未配置报警规则，本页暂不判断是否超标。"],
  "since": ["since {time}", "自 {time} 起"],
  "nav.label": ["Parts of this page", "页面内容"],
  "nav.values": ["Values", "数据"],
  "nav.devices": ["Devices", "设备"],
  "nav.links": ["Links", "链路"],
  "nav.buffer": ["Storage", "存储"],
  "domain.air": ["Dust", "扬尘"],
  "domain.noise": ["Noise", "噪声"],
  "domain.weather": ["Weather", "气象"],
  "domain.energy": ["Energy", "能耗"],
  "domain.water": ["Water", "用水"],
  "domain.electrical": ["Electrical safety", "电气安全"],
  "domain.equipment": ["Equipment", "设备工况"],
  "values.more": ["More values ({n})", "更多数据（{n}）"],
  "chart.open": ["{device}, {metric}: show the chart", "{device}，{metric}：查看曲线"],
  "chart.range": ["Time range", "时间范围"],
  "chart.close": ["Close", "关闭"],
  "chart.loading": ["Loading …", "正在读取……"],
  "chart.empty": ["No readings in this time.", "这段时间没有数据。"],
  "chart.failed": ["The history could not be read: {error}", "无法读取历史数据：{error}"],
  "chart.low": ["Lowest", "最低"],
  "chart.high": ["Highest", "最高"],
  "chart.mean": ["Mean", "平均"],
  "chart.energymean": ["Mean (Leq)", "平均（等效）"],
  "chart.growth": ["Growth", "增量"],
  "chart.share": ["Data present", "数据有效率"],
  "chart.gap": ["no data", "无数据"],
  "chart.raw": ["Every single reading", "逐次读数"],
  "chart.minutes": ["One point = {n} min, with lowest and highest", "每点为 {n} 分钟均值，阴影为最低至最高"],
  "chart.minutevector": ["One point = {n} min, mean direction", "每点为 {n} 分钟平均方向"],
  "chart.minutelast": ["One point = {n} min, last reading", "每点为 {n} 分钟末次读数"],
  "range.15m": ["15 min", "15 分钟"],
  "range.1h": ["1 h", "1 小时"],
  "range.6h": ["6 h", "6 小时"],
  "range.24h": ["24 h", "24 小时"],
  "age.now": ["now", "刚刚"],
  "age.ago": ["{age} ago", "{age}前"],
  "age.never": ["never", "从未"],
  "age.old": ["old: {age}", "已过时：{age}前"],
  "unit.s": ["{n} s", "{n} 秒"],
  "unit.min": ["{n} min", "{n} 分钟"],
  "unit.h": ["{n} h", "{n} 小时"],
  "unit.d": ["{n} d", "{n} 天"],
  "mark.N": ["good", "有效"],
  "mark.D": ["device fault", "设备故障"],
  "mark.B": ["no answer", "无应答"],
  "mark.T": ["out of range", "超出量程"],
  "mark.C": ["calibration", "校准"],
  "mark.M": ["maintenance", "维护"],
  "mark.F": ["switched off", "停运"],
  "mark.none": ["no value yet", "尚无数据"],
  "mark.lastgood": ["last good {age}", "上次有效：{age}"],
  "device.name": ["Device", "设备"],
  "device.kind": ["Model", "型号"],
  "device.zone": ["Zone", "区域"],
  "device.link": ["Link", "链路"],
  "device.age": ["Last answer", "最近应答"],
  "device.quality": ["Good values", "有效数据"],
  "device.state": ["State", "状态"],
  "state.waiting": ["waiting", "等待中"],
  "state.good": ["good", "正常"],
  "state.partly": ["partly", "部分应答"],
  "state.refused": ["refuses", "拒绝应答"],
  "state.silent": ["silent", "无应答"],
  "state.link_down": ["link down", "链路断开"],
  "state.stale": ["out of date", "数据过时"],
  "state.starting": ["starting", "启动中"],
  "state.up": ["up", "已连接"],
  "state.down": ["down", "已断开"],
  "link.kind.serial": ["Serial line", "串口"],
  "link.kind.tcp": ["TCP", "TCP"],
  "link.kind.mqtt": ["MQTT", "MQTT"],
  "link.devices": ["Devices", "设备"],
  "link.requests": ["Requests", "请求"],
  "link.answers": ["Answers", "应答"],
  "link.failures": ["Failures", "失败"],
  "link.late": ["Late rounds", "延误轮次"],
  "link.reconnects": ["Reconnects", "重连"],
  "link.busy": ["Busy", "占用率"],
  "cause.no_answer": ["no answer", "无应答"],
  "cause.bad_frame": ["bad frame", "坏帧"],
  "cause.refused": ["refused", "拒绝"],
  "cause.link_down": ["link down", "断开"],
  "cause.too_large": ["too large", "超长"],
  "cause.not_json": ["not JSON", "非 JSON"],
  "cause.not_a_number": ["not a number", "非数值"],
  "cause.missing_field": ["missing field", "缺字段"],
  "cause.stale_retained": ["old retained message", "过期保留消息"],
  "none": ["none", "无"],
  "buffer.title": ["Buffer on disk", "本地缓冲"],
  "buffer.used": ["{used} of {max} used", "已用 {used}，共 {max}"],
  "buffer.left": ["At this rate it holds another", "按当前速率还可保存"],
  "buffer.unknown": ["not known yet", "尚未可知"],
  "buffer.records": ["Records kept", "保存记录"],
  "buffer.minutes": ["Minutes in the ledger", "分钟台账"],
  "buffer.dropped": ["Dropped", "丢弃"],
  "buffer.damaged": ["Damaged", "损坏"],
  "buffer.bad": ["Readings not good", "无效读数"],
  "buffer.good": ["Readings good", "有效读数"],
  "sink.pending": ["Waiting to be sent", "待发送"],
  "sink.sent": ["Values sent", "已发送数值"],
  "sink.quarantined": ["Refused by the sink", "被拒收"],
  "sink.oldest": ["Oldest waiting", "最早待发"],
  "sink.none": ["No sink is configured: all data stays on this box and is shown here.",
    "未配置上传目标：所有数据保存在本机，可在此查看。"],
  "foot": ["Sitegate {version} · started {started} · times in {zone}", "Sitegate {version} · 启动于 {started} · 时区 {zone}"],
};

const COMPASS = [["N", "北"], ["NE", "东北"], ["E", "东"], ["SE", "东南"], ["S", "南"], ["SW", "西南"], ["W", "西"], ["NW", "西北"]];

let language = "en";

function stored() {
  try {
    return localStorage.getItem("language");
  } catch {
    return null; // storage may be forbidden; the choice then lasts as long as the page
  }
}

/** Language of the address, else the remembered one, else the browser's. */
export function chooseLanguage() {
  const wanted = new URLSearchParams(location.search).get("lang") ?? stored() ?? navigator.language;
  setLanguage(wanted.toLowerCase().startsWith("zh") ? "zh" : "en", false);
}

export function setLanguage(next, remember = true) {
  language = next;
  document.documentElement.lang = next === "zh" ? "zh-CN" : "en";
  if (!remember) return;
  const address = new URL(location.href);
  address.searchParams.delete("lang");
  history.replaceState(null, "", address);
  try {
    localStorage.setItem("language", next);
  } catch { /* see above */ }
}

export const currentLanguage = () => language;
export const otherLanguage = () => (language === "zh" ? "en" : "zh");
export const locale = () => (language === "zh" ? "zh-CN" : "en-GB");

/** The text of a key with its {places} filled; the last part of an unknown key, so that new causes stay readable. */
export function t(key, places = {}) {
  const text = TEXTS[key]?.[language === "zh" ? 1 : 0] ?? key.slice(key.indexOf(".") + 1).replaceAll("_", " ");
  return text.replace(/\{(\w+)\}/g, (_, name) => places[name] ?? "");
}

/** One of two labels {en, zh}. */
export const pick = (label) => label[language] || label.en;

export const compass = (degrees) => COMPASS[Math.round((((degrees % 360) + 360) % 360) / 45) % 8][language === "zh" ? 1 : 0];
