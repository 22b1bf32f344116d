// How the metrics are drawn and named: train solid, validation dashed. A single metric has the hues of the loss chart;
// several metrics have one hue each.

import { count, metricName, number } from "./format.js";

const HUES = [3, 4, 5, 6, 1, 2];
const ofValidation = (name) => name.startsWith("validation_");
const hueOfPart = (name) => (ofValidation(name) ? 2 : 1);
const metricOf = (name) => name.replace(/^(train|validation)_/, "");

/** names: the curve's columns. The train and validation figures of a metric are neighbours. */
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

/** Describe one metric in one sentence: a validation metric if there is one. */
export function metricSummary(names, last) {
  const name = names.find(ofValidation) ?? names[0];
  return `${metricName(name)} is ${number(last?.[name])} after epoch ${count(last?.epoch ?? 0)}.`;
}

const metricsOf = (names) => [...new Set(names.map(metricOf))];
