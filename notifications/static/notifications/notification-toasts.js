/**
 * `<notification-toasts>`: what arrives while somebody looks, for a moment, in a corner; a polite live region. What was caught
 * up after an absence, or came while the tab was hidden, is one toast. Nothing here takes the focus, and the inbox has it all.
 * One of the browser's tabs shows it, one that is looked at. Where none is, one of them tells it by a notification of the
 * operating system. That and a sound are for those who have switched them on.
 */

/**
 * @typedef {import("./notification-list.js").Item} Item
 * @typedef {import("./notification-stream.js").Change} Change
 */

const MOST = 3;
const STAY = 8_000;
const HOLD = 65_000; // longer than the timers of a tab that has been hidden for long are late

/** The outside world; tests put their own here. */
export const world = {
  locks: () => navigator.locks, // none on plain HTTP
  later: (/** @type {() => void} */ run, /** @type {number} */ milliseconds) => setTimeout(run, milliseconds),
};

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

/** Whether this tab is the one to tell it: whoever gets the lock first, and the less a tab is looked at the later it asks. */
export async function claim(/** @type {string} */ name, isVisible = true, hasFocus = true) {
  await new Promise((go) => world.later(() => go(0), hasFocus ? 0 : isVisible ? 200 : 600));
  return new Promise((/** @type {(isMine: boolean) => void} */ answer) => {
    const alone = () => answer(isVisible); // nobody to agree with
    if (!world.locks()) return alone();
    const held = world.locks().request(`notifications-toast-${name}`, { ifAvailable: true }, (lock) => {
      answer(!!lock);
      return lock && new Promise((release) => world.later(() => release(0), HOLD));
    });
    held.catch(alone); // they are denied here
  });
}

/** Whether somebody has dealt with the item: it is read with others, or has taken a step since it arrived. */
export function isDone(/** @type {Item} */ { id, number }, /** @type {Pick<Change, "items"|"ops"|"reset">} */ { items, ops, reset }) {
  return ops.some((op) => number <= op.read_upto) || (!reset && items.some((item) => item.id === id));
}

/** What the browser remembers for all its tabs; a value is put there if one is given. */
function memory(/** @type {string} */ name, /** @type {string | undefined} */ value = undefined) {
  try {
    if (value) localStorage[`notifications-${name}`] = value;
    return localStorage[`notifications-${name}`];
  } catch {
    return ""; // forbidden here
  }
}

export class NotificationToasts extends HTMLElement {
  /** @type {Element | null} */ #cameFrom = null;
  /** @type {Item[]} */ #kept = []; // what came while the tab was hidden
  /** @type {Map<Element | Notification, {item: Item, close: () => void, countdown?: Animation | null}>} */ #shown = new Map();
  /** @type {HTMLAudioElement | undefined} */ #sound;
  #seenUpto = 0;
  #leave = new AbortController();

