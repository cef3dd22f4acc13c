/**
 * `<notification-stream>`: the page's one connection. It owns the socket and the position, resumes from the position that
 * the page was printed at, and tells the other elements by events on `document`:
 * `notifications:changed`, `notifications:new`, `notifications:state`, `notifications:failed`, `notifications:frame`.
 * Commands reach it as `notifications:command`; with the socket away they go out as the form's POST.
 * Frames and close codes: docs/protocol.md.
 */

/**
 * @typedef {{id: number, number: number, stamp: number, kind: string, severity: string, title: string, body: string,
 *   url: string, icon: string, actor: string, target: string, created_at: string, read: boolean, archived: boolean,
 *   hidden?: undefined}} Item
 * @typedef {{id: number, stamp: number, hidden: true}} Hidden
 * @typedef {{items: (Item|Hidden)[], ops: Record<string, number>[], reset: boolean, more?: boolean, unread: number,
 *   unseen: number, seenUpto: number}} Change
 * @typedef {{type: string, ids?: number[], upto?: number, ref: string}} Command
 * @typedef {"connecting"|"open"|"reconnecting"|"offline"|"signed-out"|"closed"} State
 */

const SILENCE = 60_000; // the server beats every 25 s: after this the line is dead, whatever the socket believes
const CALM = 30_000; // a socket that lived this long was a success: the next failure starts at the shortest wait
const SUSPICION = 1_500; // a beat may overtake its own delta by a moment
const PENDING = 20; // commands remembered until the server says `done`: all may follow a hello without being too many

/** The outside world; tests put their own here. */
export const world = {
  socket: (/** @type {string} */ url) => new WebSocket(url, "notifications.v1.json"),
  random: () => Math.random(),
  now: () => performance.now(),
  later: (/** @type {() => void} */ run, /** @type {number} */ milliseconds) => setTimeout(run, milliseconds),
  never: (/** @type {ReturnType<typeof setTimeout> | undefined} */ timer) => clearTimeout(timer),
  fetch: (/** @type {string} */ url, /** @type {RequestInit} */ init) => fetch(url, init),
  online: () => navigator.onLine !== false,
};

/** Milliseconds before try number `attempt` (from 0): full jitter under 1, 2, 4 .. 60 s, or under `spread` if that is longer;
 * at least `retryAfter` seconds. */
export function backOff(/** @type {number} */ attempt, /** @type {number} */ random, retryAfter = 0, spread = 0) {
  return 1000 * Math.max(retryAfter, random * Math.min(60, Math.max(spread, 2 ** attempt)));
}

/** What a close code asks of a page: "return", "signed-out" or "closed" (for good). @returns {string} */
export function verdict(/** @type {number} */ code) {
  if (code === 4401) return "signed-out";
  return code >= 4400 && code < 4500 && code !== 4429 ? "closed" : "return";
}

/** What to do with a delta at this position: "apply", "drop" (we have it) or "ask" (a gap: hello again). */
export function judge(/** @type {string} */ position, /** @type {{base: string, position: string}} */ delta) {
  if (delta.base === position) return "apply";
  return delta.position === position ? "drop" : "ask";
}

/** Keeps one socket open: waits, returns, hears silence. Knows frames only as far as `bye`. */
export class Line {
  /** @type {WebSocket | null} */ #socket = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #retry;
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #watchdog;
  /** @type {{code: number, retry_after: number | null} | null} */ #bye = null;
  #attempt = 0;
  #opened = 0; // when the socket opened; 0 while it is not open
  #heard = 0;
  #notBefore = 0;
  #spread = 0; // seconds: the more pages a server holds, the longer their return should take
  #askedAgain = false; // after 4401 one silent try: the cookie may have changed
  #over = true;

  /**
   * @param {string} url
   * @param {(message: any) => void} receive
   * @param {(state: State) => void} tell
   */
  constructor(url, receive, tell) {
    this.url = url;
    this.receive = receive;
    this.tell = tell;
  }

  get isOpen() {
    return this.#opened > 0;
  }

  start() {
    this.#over = false;
    this.tell("connecting");
    this.#open();
  }

