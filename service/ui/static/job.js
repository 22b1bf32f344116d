// The live page of a job: the curve so far, then each epoch from the event stream.

import { Chart } from "./chart.js";
import { Curve } from "./curve.js";
import { count, curveSummary, duration, number, percent } from "./format.js";
import { enhanceForms } from "./forms.js";
import { LayersChart } from "./layers.js";
import { metricLines, metricSummary, metricsTitle } from "./metrics.js";
import { refreshParts } from "./parts.js";
import { call, show } from "./problems.js";
import { JobStream } from "./stream.js";
import { fillTable } from "./table.js";
import { keepTimes } from "./times.js";

const MAX_POINTS = 1000;
const REDRAW_MILLISECONDS = 250;
const LINES = [
  { name: "train_loss", label: "train", className: "line-1", dash: "solid" },
  { name: "validation_loss", label: "validation", className: "line-2", dash: "dashed" },
];

const job = document.getElementById("job").dataset;
const epochs = Number(job.epochs);
const columns = JSON.parse(job.columns);
// the best epoch may be one that the thinned curve leaves out
const curve = new Curve(pointOf(JSON.parse(job.best)));
const charts = {};
const layers = new LayersChart(document.getElementById("layers"), JSON.parse(job.layers), announce);
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
  const answer = await response.json();
  curve.replace(answer);
  layers.replace(answer);
  draw();
  writeNumbers();
}

function drawLoss() {
  const figure = document.getElementById("loss");
  figure.classList.toggle("waiting", !curve.length);
  if (!curve.length) return;
  const lines = curve.columns.validation_loss?.some((value) => value !== null) ? LINES : LINES.slice(0, 1);
  drawLines("loss", figure, lines, { log: isLog(), best: true });
}

function drawMetrics() {
  if (!curve.metrics.length) return;
  const figure = document.getElementById("metric");
  figure.hidden = false;
  drawLines("metric", figure, metricLines(curve.metrics));
  figure.querySelector("h2").textContent = metricsTitle(curve.metrics);
  figure.querySelector("figcaption").textContent = metricSummary(curve.metrics, curve.last);
}

function drawLines(name, figure, lines, options) {
  if (charts[name]) return charts[name].show(lines);
  charts[name] = new Chart(figure, curve, lines, options);
  charts[name].onMove = announce;
}

function draw() {
  timer = null;
  drawLoss();
  drawMetrics();
  layers.draw();
}

function writeNumbers() {
  const last = curve.last;
  // when the job has ended the server's page is right: a job that stopped early is at 100 % too
  if (!last || ended) return;
  field("bar").value = last.epoch / epochs;
  field("epoch").textContent = count(last.epoch);
  field("percent").textContent = percent(last.epoch / epochs);
  if (field("eta") && pace !== null) field("eta").textContent = duration((epochs - last.epoch) * pace);
  field("summary").textContent = curveSummary(curve.first, last, curve.best);
  for (const [label, point] of [["latest", last], ["best", curve.best]]) {
    for (const cell of document.querySelectorAll(`[data-point="${label}"]`)) {
      const value = point?.[cell.dataset.figure] ?? null;
      cell.textContent = cell.dataset.figure === "epoch" && value !== null ? count(value) : number(value);
    }
  }
  const table = document.getElementById("as-table");
  table.hidden = false;
  if (table.open) fillTable(table, curve, columns);
}

function redrawSoon() {
  timer ??= setTimeout(() => requestAnimationFrame(() => (draw(), writeNumbers())), REDRAW_MILLISECONDS);
}

function onEpoch(point) {
  const first = curve.length === 0;
  if (!curve.append(point)) return;
  layers.append(point);
  pace = pace === null ? point.seconds : 0.9 * pace + 0.1 * point.seconds;
  redrawSoon();
  // the server now knows which figures there are
  if (first) refreshParts().catch(show);
}

function onStatus(snapshot) {
  if (snapshot.status !== status) announce(`The job is ${snapshot.status}.`);
  status = snapshot.status;
  curve.best = pointOf(snapshot.best);
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
  // the server sends it open, for a page without scripts
  table.open = false;
  table.classList.add("ready");
  document.addEventListener("toggle", (event) => event.target.id === "as-table" && !ended && curve.length && fillTable(event.target, curve, columns), true);
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
