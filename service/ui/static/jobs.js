// Keeps the list up to date: cells change in place, and new jobs wait behind a button, so no row moves under a pointer.

import { enhanceForms } from "./forms.js";
import { call, ProblemError } from "./problems.js";
import { keepTimes, writeTimes } from "./times.js";

const POLL_MILLISECONDS = 2000;

const list = document.getElementById("jobs");
const pill = document.getElementById("newer");
const live = document.getElementById("live");
// the markup that each cell was last given; its text may differ, since times.js rewrites it
const shown = new WeakMap();
let before = null;

function showState(state) {
  live.hidden = false;
  live.dataset.state = state;
  live.textContent = state;
}

async function refresh() {
  if (document.hidden) return;
  try {
    const text = await (await call(list.dataset.rows)).text();
    if (text !== before) patch(new DOMParser().parseFromString(text, "text/html"));
    before = text;
    showState("live");
  } catch (error) {
    if (!(error instanceof ProblemError)) throw error;
    showState("reconnecting");
  }
}

function patch(fresh) {
  const standing = [...list.querySelectorAll("tr[data-id]")];
  if (!standing.length) return replaceAll(fresh);
  const rows = new Map([...fresh.querySelectorAll("tr[data-id]")].map((row) => [row.dataset.id, row]));
  for (const row of standing) {
    const found = rows.get(row.dataset.id);
    if (found) patchCells(row.cells, found.cells);
    else leave(row, [...rows.keys()].pop());
  }
  for (const number of list.querySelectorAll("[data-cell]")) {
    const found = fresh.querySelector(`[data-cell="${number.dataset.cell}"]`);
    if (found) number.textContent = found.textContent;
  }
  const ids = standing.map((row) => row.dataset.id);
  offer([...rows.keys()].filter((id) => !ids.includes(id) && id > ids[ids.length - 1]).length, fresh);
  writeTimes(list);
}

function patchCells(cells, found) {
  [...cells].forEach((cell, n) => {
    const is = found[n].innerHTML;
    if (shown.get(cell) !== is) cell.replaceChildren(...found[n].childNodes);
    shown.set(cell, is);
  });
}

/** Remove a row that the list no longer has, unless a pointer is over the list. Rows that newer ones pushed off stay. */
function leave(row, oldest) {
  if (oldest && row.dataset.id < oldest) return;
  if (list.matches(":hover")) row.classList.add("gone");
  else row.remove();
}

function offer(newer, fresh) {
  pill.hidden = newer === 0;
  pill.textContent = newer === 1 ? "1 new job" : `${newer} new jobs`;
  pill.onclick = () => replaceAll(fresh);
}

function replaceAll(fresh) {
  // the first job exists: the page for an empty list is no longer right
  if (document.getElementById("empty")) {
    if (fresh.querySelector("tr[data-id]")) location.reload();
    return;
  }
  list.replaceChildren(...fresh.body.childNodes);
  pill.hidden = true;
  writeTimes(list);
}

enhanceForms();
keepTimes();
showState("live");
setInterval(refresh, POLL_MILLISECONDS);
document.addEventListener("visibilitychange", refresh);
