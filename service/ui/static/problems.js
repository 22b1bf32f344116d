// Requests to the API, and the message when one fails: title, detail and request id.

export class ProblemError extends Error {
  constructor(title, detail, requestId) {
    super(detail);
    Object.assign(this, { title, detail, requestId });
  }
}

/** Make a request with the session's cookie and return the response. Throws ProblemError. */
export async function call(address, options = {}) {
  let response;
  try {
    response = await fetch(address, { cache: "no-cache", ...options });
  } catch {
    throw new ProblemError("No answer", "The server can't be reached.", null);
  }
  // the session has ended: a page redirects to the login, the API answers 401
  if (response.status === 401 || new URL(response.url).pathname === "/ui/login") {
    location.assign(`/ui/login?next=${encodeURIComponent(location.pathname + location.search)}`);
  }
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const known = await response.json().catch(() => ({}));
  const faults = (known.errors ?? []).map((fault) => `${fault.pointer ?? fault.parameter ?? ""} ${fault.detail}`);
  const detail = [known.detail ?? `The server answered ${response.status}.`, ...faults].join("\n");
  return new ProblemError(known.title ?? response.statusText, detail, response.headers.get("X-Request-Id"));
}

/** Show the problem until the next one, or until it is closed. Any other error is a fault of ours and is thrown again. */
export function show(error) {
  if (!(error instanceof ProblemError)) throw error;
  const box = document.createElement("div");
  box.className = "alert";
  box.append(element("strong", error.title), " ", element("span", error.detail));
  if (error.requestId) box.append(" ", element("code", `request ${error.requestId}`));
  const close = element("button", "Close");
  close.className = "quiet";
  close.addEventListener("click", clear);
  box.append(close);
  document.getElementById("problems").replaceChildren(box);
}

export function clear() {
  document.getElementById("problems").replaceChildren();
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}
