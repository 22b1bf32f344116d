// Keeps the list up to date: cells change in place, and new jobs wait behind a button, so no row moves under a pointer.

import { enhanceForms } from "./forms.js";
import { keepRefreshing } from "./polling.js";
import { call, ProblemError } from "./problems.js";
import { keepTimes, writeTimes } from "./times.js";

const POLL_MILLISECONDS = 2000;
const TIMEOUT_MILLISECONDS = 60_000;

const list = document.getElementById("jobs");
const pill = document.getElementById("newer");
const live = document.getElementById("live");
// the markup that each cell was last given; its text may differ, since times.js rewrites it
const shown = new WeakMap();
let before = null;
// the newest job when the rows were last replaced: what the server tells of begins with it, however many are newer
let top = newest(list);

function newest(part) {
  return part.querySelector("tr[data-id]")?.dataset.id;
}

/** The address of the part that changes. A page of older jobs stays where it is anyway. */
function address() {
  const url = new URL(list.dataset.rows, location.href);
  if (top && !url.searchParams.has("cursor")) url.searchParams.set("top", top);
  return url;
}

function showState(state) {
  live.hidden = false;
  live.dataset.state = state;
  live.textContent = state;
}

async function refresh() {
  try {
    // without an end of its own, a request whose answer got lost would be the last
    const signal = AbortSignal.timeout(TIMEOUT_MILLISECONDS);
    let text;
    let asked;
    do {
      asked = top;
      text = await (await call(address(), { signal })).text();
      // if the button was pressed meanwhile, this is not what is wanted any more
    } while (asked !== top);
    if (text !== before) patch(new DOMParser().parseFromString(text, "text/html"));
    before = text;
    // with the last row its place in the list is gone
    if (!newest(list)) top = before = null;
    showState("live");
  } catch (error) {
    showState("reconnecting");
    // a fault of ours is reported, and does not end the refreshing either
    if (!(error instanceof ProblemError || error instanceof DOMException)) reportError(error);
    throw error;
  }
}

function patch(fresh) {
  const standing = [...list.querySelectorAll("tr[data-id]")];
  if (!top || !standing.length) return replaceAll(fresh);
  const rows = new Map([...fresh.querySelectorAll("tr[data-id]")].map((row) => [row.dataset.id, row]));
  const ids = standing.map((row) => row.dataset.id);
  // jobs that are no newer than the first row may come in too: with a filter, whenever one gets that status
  const between = [...rows.keys()].filter((id) => !ids.includes(id) && id > ids.at(-1)).length;
  for (const row of standing) {
    const found = rows.get(row.dataset.id);
    if (found) patchCells(row.cells, found.cells);
    else leave(row, [...rows.keys()].pop());
  }
  for (const number of list.querySelectorAll("[data-cell]")) {
    const found = fresh.querySelector(`[data-cell="${number.dataset.cell}"]`);
    if (found) number.textContent = found.textContent;
  }
  offer(fresh.querySelector("[data-newer]")?.dataset.newer ?? "0", between);
  writeTimes(list);
}

function patchCells(cells, found) {
  [...cells].forEach((cell, n) => {
    const is = found[n].innerHTML;
    if (shown.get(cell) !== is) cell.replaceChildren(...found[n].childNodes);
    shown.set(cell, is);
  });
}

/** Remove a row that the list no longer has, unless a pointer is over the list. Rows that others pushed off stay. */
function leave(row, oldest) {
  if (oldest && row.dataset.id < oldest) return;
  if (list.matches(":hover")) row.classList.add("gone");
  else row.remove();
}

/** newer: the server's count of newer jobs, such as 7 or 99+. */
function offer(newer, between) {
  const number = newer.endsWith("+") ? newer : String(Number(newer) + between);
  pill.hidden = number === "0";
  pill.textContent = number === "1" ? "1 new job" : `${number} new jobs`;
}

/** Show the newest jobs: what is asked for without a top takes the place of all rows. */
function showNewest() {
  top = before = null;
  pill.hidden = true;
  refreshNow();
}

function replaceAll(fresh) {
  // the first job exists: the page for an empty list is no longer right
  if (document.getElementById("empty")) {
    if (fresh.querySelector("tr[data-id]")) location.reload();
    return;
  }
  list.replaceChildren(...fresh.body.childNodes);
  top = newest(list);
  pill.hidden = true;
  writeTimes(list);
}

enhanceForms();
keepTimes();
showState("live");
const refreshNow = keepRefreshing(refresh, POLL_MILLISECONDS);
pill.onclick = showNewest;
