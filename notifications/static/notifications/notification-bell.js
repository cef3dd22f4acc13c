/**
 * `<notification-bell>`: the button, its badge and the panel. The browser's popover opens and closes the panel (Escape,
 * a click outside, the focus back on the button), with JavaScript off too; here it gets its place, its focus and its counts.
 * While something is unseen, the title, the icon of the tab and that of an installed app say so too.
 */

/** @typedef {import("./notification-stream.js").Change} Change */

/** What the badge says; the exact number is in the button's name. */
export function badge(/** @type {number} */ unseen) {
  return unseen > 99 ? "99+" : String(unseen);
}

/** The title with the count before it, once; the site's own at 0. The no-break space tells our "(3)" from one of the site's. */
export function counted(/** @type {string} */ title, /** @type {number} */ unseen) {
  const own = title.replace(/^(\(\d+\+?\)\xa0)+/, "");
  return unseen ? `(${badge(unseen)})\xa0${own}` : own;
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

/** @type {Set<NotificationBell>} */
const bells = new Set(); // the tab is the page's, however many bells it has
/** @type {MutationObserver | undefined} */
let watch; // of the head: the site may change its title and icon at any time, or put another page's in their place
let unseen = 0;
let onApp = 0;

/** Knows nothing of what was before: all that it needs stands in the head, also in one that a cache has kept. */
function sign() {
  const asked = (/** @type {string} */ name) => unseen && [...bells].find((bell) => bell.hasAttribute(name));
  const title = counted(document.title, asked("title-count") ? unseen : 0);
  if (title !== document.title) document.title = title;
  const bell = asked("favicon");
  icon(bell && bell.getAttribute("favicon"));
  const count = asked("app-badge") ? unseen : 0;
  if (count !== onApp) navigator.setAppBadge?.((onApp = count)).catch(() => {}); // allowed to installed apps alone; 0 clears
}

/** Our icon in the place of the site's, whose links are no icons meanwhile; without a URL they are again. */
function icon(/** @type {string | null | undefined | 0} */ url) {
  const { head } = document;
  let ours = /** @type {HTMLLinkElement | null} */ (head.querySelector("[data-notifications-icon]"));
  const links = /** @type {NodeListOf<HTMLLinkElement>} */ (
    head.querySelectorAll(`link[rel~=${url ? "icon" : "notifications-icon"}]:not([data-notifications-icon])`)
  );
  if (!url && ours) {
    if (links.length) ours.remove();
    else ours.href = "/favicon.ico"; // what the browser shows without any: it would keep ours
  }
  for (const link of links) link.rel = url ? link.rel.replace(/\bicon\b/gi, "notifications-$&") : link.rel.replaceAll("notifications-", "");
  if (!url || ours?.getAttribute("href") === url) return;
  ours ??= document.createElement("link");
  Object.assign(ours, { rel: "icon", href: url });
  ours.dataset.notificationsIcon = "";
  head.append(ours);
}

export class NotificationBell extends HTMLElement {
  #leave = new AbortController();

  connectedCallback() {
    bells.add(this);
    watch ??= new MutationObserver(sign);
    watch.observe(document.head, { childList: true, subtree: true, characterData: true });
    this.#count(Number(this.getAttribute("unseen")));
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:changed", this.#changed, { signal });
    document.addEventListener("notifications:new", this.#new, { signal });
    this.#panel.addEventListener("beforetoggle", this.#beforeToggle, { signal });
    this.#panel.addEventListener("toggle", this.#toggle, { signal });
    for (const name of ["scroll", "resize"]) addEventListener(name, () => this.#isOpen && this.#settle(), { signal, passive: true });
  }

  disconnectedCallback() {
    this.#leave.abort();
    bells.delete(this);
    queueMicrotask(() => {
      if (bells.size) return; // another stays, or has come in its place
      watch?.disconnect();
      sign();
    });
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
    const before = Number(this.getAttribute("unseen"));
    this.#count(/** @type {CustomEvent<Change>} */ (event).detail.unseen);
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

  #count(/** @type {number} */ count) {
    unseen = count;
    sign();
  }

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
