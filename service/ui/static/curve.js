// The points of a curve in memory: columns with each epoch once, thinned when there are more than a chart can show.

const LIMIT = 4000;

export class Curve {
  /** best: the best epoch as the server has it; it alone knows the monitored figure. */
  constructor(best = null) {
    this.best = best;
    this.clear();
  }

  clear() {
    this.replace({ epochs: [], metrics: {} });
  }

  /** Take the columns of the API's answer in place of the present ones. */
  replace({ epochs, metrics, layers, ...figures }) {
    this.epochs = [...epochs];
    this.columns = {};
    for (const [name, values] of Object.entries({ ...figures, ...metrics })) this.columns[name] = [...values];
    this.metrics = Object.keys(metrics);
    this.first = this.at(0);
  }

  get length() {
    return this.epochs.length;
  }

  get last() {
    return this.at(this.length - 1);
  }

  /** Add an epoch as an event has it; return false if the curve has it already. */
  append({ epoch, metrics, layers, is_best: isBest, ...figures }) {
    const values = { ...figures, ...metrics };
    if (isBest) this.best = { epoch, ...values };
    if (this.length && epoch <= this.epochs[this.length - 1]) return false;
    for (const name of Object.keys(values)) this.columns[name] ??= this.epochs.map(() => null);
    this.metrics = [...new Set([...this.metrics, ...Object.keys(metrics)])];
    this.epochs.push(epoch);
    for (const [name, column] of Object.entries(this.columns)) column.push(values[name] ?? null);
    this.first ??= this.at(0);
    if (this.length > LIMIT) this.#thin();
    return true;
  }

  at(index) {
    if (index < 0 || index >= this.length) return null;
    const point = { epoch: this.epochs[index] };
    for (const [name, values] of Object.entries(this.columns)) point[name] = values[index];
    return point;
  }

  /** Return at most `rows` points, evenly spaced, the last among them. */
  sample(rows) {
    if (this.length <= rows) return this.epochs.map((_, index) => this.at(index));
    const step = (this.length - 1) / (rows - 1);
    return Array.from({ length: rows }, (_, row) => this.at(Math.round(row * step)));
  }

  #thin() {
    const kept = (_, index) => index % 2 === 0 || index === this.length - 1;
    const columns = Object.fromEntries(Object.entries(this.columns).map(([name, values]) => [name, values.filter(kept)]));
    this.epochs = this.epochs.filter(kept);
    this.columns = columns;
  }
}
