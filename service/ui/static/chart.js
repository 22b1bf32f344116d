// One chart of lines over epochs, drawn by uPlot: a legend with values, a log axis, keys, themes. The lines take their
// colours from the legend's swatches, so both always agree and a style sheet decides them.

import uPlot from "./vendor/uplot/uPlot.esm.js";
import { count, number } from "./format.js";

const HEIGHT = 260;
const DASHES = { solid: [], dashed: [7, 5], dotted: [2, 4] };

/** lines: [{name, label, className, dash}], dash being one of DASHES. best: whether to mark the best epoch on the last line. */
export class Chart {
  constructor(figure, curve, lines, { log = false, best = false } = {}) {
    Object.assign(this, { figure, curve, lines, log, best, focus: null });
    this.box = figure.querySelector(".plot");
    this.#makeLegend();
    this.#makePlot();
    this.#listen();
    this.update();
  }

  setLog(log) {
    this.log = log;
    this.#makeAnew();
  }

  /** Draw the curve as it is now, with these lines. */
  show(lines) {
    const isNew = lines.length !== this.lines.length || lines.some((line, n) => line.name !== this.lines[n].name);
    if (!isNew) return this.update();
    this.lines = lines;
    this.#makeLegend();
    this.#makeAnew();
  }

  update() {
    this.plot.setData(this.#data());
    this.#writeLegend();
  }

  #makeAnew() {
    this.plot.destroy();
    this.#makePlot();
    this.update();
  }

  #data() {
    // these have no logarithm: the line has a gap, and there is a tick at the bottom
    const drawable = (value) => (this.log && value !== null && value <= 0 ? null : value);
    return [this.curve.epochs, ...this.lines.map((line) => this.#values(line).map(drawable))];
  }

  #values(line) {
    return this.curve.columns[line.name] ?? this.curve.epochs.map(() => null);
  }

  #makeLegend() {
    this.entries = this.lines.map((line) => {
      const entry = document.createElement("li");
      const swatch = document.createElement("span");
      swatch.className = `swatch ${line.className} ${line.dash ?? "solid"}`;
      const value = document.createElement("output");
      entry.append(swatch, `${line.label} `, value);
      return { entry, swatch, value };
    });
    this.where = document.createElement("li");
    this.where.className = "muted";
    this.figure.querySelector(".legend").replaceChildren(...this.entries.map(({ entry }) => entry), this.where);
  }

  #writeLegend() {
    const index = this.focus ?? this.curve.length - 1;
    const point = this.curve.at(index);
    this.where.textContent = point ? `epoch ${count(point.epoch)}` : "";
    this.lines.forEach((line, n) => {
      this.entries[n].value.textContent = number(point?.[line.name] ?? null);
    });
  }

  #makePlot() {
    const text = () => getComputedStyle(this.where).color;
    const rule = () => getComputedStyle(this.figure).borderTopColor;
    const axis = { stroke: text, font: "12px system-ui, sans-serif", grid: { stroke: rule, width: 1 }, ticks: { stroke: rule, width: 1, size: 4 } };
    const series = this.lines.map((line, n) => ({
      stroke: () => getComputedStyle(this.entries[n].swatch).color,
      dash: DASHES[line.dash],
      width: 2,
      points: { show: this.curve.length < 2 },
    }));
    this.plot = new uPlot(
      {
        ...this.#size(),
        legend: { show: false },
        cursor: { y: false, drag: { x: true, y: false } },
        scales: { x: { time: false }, y: this.log ? { distr: 3, range: logRange } : { range: linearRange } },
        axes: [
          { ...axis, size: 32, space: 60, values: (_, splits) => splits.map((split) => (Number.isInteger(split) ? count(split) : "")) },
          { ...axis, size: 62, values: (_, splits) => splits.map((split) => (split === null ? "" : tick(split))) },
        ],
        series: [{}, ...series],
        hooks: { setCursor: [(plot) => this.#look(plot.cursor.idx)], draw: [(plot) => this.#mark(plot)] },
      },
      this.#data(),
      this.box,
    );
    this.plot.root.querySelectorAll("canvas").forEach((canvas) => canvas.setAttribute("aria-hidden", "true"));
  }

  #size() {
    return { width: Math.max(this.box.clientWidth, 120), height: HEIGHT };
  }

  #look(index) {
    this.focus = index ?? null;
    this.#writeLegend();
  }

  /** Draw a diamond at the best epoch, and a tick at the bottom for each value that has no logarithm. */
  #mark(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    this.lines.forEach((line, n) => {
      ctx.fillStyle = getComputedStyle(this.entries[n].swatch).color;
      if (!this.log) return;
      this.#values(line).forEach((value, index) => {
        if (value === null || value > 0) return;
        const x = plot.valToPos(this.curve.epochs[index], "x", true);
        ctx.fillRect(x - 2, bbox.top + bbox.height - 6, 4, 6);
      });
    });
    const line = this.lines[this.lines.length - 1];
    const value = this.curve.best?.[line.name] ?? null;
    if (this.best && value !== null && !(this.log && value <= 0)) {
      diamond(ctx, plot.valToPos(this.curve.best.epoch, "x", true), plot.valToPos(value, "y", true), 5 * devicePixelRatio);
    }
    ctx.restore();
  }

  #listen() {
    new ResizeObserver(() => this.plot.setSize(this.#size())).observe(this.box);
    document.documentElement.addEventListener("gm-theme", () => this.plot.redraw());
    this.box.tabIndex = 0;
    this.box.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step || !this.curve.length) return;
      event.preventDefault();
      this.#moveTo((this.focus ?? this.curve.length - 1) + step);
    });
    this.box.addEventListener("blur", () => this.#look(null));
  }

  #moveTo(index) {
    const within = Math.min(Math.max(index, 0), this.curve.length - 1);
    const left = this.plot.valToPos(this.curve.epochs[within], "x");
    this.plot.setCursor({ left, top: 0 });
    this.#look(within);
    this.onMove?.(this.figure.querySelector(".legend").innerText.replace(/\s+/g, " "));
  }
}

function diamond(ctx, x, y, radius) {
  ctx.beginPath();
  ctx.moveTo(x, y - radius);
  ctx.lineTo(x + radius, y);
  ctx.lineTo(x, y + radius);
  ctx.lineTo(x - radius, y);
  ctx.fill();
}

function tick(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential().replace("e+", "e");
  return String(Number(value.toPrecision(6)));
}

/** Leave a little room above and below, also around a single value. */
function linearRange(_, low, high) {
  if (low === null) return [0, 1];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 0.5;
  return [low >= 0 && low - room < 0 ? 0 : low - room, high + room];
}

function logRange(_, low, high) {
  if (low === null) return [0.1, 1];
  // the axis has a label where it starts, so it starts at one digit: 0.0234 becomes 0.02
  return [Number(low.toExponential().replace(/\.\d+/, "")), high * 1.3];
}
