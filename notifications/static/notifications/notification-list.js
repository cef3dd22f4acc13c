/**
 * `<notification-list>`: rows printed by the server, kept true by `notifications:changed`. New rows are clones of the
 * `<template>` that the server printed from the same partial, and get text only: nothing here makes HTML out of data.
 * Buttons stay POST forms; a `<notification-stream>` that takes the command spares the page load.
 */

/**
 * @typedef {import("./notification-stream.js").Item} Item
 * @typedef {import("./notification-stream.js").Change} Change
 * @typedef {{id: number, number: number, stamp: number, read: boolean, archived: boolean}} Row
 */

const MOST = 200; // rows in one list: a page that stays open for a month must not grow for a month
const TICK = 30_000;

/** The URL if a link may lead there (http, https, mailto, or a path of this site), else "". */
export function safeUrl(/** @type {string} */ url, base = document.baseURI) {
  try {
    return url && /^(https?|mailto):$/.test(new URL(url, base).protocol) ? url : "";
  } catch {
    return "";
  }
}

/** The text cut where a name (actor, target) stands in it. @returns {{text: string, isName: boolean}[]} */
export function emphasised(/** @type {string} */ text, /** @type {string[]} */ names) {
  const parts = [{ text, isName: false }];
  for (const name of names.filter(Boolean)) {
    const index = parts.findIndex((part) => !part.isName && part.text.includes(name));
    if (index < 0) continue;
    const whole = parts[index].text;
    const start = whole.indexOf(name);
    const cut = [whole.slice(0, start), name, whole.slice(start + name.length)];
    parts.splice(index, 1, ...cut.map((piece, place) => ({ text: piece, isName: place === 1 })));
  }
  return parts.filter((part) => part.text);
}

/** "5 min ago" in the language's own words. */
export function age(/** @type {number} */ milliseconds, /** @type {string | undefined} */ language) {
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  const minutes = Math.floor(milliseconds / 60_000);
  if (minutes < 1) return words.format(0, "second");
  if (minutes < 60) return words.format(-minutes, "minute");
  if (minutes < 1440) return words.format(-Math.floor(minutes / 60), "hour");
  const days = Math.floor(minutes / 1440);
  if (days < 30) return words.format(-days, "day");
  return days < 365 ? words.format(-Math.floor(days / 30), "month") : words.format(-Math.floor(days / 365), "year");
}

/** Put an item's texts into the `data-part` elements of a row or toast. */
export function fill(/** @type {Element} */ row, /** @type {Item} */ item) {
  const put = (/** @type {string} */ name, /** @type {string} */ text) => {
    const [part] = all(row, `[data-part=${name}]`);
    if (part) Object.assign(part, { textContent: text, hidden: !text });
    return part;
  };
  put("body", item.body);
  const title = put("title", item.title);
  const pieces = emphasised(item.title, [item.actor, item.target]).map(({ text, isName }) => {
    if (!isName) return text;
    const name = document.createElement("b");
    name.textContent = text;
    return name;
  });
  title?.replaceChildren(...pieces);
  const link = row.querySelector("[data-part=link]");
  const url = safeUrl(item.url);
  if (url) link?.setAttribute("href", url);
  else link?.removeAttribute("href");
  const symbol = document.getElementById(`notifications-icon-${item.icon}`) ? item.icon : item.severity;
  row.querySelector("[data-part=icon] use")?.setAttribute("href", `#notifications-icon-${symbol}`);
  for (const word of all(row, "[data-level]")) word.hidden = word.dataset.level !== item.severity;
  row.querySelector("time")?.setAttribute("datetime", item.created_at);
  row.setAttribute("data-severity", item.severity);
  row.setAttribute("data-kind", item.kind);
  row.setAttribute("data-id", String(item.id));
}

/** What one list shows: which rows a change puts, alters and takes away. Knows no DOM. */
export class Rows {
  /** @type {Map<number, Row>} */ #rows = new Map();
  #floor = Infinity; // the lowest number of the stretch shown here; it stays when that row leaves

  /**
   * @param {string} show "active", "unread" or "archived"
   * @param {number} before the numbers of an older page lie below it; 0: the newest page
   * @param {boolean} more whether older rows exist beyond those here
   */
  constructor(show, before, more) {
    this.show = show;
    this.before = before;
    this.more = more;
  }

  get size() {
    return this.#rows.size;
  }

