/**
 * `<notification-list>`: rows printed by the server, kept true by `notifications:changed`. New rows are clones of the
 * `<template>` that the server printed from the same partial, and get text only: nothing here makes HTML out of data.
 * Buttons stay POST forms, tabs and "Load more" links; beside a `<notification-stream>` they work in place. What somebody does
 * shows at once; the delta that comes of it has the last word. The keys are those that the printed help lists.
 */

/**
 * @typedef {{label: string, url: string, primary: boolean}} Action
 * @typedef {import("./notification-stream.js").Item & {actions?: Action[], answer?: string}} Item
 * @typedef {{id: number, number: number, stamp: number, read: boolean, archived: boolean, hidden?: boolean}} Row
 * @typedef {{items: (Row | import("./notification-stream.js").Hidden)[], ops?: Record<string, number>[], reset?: boolean,
 *   older?: boolean, more?: boolean, before?: number | null, unread?: number, counts?: Record<string, number>}} Change
 * @typedef {{type: string, ids?: number[], upto?: number, stamp?: number}} Step
 */

const MOST = 200; // rows in a list beyond those that its reader asked for: a page that stays open must not grow for a month
const TICK = 30_000;
const REGRET = 8_000; // how long an undo is offered
const PATIENCE = 5_000; // from the site's answer to an action until its buttons work again
const KEYS = "notifications-keys"; // in the browser's storage: "off" for who wants none

/** What a step makes of a row. @type {Record<string, object>} */
const MAKES = {
  ...{ read: { read: true }, unread: { read: false }, delete: { hidden: true } },
  ...{ archive: { archived: true }, unarchive: { archived: false } },
};

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

/** @type {Record<string, Intl.RelativeTimeFormat>} */
const words = {};

/** "5 min ago" in the language's own words. */
export function age(/** @type {number} */ milliseconds, language = "") {
  const minutes = Math.floor(milliseconds / 60_000);
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const units = [["year", 525_600], ["month", 43_200], ["day", 1440], ["hour", 60], ["minute", 1]];
  const [unit, length] = units.find(([, length]) => minutes >= length) ?? ["second", Infinity];
  words[language] ??= new Intl.RelativeTimeFormat(language || undefined, { numeric: "auto", style: "short" });
  return words[language].format(-Math.floor(minutes / length), unit);
}

