// The curve as rows of the page's table, for a job that is still training.

import { count, metricName, number } from "./format.js";

const ROWS = 50;

/** labelled: [name, label] of each figure in the table; the first is the epoch. */
export function fillTable(details, curve, labelled) {
  const columns = [...labelled.slice(1).map(([name]) => name), ...curve.metrics];
  const names = [...labelled.map(([, label]) => label), ...curve.metrics.map((name) => capital(metricName(name)))];
  details.querySelector("thead tr").replaceChildren(...names.map((name) => cell("th", name, "col")));
  details.querySelector("tbody").replaceChildren(
    ...curve.sample(ROWS).map((point) => {
      const row = document.createElement("tr");
      row.append(cell("th", count(point.epoch), "row"), ...columns.map((name) => cell("td", number(point[name]))));
      return row;
    }),
  );
}

function cell(kind, text, scope) {
  const made = document.createElement(kind);
  made.className = "figure";
  made.textContent = text;
  if (scope) made.scope = scope;
  return made;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);