  get newest() {
    return Math.max(0, ...[...this.#rows.values()].map((row) => row.number));
  }

  has(/** @type {Row} */ row) {
    this.#rows.set(row.id, row);
    this.#floor = Math.min(this.#floor, row.number);
  }

  /** Whether the server's `reset` (the newest active rows) is this list's own page. */
  get isFirstPage() {
    return this.show === "active" && !this.before;
  }

  /**
   * `isLate`: a reset that was read by HTTP, so that a delta may have overtaken it.
   * @param {Pick<Change, "items"|"ops"|"reset"|"more"> & {isLate?: boolean}} change
   * @returns {{changed: Row[], removed: number[]}}
   */
  apply(change) {
    /** @type {Map<number, Row>} */ const changed = new Map();
    /** @type {Set<number>} */ const removed = new Set();
    const drop = (/** @type {number} */ id) => {
      if (this.#rows.delete(id)) removed.add(id);
      changed.delete(id);
    };
    if (change.reset) {
      const kept = new Set(change.items.map((item) => item.id));
      for (const id of [...this.#rows.keys()]) if (!kept.has(id)) drop(id);
      this.more = change.more ?? false;
      this.#floor = Math.min(Infinity, ...change.items.map((item) => ("number" in item ? item.number : Infinity)));
    }
    for (const item of change.items) {
      const known = this.#rows.get(item.id);
      // A restored database has older stamps than the page: its reset counts all the same.
      if (known && known.stamp >= item.stamp && (!change.reset || change.isLate)) continue;
      if (item.hidden || !this.#wants(item)) drop(item.id);
      else if (change.reset || known || this.#reaches(item.number)) {
        this.#rows.set(item.id, item);
        changed.set(item.id, item);
      }
    }
    for (const op of change.ops) {
      for (const row of [...this.#rows.values()]) {
        const read = row.read || row.number <= op.read_upto;
        const archived = row.archived || row.number <= op.archived_upto;
        const next = { ...row, read, archived };
        if (row.number <= op.deleted_upto || !this.#wants(next)) drop(row.id);
        else if (read !== row.read || archived !== row.archived) {
          this.#rows.set(row.id, next);
          changed.set(row.id, next);
        }
      }
    }
    if (!this.before) this.#trim(drop);
    return { changed: [...changed.values()], removed: [...removed] };
  }

  #wants(/** @type {Row} */ row) {
    if (this.show === "archived") return row.archived;
    return !row.archived && (this.show !== "unread" || !row.read);
  }

  /** A number outside the stretch that this page shows belongs to another page. */
  #reaches(/** @type {number} */ number) {
    if (this.before && number >= this.before) return false;
    return !this.more || this.#floor === Infinity || number >= this.#floor;
  }

  #trim(/** @type {(id: number) => void} */ drop) {
    if (this.#rows.size <= MOST) return;
    const newestFirst = [...this.#rows.values()].sort((a, b) => b.number - a.number);
    for (const row of newestFirst.slice(MOST)) drop(row.id);
    this.#floor = newestFirst[MOST - 1].number;
    this.more = true;
  }
}

export class NotificationList extends HTMLElement {
  static fill = fill; // the toasts use it too; a module script cannot import another under hashed static file names

  /** @type {Rows | null} */ #rows = null;
  #leave = new AbortController();

  connectedCallback() {
    this.#rows = new Rows(this.getAttribute("show") ?? "active", Number(this.getAttribute("before") ?? 0), this.hasAttribute("more"));
    for (const row of this.#elements()) this.#rows.has(rowOf(row));
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:changed", this.#changed, { signal });
    document.addEventListener("notifications:state", this.#state, { signal });
    document.addEventListener("notifications:failed", () => show(this, "failed", true), { signal });
    this.addEventListener("submit", this.#submit, { signal });
    this.addEventListener("click", this.#click, { signal });
    this.addEventListener("auxclick", this.#click, { signal });
    this.addEventListener("keydown", this.#keydown, { signal });
    const clock = setInterval(() => this.#tick(), TICK);
    signal.addEventListener("abort", () => clearInterval(clock));
    this.#tick();
    const [mine, now] = [this, stream()].map((element) => element?.getAttribute("position"));
    if (mine && now && mine !== now) void this.refresh(); // swapped in, or restored, beside a stream that stands elsewhere
  }

  disconnectedCallback() {
    this.#leave.abort();
  }

  /** Read this list's page again, by HTTP. */
  async refresh() {
    show(this, "error", false);
    try {
      const answer = await fetch(this.getAttribute("src") ?? "", { headers: { Accept: "application/json" } });
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      this.#apply({ ops: [], seenUpto: 0, ...(await answer.json()), reset: true, isLate: true });
    } catch {
      show(this, "error", true);
    }
  }

  #changed = (/** @type {Event} */ event) => {
    const change = /** @type {CustomEvent<Change>} */ (event).detail;
    const mine = !change.reset || this.#rows?.isFirstPage;
    if (mine) this.#apply(change);
    else void this.refresh();
    this.setAttribute("position", stream()?.getAttribute("position") ?? "");
  };

  #apply(/** @type {Change & {isLate?: boolean}} */ change) {
    const rows = /** @type {Rows} */ (this.#rows);
    const { changed, removed } = rows.apply(change);
    for (const id of removed) this.#remove(this.#element(id));
    for (const row of changed.sort((a, b) => b.number - a.number)) this.#put(row);
    this.removeAttribute("loading");
    for (const part of ["error", "failed"]) show(this, part, false);
    show(this, "empty", rows.size === 0);
    show(this, "more", rows.more);
    show(this, "mark-all", change.unread > 0);
    const newest = Math.max(rows.newest, ...change.items.map((item) => ("number" in item ? item.number : 0)));
    const all = this.querySelector("[data-part=mark-all]");
    if (newest > Number(all?.getAttribute("value"))) all?.setAttribute("value", String(newest));
    this.#tick();
  }

  #put(/** @type {Row} */ row) {
    let element = this.#element(row.id);
    if (!element) {
      const template = /** @type {HTMLTemplateElement | null} */ (this.querySelector("template"));
      element = /** @type {HTMLElement} */ (template?.content.firstElementChild?.cloneNode(true));
      const older = this.#elements().find((other) => Number(other.dataset.number) < row.number);
      this.#list.insertBefore(element, older ?? null);
      element.setAttribute("data-fresh", "");
    }
    if ("title" in row) fill(element, /** @type {Item} */ (/** @type {unknown} */ (row)));
    element.dataset.number = String(row.number);
    element.dataset.stamp = String(row.stamp);
    element.toggleAttribute("data-unread", !row.read);
    element.toggleAttribute("data-archived", row.archived);
    const shown = { read: !row.read, unread: row.read, archive: !row.archived, unarchive: row.archived, delete: true };
    for (const [name, isShown] of Object.entries(shown)) {
      for (const button of all(element, `button[name=${name}]`)) {
        button.hidden = !isShown;
        button.setAttribute("value", String(row.id));
      }
    }
    show(element, "unread", !row.read);
  }

  /** Where the focus was, it goes on: to the next row, not to the top of the page. */
  #remove(/** @type {HTMLElement | undefined} */ element) {
    const heir = element?.nextElementSibling ?? element?.previousElementSibling;
    const hadFocus = element?.contains(document.activeElement);
    element?.remove();
    if (!hadFocus) return;
    /** @type {HTMLElement} */ (heir?.querySelector("a[href], summary") ?? this.#list).focus();
  }

  #state = (/** @type {Event} */ event) => {
    const { state } = /** @type {CustomEvent} */ (event).detail;
    for (const note of all(this, "[data-state]")) note.hidden = note.dataset.state !== state;
    if (state === "open" && this.hasAttribute("marks-seen")) command({ type: "seen" });
    if (this.hasAttribute("loading") && ["reconnecting", "offline", "closed"].includes(state)) void this.refresh();
  };

  #submit = (/** @type {SubmitEvent} */ event) => {
    const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
    if (!button?.name) return;
    const [type, upto] = button.name.split("_");
    const isTaken = command(upto ? { type, upto: Number(button.value) } : { type, ids: [Number(button.value)] });
    if (!isTaken) return;
    event.preventDefault();
    this.#closeMenus();
  };

  #click = (/** @type {MouseEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    this.#closeMenus(target.closest("details"));
    if (target.closest("[data-part=retry]")) void this.refresh();
    const row = target.closest("a[href]") && target.closest("[data-unread]");
    if (row && event.button < 2) command({ type: "read", ids: [Number(row.getAttribute("data-id"))] });
  };

  #keydown = (/** @type {KeyboardEvent} */ event) => {
    const menu = /** @type {Element} */ (event.target).closest("details[open]");
    if (event.key !== "Escape" || !menu) return;
    event.preventDefault(); // the panel around it stays
    this.#closeMenus();
  };

  #closeMenus(/** @type {Element | null} */ except = null) {
    for (const menu of this.querySelectorAll("details[open]")) {
      if (menu === except) continue;
      if (menu.contains(document.activeElement)) menu.querySelector("summary")?.focus();
      menu.removeAttribute("open");
    }
  }

  #tick() {
    for (const time of this.querySelectorAll("time")) time.textContent = age(Date.now() - Date.parse(time.dateTime), this.lang || undefined);
  }

  get #list() {
    return /** @type {HTMLElement} */ (this.querySelector("[data-part=items]"));
  }

  #elements() {
    return all(this.#list, "[data-id]");
  }

  #element(/** @type {number} */ id) {
    return this.#elements().find((element) => element.dataset.id === String(id));
  }
}

/** @returns {Row} */
function rowOf(/** @type {HTMLElement} */ { dataset }) {
  const [id, number, stamp] = [dataset.id, dataset.number, dataset.stamp].map(Number);
  return { id, number, stamp, read: !("unread" in dataset), archived: "archived" in dataset };
}

function show(/** @type {Element} */ root, /** @type {string} */ part, /** @type {boolean} */ isShown) {
  for (const element of all(root, `[data-part=${part}]`)) element.hidden = !isShown;
}

/** @returns {HTMLElement[]} */
function all(/** @type {Element} */ root, /** @type {string} */ selector) {
  return [...root.querySelectorAll(selector)].map((element) => /** @type {HTMLElement} */ (element));
}

function stream() {
  return document.querySelector("notification-stream");
}

/** Whether a stream took it. */
function command(/** @type {object} */ detail) {
  return !document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
}

if (!customElements.get("notification-list")) customElements.define("notification-list", NotificationList);
