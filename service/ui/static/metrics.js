// How the metrics are drawn and told: train solid, validation dashed. One metric has the loss chart's hues; of several,
// each has a hue of its own.

import { count, metricName, number } from "./format.js";

const HUES = [3, 4, 5, 6, 1, 2];
const ofValidation = (name) => name.startsWith("validation_");
const hueOfPart = (name) => (ofValidation(name) ? 2 : 1);
const metricOf = (name) => name.replace(/^(train|validation)_/, "");

/** names: the curve's columns. A pair stands side by side. */
export function metricLines(names) {
  const metrics = metricsOf(names);
  const pairs = metrics.flatMap((metric) => names.filter((name) => metricOf(name) === metric));
  return pairs.map((name) => ({
    name,
    label: metrics.length === 1 ? name.split("_", 1)[0] : metricName(name),
    className: `line-${metrics.length === 1 ? hueOfPart(name) : HUES[metrics.indexOf(metricOf(name)) % HUES.length]}`,
    dash: ofValidation(name) ? "dashed" : "solid",
  }));
}

export function metricsTitle(names) {
  const metrics = metricsOf(names);
  return metrics.length === 1 ? metricName(metrics[0]) : "Metrics";
}

/** One metric in one sentence: that of the validation part, if there is one. */
export function metricSummary(names, last) {
  const name = names.find(ofValidation) ?? names[0];
  return `${metricName(name)} is ${number(last?.[name])} after epoch ${count(last?.epoch ?? 0)}.`;
}

const metricsOf = (names) => [...new Set(names.map(metricOf))];
