/**
 * Loads the client's real files into Node: just enough of a document for modules that define custom elements, and a world
 * (socket, clock, chance, network) that the test turns by hand.
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
globalThis.document ??= Object.assign(new EventTarget(), {
  baseURI: "https://site.example/orders/7/",
  visibilityState: "visible",
  querySelectorAll: () => [],
});
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) {
  globalThis[name] ??= EventTarget.prototype[name].bind(document);
}

/**
 * By its text, not its path: a Node without module detection takes `.js` outside a package for CommonJS. Another `instance` is
 * another page's copy of the module.
 */
export function load(name, instance = "") {
  const text = readFileSync(new URL(`${name}.js`, FOLDER), "utf8");
  return import(`data:text/javascript,${encodeURIComponent(text)}${instance && `//${instance}`}`);
}

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
      this.now = due[1].at;
      due[1].run();
    }
    this.now = end;
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

/** Put a clock, sockets, chance and a network of the test's own into a stream module's `world`. */
export function enter(world) {
  const clock = new Clock();
  const scene = { clock, sockets: [], random: 0.5, online: true, requests: [], answer: null };
  Object.assign(world, {
    socket: (url) => scene.sockets[scene.sockets.push(new FakeSocket(url)) - 1],
    random: () => scene.random,
    now: () => clock.now,
    later: clock.later,
    never: clock.never,
    online: () => scene.online,
    fetch: async (url, init) => {
      scene.requests.push({ url, ...init });
      if (!scene.answer) throw new TypeError("no network");
      return scene.answer;
    },
  });
  return Object.defineProperty(scene, "socket", { get: () => scene.sockets.at(-1) });
}

export function item(number, more = {}) {
  return { id: 100 + number, number, stamp: number, kind: "order.status", severity: "info", title: `Order ${number}`, body: "",
    url: "", icon: "", actor: "", target: "", data: {}, created_at: "2026-01-02T03:04:05Z", read: false, archived: false, ...more };
}
