// The chart of the layers: the norm of each layer's gradient, weights or last update, in the epochs that have them.

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";

const FIGURES = ["gradient_norm", "weight_norm", "update_norm"];
const HUES = 6;
const DASHES = ["solid", "dashed", "dotted"];
const columnOf = (layer, figure) => `${layer}_${figure}`;

export class LayersChart {
  /** types: the type of each layer, in order. */
  constructor(figure, types, announce) {
    Object.assign(this, { figure, types, announce, curve: new Curve(), chart: null });
    this.select = figure.querySelector("select");
    this.select.addEventListener("change", () => this.draw());
  }

  /** Take the API's answer in place of the present curve. */
  replace({ epochs, layers }) {
    this.curve.clear();
    epochs.forEach((epoch, index) => this.append({ epoch, layers: layers[index] }));
  }

  append({ epoch, layers }) {
    if (!layers) return;
    const cells = layers.flatMap((layer, n) => FIGURES.map((figure) => [columnOf(n, figure), layer[figure]]));
    // a layer without weights has no such figures
    const metrics = Object.fromEntries(cells.filter(([, value]) => value !== null));
    this.curve.append({ epoch, metrics });
  }

  draw() {
    const lines = this.#lines();
    this.figure.hidden = !lines.length;
    if (!lines.length) return;
    if (this.chart) this.chart.show(lines);
    else {
      this.chart = new Chart(this.figure, this.curve, lines, { log: true });
      this.chart.onMove = this.announce;
    }
  }

  #lines() {
    const lines = this.types.map((type, n) => ({
      name: columnOf(n, this.select.value),
      label: `${n} ${type}`,
      className: `line-${(n % HUES) + 1}`,
      // neighbours differ in hue and dash; only layers 18 apart look the same
      dash: DASHES[(n + Math.floor(n / HUES)) % DASHES.length],
    }));
    return lines.filter((line) => this.curve.metrics.includes(line.name));
  }
}
