// Requests to the API, and what to say when one fails: title, detail, request id.

export class ProblemError extends Error {
  constructor(title, detail, requestId) {
    super(detail);
    Object.assign(this, { title, detail, requestId });
  }
}

/** The response of a request by cookie. Throws ProblemError. */
export async function call(address, options = {}) {
  let response;
  try {
    response = await fetch(address, { cache: "no-cache", ...options });
  } catch {
    throw new ProblemError("No answer", "The server can't be reached.", null);
  }
  // the session has ended: a page leads to the login, the API says 401
  if (response.status === 401 || new URL(response.url).pathname === "/ui/login") location.assign("/ui/login");
  if (!response.ok) throw await problemOf(response);
  return response;
}

async function problemOf(response) {
  const known = await response.json().catch(() => ({}));
  const faults = (known.errors ?? []).map((fault) => `${fault.pointer ?? fault.parameter ?? ""} ${fault.detail}`);
  const detail = [known.detail ?? `The server answered ${response.status}.`, ...faults].join("\n");
  return new ProblemError(known.title ?? response.statusText, detail, response.headers.get("X-Request-Id"));
}

/** Show it until the next one, or until it is closed. Anything but a ProblemError is ours, and is thrown on. */
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
