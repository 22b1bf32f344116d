// Times relative to now, with the absolute time in the title; and durations that are still growing.

import { duration } from "./format.js";

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "short" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

function since(seconds) {
  for (const [unit, length] of UNITS) {
    if (seconds >= length) return relative.format(-Math.floor(seconds / length), unit);
  }
  return seconds < 10 ? "just now" : relative.format(-Math.floor(seconds / 10) * 10, "second");
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function writeTimes(within = document) {
  for (const element of within.querySelectorAll("time[datetime]")) {
    write(element, since((Date.now() - Date.parse(element.dateTime)) / 1000));
  }
  for (const element of within.querySelectorAll("[data-since]")) {
    write(element, duration(Math.max(0, (Date.now() - Date.parse(element.dataset.since)) / 1000)));
  }
}

export function keepTimes() {
  writeTimes();
  setInterval(writeTimes, 1000);
}
