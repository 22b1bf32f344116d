// A job's events while the page is visible, from the last id seen on, without a gap or a repeat.

const FIRST_DELAY = 1000;
const LONGEST_DELAY = 10_000;

/** handlers: onEpoch(point), onStatus(job), onEnd(job), onState("live" | "reconnecting" | "paused" | "ended"). */
export class JobStream {
  constructor(jobId, after, handlers) {
    Object.assign(this, { jobId, last: after, handlers, source: null, timer: null, ended: false, delay: FIRST_DELAY });
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.#open()));
    if (!document.hidden) this.#open();
  }

  #open() {
    if (this.ended || this.source) return;
    clearTimeout(this.timer);
    // a new EventSource each time: the browser's own reconnection would send the old `after` again
    this.source = new EventSource(`/v1/jobs/${this.jobId}/events?after=${this.last}`);
    this.source.addEventListener("open", () => {
      this.delay = FIRST_DELAY;
      this.handlers.onState("live");
    });
    this.source.addEventListener("error", () => this.#retry());
    this.#on("epoch", (data) => this.handlers.onEpoch(data));
    this.#on("status", (data) => this.handlers.onStatus(data));
    this.#on("checkpoint", () => {});
    this.#on("end", (data) => {
      this.ended = true;
      this.#close();
      this.handlers.onState("ended");
      this.handlers.onEnd(data);
    });
  }

  #on(kind, handle) {
    this.source.addEventListener(kind, (event) => {
      const id = Number(event.lastEventId);
      if (id <= this.last) return;
      this.last = id;
      handle(JSON.parse(event.data));
    });
  }

  #retry() {
    this.#close();
    this.handlers.onState("reconnecting");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => !document.hidden && this.#open(), this.delay);
    this.delay = Math.min(2 * this.delay, LONGEST_DELAY);
  }

  #pause() {
    clearTimeout(this.timer);
    this.#close();
    if (!this.ended) this.handlers.onState("paused");
  }

  #close() {
    this.source?.close();
    this.source = null;
  }
}
