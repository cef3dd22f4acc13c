/**
 * `<notification-bell>`: the button, its badge and the panel. The browser's popover opens and closes the panel (Escape,
 * a click outside, the focus back on the button), with JavaScript off too; here it gets its place, its focus and its counts.
 */

/** @typedef {import("./notification-stream.js").Change} Change */

/** What the badge says; the exact number is in the button's name. */
export function badge(/** @type {number} */ unseen) {
  return unseen > 99 ? "99+" : String(unseen);
}

/** Where the panel goes, in CSS pixels: below the button or above it, aligned at its end or start, whichever has the room. */
export function place(
  /** @type {{top: number, bottom: number, left: number, right: number}} */ button,
  /** @type {{width: number, height: number}} */ view,
) {
  const below = view.height - button.bottom;
  const isLow = button.top > below;
  const isLeft = (button.left + button.right) / 2 < view.width / 2;
  return {
    top: isLow ? "auto" : `${button.bottom}px`,
    bottom: isLow ? `${view.height - button.top}px` : "auto",
    room: `${Math.max(button.top, below)}px`,
    left: isLeft ? `${Math.max(0, button.left)}px` : "auto",
    right: isLeft ? "auto" : `${Math.max(0, view.width - button.right)}px`,
  };
}

export class NotificationBell extends HTMLElement {
  #leave = new AbortController();

  connectedCallback() {
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:changed", this.#changed, { signal });
    document.addEventListener("notifications:new", this.#new, { signal });
    this.#panel.addEventListener("beforetoggle", this.#beforeToggle, { signal });
    this.#panel.addEventListener("toggle", this.#toggle, { signal });
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.#isOpen && this.#settle(), { signal, passive: true });
  }

  disconnectedCallback() {
    this.#leave.abort();
  }

  get #button() {
    return /** @type {HTMLElement} */ (this.querySelector("button"));
  }

  get #panel() {
    return /** @type {HTMLElement} */ (this.querySelector("[popover]"));
  }

  get #isOpen() {
    return this.#panel.matches(":popover-open");
  }

  #changed = (/** @type {Event} */ event) => {
    const { unseen } = /** @type {CustomEvent<Change>} */ (event).detail;
    const before = Number(this.getAttribute("unseen"));
    const sign = /** @type {HTMLElement} */ (this.querySelector("[data-part=badge]"));
    const name = this.getAttribute(unseen ? "label-unseen" : "label")?.replace("{count}", String(unseen)) ?? "";
    this.setAttribute("unseen", String(unseen));
    this.#button.setAttribute("aria-label", name);
    sign.textContent = badge(unseen);
    sign.hidden = !unseen;
    if (unseen <= before) return;
    sign.classList.remove("notifications-pulse");
    void sign.offsetWidth; // the animation starts again only after a layout without it
    sign.classList.add("notifications-pulse");
    const spoken = this.querySelector("[role=status]");
    if (spoken && !document.querySelector("notification-toasts")) spoken.textContent = name;
  };

  #new = () => {
    if (this.#isOpen && document.visibilityState === "visible") this.#seen();
  };

  #beforeToggle = (/** @type {Event} */ event) => {
    if (/** @type {ToggleEvent} */ (event).newState === "open") this.#settle();
  };

  #toggle = () => {
    if (!this.#isOpen) return;
    this.#panel.focus({ preventScroll: true });
    this.#seen();
  };

  #settle() {
    const { clientWidth: width, clientHeight: height } = document.documentElement;
    const sides = place(this.#button.getBoundingClientRect(), { width, height });
    for (const [side, value] of Object.entries(sides)) this.#panel.style.setProperty(`--notifications-panel-${side}`, value);
  }

  /** Seen, not read: up to the newest that the page knows. */
  #seen() {
    if (!Number(this.getAttribute("unseen"))) return;
    document.dispatchEvent(new CustomEvent("notifications:command", { detail: { type: "seen" }, cancelable: true }));
  }
}

if (!customElements.get("notification-bell")) customElements.define("notification-bell", NotificationBell);