  stop() {
    this.#over = true;
    this.#drop();
    world.never(this.#retry);
  }

  /** The page has reason to believe that it works now: visible, shown again, online. */
  wake() {
    if (this.#over) return;
    if (this.#socket && world.now() - this.#heard > SILENCE) this.#closed(1006);
    if (!this.#socket && world.now() >= this.#notBefore) this.#open();
  }

  send(/** @type {object} */ frame) {
    if (this.#opened) this.#socket?.send(JSON.stringify(frame));
  }

  /** The server recognised us: a later 4401 deserves its silent try again. It says over how long a crowd should return. */
  welcome(/** @type {number} */ spread = 0) {
    this.#askedAgain = false;
    this.#spread = spread;
  }

  #open() {
    world.never(this.#retry);
    this.#bye = null;
    const socket = (this.#socket = world.socket(this.url));
    this.#listen();
    socket.onopen = () => {
      this.#opened = world.now() || 1;
      this.#listen();
      this.tell("open");
    };
    socket.onmessage = (event) => {
      this.#listen();
      const message = parse(event.data);
      if (message?.type === "bye") this.#bye = message;
      if (message) this.receive(message);
    };
    socket.onclose = (event) => this.#closed(this.#bye?.code ?? event.code);
  }

  #listen() {
    this.#heard = world.now();
    world.never(this.#watchdog);
    this.#watchdog = world.later(() => this.#closed(1006), SILENCE);
  }

  #closed(/** @type {number} */ code) {
    const what = verdict(code);
    if (this.#opened && world.now() - this.#opened >= CALM) this.#attempt = 0;
    this.#drop();
    if (what === "closed" || (what === "signed-out" && this.#askedAgain)) {
      this.#over = true;
      this.tell(what);
      return;
    }
    this.#askedAgain = what === "signed-out";
    const { retry_after: retryAfter } = this.#bye ?? { retry_after: 0 };
    const spread = this.#bye ? 0 : this.#spread; // a goodbye has told each page its own time
    const wait = this.#askedAgain ? 1000 : backOff(this.#attempt++, world.random(), retryAfter ?? 0, spread);
    this.#notBefore = world.now() + (retryAfter ?? 0) * 1000;
    this.#retry = world.later(() => this.#open(), wait);
    this.tell(world.online() ? "reconnecting" : "offline");
  }

  #drop() {
    world.never(this.#watchdog);
    const socket = this.#socket;
    this.#socket = null;
    this.#opened = 0;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }
}

/** @type {Set<NotificationStream>} */
const streams = new Set(); // a swapped-in fragment may bring a second element: the first one works, the others wait

export class NotificationStream extends HTMLElement {
  /** @type {Line | null} */ #line = null;
  /** @type {Map<string, Command>} */ #pending = new Map();
  /** @type {ReturnType<typeof setTimeout> | undefined} */ #suspicion;
  /** @type {Item[]} */ #arrived = [];
  #leave = new AbortController();
  #ref = 0;
  #newest = 0; // the highest number that this page knows; what lies above is an arrival
  #catching = false; // between a hello and the end of its answer

  /** The last applied position; kept in the attribute, so that a cached or moved page resumes where its rows stand. */
  get position() {
    return this.getAttribute("position") ?? "";
  }

  connectedCallback() {
    streams.add(this);
    NotificationStream.#elect();
  }

  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected) return; // only moved
      streams.delete(this);
      this.#stop();
      NotificationStream.#elect();
    });
  }

  static #elect() {
    for (const stream of streams) return stream.#start();
  }

  #start() {
    if (this.#line) return;
    this.#newest = Number(this.getAttribute("top") ?? 0);
    const url = new URL(this.getAttribute("url") ?? "", document.baseURI);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    this.#line = new Line(url.href, this.#receive, this.#tell);
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:command", this.#command, { signal });
    document.addEventListener("visibilitychange", this.#wake, { signal });
    for (const name of ["online", "pageshow"]) addEventListener(name, this.#wake, { signal });
    addEventListener("pagehide", this.#sleep, { signal });
    this.#line.start();
  }

  #stop() {
    this.#line?.stop();
    this.#line = null;
    world.never(this.#suspicion);
    this.#leave.abort();
  }

  #wake = () => {
    if (document.visibilityState === "visible") this.#line?.wake();
  };

  /** An open socket keeps a page out of the back/forward cache. */
  #sleep = (/** @type {Event} */ event) => {
    if (!(/** @type {PageTransitionEvent} */ (event).persisted)) return;
    this.#line?.stop();
    addEventListener("pageshow", () => this.#line?.start(), { once: true, signal: this.#leave.signal });
  };

  #tell = (/** @type {State} */ state) => {
    if (state === "open") return this.#hello(); // said once the server has answered
    this.#say(state);
  };

  #say(/** @type {State} */ state) {
    this.setAttribute("state", state);
    this.#emit("state", { state });
  }

  #hello() {
    world.never(this.#suspicion);
    this.#catching = true;
    this.#arrived = [];
    this.#send({ type: "hello", position: this.position, language: this.getAttribute("language") ?? "" });
    for (const command of this.#pending.values()) this.#send(command);
  }

  #send(/** @type {{type: string, [field: string]: unknown}} */ frame) {
    this.#line?.send(frame);
    this.#emit("frame", { direction: "out", type: frame.type, data: frame });
  }

  #receive = (/** @type {any} */ message) => {
    this.#emit("frame", { direction: "in", type: message.type, data: message });
    switch (message.type) {
      case "welcome":
        this.#line?.welcome(message.spread_seconds);
        return this.#say("open");
      case "delta":
        return this.#delta(message);
      case "reset":
        this.#apply(message, true);
        return this.#acknowledge(message);
      case "heartbeat":
        return this.#beat(message.position);
      case "done":
        return this.#pending.delete(message.ref);
      case "error":
        return this.#refused(message);
    }
  };

  #delta(/** @type {any} */ delta) {
    const what = judge(this.position, delta);
    if (what === "apply") this.#apply(delta, false);
    this.#acknowledge(delta);
    if (what === "ask" && !this.#catching) this.#hello();
  }

  /** Some messages ask for it, so that the server knows that what it sends is read. */
  #acknowledge(/** @type {{ack?: string}} */ { ack }) {
    if (ack) this.#send({ type: "ack", ack });
  }

  #beat(/** @type {string} */ position) {
    this.#send({ type: "heartbeat" });
    world.never(this.#suspicion);
    if (position === this.position) return;
    const stuck = this.position;
    this.#suspicion = world.later(() => this.position === stuck && this.#hello(), SUSPICION);
  }

  #apply(/** @type {any} */ message, /** @type {boolean} */ reset) {
    const isFirst = !this.position;
    this.setAttribute("position", message.position);
    for (const item of message.items) {
      if (!(item.number > this.#newest)) continue;
      if (!isFirst && !item.read && !item.archived) this.#arrived.push(item);
    }
    for (const item of message.items) this.#newest = Math.max(this.#newest, item.number ?? 0);
    const { items, ops = [], more, unread, unseen, seen_upto: seenUpto } = message;
    this.#emit("changed", { items, ops, reset, more: reset ? more : undefined, unread, unseen, seenUpto });
    for (const count of document.querySelectorAll("[data-notifications-unread]")) {
      const most = Number(count.getAttribute("data-notifications-unread"));
      count.textContent = most && unread > most ? `${most}+` : unread;
    }
    if (more && !reset) return; // the rest of this catch-up follows
    const live = !this.#catching;
    this.#catching = false;
    const arrived = this.#arrived.splice(0).sort((a, b) => a.number - b.number);
    if (arrived.length) this.#emit("new", { items: arrived, live }, true);
  }

  #command = (/** @type {Event} */ event) => {
    const { type, ids, upto = type === "seen" ? this.#newest : undefined } = /** @type {CustomEvent} */ (event).detail;
    if (!ids === (upto === undefined)) return; // says nothing or two things: not a command
    event.preventDefault(); // taken: whoever asked need not submit the form
    const command = { type, ref: String(++this.#ref), ...(ids ? { ids } : { upto }) };
    if (!this.#line?.isOpen || this.#pending.size >= PENDING) return void this.#post(command);
    this.#pending.set(command.ref, command);
    this.#send(command);
  };

  #refused(/** @type {{ref: string}} */ error) {
    const command = this.#pending.get(error.ref);
    this.#pending.delete(error.ref);
    if (command) void this.#post(command);
  }

  /** The command as the POST that its button makes without JavaScript; the answer is a fresh first page. */
  async #post(/** @type {Command} */ command) {
    const body = new URLSearchParams();
    for (const input of this.querySelectorAll("input")) body.append(input.name, input.value); // the CSRF token
    for (const id of command.ids ?? []) body.append(command.type, String(id));
    if (!command.ids) body.append(`${command.type}_upto`, String(command.upto));
    try {
      const headers = { Accept: "application/json" };
      const answer = await world.fetch(this.getAttribute("post-to") ?? "", { method: "POST", body, headers, keepalive: true });
      if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
      const page = await answer.json();
      if (!this.#line?.isOpen) this.#apply(page, true); // else the delta says it, in order
    } catch {
      this.#emit("failed", command);
    }
  }

  #emit(/** @type {string} */ name, /** @type {object} */ detail, cancelable = false) {
    document.dispatchEvent(new CustomEvent(`notifications:${name}`, { detail, cancelable }));
  }
}

function parse(/** @type {unknown} */ data) {
  try {
    return JSON.parse(String(data));
  } catch {
    return null; // not of this protocol: a rolling deploy or a proxy; the next heartbeat tells whether we miss anything
  }
}

if (!customElements.get("notification-stream")) customElements.define("notification-stream", NotificationStream);
