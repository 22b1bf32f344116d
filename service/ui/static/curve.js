// The points of a curve in memory: columns, each epoch once, thinned when they grow past what a chart can show.

const LIMIT = 4000;

export class Curve {
  constructor(best = null) {
    this.best = best;
    this.clear();
  }

  clear() {
    this.replace({ epochs: [], train_loss: [], validation_loss: [], metrics: {} });
  }

  /** Take the API's answer in place of what stands. */
  replace(answer) {
    this.epochs = [...answer.epochs];
    this.columns = { train_loss: [...answer.train_loss], validation_loss: [...answer.validation_loss] };
    for (const [name, values] of Object.entries(answer.metrics)) this.columns[name] = [...values];
    this.metrics = Object.keys(answer.metrics);
    this.first = this.at(0);
    for (let index = 0; index < this.length; index += 1) this.#judge(this.at(index));
  }

  get length() {
    return this.epochs.length;
  }

  get last() {
    return this.at(this.length - 1);
  }

  /** Add an epoch; false if it stands already. */
  append(point) {
    if (this.length && point.epoch <= this.epochs[this.length - 1]) return false;
    for (const name of Object.keys(point.metrics)) this.#addMetric(name);
    this.epochs.push(point.epoch);
    this.columns.train_loss.push(point.train_loss);
    this.columns.validation_loss.push(point.validation_loss);
    for (const name of this.metrics) this.columns[name].push(point.metrics[name] ?? null);
    this.first ??= this.at(0);
    this.#judge(this.last);
    if (this.length > LIMIT) this.#thin();
    return true;
  }

  at(index) {
    if (index < 0 || index >= this.length) return null;
    const point = { epoch: this.epochs[index] };
    for (const [name, values] of Object.entries(this.columns)) point[name] = values[index];
    return point;
  }

  /** At most `rows` points, evenly spaced, the last among them. */
  sample(rows) {
    if (this.length <= rows) return this.epochs.map((_, index) => this.at(index));
    const step = (this.length - 1) / (rows - 1);
    return Array.from({ length: rows }, (_, row) => this.at(Math.round(row * step)));
  }

  #addMetric(name) {
    if (this.metrics.includes(name)) return;
    this.metrics.push(name);
    this.columns[name] = this.epochs.map(() => null);
  }

  #judge(point) {
    const loss = (of) => of.validation_loss ?? of.train_loss ?? Infinity;
    if (!this.best || loss(point) < loss(this.best)) this.best = point;
  }

  #thin() {
    const kept = (_, index) => index % 2 === 0 || index === this.length - 1;
    const columns = Object.fromEntries(Object.entries(this.columns).map(([name, values]) => [name, values.filter(kept)]));
    this.epochs = this.epochs.filter(kept);
    this.columns = columns;
  }
}
