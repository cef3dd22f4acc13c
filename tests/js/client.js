/**
 * Loads the client's real files into Node: just enough of a document for modules that define custom elements, and a world
 * (sockets, clock, chance, network) that the test turns by hand. Several tabs of one browser: browser.js.
 */

import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const OWN = new URL("../../notifications/static/notifications/", import.meta.url);
const FOLDER = process.env.CLIENT ? pathToFileURL(`${process.env.CLIENT}/`) : OWN; // what a wheel carries, in tests/wheel

globalThis.HTMLElement ??= class extends EventTarget {
  #attributes = new Map();
  isConnected = true;
  getAttribute(name) {
    return this.#attributes.get(name) ?? null;
  }
  setAttribute(name, value) {
    this.#attributes.set(name, String(value));
  }
  querySelectorAll() {
    return this.children ?? [];
  }
};
globalThis.customElements ??= { get: () => undefined, define: () => {} };

export function makeDocument() {
  return Object.assign(new EventTarget(), {
    baseURI: "https://site.example/orders/7/",
    visibilityState: "visible",
    querySelectorAll: () => [],
  });
}

globalThis.document ??= makeDocument();
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
  globalThis[name] ??= EventTarget.prototype[name].bind(document);
}

/**
 * By its text, not its path: a Node without module detection takes `.js` outside a package for CommonJS. Another `instance` is
 * another page's copy of the module; `head` stands before its text.
 */
export function load(name, instance = "", head = "") {
  const text = readFileSync(new URL(`${name}.js`, FOLDER), "utf8");
  return import(`data:text/javascript,${encodeURIComponent(head + text)}${instance && `//${instance}`}`);
}

/** Until whatever is on its way has arrived. */
export const tick = () => new Promise((resolve) => setImmediate(resolve));

/** A clock that stands still until `pass()`. */
export class Clock {
  now = 1_000_000;
  #timers = new Map();
  #serial = 0;

  later = (run, wait) => {
    this.#timers.set(++this.#serial, { run, at: this.now + wait });
    return this.#serial;
  };

  never = (timer) => void this.#timers.delete(timer);

  get waiting() {
    return this.#timers.size;
  }

  pass(milliseconds) {
    const end = this.now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(([, { at }]) => at <= end).sort(([, a], [, b]) => a.at - b.at)[0];
      if (!due) break;
      this.#timers.delete(due[0]);
      this.now = Math.max(this.now, due[1].at); // after a sleep it is overdue
      due[1].run();
    }
    this.now = end;
  }

  /** The same, where what a timer starts is answered before the next one is due. */
  async live(milliseconds, step = 50) {
    for (let passed = 0; passed < milliseconds; passed += step) {
      this.pass(Math.min(step, milliseconds - passed));
      await tick();
    }
  }
}

/** The server's end of a socket: what the page sent, and how to answer. */
export class FakeSocket {
  sent = [];
  isClosed = false;
  constructor(url) {
    this.url = url;
  }
  send(frame) {
    this.sent.push(JSON.parse(frame));
  }
  close() {
    this.isClosed = true;
  }
  open() {
    this.onopen?.({});
  }
  say(frame) {
    this.onmessage?.({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
  }
  end(code) {
    this.onclose?.({ code });
  }
  said(type) {
    return this.sent.filter((frame) => frame.type === type);
  }
}

/** The server's end of an event stream. The browser would come back by itself after `cut()`; it must not. */
export class FakeEvents {
  isClosed = false;
  readyState = 0;
  constructor(url) {
    this.url = url;
  }
  close() {
    this.isClosed = true;
  }
  say(frame) {
    this.readyState = 1;
    this.onmessage?.({ data: JSON.stringify(frame) });
  }
  cut() {
    this.readyState = 0;
    this.onerror?.({});
  }
  refuse() {
    this.readyState = 2;
    this.onerror?.({});
  }
}

/**
 * Put a clock, sockets, chance and a network of the test's own into a stream module's `world`. `answer` is what a request gets:
 * a response, a function that makes one of the request, or nothing: no network.
 */
export function enter(world) {
  const clock = new Clock();
  const scene = { clock, sockets: [], streams: [], random: 0.5, online: true, requests: [], answer: null, storage: {} };
  Object.assign(world, {
    socket: (url) => scene.sockets[scene.sockets.push(new FakeSocket(url)) - 1],
    events: (url) => scene.streams[scene.streams.push(new FakeEvents(url)) - 1],
    fetch: async (url, init) => {
      const request = { url, ...init };
      scene.requests.push(request);
      const answer = typeof scene.answer === "function" ? await scene.answer(request) : scene.answer;
      if (!answer) throw new TypeError("no network");
      return answer;
    },
    locks: () => ({}),
    storage: () => scene.storage,
    random: () => scene.random,
    now: () => clock.now,
    later: clock.later,
    never: clock.never,
    online: () => scene.online,
  });
  Object.defineProperty(scene, "socket", { get: () => scene.sockets.at(-1) });
  return Object.defineProperty(scene, "stream", { get: () => scene.streams.at(-1) });
}

/** The response to a request. */
export function json(body, status = 200) {
  return { ok: status < 400, status, redirected: false, json: async () => structuredClone(body) };
}

export function welcome(more = {}) {
  return { type: "welcome", version: 1, heartbeat_seconds: 25, spread_seconds: 1, ...more };
}

export function delta(base, position, more = {}) {
  return { type: "delta", base, position, items: [], ops: [], unread: 0, unseen: 0, seen_upto: 0, more: false, ...more };
}

export function item(number, more = {}) {
  return { id: 100 + number, number, stamp: number, kind: "order.status", severity: "info", title: `Order ${number}`, body: "",
    url: "", icon: "", actor: "", target: "", data: {}, created_at: "2026-01-02T03:04:05Z", read: false, archived: false, ...more };
}
