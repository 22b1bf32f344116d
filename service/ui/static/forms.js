// Forms that also work without this: sent to the API instead, so that a refusal shows on the page itself.

import { call, clear, show } from "./problems.js";

export const csrfToken = () => document.querySelector('meta[name="csrf-token"]').content;

/** onDone: called with the API's answer for a form that stays on its page; any other form leads to the job's page. */
export function enhanceForms(onDone = () => {}) {
  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (!form.dataset.api) return;
    event.preventDefault();
    send(form, onDone);
  });
}

async function send(form, onDone) {
  const button = form.querySelector("button");
  if (button.ariaBusy === "true") return;
  button.ariaBusy = "true";
  clear();
  try {
    const headers = { "X-CSRF-Token": csrfToken() };
    const body = form.dataset.body;
    if (body) headers["Content-Type"] = "application/json";
    const response = await call(form.dataset.api, { method: "POST", headers, body });
    const job = await response.json();
    if ("stay" in form.dataset) onDone(job);
    else location.assign(job.links.page);
  } catch (error) {
    show(error);
  } finally {
    button.ariaBusy = "false";
  }
}
