/**
 * `<notification-stream>`: the page's way to its inbox. From the server to the page:
 *
 *     a way (WebSocket, events, polling) > `Line`: the best one that works > `SharedLine`: one line for all tabs of a browser
 *       > the element: position, commands > `notifications:changed`, `:new`, `:state`, `:done`, `:failed`, `:frame`
 *
 * the last being events on `document`, by which the other elements hear. Commands come as `notifications:command` and wait while
 * nothing is connected. Frames and close codes: docs/protocol.md. One file: a module cannot import another under hashed static
 * file names, and a page that an older version has printed must find all of it.
 */

/**
 * @typedef {{id: number, number: number, stamp: number, kind: string, severity: string, title: string, body: string,
 *   url: string, icon: string, actor: string, target: string, created_at: string, read: boolean, archived: boolean,
 *   hidden?: undefined}} Item
 * @typedef {{id: number, stamp: number, hidden: true}} Hidden
 * @typedef {{items: (Item|Hidden)[], ops: Record<string, number>[], reset: boolean, more?: boolean, unread: number,
 *   unseen: number, seenUpto: number}} Change
 * @typedef {{type: string, ids?: number[], upto?: number, stamp?: number, ref?: string}} Command
 * @typedef {{command: Command, isSent?: unknown, settle?: (step?: number) => void}} Waiting
 * @typedef {"connecting"|"open"|"reconnecting"|"offline"|"signed-out"|"closed"} State
 * @typedef {"websocket"|"events"|"polling"} Name
 * @typedef {ReturnType<typeof setTimeout> | undefined} Timer
 */

/**
 * What a line knows of its page. `isCatching`: what it has missed is not all here yet; `isAmid`: a part of it is. `tell`: after "signed-out" and "closed" the
 * page closes its line.
 * @typedef {{stands: () => {position: string, state: State, isCatching: boolean, isAmid: boolean}, hello: () => Record<string, string>,
 *   receive: (message: any) => void, tell: (state: State) => void}} Page
 */

/**
 * One connection. `ask`: bring me on from where I stand; `wake`: look now, if you only look now and then. `end` is called when it
 * is over, unless we closed it.
 * @typedef {{ask: () => void, close: () => void, send?: (frame: object) => boolean, wake?: () => void}} Way
 * @typedef {(url: string, page: Page, hear: (message: any) => void, end: (code: number, isRefused?: boolean) => void,
 *   isOnce?: boolean) => Way} Connect
 * @typedef {{name: string, index: number, opened: number, timer?: Timer, bye?: any} & Partial<Way>} Wire
 */

const SILENCE = 60_000; // the server beats every 25 s: after this the line is dead, whatever the socket believes
const PATIENCE = 10_000; // a way that has brought no word of the server's by then does not lead there
const CALM = 30_000; // a connection that lived this long was a success: the next failure starts at the shortest wait
const SUSPICION = 1_500; // a beat may overtake its own delta by a moment
const POLL = 15_000; // between two looks, while there is news
const CLIMB = 120_000; // between two tries of a better way, give or take a half
const BEAT = 400; // in three of these a leading tab that lives has answered
const KEPT = 200; // commands that may wait
const BURST = 20; // commands over a socket, not yet done: all may follow a hello without being too many

