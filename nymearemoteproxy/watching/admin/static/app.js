// The status page. It asks this server, and nobody else, every few seconds, and draws the answers.
// Whatever a client chose (names, uuids, accounts) only ever becomes text of a node: never HTML.
"use strict";

const POLL = 3000; // ms between questions: a person sees the page live, the server hardly notices
const SLOWEST = 60000; // ms between questions to a server that does not answer
const PATIENCE = 15000; // ms until a question counts as not answered
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

const HERE = location.origin + location.pathname; // without a password, if the address has one

async function ask(path) {
  const answer = await fetch(new URL(path, HERE), { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
  if (!answer.ok) throw new Error(`${answer.status} ${answer.statusText}`);
  return answer.json();
}

// Lists

function nameOf(end) {
  if (end.name) return make("bdi", { class: "name", title: plain(end.name) }, plain(end.name));
  if (end.uuid) return make("bdi", { class: "name", title: plain(end.uuid) }, plain(end.uuid));
  return make("span", { class: "name none" }, "no name");
}

function endOf(end, withUuid = false) {
  const where = [end.address, end.transport === "unix" ? "Unix" : end.transport];
  if (end.secure) where.push("TLS");
  if (end.worker) where.push(`worker ${end.worker}`);
  if (!end.number) where.push("on another machine");
  if (end.account) where.push(plain(end.account));
  if (withUuid && end.name && end.uuid) where.push(plain(end.uuid));
  const line = make("bdi", { class: "where", title: plain(end.uuid) }, where.join(" · "));
  return make("div", { class: "end" }, nameOf(end), line);
}

// Roles, since a table that is laid out as a grid, as on a phone, may lose its own.
function cell(attributes, ...children) {
  return make("td", { role: "cell", ...attributes }, ...children);
}

function number(label, text) {
  return cell({ class: "number", "data-label": label }, make("span", { class: "value" }, text));
}

function figures(row) {
  return [number("Duration", lasting(row.duration)), number("Rate", speed(row.rate)), number("Traffic", bytes(row.traffic))];
}

function tunnelCells(row) {
  const ends = make("div", { class: "ends" }, ...row.ends.map((end) => endOf(end)));
  return [cell({}, ends, endTunnelButton(row)), ...figures(row)];
}

function serverCells(row, opened) {
  const [server, ...clients] = row.ends;
  let list = make("span", { class: "muted" }, "no clients");
  if (row.clients) {
    const visitors = row.visitors ? `, ${counted(row.visitors, "visitor")}` : "";
    list = make("details", {}, make("summary", {}, counted(row.clients, "client") + visitors),
      ...clients.map((client) => make("div", { class: "client" }, endOf(client), endClientButton(client))));
    if (row.clients > clients.length) {
      list.append(make("p", { class: "muted" }, `and ${count.format(row.clients - clients.length)} more`));
    }
    list.open = opened.has(row.number);
    list.addEventListener("toggle", () => opened[list.open ? "add" : "delete"](row.number));
  }
  return [cell({}, endOf(server, true), endServerButton(row)), cell({}, list), ...figures(row)];
}

function waitingCells(row) {
  return [cell({}, endOf(row.ends[0])), number("Waiting for", lasting(row.duration))];
}

class List {
  // `none`: what is said when there is nothing. `sort`: by what, at first.
  constructor(id, path, { what, none, cells, sort = "rate" }) {
    this.path = path;
    this.what = what;
    this.none = none;
    this.cells = cells;
    this.sort = sort;
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
    const inFocus = body.contains(document.activeElement) ? document.activeElement : null;
    const focused = !inFocus ? null : inFocus.dataset.end ? `[data-end="${inFocus.dataset.end}"]`
      : `[data-number="${inFocus.closest("tr").dataset.number}"] summary`;
    body.replaceChildren(...rows.map((row) => {
      const made = make("tr", { role: "row", "data-number": row.number });
      made.append(...this.cells(row, this.opened));
      return made;
    }));
    if (!rows.length) {
      const words = all ? "Nothing matches the filter." : this.none;
      const columns = this.table.tHead.rows[0].cells.length;
      body.append(make("tr", { role: "row" }, cell({ class: "nothing", colspan: columns }, words)));
    }
    if (focused) body.querySelector(focused)?.focus();
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
    .map((each) => make("tr", { role: "row" },
      make("th", { role: "rowheader", scope: "row", class: `tone-${TONES[each.group]}` }, each.name,
        make("small", {}, each.meaning)),
      number("Last hour", count.format(each.lastHour)),
      number("Since start", count.format(each.count))));
  if (!rows.length) {
    rows.push(make("tr", { role: "row" }, cell({ class: "nothing", colspan: 3 }, "No connection has ended yet.")));
  }
  fill("outcomes", rows);
}

const STATES = ["connecting", "unauthenticated", "authenticating", "waiting", "verifying",
  "registering", "tunneled", "closing"];
const REGISTERED = { servers: "registered servers", clients: "clients of servers" };
const FRONT = ["front", "front-http"]; // in a column that is there with a front door only
const TRANSPORTS = [["WebSocket"], ["TCP"], FRONT, ["unix"]];

// Servers of the tunnel proxy and their clients are in the state "tunneled", too: they are apart here.
function showStates({ connections, registered, tunnelProxy, front }) {
  const columns = TRANSPORTS.filter((transports) => front || transports !== FRONT);
  const row = (title, numberOf) => make("tr", {},
    make("th", { scope: "row" }, title),
    ...columns.map((transports) => {
      const number = transports.reduce((sum, transport) => sum + numberOf(transport), 0);
      return make("td", { class: number ? "number" : "number zero" }, count.format(number));
    }));
  const ofProxy = (transport, what) => registered[transport]?.[what] ?? 0;
  fill("states", STATES.flatMap((state) => {
    const inState = (transport) => connections[transport]?.[state] ?? 0;
    if (state !== "tunneled") return [row(state, inState)];
    const tunneled = row(state, (transport) =>
      inState(transport) - ofProxy(transport, "servers") - ofProxy(transport, "clients"));
    return tunnelProxy ? [tunneled, ...Object.entries(REGISTERED).map(([what, title]) =>
      row(title, (transport) => ofProxy(transport, what)))] : [tunneled];
  }));
}

function describeList(id, lines) {
  $(id).replaceChildren(...lines.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
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
  describeList("totals", lines);
}

// Where clients come in, and how long the certificates are good that they are shown

const SOON = { red: 7, amber: 21 }; // days that are left

function untilExpiry(left) {
  if (left < 0) return "expired";
  if (left > 2 * YEAR) return `in ${counted(Math.floor(left / YEAR), "year")}`;
  return left < 2 * DAY ? `in ${lasting(left)}` : `in ${counted(Math.floor(left / DAY), "day")}`;
}

function showListeners({ listeners, front }) {
  $("listeners").replaceChildren(...listeners.map((each) => {
    const names = front?.names ? `, ${counted(front.names, "name")}` : ""; // uuids are not counted
    const kind = (each.isFront ? ` front door${names}` : "") + (each.behindProxy ? " behind a reverse proxy" : "");
    return make("li", {}, make("bdi", { class: "url" }, each.url), make("span", { class: "muted" }, kind));
  }));
  $("no-listeners").hidden = listeners.length > 0;
}

// A path, to be broken after its slashes first.
const breakable = (path) => path.split(/(?<=\/)/).flatMap((part) => [part, make("wbr")]);

function showCertificates(certificates, now) {
  $("certificates").hidden = !certificates.length;
  fill("certificates", [...certificates].sort((one, other) => one.expires - other.expires).map((each) => {
    const left = each.expires - now;
    const tone = Object.keys(SOON).find((name) => left < SOON[name] * DAY);
    return make("tr", {},
      make("th", { scope: "row" }, ...breakable(plain(each.name))),
      make("td", {}, day(each.expires, true),
        make("small", tone ? { class: `soon tone-${tone}` } : {}, untilExpiry(left))));
  }));
}

// Those who serve together

function showWorkers({ workers, restarts }) {
  $("workers-card").hidden = !workers.length;
  setText($("workers-note"), restarts ? counted(restarts, "restart") : "");
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
    ["Directory", company.trouble || "answers"],
    ["Its outages", count.format(company.outages)],
    ["Claims", `${count.format(company.claims)}${average}`],
    ["Places", places.join(", ")],
    ["Links in / out", `${count.format(company.linksIn)} / ${count.format(company.linksOut)}`],
    ["Links cut", count.format(company.linksCut)],
    ["Members lost", count.format(company.membersLost)],
    ["Strangers at the port", count.format(company.strangers)],
  ];
  describeList("company", lines);
  setText($("company-title"), company.isClustered ? "Cluster" : "Between the workers");
  $("company-card").hidden = false;
  showWorkers(company);
}

// The page as a whole

const RANGES = {
  minutes: { span: 300, title: "The last 5 minutes" },
  hour: { span: HOUR, title: "The last hour" },
  start: { title: "Since the start" },
};

// Points that the server remembers, asked for only once.
class Memory {
  constructor(query = {}) {
    this.query = query;
    this.forget();
  }

  forget() {
    this.points = [];
    this.since = 0;
    this.interval = null;
  }

  async ask() {
    const answer = await ask(`api/history?${new URLSearchParams({ ...this.query, since: this.since })}`);
    if (this.interval !== null && answer.interval !== this.interval) { // all of them are others now
      this.forget();
      return this.ask();
    }
    this.interval = answer.interval;
    const added = answer.points.map((values) =>
      Object.fromEntries(answer.columns.map((column, index) => [column, values[index]])));
    if (added.length) this.since = added.at(-1).time;
    this.points.push(...added);
    return this.points;
  }
}

class Page {
  constructor() {
    this.hour = new Memory();
    this.whole = new Memory({ of: "start" });
    this.started = null;
    this.before = null; // the last status, for the processor's load
    this.failures = 0;
    this.timer = null;
    this.isPolling = false;
    this.isWanted = false; // at once, when the questions on their way are answered
    this.chosen = null; // the range of the charts; null = what suits the server's age
    this.tunnels = new List("tunnels", "api/tunnels", {
      what: "Tunnels", none: "No tunnels at the moment.", cells: tunnelCells,
    });
    this.servers = new List("servers", "api/servers", {
      what: "Servers", none: "No server is registered at the moment.", cells: serverCells,
    });
    this.waiting = new List("waiting", "api/waiting", {
      what: "Waiting clients", none: "No client waits for its partner at the moment.", cells: waitingCells,
      sort: "duration",
    });
    this.charts = [
      new Chart("chart-connections", {
        title: "Connections", series: [{ label: "open", tone: "accent", name: "connections" }],
      }),
      new Chart("chart-tunnels", {
        title: "Tunnels",
        series: [
          { label: "tunnels", tone: "blue", name: "tunnels" },
          { label: "servers", tone: "violet", name: "servers" },
          { label: "their clients", tone: "amber", name: "clients" },
        ],
      }),
      new Chart("chart-throughput", {
        title: "Throughput", unit: "B/s",
        series: [
          { label: "tunnels", tone: "blue", name: "throughput" },
          { label: "tunnel proxy", tone: "amber", name: "tunnelProxyThroughput" },
        ],
      }),
      new Chart("chart-outcomes", {
        title: "Connections ended", bars: true,
        series: Object.entries(TONES).map(([group, tone]) => ({ label: group, tone, name: group })),
      }),
    ];
    this.prepareRanges();
    this.prepareTheme();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.poll();
    });
  }

  async poll() {
    clearTimeout(this.timer);
    this.isWanted = this.isPolling; // then what is asked for just now does not have it
    if (document.hidden || this.isPolling) return; // goes on when somebody looks
    this.isPolling = true;
    try {
      const status = await ask("api/status");
      if (status.started !== this.started) {
        await operator.learn();
        this.forget(status.started);
      }
      await this.hour.ask();
      if (this.showsWhole(status)) await this.whole.ask();
      await this.tunnels.ask();
      await this.waiting.ask();
      if (status.tunnelProxy) await this.servers.ask();
      this.show(status);
      this.failures = 0;
    } catch (error) {
      this.failures += 1;
      this.showTrouble(error);
    }
    this.isPolling = false;
    clearTimeout(this.timer);
    const wait = this.isWanted && !this.failures ? 0 : Math.min(POLL * 2 ** this.failures, SLOWEST);
    this.timer = setTimeout(() => this.poll(), wait);
  }

  forget(started) {
    this.started = started;
    this.hour.forget();
    this.whole.forget();
    this.before = null;
  }

  show(status) {
    this.hour.points = this.hour.points.filter((point) => point.time > status.time - HOUR);
    this.showNow(status);
    this.showCharts(status);
    showOutcomes(status.outcomes);
    showStates(status);
    showListeners(status);
    showCertificates(status.certificates, status.time);
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
    this.showReload(status);
    this.showCondition(shown);
    operator.showCondition(condition);
    operator.connected = `Connected at the moment: ${counted(status.tunnels, "tunnel")}, and ` +
      `${counted(status.clients, "client")} of ${counted(status.servers, "server")}.`;
    for (const part of document.querySelectorAll("[data-needs]")) part.hidden = !status[part.dataset.needs];
    const states = Object.values(status.connections).flatMap((each) => Object.entries(each));
    const inState = (name) => states.filter(([state]) => state === name)
      .reduce((sum, [, number]) => sum + number, 0);
    const open = states.reduce((sum, [, number]) => sum + number, 0);
    setText($("now-connections"), count.format(open));
    setText($("more-connections"), `${count.format(inState("waiting"))} waiting`);
    setText($("now-tunnels"), count.format(status.tunnels));
    setText($("more-tunnels"), `${count.format(status.totals.tunnels)} ever`);
    setText($("now-proxy"), `${count.format(status.servers)} / ${count.format(status.clients)}`);
    const visitors = status.front ? `, ${counted(status.front.visitors, "visitor")}` : "";
    setText($("more-proxy"), `${status.servers === 1 ? "server" : "servers"} / ` +
      `${status.clients === 1 ? "client" : "clients"}${visitors}`);
    setText($("now-throughput"), speed(status.throughput + status.tunnelProxyThroughput));
    setText($("more-throughput"), `${bytes(status.totals.traffic + status.totals.tunnelProxyTraffic)} ever`);
    setText($("now-process"), bytes(status.process.memory));
    const before = this.before ?? { process: { cpu: 0 }, time: status.started };
    const spent = Math.max(0, status.process.cpu - before.process.cpu) / Math.max(.5, status.time - before.time);
    setText($("more-process"), `${(spent * 100).toFixed(1)} % CPU`);
    const last = this.hour.points.at(-1);
    setText($("now-delay"), last ? `${(last.delay * 1000).toFixed(0)} ms` : "–");
  }

  showReload({ reload, time }) {
    const mistakes = reload?.mistakes ?? 0;
    $("last-reload").hidden = !mistakes;
    setText($("last-reload"), mistakes ? `The reload at ${moment(reload.time, time)} found ${counted(mistakes, "mistake")}. ` +
      "What is broken stayed as it was; the log names it." : "");
  }

  rangeOf(status) {
    return this.chosen ?? (status.time - status.started < HOUR ? "start" : "hour");
  }

  // The last hour has finer points, and all of them while the server is younger than that.
  showsWhole(status) {
    return this.rangeOf(status) === "start" && status.time - status.started > HOUR;
  }

  showCharts(status) {
    const range = this.rangeOf(status);
    const to = status.time;
    const { title, span = Math.max(SHORTEST, to - status.started) } = RANGES[range];
    let { points, interval } = this.hour;
    if (this.showsWhole(status) && this.whole.points.length) {
      interval = this.whole.interval;
      points = [...this.whole.points, ...points.filter((point) => point.time > this.whole.since)];
    }
    for (const chart of this.charts) {
      chart.update(points, { from: to - span, to, interval, range: title.toLowerCase() });
    }
    setText($("range-title"), title);
    for (const button of document.querySelectorAll("[data-range]")) {
      button.setAttribute("aria-pressed", button.dataset.range === range);
    }
  }

  prepareRanges() {
    for (const button of document.querySelectorAll("[data-range]")) {
      button.addEventListener("click", () => {
        this.chosen = button.dataset.range;
        if (this.before !== null) this.showCharts(this.before);
        this.poll(); // for what is not there yet
      });
    }
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
}

addEventListener("DOMContentLoaded", () => new Page().poll());