  connectedCallback() {
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:new", this.#new, { signal });
    document.addEventListener("notifications:changed", this.#changed, { signal });
    document.addEventListener("visibilitychange", this.#look, { signal });
    document.addEventListener("click", this.#switch, { signal });
    for (const name of ["pointerenter", "pointerleave", "focusin", "focusout"]) this.addEventListener(name, this.#attend, { signal });
    this.addEventListener("submit", this.#submit, { signal, capture: true }); // before htmx, where it boosts forms
    this.addEventListener("click", this.#click, { signal });
    this.addEventListener("keydown", this.#keydown, { signal });
    this.#offer();
  }

  disconnectedCallback() {
    this.#leave.abort();
    for (const { close } of this.#shown.values()) close();
  }

  #new = (/** @type {Event} */ event) => {
    const { items, live } = /** @type {CustomEvent<{items: Item[], live: boolean}>} */ (event).detail;
    queueMicrotask(() => {
      if (event.defaultPrevented) return; // the site said no, in whatever order its listener was added
      this.#tell(live ? items : items.filter(({ number }) => number > this.#seenUpto), live);
    });
  };

  async #tell(/** @type {Item[]} */ items, /** @type {boolean} */ live) {
    const isVisible = document.visibilityState === "visible";
    if (!isVisible) this.#kept.push(...items);
    const { items: chosen, summary } = plan(items, live);
    const claims = await Promise.all(chosen.map(({ id }) => claim(`${tabs()}-${id}`, isVisible, document.hasFocus())));
    const mine = chosen.filter((_, index) => claims[index] && this.isConnected);
    if (mine.length) this.#ping();
    for (const item of mine) {
      const words = this.#words(summary, items.length);
      if (isVisible) this.#add(item, words);
      else this.#notify(item, words);
    }
  }

  /** Somebody looks here: what came meanwhile, unless a tab has shown it or it has been seen. */
  #look = () => {
    this.#attend();
    if (document.visibilityState !== "visible") return;
    for (const { close, countdown } of this.#shown.values()) if (countdown === undefined) close();
    const [whose, shown] = String(memory("shown")).split(" ");
    const isShown = (/** @type {number} */ number) => whose === tabs() && number <= Number(shown);
    const kept = this.#kept.splice(0).filter(({ number }) => number > this.#seenUpto && !isShown(number));
    for (const item of kept.slice(-1)) this.#add(item, this.#words("away", kept.length));
  };

  #changed = (/** @type {Event} */ event) => {
    const change = /** @type {CustomEvent<Change>} */ (event).detail;
    this.#seenUpto = change.seenUpto;
    for (const { item, close } of this.#shown.values()) if (isDone(item, change)) close();
  };

  #words(/** @type {string} */ summary, /** @type {number} */ count) {
    return summary && String(this.getAttribute(`label-${summary}`)).replace("{count}", String(count));
  }

  #add(/** @type {Item} */ item, /** @type {string} */ words) {
    const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
    const toast = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
    const list = /** @type {any} */ (customElements.get("notification-list"));
    list?.fill(toast, item);
    for (const line of toast.querySelectorAll("[data-part=summary]")) line.textContent = words;
    this.querySelector("[data-part=toasts]")?.append(toast);
    const close = () => this.#dismiss(toast);
    const countdown = item.actions?.length && !item.answer ? null : toast.animate([], STAY); // shows nothing, can be stopped
    if (countdown) countdown.onfinish = close;
    this.#shown.set(toast, { item, close, countdown });
    this.#attend();
    memory("shown", `${tabs()} ${item.number}`);
    const others = this.#toasts().slice(0, -1);
    const spare = others.filter((each) => !each.contains(document.activeElement)); // somebody is about to press something in it
    if (others.length === MOST) this.#dismiss(spare.find((each) => this.#shown.get(each)?.countdown) ?? spare[0]);
    return toast;
  }

  #notify(/** @type {Item} */ item, /** @type {string} */ words) {
    if (!this.#isOn("browser")) return;
    const note = system(words || item.title, { body: words ? item.title : item.body, tag: String(item.id), silent: this.#isOn("sound") });
    if (!note) return;
    const close = () => note.close();
    this.#shown.set(note, { item, close });
    note.onclose = () => this.#shown.delete(note);
    note.onclick = () => {
      focus();
      close();
      this.#add(item, words).querySelector("a")?.click();
    };
  }

  #ping() {
    if (!this.#isOn("sound")) return;
    this.#sound ??= new Audio(String(this.getAttribute("sound")));
    this.#sound.play().catch(() => {}); // while it plays: once is enough; before the first click in a page: forbidden
  }

  /** Whether somebody has switched it on; undefined where the site or the browser has nothing to switch. */
  #isOn(/** @type {string} */ name) {
    const permission = name === "browser" ? (globalThis.Notification?.permission ?? "denied") : "granted";
    return this.hasAttribute(name) && permission !== "denied" ? memory(name) === "on" && permission === "granted" : undefined;
  }

  #offer = () => {
    for (const button of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-notifications-switch]"))) {
      const isOn = this.#isOn(String(button.getAttribute("data-notifications-switch")));
      button.hidden = isOn === undefined && button !== document.activeElement;
      button.setAttribute("aria-pressed", String(!!isOn));
    }
  };

  /** A click of the person's, and nothing else, turns it on; they hear or see at once what they get. */
  #switch = async (/** @type {Event} */ event) => {
    const button = /** @type {Element} */ (event.target).closest("[data-notifications-switch]");
    const name = button?.getAttribute("data-notifications-switch");
    if (name) {
      let isOn = !this.#isOn(name);
      if (isOn && name === "browser") {
        isOn = (await Notification.requestPermission()) === "granted" && !!system(String(this.getAttribute(name)), { tag: "sample" });
      }
      memory(name, isOn ? "on" : "off");
      if (name === "sound") this.#ping();
    }
    this.#offer(); // at any click: the panel that it opens may have come after us
  };

  #dismiss(/** @type {Element} */ toast) {
    const hadFocus = toast.contains(document.activeElement);
    this.#shown.get(toast)?.countdown?.cancel();
    this.#shown.delete(toast);
    toast.remove();
    if (!hadFocus) return;
    const next = this.#toasts().at(-1)?.querySelector("[type=button]") ?? this.#cameFrom;
    /** @type {HTMLElement | null} */ (next)?.focus();
    this.#attend();
  }

  /** The countdowns stand still while somebody reads, and start afresh afterwards. */
  #attend = (/** @type {Event | undefined} */ event = undefined) => {
    const { type, relatedTarget } = /** @type {any} */ (event ?? {});
    if (type === "focusin" && !this.contains(relatedTarget)) this.#cameFrom = relatedTarget;
    const isRead = this.matches(":hover") || (this.contains(document.activeElement) && type !== "focusout");
    const method = isRead || document.visibilityState === "hidden" ? "cancel" : "play";
    for (const { countdown } of this.#shown.values()) countdown?.[method]();
  };

  /** An action of the site's. What comes of it is told in the lists, so that the toast may go. */
  #submit = async (/** @type {SubmitEvent} */ event) => {
    const button = /** @type {HTMLButtonElement} */ (event.submitter);
    const toast = /** @type {HTMLElement} */ (button.closest("[data-id]"));
    if (/** @type {any} */ (document.querySelector("notification-stream"))?.isOver) return; // the server asks to sign in
    event.preventDefault();
    event.stopPropagation();
    if (toast.ariaBusy) return;
    toast.ariaBusy = "true";
    const body = new FormData(button.form ?? undefined, button);
    const answer = await fetch(button.formAction, { method: "POST", body, headers: { Accept: "application/json" } }).catch(() => null);
    toast.ariaBusy = null;
    if (answer?.ok) this.#dismiss(toast);
    else toast.querySelector("[data-part=unanswered]")?.removeAttribute("hidden");
  };

  #click = (/** @type {Event} */ event) => {
    const target = /** @type {Element} */ (event.target);
    const toast = target.closest("[data-id]");
    if (!toast) return;
    if (target.closest("a[href]")) {
      const detail = { type: "read", ids: [Number(toast.getAttribute("data-id"))] };
      document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
    }
    if (target.closest("[type=button], a[href]")) this.#dismiss(toast);
  };

  #keydown = (/** @type {KeyboardEvent} */ event) => {
    const toast = /** @type {Element} */ (event.target).closest("[data-id]");
    if (event.key === "Escape" && toast) this.#dismiss(toast);
  };

  #toasts() {
    return [...(this.querySelector("[data-part=toasts]")?.children ?? [])];
  }
}

/** What the tabs of this session have in common, and nobody else's. */
function tabs() {
  return String(document.querySelector("notification-stream")?.getAttribute("tabs"));
}

/** One of the operating system's, where the browser lets a page show them. */
function system(/** @type {string} */ title, /** @type {NotificationOptions} */ options) {
  try {
    return new Notification(title, options);
  } catch {
    return null; // only service workers may, on phones
  }
}

if (!customElements.get("notification-toasts")) customElements.define("notification-toasts", NotificationToasts);
