/**
 * A browser with several tabs: each has its own copy of the module, its own document, clock and network; the locks and channels
 * are the browser's. A tab may hang (its code does not run, what is meant for it waits), freeze, crash or be closed.
 */

import { enter, json, load, makeDocument, tick, delta, welcome } from "./client.js";

let serial = 0;

export class Browser {
  tabs = [];
  channels = new Set();
  #locks = new Map(); // name: {held, queue}

  /** A page is opened in a new tab. */
  async open({ isVisible = true, more = {}, position = "e.4", without = [], answer = null } = {}) {
    const instance = `tab${++serial}`;
    const tab = new Tab(this, isVisible);
    globalThis.tabs = { ...globalThis.tabs, [instance]: tab };
    const head = `const { document, addEventListener } = globalThis.tabs.${instance};`;
    const module = await load("notification-stream", instance, head);
    tab.enter(module, { position, more, without, answer });
    this.tabs.push(tab);
    return tab;
  }

  async pass(milliseconds, step = 50) {
    for (let passed = 0; passed < milliseconds; passed += step) {
      for (const tab of this.tabs) tab.let(() => tab.scene.clock.pass(step));
      await tick();
    }
  }

  /** All sockets, streams and looks of all tabs that are open. */
  get connections() {
    return this.tabs.flatMap(({ scene }) => [...scene.sockets, ...scene.streams].filter(({ isClosed }) => !isClosed));
  }

  get leaders() {
    return this.tabs.filter((tab) => [...this.#locks.values()].some(({ held }) => held?.tab === tab));
  }

  locksOf(tab) {
    return [...this.#locks.values()].flatMap(({ held, queue }) => [held, ...queue]).filter((each) => each?.tab === tab).length;
  }

  request(tab, name, { steal = false, signal }, hold) {
    if (!this.#locks.has(name)) this.#locks.set(name, { held: null, queue: [] });
    const lock = this.#locks.get(name);
    return new Promise((resolve, reject) => {
      const request = { tab, hold, resolve, reject };
      signal?.addEventListener("abort", () => {
        if (!lock.queue.includes(request)) return;
        lock.queue.splice(lock.queue.indexOf(request), 1);
        reject(new DOMException("aborted", "AbortError"));
      });
      if (steal) {
        const robbed = lock.held;
        lock.held = null;
        robbed?.tab.let(() => robbed.reject(new DOMException("stolen", "AbortError")));
        lock.queue.unshift(request);
      } else lock.queue.push(request);
      this.#grant(lock);
    });
  }

  #grant(lock) {
    if (lock.held || !lock.queue.length) return;
    const request = (lock.held = lock.queue.shift());
    request.release = () => {
      if (lock.held !== request) return;
      lock.held = null;
      this.#grant(lock);
    };
    setImmediate(() => {
      request.tab.let(async () => {
        try {
          request.resolve(await request.hold({ mode: "exclusive" }));
        } catch (error) {
          request.reject(error);
        }
        request.release();
      });
    });
  }

  /** What the browser does for a tab that is gone. */
  forget(tab) {
    for (const lock of this.#locks.values()) {
      lock.queue = lock.queue.filter((request) => request.tab !== tab);
      if (lock.held?.tab === tab) lock.held.release();
    }
    for (const channel of this.channels) if (channel.tab === tab) this.channels.delete(channel);
  }
}

class Channel {
  constructor(browser, tab, name) {
    Object.assign(this, { browser, tab, name });
    browser.channels.add(this);
  }

  postMessage(message) {
    if (!this.browser.channels.has(this)) throw new DOMException("closed", "InvalidStateError");
    const data = structuredClone(message);
    for (const other of this.browser.channels) {
      if (other === this || other.name !== this.name) continue;
      setImmediate(() => other.tab.let(() => this.browser.channels.has(other) && other.onmessage?.({ data })));
    }
  }

  close() {
    this.browser.channels.delete(this);
  }
}

export class Tab {
  isHung = false;
  document = makeDocument();
  #late = [];

  constructor(browser, isVisible) {
    this.browser = browser;
    this.document.visibilityState = isVisible ? "visible" : "hidden";
    this.addEventListener = this.document.addEventListener.bind(this.document);
  }

  enter({ NotificationStream, world }, { position, more, without, answer }) {
    this.scene = Object.assign(enter(world), { answer });
    world.locks = () => ({ request: (...all) => this.browser.request(this, ...all) });
    world.channel = (name) => new Channel(this.browser, this, name);
    for (const name of without) world[name] = () => undefined;
    this.events = [];
    for (const name of ["changed", "new", "state", "done", "failed"]) {
      this.document.addEventListener(`notifications:${name}`, ({ detail }) => this.events.push([name, detail]));
    }
    this.element = new NotificationStream();
    const attributes = { url: "/n/socket/", "events-url": "/n/events/", "changes-url": "/n/changes/", "post-to": "/n/mark/",
      tabs: "k1", position, top: 4, language: "de", ...more };
    for (const [name, value] of Object.entries(attributes)) this.element.setAttribute(name, value);
    this.element.connectedCallback();
  }

  /** Runs now, or when the tab runs again. */
  let(run) {
    if (this.isHung) this.#late.push(run);
    else run();
  }

  /** Its main thread is busy, or stopped in a debugger. */
  hang() {
    this.isHung = true;
  }

  goOn() {
    this.isHung = false;
    for (const run of this.#late.splice(0)) run();
  }

  show(isVisible = true) {
    this.document.visibilityState = isVisible ? "visible" : "hidden";
    this.happens("visibilitychange");
  }

  /** An event of the page's life. */
  happens(name, more = {}) {
    this.document.dispatchEvent(Object.assign(new Event(name), more));
  }

  close() {
    this.happens("pagehide", { persisted: false });
    this.hang();
    this.browser.forget(this);
    this.browser.tabs.splice(this.browser.tabs.indexOf(this), 1);
  }

  crash() {
    this.hang();
    this.browser.forget(this);
    this.browser.tabs.splice(this.browser.tabs.indexOf(this), 1);
  }

  /** The element leaves the page. */
  async swap() {
    this.element.isConnected = false;
    this.element.disconnectedCallback();
    await tick();
  }

  command(detail) {
    return !this.document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
  }

  of(name) {
    return this.events.filter(([type]) => type === name).map(([, detail]) => detail);
  }

  get looks() {
    return this.scene.requests.filter(({ method }) => method !== "POST").map(({ url }) => url);
  }

  get position() {
    return this.element.position;
  }

  get state() {
    return this.element.state;
  }
}

/** The server lets a tab's socket in and says that nothing is missing. */
export async function greet({ scene, element }, position = element.position) {
  scene.socket?.open();
  scene.socket?.say(welcome());
  scene.socket?.say(delta(position, position));
  await tick();
}

/** A browser with these tabs, the first of which leads and has been let in. */
export async function browserWith(...tabs) {
  const browser = new Browser();
  for (const each of tabs) {
    await browser.open(each);
    await settle();
    if (browser.tabs.length === 1) await greet(browser.tabs[0]);
  }
  await settle();
  return browser;
}

/** Locks are granted and messages arrive one task later each. */
export async function settle() {
  for (let turn = 0; turn < 8; turn++) await tick();
}

/** What a look is answered with. */
export function news(messages, position = messages.at(-1)?.position) {
  return json({ messages, position, spread_seconds: 1 });
}