/** The day of a moment where its reader is, as "2026-01-31". */
export function dayOf(/** @type {Date} */ moment) {
  return new Date(Number(moment) - moment.getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
}

/** "today", "yesterday", else the date, in the language's own words. */
export function dayName(/** @type {string} */ day, /** @type {string} */ today, /** @type {string | undefined} */ language) {
  const ago = (Date.parse(today) - Date.parse(day)) / 86_400_000;
  if (ago < 2) return new Intl.RelativeTimeFormat(language, { numeric: "auto" }).format(-Math.max(0, ago), "day");
  const year = day.slice(0, 4) === today.slice(0, 4) ? undefined : "numeric";
  return new Intl.DateTimeFormat(language, { day: "numeric", month: "long", year, timeZone: "UTC" }).format(Date.parse(day));
}

/** A key press as the help names it ("j", "Shift+a"), on any layout: letters of another script by their place on a Latin one. */
export function keyOf(/** @type {Pick<KeyboardEvent, "key"|"code"|"ctrlKey"|"shiftKey"|"altKey"|"metaKey">} */ press) {
  const { key, code, ctrlKey, shiftKey, altKey, metaKey } = press;
  const letter = /^[a-z]$/i.test(key) ? key : /^Key(.)/.exec(code)?.[1];
  const name = letter?.toLowerCase() ?? key;
  return altKey || metaKey ? "" : (ctrlKey ? "Ctrl+" : "") + (shiftKey && name !== "?" ? "Shift+" : "") + name;
}

/** Put an item's texts into the `data-part` elements of a row or toast. */
export function fill(/** @type {Element} */ row, /** @type {Item} */ item) {
  const put = (/** @type {string} */ name, text = "") => {
    const [part] = all(row, `[data-part=${name}]`);
    if (part) Object.assign(part, { textContent: text, hidden: !text });
    return part;
  };
  put("body", item.body);
  put("answer", item.answer);
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
  pick(row, "level", item.severity);
  row.querySelector("time")?.setAttribute("datetime", item.created_at);
  row.setAttribute("data-severity", item.severity);
  row.setAttribute("data-kind", item.kind);
  row.setAttribute("data-id", String(item.id));
  const [pattern, ...others] = all(row, "[data-part=action]");
  if (!pattern) return;
  pattern.hidden = true;
  for (const other of others) other.remove();
  const actions = item.answer ? [] : (item.actions ?? []).filter(({ url }) => /^\/(?![/\\])\S*$/.test(url));
  const buttons = actions.map(({ label, url, primary }) => {
    const button = /** @type {HTMLButtonElement} */ (pattern.cloneNode());
    button.toggleAttribute("data-primary", primary);
    return Object.assign(button, { formAction: url, textContent: label, hidden: false });
  });
  pattern.after(...buttons);
}

/**
 * The rows of one list, by their ids: which a change puts, alters and takes away. Knows no DOM.
 * @extends {Map<number, Row>}
 */
export class Rows extends Map {
  #most = MOST;

  /**
   * @param {string} show "active", "unread" or "archived"
   * @param {number} floor older rows have lower numbers; 0: there are none; infinite: nothing has been read yet
   * @param {number} before the numbers of an older page lie below it; 0: the newest page
   * @param {boolean} isFiltered only the server can tell what belongs here
   */
  constructor(show, floor, before = 0, isFiltered = false) {
    super();
    this.show = show;
    this.floor = floor;
    this.before = before;
    this.isFiltered = isFiltered;
  }

  /** Newest first. */
  get sorted() {
    return [...this.values()].sort((a, b) => b.number - a.number);
  }

  get newest() {
    return this.sorted[0]?.number ?? 0;
  }

  /** Whether a reset of the stream's, which brings the newest active rows, is this list's own page, as deep as the list is. */
  isMeantBy(/** @type {Change} */ { items, more }) {
    const isFirstPage = this.show === "active" && !this.before && !this.isFiltered;
    return isFirstPage && !(more && (this.size > items.length || !items.length));
  }

  /** What a step will make of the rows here: newer than they are, older than what the server will say. */
  foretell(/** @type {Step} */ { type, ids, upto = 0 }) {
    const chosen = this.sorted.filter(({ id, number }) => ids?.includes(id) ?? number <= upto);
    return chosen.map((row) => ({ ...row, ...MAKES[type], stamp: row.stamp + 0.5 }));
  }

  /** @returns {{changed: Row[], removed: number[]}} */
  apply(/** @type {Change} */ change) {
    /** @type {Map<number, Row>} */ const changed = new Map();
    /** @type {Set<number>} */ const removed = new Set();
    const drop = (/** @type {number} */ id) => {
      if (this.delete(id)) removed.add(id);
      changed.delete(id);
    };
    const take = (/** @type {Row} */ row) => {
      if (row.hidden || !this.#wants(row)) return drop(row.id);
      this.set(row.id, row);
      changed.set(row.id, row);
    };
    const { items, ops = [], reset, older, more, before } = change;
    const rows = /** @type {Row[]} */ (items);
    if (reset || older) {
      const ids = rows.map(({ id }) => id);
      for (const id of [...this.keys()]) if (reset && !ids.includes(id)) drop(id);
      this.#most = MOST + this.size + rows.length;
      this.floor = more ? (before ?? Math.min(...rows.map(({ number }) => number))) : 0;
    }
    for (const row of rows) {
      const known = this.get(row.id);
      // A reset counts whatever its stamps: a restored database has older ones than the page.
      if (reset || (known ? known.stamp < row.stamp : this.#reaches(row.number))) take(row);
    }
    for (const op of ops) {
      for (const row of this.sorted) {
        const read = row.read || row.number <= op.read_upto;
        const archived = row.archived || row.number <= op.archived_upto;
        const hidden = row.number <= op.deleted_upto;
        if (hidden || read !== row.read || archived !== row.archived) take({ ...row, read, archived, hidden });
      }
    }
    const beyond = this.before ? [] : this.sorted.slice(this.#most);
    if (beyond[0]) this.floor = beyond[0].number + 1;
    for (const row of beyond) drop(row.id);
    return { changed: [...changed.values()], removed: [...removed] };
  }

  #wants(/** @type {Row} */ row) {
    if (this.show === "archived") return row.archived;
    return !row.archived && (this.show !== "unread" || !row.read);
  }

  /** A number outside the stretch that is shown here belongs to another page. */
  #reaches(/** @type {number} */ number) {
    if (this.isFiltered || (this.before && number >= this.before)) return false;
    return number >= this.floor || this.floor === Infinity;
  }
}

export class NotificationList extends HTMLElement {
  static fill = fill; // the toasts use it too; a module script cannot import another under hashed static file names

  #rows = new Rows("", 0);
  #reads = 0; // over HTTP so far: only the last one counts
  /** @type {() => Promise<Change>} */ #again = () => this.#deep();
  #heard = Date.now();
  /** @type {HTMLElement | null} */ #last = null; // the row in which somebody pressed a key
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */ #timers = {};
  #leave = new AbortController();
  #near = new IntersectionObserver(
    (links) => links.some((link) => link.isIntersecting) && this.#rows.size < MOST && this.#older(),
    /** @type {IntersectionObserverInit} */ ({ rootMargin: "400px", scrollMargin: "400px" }), // the latter in the panel
  );

  /** What is said on the page, without its `notifications:`. @type {Record<string, (detail: any) => void>} */
  #hears = {
    frame: () => (this.#heard = Date.now()),
    changed: (change) => {
      this.#heard = Date.now();
      this.#take(change);
      this.setAttribute("position", position() ?? "");
    },
    state: ({ state }) => {
      const time = new Intl.DateTimeFormat(this.lang || undefined, { timeStyle: "short" }).format(this.#heard);
      for (const note of pick(this, "state", state)) word(note, time);
      if (state === "open" && this.hasAttribute("marks-seen")) command({ type: "seen" });
      if (/^(reco|off|clo)/.test(state) && this.hasAttribute("loading") && !this.#list.ariaBusy) void this.refresh();
    },
    done: ({ ref, stamp }) => {
      const [button] = /** @type {HTMLButtonElement[]} */ (all(this, `[data-ref="${ref}"]`));
      if (!button) return;
      button.value = stamp;
      if (!stamp) pick(this, "done", ""); // it came to nothing: nothing to take back
      else if (button.dataset.waits) button.click();
    },
    failed: ({ type, ref }) => {
      if (type === "seen") return; // nobody asked for it, nobody misses it
      this.#hears.done({ ref, stamp: 0 });
      show(this, "failed", true);
      void this.refresh();
    },
  };

  connectedCallback() {
    const { signal } = (this.#leave = new AbortController());
    const about = ["show", "floor", "before"].map((name) => this.getAttribute(name));
    this.#rows = new Rows(about[0] ?? "active", Number(about[1]), Number(about[2]), this.hasAttribute("filtered"));
    for (const { dataset } of this.#elements.values()) {
      const [id, number, stamp] = [dataset.id, dataset.number, dataset.stamp].map(Number);
      this.#rows.set(id, { id, number, stamp, read: !("unread" in dataset), archived: "archived" in dataset });
    }
    for (const [name, hear] of Object.entries(this.#hears)) {
      document.addEventListener(`notifications:${name}`, (event) => hear(/** @type {CustomEvent} */ (event).detail), { signal });
    }
    document.addEventListener("scroll", () => !this.#isReading && this.#reveal(), { signal, capture: true, passive: true });
    for (const [name, hear] of /** @type {[string, any][]} */ ([["submit", this.#submit], ["click", this.#click]])) {
      this.addEventListener(name, hear, { signal, capture: true }); // before htmx, where it boosts links and forms
    }
    this.addEventListener("auxclick", this.#click, { signal });
    this.addEventListener("change", this.#choose, { signal });
    this.addEventListener("beforetoggle", this.#toggle, { signal, capture: true });
    (this.closest("[popover]") ?? this).addEventListener("keydown", this.#keydown, { signal });
    for (const box of this.querySelectorAll("input")) box.checked = choice() !== "off";
    this.#arrange();
    this.#watch();
    const [mine, now] = [this.getAttribute("position"), position()];
    if (this.#list.ariaBusy || (mine && now && mine !== now)) void this.refresh(); // moved, swapped in or restored, beside a stream that stands elsewhere
  }

  disconnectedCallback() {
    this.#leave.abort();
    this.#near.disconnect();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
  }

  /** Read this list again by HTTP. */
  refresh() {
    return this.#read(() => this.#deep());
  }

  /** The list as it is on the server, as far down as it is here. */
  async #deep() {
    const { floor, size } = this.#rows;
    const page = await this.#page();
    while (page.before > floor && page.items.length < size + MOST) {
      const { items, before, more } = await this.#page(page.before);
      Object.assign(page, { items: [...page.items, ...items], before, more });
    }
    return { ...page, reset: true };
  }

  /** The next rows below these. */
  async #older() {
    const shown = this.#shown;
    if (this.#list.ariaBusy) return;
    this.setAttribute("loading", "");
    await this.#read(async () => ({ ...(await this.#page(this.#rows.floor)), older: true }));
    if (this.#part("more") === document.activeElement) this.#shown[shown.length]?.focus();
  }

  async #page(before = 0) {
    const url = this.getAttribute("src") + (before ? `&before=${before}` : "");
    const answer = await fetch(url, { headers: { Accept: "application/json" }, signal: this.#leave.signal });
    if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
    return answer.json();
  }

  async #read(/** @type {() => Promise<Change>} */ read) {
    const { signal } = this.#leave;
    const mine = ++this.#reads;
    this.#again = read;
    this.#list.ariaBusy = "true";
    show(this, "error", false);
    let page;
    try {
      for (let tries = 3, stood; tries-- && (!page || stood !== position()); page = await read()) stood = position();
    } catch {
      page = null;
    }
    if (signal.aborted || mine !== this.#reads) return;
    this.#list.ariaBusy = null;
    this.removeAttribute("loading");
    if (!page) return show(this, "error", true);
    this.#apply(page);
    this.#watch();
  }

  #watch() {
    const link = this.#part("more");
    this.#near.disconnect();
    if (link) this.#near.observe(link); // which tells at once whether it is near
  }

  #take(/** @type {Change} */ change) {
    const rows = this.#rows;
    if (change.reset && !rows.isMeantBy(change)) return void this.refresh();
    if (rows.isFiltered && !change.items.every(({ id }) => rows.has(id))) this.#later("again", 1000, () => this.refresh());
    this.#apply(change, !change.reset);
  }

  #apply(/** @type {Change} */ change, isNews = false) {
    const rows = this.#rows;
    const elements = this.#elements;
    const { newest } = rows;
    const waits = isNews && change.items.length > 0 && this.#isReading;
    const { changed, removed } = rows.apply(change);
    for (const id of removed) this.#remove(elements.get(id));
    for (const row of changed) {
      let element = elements.get(row.id);
      if (!element) {
        const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
        element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
        element.hidden = waits && row.number > newest;
        element.toggleAttribute("data-fresh", isNews);
        this.#list.append(element);
      }
      this.#put(element, row);
    }
    if (change.reset) this.removeAttribute("loading");
    const { unread, counts = unread === undefined ? {} : { unread } } = change;
    for (const [name, count] of Object.entries(counts)) {
      for (const part of all(document, `[data-count=${name}]`)) part.textContent = count > 99 ? "99+" : String(count);
    }
    const whole = /** @type {HTMLButtonElement | null} */ (this.#part("mark-all"));
    if (whole) {
      if (unread !== undefined) whole.hidden = !unread;
      const known = change.items.map((item) => ("number" in item ? item.number : 0));
      whole.value = String(Math.max(Number(whole.value), ...known));
    }
    this.#arrange();
    if (isNews) this.#reveal();
  }

  #put(/** @type {HTMLElement} */ element, /** @type {Row} */ row) {
    const { id, number, stamp, read, archived } = row;
    const hadFocus = element.contains(document.activeElement);
    if ("title" in row) {
      fill(element, /** @type {any} */ (row));
      element.ariaLabel = String(row.title);
    }
    Object.assign(element.dataset, { id, number, stamp });
    element.toggleAttribute("data-unread", !read);
    element.toggleAttribute("data-archived", archived);
    show(element, "unread", !read);
    const isHidden = new Map(Object.entries({ read, unread: !read, archive: archived, unarchive: !archived }));
    for (const each of all(element, "button[name]")) {
      const button = /** @type {HTMLButtonElement} */ (each);
      button.value = String(id);
      button.hidden = isHidden.get(button.name) ?? button.hidden;
    }
    if (hadFocus && !element.contains(document.activeElement)) element.focus();
  }

  /** Where the focus was, it goes on: to the next row, not to the top of the page. */
  #remove(/** @type {HTMLElement | undefined} */ element) {
    if (element?.contains(document.activeElement)) {
      const shown = this.#shown;
      const place = shown.indexOf(element);
      (shown[place + 1] ?? shown[place - 1] ?? this.#list).focus();
    }
    element?.remove();
  }

  /** One pass over the rows: their order, days and ages, and what they are told of their places. */
  #arrange() {
    const [rows, list, elements, shown] = [this.#rows, this.#list, this.#elements, this.#shown];
    const language = this.lang || undefined;
    const today = dayOf(new Date());
    let [day, place] = ["~", 0];
    for (const heading of all(list, "[data-day]")) heading.remove();
    let next = list.firstElementChild;
    for (const { id } of rows.sorted) {
      const element = /** @type {HTMLElement} */ (elements.get(id));
      if (element === next) next = element.nextElementSibling;
      else list.insertBefore(element, next);
      const time = element.querySelector("time");
      if (!time || element.hidden) continue;
      const moment = new Date(time.dateTime);
      time.textContent = age(Date.now() - Number(moment), language);
      element.ariaPosInSet = String(++place);
      element.ariaSetSize = String(rows.floor ? -1 : shown.length);
      if (dayOf(moment) >= day) continue;
      day = dayOf(moment);
      const heading = document.createElement("div");
      Object.assign(heading, { className: "notifications-day", ariaHidden: "true", textContent: dayName(day, today, language) });
      heading.dataset.day = day;
      element.before(heading);
    }
    list.role = rows.size ? "feed" : "group"; // a feed without articles would be none
    const waiting = elements.size - shown.length;
    const [fresh, link] = ["fresh", "more"].map((name) => this.#part(name));
    show(this, "fresh", waiting > 0);
    word(fresh, waiting);
    if (waiting) this.style.setProperty("--notifications-head", `${this.#part("head")?.offsetHeight}px`);
    show(this, "more", rows.floor > 0 && rows.floor < Infinity);
    Object.assign(link ?? {}, { search: `${this.getAttribute("src")?.split("?")[1]}&before=${rows.floor}` });
    show(this, "empty", !rows.size && !this.hasAttribute("loading"));
    this.#later("tick", TICK, () => this.#arrange());
  }

  /** Whether what comes in above would come between somebody and what they read. */
  get #isReading() {
    const [at, list] = [document.activeElement, this.#list];
    if (at !== list && list.contains(at) && !this.#shown[0]?.contains(at)) return true;
    return list.getBoundingClientRect().top + 40 < Math.max(0, this.getBoundingClientRect().top);
  }

  #reveal(isAsked = false) {
    const waiting = all(this.#list, "[data-id][hidden]");
    if (!waiting.length || (!isAsked && this.#isReading)) return;
    for (const element of waiting) element.hidden = false;
    this.#arrange();
  }

  /** Ask the stream for a step, and show at once what comes of it. False: there is no stream. */
  #give(/** @type {Step} */ step) {
    const ref = Math.random().toString(36).slice(2);
    if (!command({ ...step, ref })) return false;
    const name = step.type + (step.ids ? "" : "_upto");
    const [undo] = /** @type {HTMLButtonElement[]} */ (all(this, `[data-done=${name}] button`));
    if (undo) {
      undo.value = "";
      Object.assign(undo.dataset, { ref, waits: "" });
      pick(this, "done", name);
      this.#later("undo", REGRET, this.#expire);
    }
    show(this, "failed", false);
    this.#apply({ items: this.#rows.foretell(step), ...(name === "read_upto" && { unread: 0 }) });
    return true;
  }

  #expire = () => {
    if (this.querySelector("[data-done]:is(:hover, :focus-within)")) this.#later("undo", 1000, this.#expire);
    else pick(this, "done", "");
  };

  /** A button is named for its step, and for what its value is unless that is the id of a row: "read", "read_upto". */
  #submit = (/** @type {SubmitEvent} */ event) => {
    const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
    if (!button?.name) return;
    const row = /** @type {HTMLElement | null} */ (button.closest("[data-id]"));
    const [type, by = "ids"] = button.name.split("_");
    const value = Number(button.value);
    const isUndo = by === "stamp";
    if (isUndo) pick(this, "done", "");
    if (row && button.dataset.part === "action") void this.#act(row, button);
    else if (isUndo && !value) button.dataset.waits = "true"; // until the server has said which step it was
    else if (!this.#give({ type, [by]: by === "ids" ? [value] : value })) return;
    take(event);
    this.#closeMenus();
    if (button === document.activeElement && (isUndo || button.hidden)) (row ?? this.#list).focus();
  };

  /** An action of the site's: what comes of it arrives as a delta, in every tab. */
  async #act(/** @type {HTMLElement} */ row, /** @type {HTMLButtonElement} */ button) {
    const setBusy = (/** @type {boolean} */ isBusy) => {
      for (const each of all(row, "[data-part=action]")) each.ariaDisabled = isBusy ? "true" : null;
    };
    if (button.ariaDisabled) return;
    setBusy(true);
    show(row, "unanswered", false);
    try {
      const body = new URLSearchParams(/** @type {any} */ (new FormData(button.form ?? undefined, button)));
      const answer = await fetch(button.formAction, { method: "POST", body, headers: { Accept: "application/json" } });
      if (!answer.ok) throw new Error(String(answer.status));
      this.#later(button.value, PATIENCE, () => setBusy(false));
    } catch {
      setBusy(false);
      show(row, "unanswered", true);
    }
  }

  #click = (/** @type {MouseEvent} */ event) => {
    const target = /** @type {Element} */ (event.target);
    const pressed = /** @type {HTMLAnchorElement | null} */ (target.closest("a, button"));
    const row = /** @type {HTMLElement | null} */ (target.closest("[data-unread]"));
    this.#closeMenus(target.closest("details"));
    if (pressed?.hasAttribute("popovertarget")) this.#last = /** @type {HTMLElement} */ (document.activeElement);
    const run = this.#runs[pressed?.dataset.part ?? ""];
    if (pressed && run && !(event.button || event.ctrlKey || event.metaKey || event.shiftKey)) {
      take(event);
      run(pressed);
    }
    if (row && pressed?.href && event.button < 2) this.#give({ type: "read", ids: [Number(row.dataset.id)] });
  };

  /** @type {Record<string, (link: HTMLAnchorElement) => void>} */
  #runs = {
    retry: () => void this.#read(this.#again),
    more: () => void this.#older(),
    fresh: () => {
      this.#reveal(true);
      const [first] = this.#shown;
      first?.focus({ preventScroll: true });
      first?.scrollIntoView({ block: "center" });
    },
    tab: (tab) => {
      const { tab: name = "" } = tab.dataset;
      for (const each of all(this, "[data-part=tab]")) each.ariaCurrent = each === tab ? "true" : null;
      this.setAttribute("src", this.getAttribute("src")?.split("?")[0] + tab.search);
      this.setAttribute("show", name);
      this.setAttribute("loading", "");
      this.#rows = new Rows(name, Infinity);
      this.#list.replaceChildren();
      this.#arrange();
      void this.refresh();
    },
  };

  #keydown = (/** @type {Event} */ pressed) => {
    const event = /** @type {KeyboardEvent} */ (pressed);
    const target = /** @type {Element} */ (event.target);
    const row = /** @type {HTMLElement | null} */ (target.closest("[data-id]"));
    if (event.key === "Escape" && this.querySelector("details[open]")) {
      event.preventDefault(); // the panel around it stays
      return this.#closeMenus();
    }
    const key = keyOf(event);
    const says = all(this, "[data-keys]").find(({ dataset }) => dataset.keys?.split(" ").includes(key))?.dataset;
    if (!says || choice() === "off" || target.closest("input, textarea, select, [contenteditable]")) return;
    if (key === "Enter" && target !== row) return; // what has the focus knows what to do
    if (row) this.#last = row;
    const found = this.#meant(says, row);
    if (!found) return;
    event.preventDefault();
    if (!says.presses) found.focus();
    else if (!event.repeat) found.click();
  };

  /** What a key is for: a row so many further, a part of the list, or something to press in the row or in the list. */
  #meant(/** @type {DOMStringMap} */ { moves, goes, presses, within }, /** @type {HTMLElement | null} */ row) {
    const shown = this.#shown;
    if (goes) return this.#part(goes);
    const scope = within ? this : row;
    if (presses) return scope && all(scope, presses).find((each) => !each.closest("[hidden]"));
    const place = shown.indexOf(/** @type {HTMLElement} */ (row ?? this.#last)) + Number(moves);
    return shown[place] ?? (Number(moves) > 0 && this.#part("more"));
  }

  /** A popover within a popover does not give the focus back by itself. */
  #toggle = (/** @type {Event} */ event) => {
    const { newState, target } = /** @type {ToggleEvent} */ (event);
    if (newState === "closed" && /** @type {Node} */ (target).contains(document.activeElement)) this.#last?.focus();
  };

  /** Somebody wants the keys, or does not: here and in every other list. */
  #choose = (/** @type {Event} */ event) => {
    const box = /** @type {HTMLInputElement} */ (event.target);
    if (box.dataset.part === "switch") choice(box.checked ? "on" : "off");
  };

  #closeMenus(/** @type {Element | null} */ except = null) {
    for (const menu of this.querySelectorAll("details[open]")) {
      if (menu === except) continue;
      if (menu.contains(document.activeElement)) menu.querySelector("summary")?.focus();
      menu.removeAttribute("open");
    }
  }

  /** A timer that ends with the element, in place of the one of this name before it. */
  #later(/** @type {string} */ name, /** @type {number} */ wait, /** @type {() => void} */ run) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(run, wait);
  }

  get #list() {
    return /** @type {HTMLElement} */ (this.#part("items"));
  }

  /** The rows by their ids. */
  get #elements() {
    return new Map(all(this.#list, "[data-id]").map((element) => [Number(element.dataset.id), element]));
  }

  /** Those that do not wait behind "3 new". */
  get #shown() {
    return all(this.#list, "[data-id]:not([hidden])");
  }

  #part(/** @type {string} */ name) {
    return /** @type {HTMLElement | null} */ (this.querySelector(`[data-part=${name}]`));
  }
}

function show(/** @type {Element} */ root, /** @type {string} */ part, /** @type {boolean} */ isShown) {
  for (const element of all(root, `[data-part=${part}]`)) element.hidden = !isShown;
}

/** Of the elements with this data attribute show those with this value. */
function pick(/** @type {Element} */ root, /** @type {string} */ name, /** @type {string} */ value) {
  return all(root, `[data-${name}]`).filter((element) => !(element.hidden = element.dataset[name] !== value));
}

/** Put a value into the words that the server printed for it. */
export function word(/** @type {HTMLElement | null} */ element, /** @type {string | number} */ value) {
  if (!element?.dataset.label) return;
  const { label, one } = element.dataset; // "3 new", "1 new": few languages have one word for both
  element.textContent = ((value === 1 && one) || label).replace(/{\w+}/, String(value));
}

/** It is ours alone. */
function take(/** @type {Event} */ event) {
  event.preventDefault();
  event.stopPropagation();
}

/** @returns {HTMLElement[]} */
function all(/** @type {ParentNode} */ root, /** @type {string} */ selector) {
  return [...root.querySelectorAll(selector)].map((element) => /** @type {HTMLElement} */ (element));
}

/** Where the stream stands. */
function position() {
  return document.querySelector("notification-stream")?.getAttribute("position");
}

/** What somebody has chosen about keys; a browser may refuse to remember. */
function choice(chosen = "") {
  try {
    if (chosen) localStorage[KEYS] = chosen;
    return localStorage[KEYS];
  } catch {
    return "";
  }
}

/** Whether a stream took it. */
function command(/** @type {object} */ detail) {
  return !document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
}

if (!customElements.get("notification-list")) customElements.define("notification-list", NotificationList);
