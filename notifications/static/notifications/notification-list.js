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
 *   more?: boolean, before?: number | null, unread?: number, counts?: Record<string, any>}} Change
 * @typedef {{type: string, ids?: number[], upto?: number, stamp?: number}} Step
 */

const MOST = 200; // rows in a list beyond those that its reader asked for: a page that stays open must not grow for a month
const TICK = 30_000;
const REGRET = 8_000; // how long an undo is offered
const AGAIN = 1_000; // before what has changed while it was read is read once more
const PATIENCE = 5_000; // from the site's answer to an action until its buttons work again
const KEYS = "notifications-keys"; // in the browser's storage: "off" for who wants none
const headers = { Accept: "application/json" };

/** What a step makes of a row. @type {Record<string, object>} */
const MAKES = {
  read: { read: true },
  unread: { read: false },
  archive: { archived: true },
  unarchive: { archived: false },
  delete: { hidden: true },
};

/** The URL if a link may lead there (http, https, mailto, or a path of this site), else "". */
export function safeUrl(/** @type {string} */ url, base = document.baseURI) {
  try {
    return url && /^(https?|mailto):$/.test(new URL(url, base).protocol) ? url : "";
  } catch {
    return "";
  }
}

/** The text cut where names (actor, target) stand in it: every other piece is one. */
export function emphasised(/** @type {string} */ text, /** @type {string[]} */ names) {
  const either = names.filter(Boolean).map((name) => name.replace(/\W/g, "\\$&")).join("|");
  return either ? text.split(RegExp(`(${either})`)) : [text];
}

/** @type {Record<string, Intl.RelativeTimeFormat>} */
const words = {};

