// Charts of what was over time, drawn as SVG. Knows nothing of the server.
"use strict";

const EDGE = { right: 12, top: 10, bottom: 24 };
const LETTER = 6.7; // px, of a label at an axis
const BARS = 75; // in a chart, at most
const SHORTEST = 60; // s that a chart shows at least
const STOPS = 60; // of the arrow keys on their way through a chart

const STEPS = { 1: 5, 2: 4, 4: 4, 6: 3, 8: 4 }; // between grid lines, by the top's first digit

// Seconds between the labels of time, and of one bar.
const TIME_STEPS = [5, 10, 30, 60, 120, 300, 600, 1200, 1800, HOUR, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR,
  DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY, 56 * DAY, 112 * DAY, 224 * DAY];
const BIN_STEPS = [5, 15, 60, 300, 900, HOUR, 4 * HOUR, DAY, 7 * DAY, 28 * DAY]; // each of the ones before
const BIN_NAMES = { 60: "min", [HOUR]: "hour", [DAY]: "day", [7 * DAY]: "week", [28 * DAY]: "4 weeks" };

// The top of an axis with whole numbers at its grid lines, and how many steps they are apart.
function niceTop(most) {
  const size = 10 ** Math.max(0, Math.floor(Math.log10(most || 1)));
  const factor = [1, 2, 4, 6, 8, 10].find((value) => value * size >= most);
  const top = factor * size;
  return [top, Math.min(STEPS[factor === 10 ? 1 : factor], top)];
}

// The labels at an axis: whole numbers of one and the same unit.
function tickLabels(top, steps, unit) {
  const values = Array.from({ length: steps + 1 }, (_, step) => (top * step) / steps);
  if (!unit) return values.map(count.format);
  const prefix = Math.min(PREFIXES.length - 1, Math.floor(Math.log10(top / steps) / 3 + 1e-9));
  return values.map((value) => `${Math.round(value / 1000 ** prefix)} ${PREFIXES[prefix]}${unit}`);
}

function binLength(span, interval) {
  return BIN_STEPS.find((step) => step * BARS >= span && step >= interval) ?? BIN_STEPS.at(-1);
}

// What ended, together for each bar: `{time: its end, …}`.
function byBin(points, bin, groups) {
  const bins = new Map();
  for (const point of points) {
    const time = Math.ceil(point.time / bin) * bin;
    if (!bins.has(time)) bins.set(time, { time, ...Object.fromEntries(groups.map((group) => [group, 0])) });
    for (const group of groups) bins.get(time)[group] += point[group];
  }
  return [...bins.values()];
}

