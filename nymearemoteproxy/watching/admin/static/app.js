// The status page. It asks this server, and nobody else, every few seconds, and draws the answers.
// Whatever a client chose (names, uuids, accounts) only ever becomes text of a node: never HTML.
"use strict";

const POLL = 3000; // ms between questions: a person sees the page live, the server hardly notices
const SLOWEST = 60000; // ms between questions to a server that does not answer
const PATIENCE = 15000; // ms until a question counts as not answered
const HOUR = 3600; // s
const BIN = 60; // s of one bar in the chart of outcomes
const ROWS = [20, 100, 200]; // of a list, before and after "Show more"; the server gives no more
const THEME = "nymea-remoteproxy-theme"; // where the choice of colours is kept

// Colours first, so that the page does not flash.

const dark = matchMedia("(prefers-color-scheme: dark)");

function storedTheme() {
  try {
    return localStorage.getItem(THEME);
  } catch {
    return null; // the browser keeps nothing
  }
}

function currentTheme() {
  return document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(THEME, theme);
  } catch {
    // it holds until the page is closed
  }
}

if (["light", "dark"].includes(storedTheme())) document.documentElement.dataset.theme = storedTheme();

// Small things

const $ = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function draw(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Control characters would vanish or turn the text around them; they are shown as what they are.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const plain = (text) => text.replace(UNSEEN, "\ufffd");

const count = new Intl.NumberFormat("en");

function scaled(value, unit) {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let step = 0;
  while (value >= 999.5 && step < prefixes.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = value >= 99.5 || step === 0 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${prefixes[step]}${unit}`;
}

const bytes = (value) => scaled(value, "B");
const speed = (value) => scaled(value, "B/s");

function lasting(seconds) {
  const [d, h, m, s] = [
    Math.floor(seconds / 86400), Math.floor(seconds / HOUR) % 24,
    Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60,
  ];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

function clock(time, withSeconds = false) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (withSeconds) options.second = "2-digit";
  return new Date(time * 1000).toLocaleTimeString([], options);
}

const HERE = location.origin + location.pathname; // without a password, if the address has one

async function ask(path) {
  const answer = await fetch(new URL(path, HERE), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

// Charts

const EDGE = { left: 58, right: 10, top: 10, bottom: 24 };

const STEPS = { 1: 5, 2: 4, 4: 4, 6: 3, 8: 4 }; // between grid lines, by the top's first digit

// The top of an axis with whole numbers at its grid lines, and how many steps they are apart.
function niceTop(most) {
  const size = 10 ** Math.max(0, Math.floor(Math.log10(most || 1)));
  const factor = [1, 2, 4, 6, 8, 10].find((value) => value * size >= most);
  const top = factor * size;
  return [top, Math.min(STEPS[factor === 10 ? 1 : factor], top)];
}

class Chart {
  // `series`: {label, tone, value: (sample) => number}. `bars`: stacked bars instead of curves.
  constructor(id, { title, series, format, bars = false }) {
    this.series = series;
    this.format = format;
    this.bars = bars;
    this.samples = [];
    this.span = [0, HOUR];
    this.width = 0;
    this.at = null; // the sample under the pointer or the keyboard
    const figure = $(id);
    this.when = make("span", { class: "when muted" });
    this.values = series.map(() => make("b", {}, "–"));
    const legend = make("ul", { class: "legend" });
    series.forEach((each, index) => {
      legend.append(make("li", { class: `tone-${each.tone}` }, `${each.label} `, this.values[index]));
    });
    const caption = make("figcaption", {}, make("h3", {}, title), this.when, legend);
    this.plot = make("div", {
      class: "plot", tabindex: "0", role: "group",
      "aria-label": `${title}, the last hour. The arrow keys read it minute by minute.`,
    });
    this.spoken = make("span", { class: "sr-only", role: "status" });
    figure.append(caption, this.plot, this.spoken);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.show(null));
    this.plot.addEventListener("blur", () => this.show(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  update(samples, end) {
    const chosen = this.at === null ? null : this.samples[this.at]?.time;
    this.samples = samples;
    this.span = [end - HOUR, end];
    if (chosen != null) {
      const same = samples.findIndex((sample) => sample.time === chosen);
      this.at = same < 0 ? null : same;
    }
    this.draw();
  }

  x(time) {
    const [from, to] = this.span;
    return EDGE.left + ((time - from) / (to - from)) * (this.width - EDGE.left - EDGE.right);
  }

  y(value) {
    return this.height - EDGE.bottom - (value / this.top) * (this.height - EDGE.top - EDGE.bottom);
  }

  point(event) {
    if (!this.samples.length) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    let best = 0;
    this.samples.forEach((sample, index) => {
      const far = (each) => Math.abs(this.x(this.middle(each)) - x);
      if (far(sample) < far(this.samples[best])) best = index;
    });
    this.show(best);
  }

  key(event) {
    const last = this.samples.length - 1;
    if (last < 0) return;
    const at = this.at ?? last + 1;
    const step = this.bars ? 1 : Math.max(1, Math.round(BIN / 5));
    const places = {
      ArrowLeft: at - step, ArrowRight: at + step, PageUp: at - 10 * step, PageDown: at + 10 * step,
      Home: 0, End: last, Escape: null,
    };
    if (!(event.key in places) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const place = places[event.key];
    this.show(place === null ? null : Math.min(last, Math.max(0, place)));
    setText(this.spoken, this.at === null ? "" : this.words());
  }

  words() {
    const sample = this.samples[this.at];
    const values = this.series.map((each) => `${each.label} ${this.format(each.value(sample))}`);
    return `${clock(sample.time)}: ${values.join(", ")}`;
  }

  show(at) {
    this.at = at;
    this.drawCursor();
  }

  middle(sample) {
    return this.bars ? sample.time - BIN / 2 : sample.time;
  }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.plot.clientHeight;
    if (this.width < EDGE.left + EDGE.right + 20) return;
    const sums = this.samples.map((sample) => {
      const values = this.series.map((each) => each.value(sample));
      return this.bars ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
    });
    [this.top, this.steps] = niceTop(Math.max(0, ...sums));
    const svg = draw("svg", { "aria-hidden": "true", viewBox: `0 0 ${this.width} ${this.height}` });
    svg.append(...this.axes());
    if (this.bars) svg.append(...this.drawBars());
    else for (const each of this.series) svg.append(...this.drawCurve(each));
    if (!this.samples.length) {
      svg.append(draw("text", { class: "empty", x: (this.width + EDGE.left) / 2, y: this.height / 2 },
        "The first point comes in a few seconds"));
    }
    this.cursor = draw("g");
    svg.append(this.cursor);
    this.plot.replaceChildren(svg);
    this.drawCursor();
  }

  axes() {
    const parts = [];
    const right = this.width - EDGE.right;
    for (let step = 0; step <= this.steps; step += 1) {
      const value = (this.top * step) / this.steps;
      const y = Math.round(this.y(value));
      parts.push(draw("line", { class: step ? "grid" : "base", x1: EDGE.left, x2: right, y1: y, y2: y }));
      parts.push(draw("text", { x: EDGE.left - 8, y: y + 4, "text-anchor": "end" },
        this.format(value).replace(/\.0+(?= )/, "")));
    }
    const [from, to] = this.span;
    const every = this.width > 380 ? 600 : 1200;
    for (let time = Math.ceil(from / every) * every; time <= to; time += every) {
      const x = this.x(time);
      if (x < EDGE.left + 16 || x > right - 14) continue;
      parts.push(draw("text", { x, y: this.height - 6, "text-anchor": "middle" }, clock(time)));
    }
    return parts;
  }

  // Where the server was not there, the curve is not either.
  runs() {
    const runs = [];
    let before = -Infinity;
    for (const sample of this.samples) {
      if (sample.time - before > 20) runs.push([]);
      runs.at(-1).push(sample);
      before = sample.time;
    }
    return runs;
  }

  drawCurve(series) {
    const parts = [];
    const tone = `tone-${series.tone}`;
    const base = this.y(0).toFixed(1);
    for (const run of this.runs()) {
      const points = run.map((sample) =>
        `${this.x(sample.time).toFixed(1)},${this.y(series.value(sample)).toFixed(1)}`);
      const line = points.length > 1 ? `M${points.join("L")}` : `M${points[0]}h0.1`;
      const [first, last] = [run[0], run.at(-1)].map((sample) => this.x(sample.time).toFixed(1));
      if (points.length > 1 && series === this.series[0]) {
        parts.push(draw("path", { class: `area ${tone}`, d: `${line}L${last},${base}L${first},${base}Z` }));
      }
      parts.push(draw("path", { class: `curve ${tone}`, d: line }));
    }
    return parts;
  }

  drawBars() {
    const parts = [];
    for (const sample of this.samples) {
      let sum = 0;
      const left = Math.max(EDGE.left, this.x(sample.time - BIN));
      const width = Math.max(1, this.x(sample.time) - left - 1.2);
      for (const series of this.series) {
        const value = series.value(sample);
        if (!value) continue;
        const top = this.y(sum + value);
        parts.push(draw("rect", {
          class: `bar-part tone-${series.tone}`, x: left.toFixed(1), width: width.toFixed(1),
          y: top.toFixed(1), height: (this.y(sum) - top).toFixed(1),
        }));
        sum += value;
      }
    }
    return parts;
  }

  // The line under the pointer, and the legend, which shows its values or the latest ones.
  drawCursor() {
    const sample = this.samples[this.at ?? this.samples.length - 1];
    this.series.forEach((each, index) => {
      setText(this.values[index], sample ? this.format(each.value(sample)) : "–");
    });
    setText(this.when, !sample ? "" : this.at === null ? (this.bars ? "this minute" : "now")
      : clock(sample.time, !this.bars));
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    if (this.at === null || !sample) return;
    const x = Math.max(EDGE.left, this.x(this.middle(sample)));
    this.cursor.append(draw("line", {
      class: "cursor", x1: x, x2: x, y1: EDGE.top, y2: this.height - EDGE.bottom,
    }));
    if (this.bars) return;
    for (const each of this.series) {
      this.cursor.append(draw("circle", {
        class: `dot tone-${each.tone}`, cx: x, cy: this.y(each.value(sample)), r: 4,
      }));
    }
  }
}

// Outcomes of five seconds are few: they are shown by the minute.
function byMinute(points) {
  const bins = new Map();
  for (const point of points) {
    const time = Math.ceil(point.time / BIN) * BIN;
    const bin = bins.get(time) ?? { time, orderly: 0, lost: 0, refused: 0, failed: 0 };
    for (const group of ["orderly", "lost", "refused", "failed"]) bin[group] += point[group];
    bins.set(time, bin);
  }
  return [...bins.values()];
}

// Lists

function nameOf(end) {
  if (end.name) return make("bdi", { class: "name", title: plain(end.name) }, plain(end.name));
  if (end.uuid) return make("bdi", { class: "name", title: plain(end.uuid) }, plain(end.uuid));
  return make("span", { class: "name none" }, "no name");
}

function endOf(end) {
  const where = [end.address, end.transport === "unix" ? "Unix" : end.transport];
  if (end.secure) where.push("TLS");
  if (end.worker) where.push(`worker ${end.worker}`);
  if (!end.number) where.push("on another machine");
  if (end.account) where.push(plain(end.account));
  const line = make("bdi", { class: "where", title: plain(end.uuid) }, where.join(" · "));
  return make("div", { class: "end" }, nameOf(end), line);
}

function figures(row) {
  return [
    ["Duration", lasting(row.duration)], ["Rate", speed(row.rate)], ["Traffic", bytes(row.traffic)],
  ].map(([label, text]) => make("td", { class: "number", "data-label": label }, text));
}

function tunnelCells(row) {
  return [make("td", {}, make("div", { class: "ends" }, ...row.ends.map(endOf))), ...figures(row)];
}

function serverCells(row, opened) {
  const [server, ...clients] = row.ends;
  let list = make("span", { class: "muted" }, "no clients");
  if (row.clients) {
    list = make("details", {}, make("summary", {}, `${count.format(row.clients)} connected`),
      ...clients.map(endOf));
    if (row.clients > clients.length) {
      list.append(make("p", { class: "muted" }, `and ${count.format(row.clients - clients.length)} more`));
    }
    list.open = opened.has(row.number);
    list.addEventListener("toggle", () => opened[list.open ? "add" : "delete"](row.number));
  }
  return [make("td", {}, endOf(server)), make("td", {}, list), ...figures(row)];
}

class List {
  constructor(id, path, what, cells) {
    this.path = path;
    this.what = what;
    this.cells = cells;
    this.sort = "rate";
    this.order = "down";
    this.step = 0;
    this.opened = new Set();
    this.asked = 0;
    this.table = $(id);
    this.note = $(`${id}-note`);
    this.filter = $(`${id}-filter`);
    this.button = $(`${id}-more`);
    for (const button of this.table.querySelectorAll("[data-sort]")) {
      button.addEventListener("click", () => this.sortBy(button));
    }
    this.filter.addEventListener("input", () => this.changed());
    this.button.addEventListener("click", () => {
      this.step += 1;
      this.changed();
    });
  }

  sortBy(button) {
    const key = button.dataset.sort;
    const first = button.dataset.first ?? "down";
    this.order = this.sort !== key ? first : this.order === "down" ? "up" : "down";
    this.sort = key;
    for (const head of this.table.querySelectorAll("th")) head.removeAttribute("aria-sort");
    const direction = this.order === "down" ? "descending" : "ascending";
    button.closest("th").setAttribute("aria-sort", direction);
    setText($("announce"), `${this.what} sorted by ${button.textContent.toLowerCase()}, ${direction}`);
    this.changed();
  }

  changed() {
    this.ask().catch(() => undefined); // the next poll tells what is wrong
  }

  async ask() {
    const query = new URLSearchParams({
      sort: this.sort, order: this.order, rows: ROWS[this.step], filter: this.filter.value.trim(),
    });
    const number = (this.asked += 1);
    const answer = await ask(`${this.path}?${query}`);
    if (number === this.asked) this.show(answer); // or the person has changed his mind meanwhile
  }

  show({ all, matching, rows }) {
    const body = this.table.tBodies[0];
    const focused = body.contains(document.activeElement)
      ? document.activeElement.closest("tr").dataset.number : null;
    body.replaceChildren(...rows.map((row) => {
      const made = make("tr", { "data-number": row.number });
      made.append(...this.cells(row, this.opened));
      return made;
    }));
    if (!rows.length) {
      const words = all ? "Nothing matches the filter." : `No ${this.what.toLowerCase()} at the moment.`;
      const columns = this.table.tHead.rows[0].cells.length;
      body.append(make("tr", {}, make("td", { class: "nothing", colspan: columns }, words)));
    }
    if (focused) body.querySelector(`[data-number="${focused}"] summary`)?.focus();
    const shown = rows.length < matching ? `${count.format(rows.length)} of ` : "";
    const found = matching < all ? `${count.format(matching)} matching, ` : "";
    setText(this.note, all ? `${shown}${found}${count.format(all)}${found ? " in all" : ""}` : "");
    this.button.hidden = rows.length >= matching || this.step === ROWS.length - 1;
  }
}

function fill(id, rows) {
  $(id).tBodies[0].replaceChildren(...rows);
}

const TONES = { orderly: "accent", lost: "amber", refused: "violet", failed: "red" };

function showOutcomes(outcomes) {
  const rows = [...outcomes]
    .sort((one, other) => other.lastHour - one.lastHour || other.count - one.count)
    .map((each) => make("tr", {},
      make("th", { scope: "row", class: `tone-${TONES[each.group]}` }, each.name,
        make("small", {}, each.meaning)),
      make("td", { class: "number" }, count.format(each.lastHour)),
      make("td", { class: "number" }, count.format(each.count))));
  if (!rows.length) {
    rows.push(make("tr", {}, make("td", { class: "nothing", colspan: 3 }, "No connection has ended yet.")));
  }
  fill("outcomes", rows);
}

const STATES = ["connecting", "unauthenticated", "authenticating", "waiting", "registering",
  "tunneled", "closing"];
const TRANSPORTS = ["WebSocket", "TCP", "unix"];

function showStates(connections) {
  fill("states", STATES.map((state) => make("tr", {},
    make("th", { scope: "row" }, state),
    ...TRANSPORTS.map((transport) => {
      const number = connections[transport]?.[state] ?? 0;
      return make("td", { class: number ? "number" : "number zero" }, count.format(number));
    }))));
}

function showTotals(totals, tunnelProxy) {
  const lines = [
    ["Connections", count.format(totals.connections)],
    ["Tunnels", count.format(totals.tunnels)],
    ["Traffic of tunnels", bytes(totals.traffic)],
  ];
  if (tunnelProxy || totals.servers) {
    lines.push(["Servers registered", count.format(totals.servers)],
      ["Clients of servers", count.format(totals.clients)],
      ["Traffic of the tunnel proxy", bytes(totals.tunnelProxyTraffic)]);
  }
  $("totals").replaceChildren(...lines.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, value)]));
}

// Those who serve together

function showWorkers({ workers, restarts }) {
  $("workers-card").hidden = !workers.length;
  setText($("workers-note"), restarts ? `${count.format(restarts)} restarts` : "");
  fill("workers", workers.map((each) => make("tr", {},
    make("th", { scope: "row" }, count.format(each.number)),
    make("td", {}, each.serves ? "serves" : "does not serve"),
    make("td", { class: "number" }, count.format(each.connections)))));
}

function showCompany(company) {
  const places = [`${count.format(company.placesHeld)} held`];
  if (company.placesUnlisted) places.push(`${count.format(company.placesUnlisted)} unlisted`);
  if (company.placesContested) places.push(`${count.format(company.placesContested)} contested`);
  const average = company.claims ? `, ${(company.claimSeconds / company.claims * 1000).toFixed(1)} ms each` : "";
  const lines = [
    ["Directory", company.trouble ? "does not answer" : "answers"],
    ["It began not to answer", `${count.format(company.outages)} times`],
    ["Claims", `${count.format(company.claims)}${average}`],
    ["Places", places.join(", ")],
    ["Links in / out", `${count.format(company.linksIn)} / ${count.format(company.linksOut)}`],
    ["Links cut", count.format(company.linksCut)],
    ["Members lost", count.format(company.membersLost)],
    ["Strangers at the port", count.format(company.strangers)],
  ];
  $("company").replaceChildren(...lines.flatMap(([name, value]) =>
    [make("dt", {}, name), make("dd", {}, value)]));
  setText($("company-title"), company.isClustered ? "Cluster" : "Between the workers");
  $("company-card").hidden = false;
  showWorkers(company);
}

// The page as a whole

class Page {
  constructor() {
    this.points = [];
    this.since = 0;
    this.started = null;
    this.before = null; // the last status, for the processor's load
    this.failures = 0;
    this.timer = null;
    this.tunnels = new List("tunnels", "api/tunnels", "Tunnels", tunnelCells);
    this.servers = new List("servers", "api/servers", "Servers", serverCells);
    const of = (name) => (point) => point[name];
    this.charts = [
      new Chart("chart-connections", {
        title: "Connections", format: count.format,
        series: [{ label: "open", tone: "accent", value: of("connections") }],
      }),
      new Chart("chart-tunnels", {
        title: "Tunnels", format: count.format,
        series: [
          { label: "tunnels", tone: "blue", value: of("tunnels") },
          { label: "servers", tone: "violet", value: of("servers") },
          { label: "their clients", tone: "amber", value: of("clients") },
        ],
      }),
      new Chart("chart-throughput", {
        title: "Throughput", format: speed,
        series: [
          { label: "tunnels", tone: "blue", value: of("throughput") },
          { label: "tunnel proxy", tone: "amber", value: of("tunnelProxyThroughput") },
        ],
      }),
    ];
    this.outcomes = new Chart("chart-outcomes", {
      title: "Connections that ended, per minute", format: count.format, bars: true,
      series: Object.entries(TONES).map(([group, tone]) => ({ label: group, tone, value: of(group) })),
    });
    this.prepareTheme();
    this.prepareDrain();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.poll();
    });
  }

  async poll() {
    clearTimeout(this.timer);
    if (document.hidden || this.isPolling) return; // goes on when somebody looks
    this.isPolling = true;
    try {
      const status = await ask("api/status");
      if (status.started !== this.started) this.forget(status.started);
      const history = await ask(`api/history?since=${this.since}`);
      await this.tunnels.ask();
      if (status.tunnelProxy) await this.servers.ask();
      this.show(status, history);
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.showTrouble(error);
    }
    this.isPolling = false;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.poll(), Math.min(POLL * 2 ** this.failures, SLOWEST));
  }

  forget(started) {
    this.started = started;
    this.points = [];
    this.since = 0;
    this.before = null;
  }

  show(status, history) {
    const added = history.points.map((values) =>
      Object.fromEntries(history.columns.map((column, index) => [column, values[index]])));
    if (added.length) this.since = added.at(-1).time;
    this.points = [...this.points, ...added].filter((point) => point.time > status.time - HOUR);
    this.showNow(status);
    for (const chart of this.charts) chart.update(this.points, status.time);
    this.outcomes.update(byMinute(this.points), Math.ceil(status.time / BIN) * BIN);
    showOutcomes(status.outcomes);
    showStates(status.connections);
    showTotals(status.totals, status.tunnelProxy);
    if (status.company) showCompany(status.company);
    $("trouble").hidden = true;
    setText($("updated"), `Updated ${clock(status.time, true)}`);
    this.before = status;
    document.body.dataset.ready = "true";
  }

  showNow(status) {
    const { condition } = status;
    const shown = condition === "ready" && status.company?.trouble ? "degraded" : condition;
    document.title = `${status.name}: ${shown}`;
    setText($("name"), status.name);
    setText($("about"), `Version ${status.version}, up ${lasting(status.time - status.started)}`);
    this.showCondition(shown);
    $("drain").disabled = condition !== "ready";
    setText($("drain-count"), `At the moment there are ${count.format(status.tunnels)} tunnels and ` +
      `${count.format(status.clients)} clients of ${count.format(status.servers)} servers.`);
    for (const part of document.querySelectorAll("[data-needs]")) part.hidden = !status.tunnelProxy;
    const states = Object.values(status.connections).flatMap((each) => Object.entries(each));
    const inState = (name) => states.filter(([state]) => state === name)
      .reduce((sum, [, number]) => sum + number, 0);
    const open = states.reduce((sum, [, number]) => sum + number, 0);
    setText($("now-connections"), count.format(open));
    setText($("more-connections"), `${count.format(inState("waiting"))} waiting`);
    setText($("now-tunnels"), count.format(status.tunnels));
    setText($("more-tunnels"), `${count.format(status.totals.tunnels)} ever`);
    setText($("now-proxy"), `${count.format(status.servers)} / ${count.format(status.clients)}`);
    setText($("more-proxy"), "servers / their clients");
    setText($("now-throughput"), speed(status.throughput + status.tunnelProxyThroughput));
    setText($("more-throughput"), `${bytes(status.totals.traffic + status.totals.tunnelProxyTraffic)} ever`);
    setText($("now-process"), bytes(status.process.memory));
    const delay = this.points.at(-1)?.delay ?? 0;
    const spent = this.before === null ? null : Math.max(0, status.process.cpu - this.before.process.cpu) /
      Math.max(.5, status.time - this.before.time);
    setText($("more-process"), `${spent === null ? "" : `${(spent * 100).toFixed(1)} % CPU, `}` +
      `${(delay * 1000).toFixed(0)} ms loop delay`);
  }

  showCondition(condition) {
    const badge = $("condition");
    badge.dataset.condition = condition;
    setText(badge, condition);
  }

  showTrouble(error) {
    this.showCondition("unreachable");
    const wait = Math.min(POLL * 2 ** this.failures, SLOWEST) / 1000;
    const why = error instanceof TypeError ? "it cannot be reached"
      : error.name === "TimeoutError" ? "it takes too long" : error.message;
    setText($("trouble"), `No answer from the server: ${why}. What is shown is old; trying again in ${wait} s.`);
    $("trouble").hidden = false;
  }

  prepareTheme() {
    const name = () => {
      setText($("theme-name"), currentTheme() === "dark" ? "Light" : "Dark");
      $("theme").setAttribute("aria-label", `Use ${currentTheme() === "dark" ? "light" : "dark"} colours`);
    };
    $("theme").addEventListener("click", () => {
      setTheme(currentTheme() === "dark" ? "light" : "dark");
      name();
    });
    dark.addEventListener("change", name);
    name();
  }

  prepareDrain() {
    const dialog = $("drain-dialog");
    $("drain").addEventListener("click", () => dialog.showModal());
    $("drain-no").addEventListener("click", () => dialog.close());
    $("drain-yes").addEventListener("click", async () => {
      dialog.close();
      try {
        const headers = { "X-Requested-With": "status-page" };
        const answer = await fetch(new URL("drain", HERE), { method: "POST", headers });
        if (!answer.ok) throw new Error(await answer.text());
        setText($("announce"), "The server drains.");
        this.poll();
      } catch (error) {
        setText($("trouble"), `The server was not drained: ${error.message}`);
        $("trouble").hidden = false;
      }
    });
  }
}

addEventListener("DOMContentLoaded", () => new Page().poll());
