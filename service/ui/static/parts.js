// Fetches parts of the page again. The server renders them, so each part has one template and no second one here.

import { oneAtATime } from "./polling.js";
import { call } from "./problems.js";
import { writeTimes } from "./times.js";

/** Replace the [data-part] elements of the page with those that the server now renders. */
export const refreshParts = oneAtATime(async () => {
  const response = await call(location.href, { headers: { Accept: "text/html" } });
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const standing of document.querySelectorAll("[data-part]")) {
    const found = fresh.querySelector(`[data-part="${standing.dataset.part}"]`);
    if (found && found.outerHTML !== standing.outerHTML) swap(standing, document.adoptNode(found));
  }
  writeTimes();
});

function swap(standing, found) {
  const held = standing.contains(document.activeElement) ? document.activeElement : null;
  if (standing.localName === "details") {
    found.open = standing.open;
    found.classList.add("ready");
  }
  standing.replaceWith(found);
  // if the focused button no longer exists, the focus goes to the page's content
  if (held) (found.querySelector(held.name ? `[name="${held.name}"]` : "a, button") ?? document.getElementById("main")).focus();
}