class Chart {
  // `series`: {label, tone, name: of the column}. `unit`: of the values; "" for numbers of things.
  // `bars`: stacked bars of sums instead of curves.
  constructor(id, { title, series, unit = "", bars = false }) {
    this.title = title;
    this.series = series;
    this.unit = unit;
    this.format = unit ? (value) => scaled(value, unit) : count.format;
    this.bars = bars;
    this.samples = [];
    this.span = [0, HOUR];
    this.bin = 0;
    this.interval = 5;
    this.width = 0;
    this.at = null; // the sample under the pointer or the keyboard
    const figure = $(id);
    this.heading = make("h3", {}, title);
    this.when = make("span", { class: "when muted" });
    this.values = series.map(() => make("b", {}, "–"));
    const legend = make("ul", { class: "legend" });
    series.forEach((each, index) => {
      legend.append(make("li", { class: `tone-${each.tone}` }, `${each.label} `, this.values[index]));
    });
    const caption = make("figcaption", {}, this.heading, this.when, legend);
    this.plot = make("div", { class: "plot", tabindex: "0", role: "group" });
    this.spoken = make("span", { class: "sr-only", role: "status" });
    figure.append(caption, this.plot, this.spoken);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerdown", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.show(null));
    this.plot.addEventListener("blur", () => this.show(null));
    this.plot.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.plot);
  }

  // `points`: what was, each over `interval` seconds. `range`: what the time from `from` to `to` is called.
  update(points, { from, to, interval, range }) {
    const chosen = this.at === null ? null : this.samples[this.at]?.time;
    this.interval = interval;
    let title = this.title;
    if (this.bars) {
      this.bin = binLength(to - from, interval);
      title += ` per ${BIN_NAMES[this.bin] ?? lasting(this.bin).replace(/ 0 .*/, "")}`;
      this.span = [Math.floor(from / this.bin) * this.bin, Math.ceil(to / this.bin) * this.bin];
      this.samples = byBin(points, this.bin, this.series.map((each) => each.name))
        .filter((sample) => sample.time > this.span[0]);
    } else {
      this.span = [from, to];
      this.samples = points.filter((point) => point.time >= from);
    }
    setText(this.heading, title);
    this.plot.setAttribute("aria-label", `${title}, ${range}. The arrow keys read it step by step.`);
    if (chosen != null) {
      const same = this.samples.findIndex((sample) => sample.time === chosen);
      this.at = same < 0 ? null : same;
    }
    this.draw();
  }

  x(time) {
    const [from, to] = this.span;
    return this.left + ((time - from) / (to - from)) * (this.width - this.left - EDGE.right);
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
    const step = this.bars ? 1 : Math.max(1, Math.round(this.samples.length / STOPS));
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
    const values = this.series.map((each) => `${each.label} ${this.format(sample[each.name])}`);
    return `${this.momentOf(sample)}: ${values.join(", ")}`;
  }

  momentOf(sample) {
    const now = this.span[1];
    if (this.bars) return `${moment(sample.time - this.bin, now, this.bin < 60)}–${clock(sample.time, this.bin < 60)}`;
    return moment(sample.time, now, this.interval < 60);
  }

  show(at) {
    this.at = at;
    this.drawCursor();
  }

  middle(sample) {
    return this.bars ? sample.time - this.bin / 2 : sample.time;
  }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.plot.clientHeight;
    if (this.width < 120) return;
    const sums = this.samples.map((sample) => {
      const values = this.series.map((each) => sample[each.name]);
      return this.bars ? values.reduce((sum, value) => sum + value, 0) : Math.max(...values);
    });
    [this.top, this.steps] = niceTop(Math.max(0, ...sums));
    this.labels = tickLabels(this.top, this.steps, this.unit);
    this.left = Math.max(34, 12 + LETTER * Math.max(...this.labels.map((label) => label.length)));
    const svg = draw("svg", { "aria-hidden": "true", viewBox: `0 0 ${this.width} ${this.height}` });
    svg.append(...this.axis(), ...this.timeAxis());
    if (this.bars) svg.append(...this.drawBars());
    else for (const each of this.series) svg.append(...this.drawCurve(each));
    if (!this.samples.length) {
      svg.append(draw("text", { class: "empty", x: (this.width + this.left) / 2, y: this.height / 2 },
        "The first point comes in a few seconds"));
    }
    this.cursor = draw("g");
    svg.append(this.cursor);
    this.plot.replaceChildren(svg);
    this.drawCursor();
  }

  axis() {
    const right = this.width - EDGE.right;
    return this.labels.flatMap((label, step) => {
      const y = Math.round(this.y((this.top * step) / this.steps));
      return [
        draw("line", { class: step ? "grid" : "base", x1: this.left, x2: right, y1: y, y2: y }),
        draw("text", { class: "tick", x: this.left - 8, y: y + 4, "text-anchor": "end" }, label),
      ];
    });
  }

  timeAxis() {
    const [from, to] = this.span;
    const right = this.width - EDGE.right;
    const wide = (step) => (step < 60 ? 78 : 58);
    const every = TIME_STEPS.find((step) => ((to - from) / step) * wide(step) <= right - this.left) ?? TIME_STEPS.at(-1);
    const zone = new Date(to * 1000).getTimezoneOffset() * 60;
    const parts = [];
    for (let time = Math.ceil((from - zone) / every) * every + zone; time <= to; time += every) {
      const x = this.x(time);
      const isMidnight = (time - zone) % DAY === 0;
      const label = every >= DAY || (isMidnight && every >= HOUR) ? day(time) : clock(time, every < 60);
      const half = (label.length * LETTER) / 2;
      if (x - half < this.left - 4 || x + half > this.width) continue;
      parts.push(draw("text", { class: "time", x, y: this.height - 6, "text-anchor": "middle" }, label));
    }
    return parts;
  }

  // Where the server was not there, the curve is not either.
  runs() {
    const runs = [];
    let before = -Infinity;
    for (const sample of this.samples) {
      if (sample.time - before > 4 * this.interval) runs.push([]);
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
        `${this.x(sample.time).toFixed(1)},${this.y(sample[series.name]).toFixed(1)}`);
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
      const left = Math.max(this.left, this.x(sample.time - this.bin));
      const width = Math.max(1, this.x(sample.time) - left - 1.2);
      for (const series of this.series) {
        const value = sample[series.name];
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
      setText(this.values[index], sample ? this.format(sample[each.name]) : "–");
    });
    setText(this.when, !sample ? "" : this.at === null ? (this.bars ? "latest" : "now") : this.momentOf(sample));
    if (!this.cursor) return;
    this.cursor.replaceChildren();
    if (this.at === null || !sample) return;
    const x = Math.max(this.left, this.x(this.middle(sample)));
    this.cursor.append(draw("line", {
      class: "cursor", x1: x, x2: x, y1: EDGE.top, y2: this.height - EDGE.bottom,
    }));
    if (this.bars) return;
    for (const each of this.series) {
      this.cursor.append(draw("circle", {
        class: `dot tone-${each.tone}`, cx: x, cy: this.y(sample[each.name]), r: 4,
      }));
    }
  }
}
