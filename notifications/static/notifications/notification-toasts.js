/**
 * `<notification-toasts>`: what arrives while somebody looks, for a moment, in a corner; a polite live region. What was caught
 * up after an absence is one toast. Nothing here takes the focus, and the inbox has it all anyway.
 */

/** @typedef {import("./notification-stream.js").Item} Item */

const MOST = 3;
const STAY = 8_000;

/**
 * The toasts that an event calls for: the items, oldest first, or one that sums them up.
 * @param {Item[]} items
 * @param {boolean} live
 * @returns {{items: Item[], summary: ""|"away"|"many"}}
 */
export function plan(items, live) {
  if (!live) return { items: items.slice(-1), summary: "away" };
  return items.length > MOST ? { items: items.slice(-1), summary: "many" } : { items, summary: "" };
}

/** One countdown a toast; all stand still while somebody reads, and start afresh afterwards. */
export class Countdown {
  /** @type {Map<any, ReturnType<typeof setTimeout> | undefined>} */ #timers = new Map();
  #isPaused = false;

  /**
   * @param {(key: any) => void} end
   * @param {{later: (run: () => void, milliseconds: number) => any, never: (timer: any) => void}} clock
   */
  constructor(end, clock = { later: (run, wait) => setTimeout(run, wait), never: (timer) => clearTimeout(timer) }) {
    this.end = end;
    this.clock = clock;
  }

  add(/** @type {any} */ key) {
    this.#timers.set(key, this.#isPaused ? undefined : this.clock.later(() => this.#ring(key), STAY));
  }

  remove(/** @type {any} */ key) {
    this.clock.never(this.#timers.get(key));
    this.#timers.delete(key);
  }

  pause(/** @type {boolean} */ isPaused) {
    if (isPaused === this.#isPaused) return;
    this.#isPaused = isPaused;
    for (const key of [...this.#timers.keys()]) {
      this.remove(key);
      this.add(key);
    }
  }

  #ring(/** @type {any} */ key) {
    this.#timers.delete(key);
    this.end(key);
  }
}

export class NotificationToasts extends HTMLElement {
  #countdown = new Countdown((toast) => this.#dismiss(toast));
  /** @type {Element | null} */ #cameFrom = null;

  #leave = new AbortController();

  connectedCallback() {
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:new", this.#new, { signal });
    document.addEventListener("visibilitychange", this.#attend, { signal });
    for (const name of ["pointerenter", "pointerleave", "focusin", "focusout"]) this.addEventListener(name, this.#attend, { signal });
    this.addEventListener("click", this.#click, { signal });
    this.addEventListener("keydown", this.#keydown, { signal });
  }

  disconnectedCallback() {
    this.#leave.abort();
    for (const toast of this.#toasts()) this.#dismiss(toast);
  }

  #new = (/** @type {Event} */ event) => {
    const { items, live } = /** @type {CustomEvent<{items: Item[], live: boolean}>} */ (event).detail;
    queueMicrotask(() => {
      if (event.defaultPrevented) return; // the site said no, in whatever order its listener was added
      const { items: shown, summary } = plan(items, live);
      for (const item of shown) this.#add(item, summary && this.#words(summary, items.length));
    });
  };

  #words(/** @type {string} */ summary, /** @type {number} */ count) {
    return (this.getAttribute(`label-${summary}`) ?? "").replace("{count}", String(count));
  }

  #add(/** @type {Item} */ item, /** @type {string} */ summary) {
    const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
    const toast = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    const list = /** @type {any} */ (customElements.get("notification-list"));
    list?.fill(toast, item);
    const line = /** @type {HTMLElement | null} */ (toast.querySelector("[data-part=summary]"));
    if (line) line.textContent = summary;
    if (line) line.hidden = !summary;
    this.#stack.append(toast);
    this.#countdown.add(toast);
    for (const old of this.#toasts().slice(0, -MOST)) this.#dismiss(old);
  }

  #dismiss(/** @type {Element} */ toast) {
    const hadFocus = toast.contains(document.activeElement);
    this.#countdown.remove(toast);
    toast.remove();
    if (!hadFocus) return;
    const next = this.#toasts().at(-1)?.querySelector("button") ?? this.#cameFrom;
    if (next instanceof HTMLElement) next.focus();
    this.#attend();
  }

  #attend = (/** @type {Event | undefined} */ event = undefined) => {
    const { type, relatedTarget } = /** @type {any} */ (event ?? {});
    if (type === "focusin" && !this.contains(relatedTarget)) this.#cameFrom = relatedTarget;
    const isRead = this.matches(":hover") || (this.contains(document.activeElement) && type !== "focusout");
    this.#countdown.pause(isRead || document.visibilityState === "hidden");
  };

  #click = (/** @type {Event} */ event) => {
    const target = /** @type {Element} */ (event.target);
    const toast = target.closest("[data-id]");
    if (!toast) return;
    if (target.closest("a[href]")) {
      const detail = { type: "read", ids: [Number(toast.getAttribute("data-id"))] };
      document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
    }
    if (target.closest("button, a[href]")) this.#dismiss(toast);
  };

  #keydown = (/** @type {KeyboardEvent} */ event) => {
    const toast = /** @type {Element} */ (event.target).closest("[data-id]");
    if (event.key === "Escape" && toast) this.#dismiss(toast);
  };

  get #stack() {
    return /** @type {HTMLElement} */ (this.querySelector("[data-part=toasts]"));
  }

  #toasts() {
    return [...this.#stack.children];
  }
}

if (!customElements.get("notification-toasts")) customElements.define("notification-toasts", NotificationToasts);