/** "5 minutes ago" in the language's own words. */
export function age(/** @type {number} */ milliseconds, language = "") {
  const minutes = Math.floor(milliseconds / 60_000);
  /** @type {[Intl.RelativeTimeFormatUnit, number][]} */
  const units = [["year", 525_600], ["month", 43_200], ["day", 1440], ["hour", 60], ["minute", 1]];
  const [unit, length] = units.find(([, length]) => minutes >= length) ?? ["second", Infinity];
  words[language] ??= new Intl.RelativeTimeFormat(language || undefined, { numeric: "auto" });
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

/** A key press as the help names it ("j", "shift+a"), on any layout: letters of another script by their place on a Latin one. */
export function keyOf(/** @type {Pick<KeyboardEvent, "key"|"code"|"ctrlKey"|"shiftKey"|"altKey"|"metaKey">} */ press) {
  const { key, code, ctrlKey, shiftKey, altKey, metaKey } = press;
  const name = /^[a-z]$/i.test(key) ? key : (/^Key(.)/.exec(code)?.[1] ?? key);
  if (altKey || metaKey) return "";
  return ((ctrlKey ? "ctrl+" : "") + (shiftKey && key !== "?" ? "shift+" : "") + name).toLowerCase();
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
  const pieces = emphasised(item.title, [item.actor, item.target]).map((text, place) => {
    return place % 2 ? Object.assign(document.createElement("b"), { textContent: text }) : text;
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
  const { severity, kind, id } = item;
  Object.assign(/** @type {HTMLElement} */ (row).dataset, { severity, kind, id });
  const [pattern, ...others] = all(row, "[data-part=action]");
  if (!pattern) return;
  pattern.hidden = true;
  for (const other of others) other.remove();
  const actions = item.answer ? [] : (item.actions ?? []).filter(({ url }) => /^\/(?![/\\])\S*$/.test(url));
  const buttons = actions.map(({ label, url, primary }) => {
    const button = /** @type {HTMLButtonElement} */ (pattern.cloneNode());
    const className = primary ? "notifications-primary" : "";
    return Object.assign(button, { className, value: id, formAction: url, textContent: label, hidden: false, ariaDisabled: null });
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
   * @param {number} floor older rows have lower numbers; 0: there are none
   * @param {boolean} isFiltered only the server can tell what belongs here
   */
  constructor(show, floor = 0, isFiltered = false) {
    super();
    this.show = show;
    this.floor = floor;
    this.isFiltered = isFiltered;
  }

  /** Newest first. */
  get sorted() {
    return [...this.values()].sort((a, b) => b.number - a.number);
  }

  /** Whether a reset of the stream's, which brings the newest active rows, is this list's own page, as deep as the list is. */
  isMeantBy(/** @type {Change} */ { items, more }) {
    const { show, isFiltered, size } = this;
    return show === "active" && !isFiltered && !(more && (size > items.length || !items.length));
  }

  /** What a step will make of the rows here: newer than they are, older than what the server will say. */
  foretell(/** @type {Step} */ { type, ids, upto = 0 }) {
    const chosen = this.sorted.filter(({ id, number }) => ids?.includes(id) ?? number <= upto);
    return chosen.map((row) => ({ ...row, ...MAKES[type], stamp: row.stamp + 0.5 }));
  }

  /** The rows that are new or have altered; those that are gone are gone from here. */
  apply(/** @type {Change} */ { items, ops = [], reset, more, before }) {
    /** @type {Map<number, Row>} */ const changed = new Map();
    const drop = (/** @type {Row} */ { id }) => {
      this.delete(id);
      changed.delete(id);
    };
    const take = (/** @type {Row} */ row) => {
      const { id, number, stamp, read, archived, hidden } = row;
      if (hidden || !this.#wants(row)) return drop(row);
      this.set(id, { id, number, stamp, read, archived }); // its content is on the page
      changed.set(id, row);
    };
    const rows = /** @type {Row[]} */ (items);
    if (more !== undefined) {
      if (reset) for (const row of this.sorted) if (!rows.some(({ id }) => id === row.id)) drop(row);
      this.#most = MOST + this.size + rows.length;
      this.floor = more ? (before ?? Math.min(...rows.map(({ number }) => number))) : 0;
    }
    for (const row of rows) {
      const known = this.get(row.id);
      // A reset counts whatever its stamps: a restored database has older ones than the page.
      if (reset || (known ? known.stamp < row.stamp : !this.isFiltered && row.number >= this.floor)) take(row);
    }
    for (const op of ops) {
      for (const row of this.sorted) {
        const read = row.read || row.number <= op.read_upto;
        const archived = row.archived || row.number <= op.archived_upto;
        const hidden = row.number <= op.deleted_upto;
        // With its content, if that has just come.
        if (hidden || read !== row.read || archived !== row.archived) take({ ...row, ...changed.get(row.id), read, archived, hidden });
      }
    }
    const beyond = this.sorted.slice(this.#most);
    if (beyond[0]) this.floor = beyond[0].number + 1;
    beyond.forEach(drop);
    return [...changed.values()];
  }

  #wants(/** @type {Row} */ row) {
    if (this.show === "archived") return row.archived;
    return !row.archived && (this.show !== "unread" || !row.read);
  }
}

export class NotificationList extends HTMLElement {
  static fill = fill; // the toasts use it too; a module script cannot import another under hashed static file names

  #rows = new Rows("");
  #reads = 0; // over HTTP so far: only the last one counts
  #heard = Date.now();
  /** @type {Promise<{stamp: number}> | undefined} */ #done; // the step that can be taken back
  /** @type {HTMLElement | null} */ #last = null; // where somebody was who pressed a key
  /** @type {Record<string, ReturnType<typeof setTimeout>>} */ #timers = {};
  #leave = new AbortController();

  connectedCallback() {
    const { signal } = (this.#leave = new AbortController());
    const listen = { signal, capture: true };
    const stood = this.getAttribute("position") ?? "";
    this.#rows = new Rows(this.getAttribute("show") ?? "", Number(this.getAttribute("floor")), this.hasAttribute("filtered"));
    for (const { dataset } of this.#elements.values()) {
      const [id, number, stamp] = [dataset.id, dataset.number, dataset.stamp].map(Number);
      this.#rows.set(id, { id, number, stamp, read: !("unread" in dataset), archived: "archived" in dataset });
    }
    for (const [name, hear] of Object.entries(this.#hears)) {
      document.addEventListener(`notifications:${name}`, (event) => hear(/** @type {CustomEvent} */ (event).detail), listen);
    }
    for (const [name, run] of Object.entries(this.#does)) this.addEventListener(name, run, listen);
    (this.closest("[popover]") ?? this).addEventListener("keydown", this.#keydown, listen);
    document.addEventListener("scroll", this.#scroll, listen);
    for (const box of all(this, "input")) /** @type {HTMLInputElement} */ (box).checked = choice() !== "off";
    this.#arrange();
    const { position = stood } = stream() ?? {}; // swapped in, or restored, beside a stream that stands elsewhere
    if ((stood && position && stood !== position) || this.#list.ariaBusy) this.refresh();
  }

  disconnectedCallback() {
    this.#leave.abort();
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
  }

  /** Read this list again by HTTP, as far down as it is here; or the next rows below these. @returns {Promise<void>} */
  async refresh(older = false) {
    const { signal } = this.#leave;
    const { floor, size } = this.#rows;
    const stood = stream()?.position;
    const mine = ++this.#reads;
    /** @type {Row[]} */ const items = [];
    let before = older ? floor : 0;
    let page;
    this.#list.ariaBusy = "true";
    show(this, "error", false);
    try {
      do {
        const url = this.getAttribute("src") + (before ? `&before=${before}` : "");
        const answer = await fetch(url, { headers, signal });
        if (!answer.ok || answer.redirected) throw answer;
        page = await answer.json();
        items.push(...page.items);
        before = page.before;
      } while (!older && before && items.length < size);
    } catch {
      page = null;
    }
    if (signal.aborted || mine !== this.#reads) return;
    if (page && stood !== stream()?.position) { // it may lack what came meanwhile
      await new Promise((wake) => this.#later("reread", AGAIN, () => wake(0)));
      return mine === this.#reads ? this.refresh(older) : undefined;
    }
    this.#list.ariaBusy = null;
    this.removeAttribute("loading");
    const wantsMore = older && this.#part("more") === document.activeElement;
    if (page) this.#apply({ ...page, items, reset: !older });
    else show(this, "error", true);
    if (wantsMore) this.#elements.get(items[0]?.id)?.focus();
  }

  #older() {
    if (this.#list.ariaBusy) return;
    this.setAttribute("loading", "");
    this.refresh(true);
  }

  /** What is said on the page, without its `notifications:`. @type {Record<string, (detail: any) => void>} */
  #hears = {
    frame: ({ direction }) => {
      if (direction === "in") this.#heard = Date.now();
    },
    changed: (change) => {
      this.#take(change);
      this.setAttribute("position", stream()?.position ?? "");
    },
    state: ({ state }) => {
      show(this, "heard", new Intl.DateTimeFormat(this.lang || undefined, { timeStyle: "short" }).format(this.#heard));
      pick(this, "state", state);
      if (state === "open" && this.hasAttribute("marks-seen")) stream()?.command({ type: "seen" }).catch(() => {}); // nobody asked for it
      if (/ing|off|clo/.test(state) && this.hasAttribute("loading") && !this.#list.ariaBusy) this.refresh();
    },
  };

  #take(/** @type {Change} */ change) {
    const rows = this.#rows;
    if (change.reset && !rows.isMeantBy(change)) return void this.refresh();
    if (rows.isFiltered && change.items.some(({ id }) => !rows.has(id))) this.#later("again", AGAIN, () => this.refresh());
    this.#apply(change, !change.reset);
  }

  #apply(/** @type {Change} */ change, isNews = false) {
    const rows = this.#rows;
    const elements = this.#elements;
    const newest = rows.sorted[0]?.number ?? 0;
    const waits = isNews && this.#isReading;
    const isSame = change.items.every((row) => !row.hidden && rows.get(row.id)?.archived === row.archived);
    const changed = rows.apply(change);
    for (const [id, element] of elements) if (!rows.has(id)) this.#remove(element);
    for (const row of changed) {
      let element = elements.get(row.id);
      if (!element) {
        const template = /** @type {HTMLTemplateElement} */ (this.querySelector("template"));
        element = /** @type {HTMLElement} */ (template.content.firstElementChild?.cloneNode(true));
        element.hidden = waits && row.number > newest;
        // Not "submit" before it is pressed: for each of those that is added the browser looks through the whole form.
        for (const button of all(element, "button[name]")) Object.assign(button, { value: row.id, type: "button" });
        this.#list.append(element);
      }
      this.#put(element, row);
    }
    if (change.reset) {
      this.removeAttribute("loading");
      show(this, "error", false);
    }
    const other = isSame ? undefined : ""; // how many the other tabs have is not known then, until the server is asked again
    const { unread, counts = { unread, active: other, archived: other } } = change;
    if (unread !== undefined) show(this, "mark-all", unread);
    for (const [name, count] of Object.entries(counts)) {
      for (const part of all(document, `[data-count=${name}]`)) if (count !== undefined) part.textContent = count > 99 ? "99+" : String(count);
    }
    this.#arrange();
    if (isNews && !waits) this.#reveal(true);
  }

  #put(/** @type {HTMLElement} */ element, /** @type {Row} */ row) {
    const { id, number, stamp, read, archived } = row;
    const at = document.activeElement;
    const hasFocus = element.contains(at);
    if ("title" in row) {
      fill(element, /** @type {any} */ (row));
      element.ariaLabel = String(row.title);
    }
    Object.assign(element.dataset, { id, number, stamp });
    element.toggleAttribute("data-unread", !read);
    element.toggleAttribute("data-archived", archived);
    show(element, "unread", !read);
    if (hasFocus && !at?.checkVisibility()) element.focus();
  }

  /** Where the focus was, it goes on: to the next row, not to the top of the page. */
  #remove(/** @type {HTMLElement} */ element) {
    if (element.contains(document.activeElement)) {
      const shown = this.#shown;
      const place = shown.indexOf(element);
      (shown[place + 1] ?? shown[place - 1] ?? this.#list).focus();
    }
    element.remove();
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
      write(time, { textContent: age(Date.now() - Number(moment), language) });
      write(element, { ariaPosInSet: String(++place), ariaSetSize: String(rows.floor ? -1 : shown.length) });
      if (dayOf(moment) >= day) continue;
      day = dayOf(moment);
      const heading = document.createElement("div");
      Object.assign(heading, { className: "notifications-day", ariaHidden: "true", textContent: dayName(day, today, language) });
      heading.dataset.day = day;
      element.before(heading);
    }
    list.role = rows.size ? "feed" : "group"; // a feed without articles would be none
    const waiting = elements.size - shown.length;
    show(this, "fresh", waiting);
    if (waiting) this.style.setProperty("--notifications-head", `${this.#part("head")?.offsetHeight}px`);
    show(this, "more", rows.floor);
    this.setAttribute("floor", String(rows.floor));
    Object.assign(this.#part("more") ?? {}, { search: `${this.getAttribute("src")?.split("?")[1]}&before=${rows.floor}` });
    show(this, "empty", !rows.size && !this.hasAttribute("loading") && this.#part("error")?.hidden);
    this.#later("tick", TICK, () => this.#arrange());
    this.#scroll();
  }

  #scroll = () => {
    this.#reveal();
    const near = this.#part("more")?.getClientRects()[0];
    if (!near || this.#rows.isFiltered || this.#rows.size >= MOST || !this.#part("error")?.hidden) return;
    if (near.top < innerHeight + 400) this.#older();
  };

  /** Whether what comes in above would come between somebody and what they read. */
  get #isReading() {
    const [at, list] = [document.activeElement, this.#list];
    if (list.contains(at) && at !== list && !this.#shown[0]?.contains(at)) return true;
    return list.getBoundingClientRect().top + 40 < Math.max(0, this.getBoundingClientRect().top);
  }

  #reveal(isAsked = false) {
    const waiting = all(this.#list, "[data-id][hidden]");
    if (!waiting.length || (!isAsked && this.#isReading)) return;
    for (const element of waiting) element.hidden = false;
    this.#arrange();
  }

  /** Ask the stream for a step, and show at once what comes of it. False: there is none, or it takes no more. */
  #give(/** @type {Step} */ step) {
    const at = stream();
    if (!at || at.isOver) return false;
    const done = at.command(step);
    const name = step.type + (step.ids ? "" : "_upto");
    if (this.querySelector(`[data-done=${name}]`)) {
      this.#done = done;
      pick(this, "done", name);
      this.#later("undo", REGRET, this.#expire);
    }
    show(this, "failed", false);
    this.#apply({ items: this.#rows.foretell(step), unread: name === "read_upto" ? 0 : undefined });
    done.catch(() => {
      pick(this, "done", "");
      show(this, "failed", true);
      this.#later("again", 0, () => this.refresh());
    });
    return true;
  }

  /** As soon as the server has said which step it was. */
  async #undo(/** @type {string} */ type) {
    pick(this, "done", "");
    const { stamp } = (await this.#done?.catch(() => null)) ?? {};
    if (stamp) this.#give({ type, stamp });
  }

  #expire = () => {
    if (this.querySelector("[data-done]:is(:hover, :focus-within)")) this.#later("undo", 1000, this.#expire);
    else pick(this, "done", "");
  };

  /** @type {Record<string, (event: any) => void>} */
  #does = {
    /** A button is named for its step, and for what its value is unless that is the id of a row: "read", "read_upto". */
    submit: (/** @type {SubmitEvent} */ event) => {
      const button = /** @type {HTMLButtonElement | null} */ (event.submitter);
      if (!button) return;
      const row = /** @type {HTMLElement | null} */ (button.closest("[data-id]"));
      const [type, by = "ids"] = button.name.split("_");
      const value = Math.max(Number(button.value), by === "upto" ? (this.#rows.sorted[0]?.number ?? 0) : 0);
      this.#closeMenus();
      if (row && button.dataset.part === "action" && !stream()?.isOver) this.#act(row, button);
      else if (by === "stamp") this.#undo(type);
      else if (!(type in MAKES && this.#give({ type, [by]: by === "ids" ? [value] : value }))) return;
      take(event);
    },
    click: (/** @type {MouseEvent} */ event) => {
      const target = /** @type {Element} */ (event.target);
      const pressed = /** @type {HTMLAnchorElement | null} */ (target.closest("a, button"));
      const row = /** @type {HTMLElement | null} */ (target.closest("[data-unread]"));
      if (!target.closest("details")) this.#closeMenus(); // of two menus the browser closes one
      if (pressed?.name) pressed.type = "submit";
      if (pressed?.hasAttribute("popovertarget")) this.#last = /** @type {HTMLElement} */ (document.activeElement);
      const run = this.#runs[pressed?.dataset.part ?? ""];
      if (pressed && run && !(event.button || event.ctrlKey || event.metaKey || event.shiftKey)) {
        take(event);
        run(pressed);
      }
      if (row && pressed?.href && event.button < 2) this.#give({ type: "read", ids: [Number(row.dataset.id)] });
    },
    auxclick: (event) => this.#does.click(event),
    /** A popover within a popover does not give the focus back by itself. */
    beforetoggle: ({ newState, target }) => {
      if (newState === "closed" && target.contains(document.activeElement)) (this.#last?.isConnected ? this.#last : this.#list).focus();
    },
    /** A menu at the edge is seen whole. */
    toggle: ({ target: menu }) => menu.open && menu.lastElementChild.scrollIntoView({ block: "nearest" }),
    change: ({ target }) => target.dataset.part === "switch" && choice(target.checked ? "on" : "off"),
  };

  #keydown = (/** @type {any} */ event) => {
    const { target } = event;
    const row = /** @type {HTMLElement | null} */ (target.closest("[data-id]"));
    const key = keyOf(event);
    if (key === "escape" && this.querySelector("details[open]")) {
      event.preventDefault(); // the panel around it stays
      this.#closeMenus();
    }
    const says = all(this, "[data-keys]").find(({ dataset }) => dataset.keys?.split(" ").includes(key));
    if (!says || choice() === "off" || target.closest("input, textarea, select, [contenteditable]")) return;
    if (key === "enter" && target !== row) return; // what has the focus knows what to do
    const { moves, goes = "none", presses, within } = says.dataset;
    const shown = this.#shown;
    this.#last = row ?? this.#last;
    const next = shown[shown.indexOf(/** @type {HTMLElement} */ (this.#last)) + Number(moves)] ?? this.#part(goes);
    const found = /** @type {HTMLElement | null} */ (presses ? (within ? this : row)?.querySelector(presses) : next);
    if (!found) return;
    event.preventDefault();
    if (!presses) found.focus();
    else if (!event.repeat) found.click();
  };

  /** What pressing does, by the part. @type {Record<string, (link: HTMLAnchorElement) => void>} */
  #runs = {
    retry: () => this.refresh(),
    more: () => this.#older(),
    fresh: () => {
      this.#reveal(true);
      this.#shown[0].focus();
    },
    tab: (tab) => {
      const { tab: name = "" } = tab.dataset;
      for (const each of all(this, "[data-part=tab]")) each.ariaCurrent = each === tab ? "true" : null;
      this.setAttribute("src", this.getAttribute("src")?.split("?")[0] + tab.search);
      this.setAttribute("show", name);
      this.setAttribute("loading", "");
      this.#rows = new Rows(name);
      this.#apply({ items: [] });
      this.refresh();
    },
  };

  /** An action of the site's: what comes of it arrives as a delta, in every tab. */
  async #act(/** @type {HTMLElement} */ row, /** @type {HTMLButtonElement} */ button) {
    const setBusy = (/** @type {string | null} */ isBusy) => {
      for (const each of all(row, "[data-part=action]")) each.ariaDisabled = isBusy;
    };
    if (button.ariaDisabled) return;
    setBusy("true");
    show(row, "unanswered", false);
    const body = new FormData(/** @type {HTMLFormElement} */ (button.form), button);
    const answer = await fetch(button.formAction, { method: "POST", body, headers }).catch(() => null);
    show(row, "unanswered", !answer?.ok);
    this.#later(button.value, answer?.ok ? PATIENCE : 0, () => setBusy(null));
  }

  #closeMenus() {
    for (const menu of all(this, "details[open]")) {
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

/** Write what differs: a text that is written again is laid out again. */
function write(/** @type {any} */ target, /** @type {Record<string, unknown>} */ values) {
  for (const [name, value] of Object.entries(values)) if (target[name] !== value) target[name] = value;
}

/** Show what has a value, with the value in its words if they have a place for it. */
function show(/** @type {Element} */ root, /** @type {string} */ part, /** @type {unknown} */ value) {
  for (const element of all(root, `[data-part=${part}]`)) {
    hide(element, !value);
    word(element, value);
  }
}

/** Put a value into the words that the server printed for it: "3 new", "1 new"; few languages have one word for both. */
export function word(/** @type {HTMLElement} */ element, /** @type {unknown} */ value) {
  const { label, one } = element.dataset;
  if (label) element.textContent = ((value === 1 && one) || label).replace(/{\w+}/, String(value));
}

/** Of the elements with this data attribute show those with this value. */
function pick(/** @type {Element} */ root, /** @type {string} */ name, /** @type {string} */ value) {
  for (const element of all(root, `[data-${name}]`)) hide(element, element.dataset[name] !== value);
}

/** What has the focus gives it on before it goes, to what stands around it, else to the rows: the next layout would lose it. */
function hide(/** @type {HTMLElement} */ element, /** @type {boolean} */ isHidden) {
  if (isHidden && element.contains(document.activeElement)) {
    const around = element.closest("[data-part][tabindex]") ?? element.closest("form")?.querySelector("[data-part=items]");
    /** @type {HTMLElement | null | undefined} */ (around)?.focus({ preventScroll: true });
  }
  element.hidden = isHidden;
}

/** Nobody else's: htmx listens to the links and forms that it boosts. */
function take(/** @type {Event} */ event) {
  event.preventDefault();
  event.stopPropagation();
}

/** @returns {HTMLElement[]} */
function all(/** @type {ParentNode} */ root, /** @type {string} */ selector) {
  return /** @type {HTMLElement[]} */ ([...root.querySelectorAll(selector)]);
}

/** The one that works, should there be several. */
function stream() {
  return /** @type {import("./notification-stream.js").NotificationStream | null} */ (document.querySelector("notification-stream[state]"));
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

if (!customElements.get("notification-list")) customElements.define("notification-list", NotificationList);
