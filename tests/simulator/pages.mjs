/**
 * Open pages for the simulator: the client's own modules, one copy a page, behind lines of JSON. Each line says which page does
 * what, and is answered by what the page then shows and what it has sent. Nothing here knows the protocol.
 */

import { createInterface } from "node:readline";
import { enter, load } from "../js/client.js";

class Page {
  #sockets = 0;

  static async load(slot) {
    const page = new Page();
    page.stream = await load("notification-stream", slot);
    page.list = await load("notification-list", slot);
    page.document = Object.assign(new EventTarget(), { baseURI: "https://site.example/", visibilityState: "visible", querySelectorAll: () => [] });
    page.document.addEventListener("notifications:changed", ({ detail }) => page.#changed(detail));
    page.document.addEventListener("notifications:new", ({ detail }) => page.arrived.push(...detail.items.map(({ number }) => number)));
    return page;
  }

  /** A page as the server printed it. */
  open({ position, top, items, before, unread, unseen, seen_upto }) {
    this.scene = enter(this.stream.world);
    this.rows = new this.list.Rows("active", before ?? 0);
    this.shown = new Map();
    this.arrived = [];
    this.counts = { unread, unseen, seen_upto };
    for (const item of items) {
      const { id, number, stamp, read, archived } = item; // what the elements' attributes say
      this.rows.set(id, { id, number, stamp, read, archived });
      this.shown.set(id, item);
    }
    this.element = new this.stream.NotificationStream();
    const attributes = { url: "/notifications/socket/", "post-to": "/notifications/mark/", position, top, language: "en" };
    for (const [name, value] of Object.entries(attributes)) this.element.setAttribute(name, value);
    this.element.connectedCallback();
  }

  async leave() {
    this.element.isConnected = false;
    this.element.disconnectedCallback();
    await new Promise((resolve) => setImmediate(resolve));
    this.element = null;
  }

  #changed({ unread, unseen, seenUpto, ...change }) {
    const changed = this.rows.apply(change);
    for (const id of [...this.shown.keys()]) if (!this.rows.has(id)) this.shown.delete(id);
    for (const row of changed) this.shown.set(row.id, { ...this.shown.get(row.id), ...row });
    this.counts = { unread, unseen, seen_upto: seenUpto };
  }

  answer() {
    const { scene } = this;
    const sent = scene.sockets.flatMap((socket) => socket.sent.splice(0));
    const rows = [...this.shown.values()].map(({ id, number, stamp, read, archived, title }) => ({ id, number, stamp, read, archived, title }));
    const lines = { opened: scene.sockets.length, isClosed: scene.socket.isClosed };
    return { sent, ...lines, position: this.element.position, rows, more: this.rows.floor > 0, ...this.counts, arrived: this.arrived.splice(0) };
  }
}

const pages = new Map();

async function obey({ slot, does, ...how }) {
  if (!pages.has(slot)) pages.set(slot, await Page.load(slot));
  const page = pages.get(slot);
  globalThis.document = page.document;
  switch (does) {
    case "open":
      if (page.element) await page.leave();
      page.open(how.page);
      break;
    case "connected":
      page.scene.socket.open();
      break;
    case "frame":
      page.scene.socket.say(how.frame);
      break;
    case "closed":
      page.scene.socket.end(how.code);
      break;
    case "wait":
      page.scene.clock.pass(how.seconds * 1000);
      break;
    case "command":
      page.document.dispatchEvent(new CustomEvent("notifications:command", { detail: how.command, cancelable: true }));
      break;
    default:
      throw new Error(`a page does not ${does}`);
  }
  return page.answer();
}

for await (const line of createInterface({ input: process.stdin })) {
  let answer;
  try {
    answer = await obey(JSON.parse(line));
  } catch (error) {
    answer = { error: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