/** The outside world; tests put their own here. */
export const world = {
  socket: (/** @type {string} */ url) => new WebSocket(url, "notifications.v1.json"),
  events: (/** @type {string} */ url) => new EventSource(url),
  /** @type {(url: string, init?: RequestInit) => Promise<Response>} */
  fetch: (url, init) => fetch(url, init),
  channel: (/** @type {string} */ name) => new BroadcastChannel(name),
  locks: () => globalThis.navigator?.locks,
  storage: () => sessionStorage,
  random: () => Math.random(),
  now: () => performance.now(),
  later: (/** @type {() => void} */ run, /** @type {number} */ wait) => setTimeout(run, wait),
  never: (/** @type {Timer} */ timer) => clearTimeout(timer),
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

/** The rungs of the ladder, best first. All bring the same messages, from the same positions. @type {Record<Name, Connect>} */
export const ways = {
  websocket(url, page, hear, end) {
    const socket = world.socket(new URL(url, document.baseURI).href.replace("http", "ws"));
    const send = (/** @type {object} */ frame) => {
      socket.send(JSON.stringify(frame));
      return true;
    };
    const ask = () => send(page.hello());
    const close = () => {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    };
    socket.onopen = ask;
    socket.onmessage = ({ data }) => hear(parse(data));
    socket.onclose = ({ code }) => end(code);
    return { ask, send, close };
  },

  /** Its own return after a cut knows neither back-off nor our position: each connection is a new one. */
  events(url, page, hear, end) {
    /** @type {EventSource | undefined} */ let source;
    const close = () => source?.close();
    const ask = () => {
      close();
      const fresh = (source = world.events(at(url, page)));
      fresh.onmessage = ({ data }) => hear(parse(data));
      fresh.onerror = () => end(1006, fresh.readyState === 2); // it knows no code; 2: refused, by 501 for instance
    };
    ask();
    return { ask, close };
  },

  /** `isOnce`: looks when it is asked, and again only if that has failed: how a tab that follows another fills a gap. */
  polling(url, page, hear, end, isOnce) {
    /** @type {Timer} */ let timer;
    let wait = POLL;
    let turn = 0;
    const close = () => {
      turn++; // whoever is on the way comes too late
      world.never(timer);
    };
    const again = () => {
      hear(null); // in a hidden tab the timer may be as late as the one that listens for silence
      ask();
    };
    const ask = async () => {
      close();
      const mine = turn;
      const from = page.stands().position;
      try {
        const answer = await world.fetch(at(url, page));
        const news = answer.ok ? await answer.json() : null;
        if (mine !== turn) return;
        if (answer.status === 401) return end(4401);
        const { messages, position, spread_seconds } = news;
        hear({ type: "welcome", spread_seconds });
        if (from === page.stands().position) messages.forEach(hear); // else it was told on another way meanwhile
        hear({ type: "heartbeat", position });
        wait = messages.length ? POLL : Math.min(40_000, 1.5 * wait);
        if (!isOnce && mine === turn) timer = world.later(again, wait * (1 + world.random() / 3));
      } catch {
        if (mine !== turn) return;
        if (isOnce) timer = world.later(ask, POLL);
        else end(1006);
      }
    };
    if (!isOnce) ask();
    return { ask, close, wake: ask };
  },
};

/** Keeps one connection, on the highest rung that leads to the server: waits, returns, hears silence, climbs. Knows frames only
 * as far as `welcome` and `bye`. */
export class Line {
  /** @type {Wire | null} */ #wire = null;
  /** @type {Wire | null} */ #scout = null; // on a better rung, beside the wire, until it is welcomed
  /** @type {Timer} */ #retry;
  /** @type {Timer} */ #climb;
  #index = 0; // the rung
  #failures = 0; // on this rung, without a word of the server's; one that has worked has some to spare
  #attempt = 0;
  #notBefore = 0;
  #spread = 0; // seconds: the more pages a server holds, the longer their return should take
  #askedAgain = false; // after 4401 one silent try: the cookie may have changed
  #over = true;

  /**
   * @param {[Name, string][]} rungs the names and addresses of the ways that there are, best first
   * @param {Page} page
   */
  constructor(rungs, page) {
    this.rungs = rungs;
    this.page = page;
  }

  /** How news comes just now. @returns {Partial<Way> & {name: string} | null} */
  get way() {
    return this.#wire?.opened ? this.#wire : null;
  }

  start() {
    this.#over = false;
    this.#index = Number(recall("way")) % this.rungs.length || 0; // where sockets are eaten no page has to find out anew
    this.page.tell("connecting");
    this.#open();
    this.#look();
  }

  close() {
    this.#over = true;
    this.#drop(this.#wire);
    this.#drop(this.#scout);
    this.#wire = this.#scout = null;
    world.never(this.#retry);
    world.never(this.#climb);
  }

  /** The page has reason to believe that it works now: visible, shown again, online (and there, perhaps better).
   * @param {boolean} [isOnline] */
  wake(isOnline) {
    if (this.#over) return;
    if (isOnline && !this.#wire) this.#index = this.#failures = 0; // perhaps by another network: from the best down
    if (!this.#wire && world.now() >= this.#notBefore) this.#open();
    this.way?.wake?.();
    if (isOnline) this.#look();
  }

  #open() {
    world.never(this.#retry);
    this.#wire = this.#connect(this.#index);
  }

  /** From time to time: try the better rungs, from the best down, while this one goes on. */
  #look() {
    world.never(this.#climb);
    this.#climb = world.later(() => this.#look(), CLIMB * (0.5 + world.random()));
    if (this.way && !this.#scout) this.#sendScout(0);
  }

  #sendScout(/** @type {number} */ index) {
    this.#scout = index < this.#index ? this.#connect(index) : null;
  }

  #connect(/** @type {number} */ index) {
    const [name, url] = this.rungs[index];
    /** @type {Wire} */ const wire = { name, index, opened: 0 };
    /** @type {Parameters<Connect>[3]} */
    const end = (code, isNoWay) => this.#ended(wire, wire.bye?.code ?? code, isNoWay);
    /** @type {(wait: number, isNoWay?: boolean) => void} */
    const watch = (wait, isNoWay) => {
      world.never(wire.timer);
      wire.timer = world.later(() => end(1006, isNoWay), wait);
    };
    const hear = (/** @type {any} */ message) => {
      watch(SILENCE);
      if (message) this.#hear(wire, message);
    };
    watch(PATIENCE, true);
    attempt(() => Object.assign(wire, ways[name](url, this.page, hear, end))) ?? watch(0, true); // not in this browser
    return wire;
  }

  #hear(/** @type {Wire} */ wire, /** @type {any} */ message) {
    const isWelcome = message.type === "welcome";
    if (message.type === "bye") wire.bye = message;
    if (isWelcome && wire === this.#scout) {
      world.never(this.#retry);
      this.#drop(this.#wire);
      this.#wire = wire;
      this.#scout = null;
      wire.ask?.(); // from where the page stands by now
    }
    if (wire !== this.#wire) return;
    this.#failures = -3;
    this.page.receive(message);
    if (!isWelcome) return;
    this.#askedAgain = false;
    this.#spread = message.spread_seconds;
    if (wire.opened) return;
    wire.opened = world.now();
    this.#index = wire.index;
    keep("way", String(wire.index));
    this.page.tell("open");
  }

  /**
   * @param {Wire} wire
   * @param {number} code
   * @param {boolean} [isNoWay] refused, or no word in time: to try again at once is useless
   */
  #ended(wire, code, isNoWay) {
    this.#drop(wire);
    if (wire === this.#scout) return this.#sendScout(wire.index + 1);
    this.#wire = null;
    if (wire.opened && world.now() - wire.opened >= CALM) this.#attempt = 0;
    const what = verdict(code);
    if (what === "closed" || (what === "signed-out" && this.#askedAgain)) return this.page.tell(/** @type {State} */ (what));
    this.#askedAgain = what === "signed-out";
    if (world.online() && (isNoWay || ++this.#failures > 1)) {
      this.#failures = 0;
      this.#index = (this.#index + 1) % this.rungs.length;
      if (this.#index) return this.#open();
    }
    const retryAfter = wire.bye?.retry_after ?? 0;
    if (wire.bye && !retryAfter && !this.#askedAgain) return this.#open(); // it was full or old: go on at once
    this.#notBefore = world.now() + retryAfter * 1000;
    const spread = wire.bye ? 0 : this.#spread; // a goodbye has told each page its own time
    const wait = this.#askedAgain ? 1000 : backOff(this.#attempt++, world.random(), retryAfter, spread);
    this.#retry = world.later(() => this.#open(), wait);
    this.page.tell(world.online() ? "reconnecting" : "offline");
  }

  #drop(/** @type {Wire | null} */ wire) {
    world.never(wire?.timer);
    wire?.close?.();
  }
}

/** Of the tabs with one key one leads: it has the line, and passes on what it hears. Those that follow judge it by their own
 * positions and fill gaps by HTTP. Alone where the browser lacks what it takes. */
export class SharedLine extends Line {
  /** @type {Way & {name: string} | null} */ #gap = null; // while another tab leads: what fills gaps
  /** @type {BroadcastChannel | null} */ #channel = null;
  /** @type {AbortController | null} */ #leave = null; // set while it runs
  /** @type {((value: unknown) => void) | undefined} */ #release;
  /** @type {Timer} */ #timer;
  #quiet = 0; // beats since the leader was heard
  #asked = ""; // where the leader stood when the gap to it was last asked for
  #isIn = false; // what it passes on from here is the whole of it
  key = ""; // of the tabs that share it; without one each tab has its own

  get way() {
    return this.#gap ?? super.way;
  }

  start() {
    if (this.#leave) return;
    this.#leave = new AbortController();
    this.#channel = (world.locks() && this.key && attempt(() => world.channel(this.key))) || null;
    if (!this.#channel) return this.#lead();
    this.#channel.onmessage = ({ data }) => this.#hear(data);
    const [[, url]] = this.rungs.slice(-1); // where to ask for changes
    this.#gap = { ...ways.polling(url, this.page, this.page.receive, () => {}, true), name: "shared" };
    this.#asked = "";
    this.#isIn = false;
    this.page.tell("connecting");
    this.#want();
    this.wake();
  }

  close() {
    this.#leave?.abort();
    this.#leave = null;
    this.#gap?.close();
    this.#gap = null;
    super.close();
    this.#channel?.close();
    this.#channel = null;
    world.never(this.#timer);
    this.#release?.(null);
  }

  /** @param {boolean} [isOnline] */
  wake(isOnline) {
    if (!this.#gap) return super.wake(isOnline);
    this.#quiet = 0;
    this.#say({ wake: true });
    this.#beat();
  }

  /** If it leads: tells the others where this tab stands, and what it has just heard. @param {any} [message] */
  cast(message) {
    if (!this.#gap) this.#say({ ...this.page.stands(), isHidden: !isVisible(), message });
  }

  /** @param {boolean} [steal] from a leader that is hidden or does not answer */
  #want(steal) {
    const { signal } = /** @type {AbortController} */ (this.#leave);
    const hold = (/** @type {(value: unknown) => void} */ release) => {
      this.#release = release;
      this.#lead();
    };
    world.locks().request(this.key, steal ? { steal } : { signal }, () => signal.aborted || new Promise(hold)).catch(() => {
      if (signal.aborted) return;
      if (this.#gap) return this.#lead(); // locks are denied here
      this.close(); // it was taken
      this.start();
    });
  }

  #lead() {
    world.never(this.#timer);
    this.#gap?.close();
    this.#gap = null;
    super.start();
  }

  #say(/** @type {object} */ what) {
    this.#channel?.postMessage(what);
  }

  /** What a leader says has a `state`; the rest are questions of those who follow. */
  #hear(/** @type {any} */ { state, position, isCatching, isAmid, message, isHidden, wake }) {
    if (!this.#gap) {
      if (wake) super.wake();
      if (!state) this.cast();
    } else if (state) {
      this.#quiet = 0;
      if (isHidden && state === "connecting" && isVisible()) return this.#want(true); // a visible tab first
      this.page.tell(state);
      if (message && this.#isIn) return this.page.receive(message);
      if (isAmid) return; // its first part was said before this tab came
      this.#isIn = true;
      if (state !== "open" || isCatching || position === this.#asked) return;
      this.#asked = position;
      if (position === this.page.stands().position) this.page.receive({ type: "heartbeat", position });
      else this.#gap.ask();
    }
  }

  /** A visible tab asks once a second whether its leader lives. In a hidden one timers are no clock. */
  #beat() {
    world.never(this.#timer);
    if (!this.#gap || !isVisible()) return;
    const quiet = this.#quiet++;
    if (quiet > 2) return this.#want(true);
    if (quiet) this.#say({});
    this.#timer = world.later(() => this.#beat(), BEAT);
  }
}

/** @type {Set<NotificationStream>} */
const streams = new Set(); // a swapped-in fragment may bring a second element: the first one works, the others wait

export class NotificationStream extends HTMLElement {
  /** @type {SharedLine | null} */ #line = null;
  /** @type {Map<string, Waiting>} */ #waiting = new Map(); // commands, until they are done
  /** @type {Timer} */ #suspicion;
  /** @type {Item[]} */ #arrived = [];
  #leave = new AbortController();
  #serial = 0;
  #newest = 0; // the highest number that this page knows; what lies above is an arrival
  #isCatching = true; // until what was missed is here
  #isAmid = false; // some of it is, and the position has yet to follow
  #isPosting = false;

  /** The last applied position; kept in the attribute, so that a cached or moved page resumes where its rows stand. */
  get position() {
    return this.getAttribute("position") ?? "";
  }

  /** @returns {State} */
  get state() {
    return /** @type {State} */ (this.getAttribute("state") ?? "connecting");
  }

  /** Whether nothing comes or goes any more: signed out, or closed for good. */
  get isOver() {
    return /^(sig|clo)/.test(this.state);
  }

  get unread() {
    return Number(this.getAttribute("unread"));
  }

  get unseen() {
    return Number(this.getAttribute("unseen"));
  }

  /** "websocket", "events", "polling"; "shared": another tab's; "": none just now. */
  get transport() {
    return this.#line?.way?.name ?? "";
  }

  /**
   * As `notifications:command` does. Fulfilled when it has been carried out, by the stamp of its step (0: nothing to do), which
   * undoes it; rejected when it was refused.
   * @returns {Promise<{stamp: number}>}
   */
  command(/** @type {Command} */ command) {
    return new Promise((resolve, reject) => {
      /** @type {Waiting["settle"]} */
      const settle = (stamp) => (stamp === undefined ? reject(Error("refused")) : resolve({ stamp }));
      if (!this.#take(command, settle)) settle();
    });
  }

  /** Asks for what has happened since `position`: after a step of the site's own that no server process may have rung for. */
  refresh() {
    world.never(this.#suspicion);
    this.#isCatching = true;
    this.#line?.way?.ask?.();
  }

  connectedCallback() {
    streams.add(this);
    NotificationStream.#elect();
  }

  disconnectedCallback() {
    queueMicrotask(() => {
      if (this.isConnected) return; // only moved
      streams.delete(this);
      this.#leave.abort();
      this.#sleep();
      this.#line = null;
      NotificationStream.#elect();
    });
  }

  static #elect() {
    for (const stream of streams) return stream.#start();
  }

  #start() {
    if (this.#line) return;
    this.#newest = Number(this.getAttribute("top"));
    for (const command of parse(recall(this.#key)) ?? []) this.#take(command);
    // Without locks each tab would hold a stream, and a browser has six connections to a host: the seventh tab would wait for ever.
    const events = world.locks() ? "events-url" : "";
    const known = { websocket: "url", events, polling: "changes-url" };
    const rungs = Object.entries(known).map(([name, attribute]) => [name, this.getAttribute(attribute)]);
    const page = {
      stands: () => ({ position: this.position, state: this.state, isCatching: this.#isCatching, isAmid: this.#isAmid }),
      hello: this.#hello,
      receive: this.#receive,
      tell: this.#tell,
    };
    this.#line = new SharedLine(/** @type {[Name, string][]} */ (rungs.filter(([, url]) => url)), page);
    this.#line.key = this.#key && this.#key + this.#language;
    const { signal } = (this.#leave = new AbortController());
    document.addEventListener("notifications:command", this.#command, { signal });
    for (const name of ["visibilitychange", "freeze", "resume", "online", "pageshow", "pagehide"]) {
      addEventListener(name, this.#wake, { signal, capture: true });
    }
    this.#line.start();
  }

  /** Of this session; without the address to fill gaps from tabs can share nothing. */
  get #key() {
    return (this.getAttribute("changes-url") && this.getAttribute("tabs")) || "";
  }

  get #language() {
    return this.getAttribute("language") ?? "";
  }

  /** Out of sight for good, in the back/forward cache or frozen a page keeps nothing that another may need: socket, lock. */
  #wake = (/** @type {Event} */ { type }) => {
    if (/hide|freeze/.test(type)) return this.#sleep();
    if (/show|resume/.test(type)) this.#line?.start();
    if (type === "online" || isVisible()) this.#line?.wake(type === "online");
    this.#flush();
  };

  #sleep() {
    world.never(this.#suspicion);
    this.#line?.close();
  }

  #tell = (/** @type {State} */ state) => {
    if (state !== "open") this.#isCatching = true;
    if (state !== this.getAttribute("state")) {
      this.setAttribute("state", state);
      this.#emit("state", { state });
    }
    this.#line?.cast();
    if (this.isOver) {
      this.#line?.close();
      this.#abandon();
    }
    if (state !== "open") return;
    for (const waiting of this.#waiting.values()) waiting.isSent = false;
    this.#flush();
  };

  #hello = () => this.#show("out", { type: "hello", position: this.position, language: this.#language });

  /** Whether it could go: only a socket takes any. */
  #send(/** @type {{type: string, [field: string]: unknown}} */ frame) {
    return this.#line?.way?.send?.(frame) && this.#show("out", frame);
  }

  #receive = (/** @type {any} */ message) => {
    this.#show("in", message);
    const { type, position, ref, code, stamp = 0 } = message;
    if (type === "delta") this.#delta(message);
    else if (type === "reset") this.#apply(message, true);
    else if (type === "heartbeat") this.#beat(position);
    else if (type === "done") this.#end(ref, stamp);
    else if (type === "error") this.#refused(this.#waiting.get(ref));
    else if (code === 4401) this.#abandon();
    if (message.ack) this.#send({ type: "ack", ack: message.ack }); // so that the server knows that what it sends is read
    if (position) this.#line?.cast(message);
  };

  #delta(/** @type {any} */ delta) {
    const what = judge(this.position, delta);
    if (what === "apply") this.#apply(delta, false);
    if (what === "ask" && !this.#isCatching) this.refresh();
  }

  #beat(/** @type {string} */ position) {
    this.#send({ type: "heartbeat" });
    world.never(this.#suspicion);
    if (position === this.position) return void (this.#isCatching = false);
    const stuck = this.position;
    this.#suspicion = world.later(() => this.position === stuck && this.refresh(), SUSPICION);
  }

  #apply(/** @type {any} */ message, /** @type {boolean} */ reset) {
    const isFirst = !this.position;
    const { items, ops = [], more, unread, unseen, seen_upto: seenUpto } = message;
    for (const name of ["position", "unread", "unseen"]) this.setAttribute(name, message[name]);
    const known = this.#newest;
    for (const item of items) {
      if (!isFirst && item.number > known && !item.read && !item.archived) this.#arrived.push(item);
      this.#newest = Math.max(this.#newest, item.number ?? 0);
    }
    this.#emit("changed", { items, ops, reset, more: reset ? more : undefined, unread, unseen, seenUpto });
    for (const count of document.querySelectorAll("[data-notifications-unread]")) {
      const most = Number(count.getAttribute("data-notifications-unread"));
      count.textContent = most && unread > most ? `${most}+` : unread;
    }
    this.#isAmid = !!more && !reset; // the rest of this catch-up follows
    if (this.#isAmid) return;
    const live = !this.#isCatching;
    this.#isCatching = false;
    const arrived = this.#arrived.splice(0).sort((a, b) => a.number - b.number);
    if (arrived.length) this.#emit("new", { items: arrived, live }, true);
  }

  #command = (/** @type {any} */ event) => this.#take(event.detail) && event.preventDefault(); // no form need be submitted

  /**
   * Whether it is a command. Then it waits until it is done, and is sent as soon as there is a way.
   * @param {Command} detail
   * @param {Waiting["settle"]} [settle]
   */
  #take(detail, settle) {
    const key = String(++this.#serial);
    const { type, ids, stamp, upto = type === "seen" ? this.#newest : undefined, ref = key } = detail;
    if ([ids, upto, stamp].filter((value) => value !== undefined).length !== 1) return false;
    if (this.isOver) return false; // a button then does what its form says
    if (this.#waiting.size >= KEPT) this.#end(/** @type {string} */ (this.#waiting.keys().next().value));
    const command = { type, ids, upto, stamp, ref };
    const isSent = !this.#isPosting && this.#waiting.size < BURST && this.#send({ ...command, ref: key });
    this.#waiting.set(key, { command, isSent, settle });
    this.#keep();
    this.#flush();
    return true;
  }

  /** Posts what could not go over a socket, one after the other: so it cannot be too much, and is done in its order. */
  #flush() {
    if (!this.#line || this.#isPosting || !world.online() || !/^(open|conn)/.test(this.state)) return;
    for (const [key, { isSent, command }] of this.#waiting) if (!isSent) return void this.#post(key, command);
  }

  /** The command as the POST that its button makes without JavaScript. */
  async #post(/** @type {string} */ key, /** @type {Command} */ { type, ids, upto, stamp }) {
    this.#isPosting = true;
    const body = new URLSearchParams();
    for (const input of this.querySelectorAll("input")) body.append(input.name, input.value); // the CSRF token
    for (const id of ids ?? []) body.append(type, String(id));
    if (!ids) body.append(type + (stamp ? "_stamp" : "_upto"), String(stamp ?? upto));
    let step;
    try {
      const headers = { Accept: "application/json" };
      const signal = AbortSignal.timeout(PATIENCE);
      const answer = await world.fetch(/** @type {string} */ (this.getAttribute("post-to")), { method: "POST", body, headers, signal, keepalive: true });
      if (answer.ok && !answer.redirected) step = (await answer.json()).stamp ?? 0;
    } catch {
      // no network, or no page of ours
    }
    this.#isPosting = false;
    if (step !== undefined || world.online()) this.#end(key, step);
    this.#line?.wake(); // where it polls, what came of it shows now
    this.#flush();
  }

  /** Another way may take what the socket has not. */
  #refused(/** @type {Waiting | undefined} */ waiting) {
    if (waiting) waiting.isSent = false;
    this.#flush();
  }

  /** @param {string} key @param {number} [step] the one that it has taken, 0 if there was nothing to do; none: it has failed */
  #end(key, step) {
    const waiting = this.#waiting.get(key);
    if (!waiting) return;
    this.#waiting.delete(key);
    this.#keep();
    const { command, settle } = waiting;
    if (step === undefined) this.#emit("failed", command);
    else this.#emit("done", { ...command, stamp: step });
    settle?.(step);
  }

  /** The session is over: what waits was this user's, and whoever signs in next may be another. */
  #abandon() {
    for (const key of this.#waiting.keys()) this.#end(key);
  }

  /** A reload loses no command; it is no other user's, since their key is another. */
  #keep() {
    if (this.#key) keep(this.#key, JSON.stringify([...this.#waiting.values()].map(({ command }) => command)));
  }

  /** @template {{type: string}} Frame @param {string} direction @param {Frame} data */
  #show(direction, data) {
    this.#emit("frame", { direction, type: data.type, data });
    return data;
  }

  /** @param {string} name @param {object} detail @param {boolean} [cancelable] */
  #emit(name, detail, cancelable) {
    document.dispatchEvent(new CustomEvent(`notifications:${name}`, { detail, cancelable }));
  }
}

function isVisible() {
  return document.visibilityState === "visible";
}

/** Where the page asks for what comes after its position. */
function at(/** @type {string} */ url, /** @type {Page} */ page) {
  const { position, language } = page.hello();
  return `${url}?${new URLSearchParams({ position, language })}`;
}

function recall(/** @type {string} */ name) {
  return attempt(() => world.storage()[`notifications-${name}`]);
}

/** For this tab, for as long as it is open, if it may. */
function keep(/** @type {string} */ name, /** @type {string} */ value) {
  attempt(() => (world.storage()[`notifications-${name}`] = value));
}

/** What is not of this protocol is null: a rolling deploy or a proxy; the next heartbeat tells whether we miss anything. */
function parse(/** @type {unknown} */ data) {
  return attempt(() => JSON.parse(String(data)));
}

/** @template T @param {() => T} run what may be denied, or make no sense: then null */
function attempt(run) {
  try {
    return run();
  } catch {
    return null;
  }
}

if (!customElements.get("notification-stream")) customElements.define("notification-stream", NotificationStream);
