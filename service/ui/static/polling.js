// Calls a refresh again and again while the page is visible: one at a time, and less often if the server is slow.

const LONGEST_MILLISECONDS = 30_000;
// after an answer that took t, the next request comes at least 2 t later: a page asks a third of the time at most
const PAUSE_FOR_SLOWNESS = 2;

/**
 * refresh: returns a promise. Each time that it is rejected, the next call comes after twice as long.
 * Returns a function that calls it at once, unless it is just running.
 */
export function keepRefreshing(refresh, milliseconds) {
  let timer = null;
  let isRunning = false;
  let failures = 0;

  async function run() {
    clearTimeout(timer);
    if (document.hidden || isRunning) return;
    isRunning = true;
    const began = performance.now();
    try {
      await refresh();
      failures = 0;
    } catch {
      failures += 1;
    } finally {
      isRunning = false;
      const usual = Math.max(milliseconds, PAUSE_FOR_SLOWNESS * (performance.now() - began));
      timer = setTimeout(run, Math.min(usual * 2 ** failures, LONGEST_MILLISECONDS));
    }
  }

  document.addEventListener("visibilitychange", run);
  timer = setTimeout(run, milliseconds);
  return run;
}

/** Return a function that starts `work`, one at a time. Calls during one share a single further one, begun after it. */
export function oneAtATime(work) {
  let running = null;
  let isWanted = false;

  async function run() {
    try {
      while (isWanted) {
        isWanted = false;
        await work();
      }
    } finally {
      running = null;
    }
  }

  return () => {
    isWanted = true;
    running ??= run();
    return running;
  };
}
