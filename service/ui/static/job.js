// The live job page: the curve so far, then each epoch from the event stream.

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { count, curveSummary, duration, metricName, number, percent } from "./format.js";
import { enhanceForms } from "./forms.js";
import { refreshParts } from "./parts.js";
import { call, show } from "./problems.js";
import { JobStream } from "./stream.js";
import { fillTable } from "./table.js";
import { keepTimes } from "./times.js";

const MAX_POINTS = 1000;
const REDRAW_MILLISECONDS = 250;
const LINES = [
  { name: "train_loss", label: "train", className: "line-1", dash: [] },
  { name: "validation_loss", label: "validation", className: "line-2 dashed", dash: [7, 5] },
];

const job = document.getElementById("job").dataset;
const epochs = Number(job.epochs);
// the best epoch may be one that the thinned curve leaves out
const curve = new Curve(pointOf(JSON.parse(job.best)));
const charts = {};
const field = (name) => document.querySelector(`[data-field="${name}"]`);
let status = job.status;
let ended = job.final === "true";
let timer = null;
let pace = null;

function pointOf(summary) {
  return summary && { ...summary, ...summary.metrics };
}

function announce(text) {
  document.getElementById("announcement").textContent = text;
}

function showState(state) {
  const live = document.getElementById("live");
  live.hidden = false;
  live.dataset.state = state;
  live.textContent = state;
}

async function loadCurve() {
  const response = await call(`/v1/jobs/${job.id}/curve?max_points=${MAX_POINTS}`);
  curve.replace(await response.json());
  draw();
  writeNumbers();
}

function drawLoss() {
  const figure = document.getElementById("loss");
  figure.classList.toggle("waiting", !curve.length);
  if (!curve.length) return;
  const lines = curve.columns.validation_loss.some((value) => value !== null) ? LINES : LINES.slice(0, 1);
  if (charts.loss?.lines.length === lines.length) charts.loss.update();
  else {
    charts.loss?.plot.destroy();
    charts.loss = new Chart(figure, curve, lines, { log: isLog(), best: true });
    charts.loss.onMove = announce;
  }
}

function drawMetrics() {
  if (!curve.metrics.length) return;
  const figure = document.getElementById("metric");
  figure.hidden = false;
  if (charts.metric?.lines.length === curve.metrics.length) charts.metric.update();
  else {
    charts.metric?.plot.destroy();
    const lines = curve.metrics.map((name, n) => ({ name, label: metricName(name), className: `line-${(n % 4) + 3}`, dash: [[], [7, 5], [2, 4]][n % 3] }));
    charts.metric = new Chart(figure, curve, lines);
    charts.metric.onMove = announce;
    figure.querySelector("h2").textContent = lines.length === 1 ? metricName(curve.metrics[0]) : "Metrics";
  }
  const [name] = curve.metrics;
  figure.querySelector("figcaption").textContent = `${metricName(name)} is ${number(curve.last?.[name])} after epoch ${count(curve.last?.epoch ?? 0)}.`;
}

function draw() {
  timer = null;
  drawLoss();
  drawMetrics();
}

function writeNumbers() {
  const last = curve.last;
  // at the end the server has the last word: a job that stopped early is done too
  if (!last || ended) return;
  field("bar").value = last.epoch / epochs;
  field("epoch").textContent = count(last.epoch);
  field("percent").textContent = percent(last.epoch / epochs);
  if (field("eta") && pace !== null) field("eta").textContent = duration((epochs - last.epoch) * pace);
  field("summary").textContent = curveSummary(curve.first, last, curve.best);
  for (const [label, point] of [["latest", last], ["best", curve.best]]) {
    for (const cell of document.querySelectorAll(`[data-row="${label}"] [data-column]`)) {
      const value = point[cell.dataset.column];
      cell.textContent = cell.dataset.column === "epoch" ? count(value) : number(value);
    }
  }
  const table = document.getElementById("as-table");
  table.hidden = false;
  if (table.open) fillTable(table, curve);
}

function redrawSoon() {
  timer ??= setTimeout(() => requestAnimationFrame(() => (draw(), writeNumbers())), REDRAW_MILLISECONDS);
}

function onEpoch(point) {
  const first = curve.length === 0;
  if (!curve.append(point)) return;
  pace = pace === null ? point.seconds : 0.9 * pace + 0.1 * point.seconds;
  redrawSoon();
  // the figures' columns are known now
  if (first) refreshParts().catch(show);
}

function onStatus(snapshot) {
  if (snapshot.status !== status) announce(`The job is ${snapshot.status}.`);
  status = snapshot.status;
  refreshParts().then(redrawSoon).catch(show);
}

function onEnd(snapshot) {
  ended = true;
  onStatus(snapshot);
  loadCurve().catch(show);
}

const isLog = () => new URL(location).searchParams.get("log") === "1";

function setUpLog() {
  const toggle = document.getElementById("log");
  toggle.checked = isLog();
  toggle.addEventListener("change", () => {
    const address = new URL(location);
    if (toggle.checked) address.searchParams.set("log", "1");
    else address.searchParams.delete("log");
    history.replaceState(null, "", address);
    charts.loss?.setLog(toggle.checked);
  });
}

function setUpTable() {
  const table = document.getElementById("as-table");
  // it stands open for a page without scripts
  table.open = false;
  table.classList.add("ready");
  document.addEventListener("toggle", (event) => event.target.id === "as-table" && !ended && curve.length && fillTable(event.target, curve), true);
}

async function start() {
  setUpLog();
  setUpTable();
  keepTimes();
  enhanceForms(() => refreshParts().catch(show));
  await loadCurve().catch(show);
  if (ended) showState("ended");
  else new JobStream(job.id, Number(job.seq), { onEpoch, onStatus, onEnd, onState: showState });
}

start();
