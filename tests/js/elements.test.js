/** The list and the toasts as elements of a page: where the focus goes when what has it goes away, and what they say meanwhile. */

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { write } from "./tree.js";
import { Clock, item, json, load, tick } from "./client.js";

await load("notification-list");
const toasts = await load("notification-toasts");

const row = ({ id = "", number = "", stamp = "", read }) => `
  <article data-id="${id}" data-number="${number}" data-stamp="${stamp}" ${read ? "" : "data-unread"} tabindex="0">
    <a data-part="link" href="/orders/7/"><span data-part="title"></span></a>
    <span data-part="unread"></span><time datetime="2026-01-02T03:04:05Z"></time>
    <details><summary></summary><button name="read" value="${id}"></button><button name="unread" value="${id}"></button></details>
    <button name="read" value="${id}"></button>
  </article>`;

const list = (items, more = "") => `
  <notification-list src="/items/?show=active" position="e.4" show="active" floor="${items.at(-1)?.number ?? 0}" ${more}><form>
    <div data-part="head" tabindex="-1">
      <button name="read_upto" value="9" data-part="mark-all"></button><a data-part="tab" data-tab="archived" href=""></a>
    </div>
    <button type="button" data-part="fresh" data-label="{count} new" hidden></button>
    <div data-part="items" tabindex="-1">${items.map(row).join("")}</div>
    <p><a data-part="more" href="/?before=5"></a></p>
    <div data-part="empty" hidden></div>
    <div data-part="notes" tabindex="-1">
      <p data-done="archive" hidden><button name="unarchive_stamp"></button></p>
      <p data-done="read_upto" hidden><button name="unread_stamp"></button></p>
      <p data-part="error" hidden><button type="button" data-part="retry"></button></p>
      <p data-part="failed" hidden></p>
    </div>
    <template>${row({})}</template>
  </form></notification-list>`;

const toast = `
  <notification-toasts label-away="{count} while you were away"><form><div data-part="toasts"></div></form><template>
    <div data-id=""><span data-part="summary"></span><span data-part="title"></span>
      <button name="notification" data-part="action" hidden></button><button type="button"></button></div>
  </template></notification-toasts>`;

const stream = (more = "") => `<notification-stream state="open" ${more}></notification-stream>`;
const $ = (selector) => document.querySelector(selector);
const part = (name) => $(`[data-part=${name}]`);
const rowOf = (number) => $(`[data-number="${number}"]`);
const change = (more) => ({ items: [], ops: [], reset: false, unread: 4, unseen: 0, seenUpto: 0, ...more });
const tell = (name, detail) => document.dispatchEvent(Object.assign(new Event(`notifications:${name}`), { detail }));
const { setTimeout: later, clearTimeout: never } = globalThis;

let clock;
let reads; // what has been asked for
let answer;

beforeEach(() => {
  clock = new Clock();
  reads = [];
  answer = () => json({ items: [], more: false, before: null });
  Object.assign(globalThis, { setTimeout: clock.later, clearTimeout: clock.never, innerHeight: -1000 }); // nothing is near
  globalThis.fetch = async (url) => {
    reads.push(url);
    return answer(url);
  };
});
afterEach(() => {
  write("");
  Object.assign(globalThis, { setTimeout: later, clearTimeout: never });
  document.visibilityState = "visible";
});

/** A page with a list of these numbers, and what its stream is told. */
function page(numbers = [9, 8, 7, 6, 5], more = "") {
  const told = [];
  write(stream() + list(numbers.map((number) => item(number)), more));
  Object.assign($("notification-stream"), { position: "e.4", command: (step) => told.push(step) && Promise.resolve({ stamp: 9 }) });
  return told;
}

/** To where the list ends. */
function scroll() {
  globalThis.innerHeight = 800;
  document.hear(new Event("scroll"));
}

/** As a keyboard presses it. */
function press(button) {
  button.focus();
  button.click();
  if (button.name) submit(button);
}

const submit = (submitter) => $("notification-list").heard("submit", { submitter });

function expectFocus(element) {
  document.body.getBoundingClientRect();
  const { activeElement } = document;
  assert.ok(activeElement === element, `it is at <${activeElement.tag} ${[...activeElement.attributes].join(" ")}>`);
}

test("who has come to 'Load more' goes on in the rows that it brings, though it has gone", async () => {
  page();
  answer = () => json({ items: [4, 3].map((number) => item(number)), more: false, before: null });
  part("more").focus();
  scroll();
  await tick();
  assert.ok(part("more").hidden);
  expectFocus(rowOf(4));
});

test("whoever has gone on meanwhile is not called back", async () => {
  page();
  answer = () => json({ items: [item(4)], more: false, before: null });
  part("more").focus();
  scroll();
  rowOf(7).focus();
  await tick();
  expectFocus(rowOf(7));
});

test("'Load more' that brings nothing, and goes, leaves its reader at the list", async () => {
  page();
  press(part("more"));
  await tick();
  assert.ok(part("more").hidden);
  expectFocus(part("items"));
});

test("a button that has done its work leaves its reader beside it", async () => {
  page();
  press(part("mark-all"));
  assert.ok(part("mark-all").hidden);
  expectFocus(part("head"));

  rowOf(9).querySelector("details").toggleAttribute("open", true);
  press(rowOf(9).querySelector("details [name=unread]"));
  expectFocus(rowOf(9).querySelector("summary"));
  press(rowOf(9).querySelectorAll("[name=read]")[1]);
  expectFocus(rowOf(9));

  press($("[data-done=read_upto] button"));
  expectFocus(part("notes"));
});

test("what is done elsewhere takes a button away, and nobody's focus", () => {
  page();
  part("mark-all").focus();
  tell("changed", change({ unread: 0 }));
  expectFocus(part("head"));

  rowOf(8).querySelector("[name=read]").focus();
  tell("changed", change({ items: [item(8, { stamp: 10, read: true })] }));
  expectFocus(rowOf(8));

  tell("changed", change({ items: [{ id: 108, stamp: 11, hidden: true }] }));
  expectFocus(rowOf(7));
  tell("changed", change({ ops: [{ archived_upto: 9 }] }));
  expectFocus(part("items"));
});

test("an offer to undo that gives way to the next leaves its reader where that stands", () => {
  page();
  submit(Object.assign(document.createElement("button"), { name: "archive", value: "108" }));
  $("[data-done=archive] button").focus();
  submit(part("mark-all"));
  expectFocus(part("notes"));
});

test("'3 new' that goes because one scrolls up leaves its reader at the list", () => {
  page();
  rowOf(7).focus();
  tell("changed", change({ items: [item(10), item(11)] }));
  assert.equal(part("fresh").textContent, "2 new");
  part("fresh").focus();
  document.hear(new Event("scroll"));
  assert.ok(part("fresh").hidden);
  expectFocus(part("items"));
});

test("'Try again' leaves its reader where it may come back", async () => {
  page();
  answer = () => json({}, 503);
  press(part("more"));
  await tick();
  expectFocus(part("more"));
  press(part("retry"));
  expectFocus(part("notes"));
});

test("another tab's rows take the place of the one that somebody is in", async () => {
  page();
  rowOf(7).focus();
  part("tab").click();
  expectFocus(part("items"));
});

test("the help gives the focus back, though the row that it came from has gone", () => {
  page();
  const help = document.createElement("div");
  help.setAttribute("tabindex", "-1");
  part("head").append(help);
  rowOf(7).focus();
  rowOf(7).heard("keydown", { key: "?", code: "" });
  help.focus();
  tell("changed", change({ items: [{ id: 107, stamp: 11, hidden: true }] }));
  help.heard("beforetoggle", { newState: "closed" });
  expectFocus(part("items"));
});

test("a list that could not be loaded does not say that there is nothing", async () => {
  answer = () => json({}, 503);
  page([], "loading");
  tell("state", { state: "connecting" });
  await tick();
  assert.ok(!part("error").hidden);
  clock.pass(60_000);
  assert.ok(part("empty").hidden);
});

test("a list that is moved, or kept by a cache, still knows that there is more", async () => {
  answer = () => json({ items: [9, 8, 7].map((number) => item(number)), more: true, before: 7 });
  page([], "loading");
  tell("state", { state: "connecting" });
  await tick();
  assert.ok(!part("more").hidden);
  const list = $("notification-list");
  list.disconnectedCallback();
  list.connectedCallback();
  assert.ok(!part("more").hidden);
  assert.equal(rowOf(9).ariaSetSize, "-1");
});

test("a list that changes whenever it is read is read in peace, not without end", async () => {
  page();
  let turn = 4;
  answer = () => {
    $("notification-stream").position = `e.${++turn}`;
    return json({ items: [item(turn)], more: false, before: null });
  };
  void $("notification-list").refresh();
  await clock.live(900);
  assert.equal(reads.length, 1);
  await clock.live(4_100);
  assert.equal(reads.length, 5, "once a second");
  assert.equal(part("items").ariaBusy, "true");
  answer = () => json({ items: [item(turn)], more: false, before: null });
  await clock.live(1_000);
  assert.equal(part("items").ariaBusy, null);
  await clock.live(10_000);
  assert.equal(reads.length, 6, "and then no more");
});

/** A page of this session's with toasts, without Web Locks: each tab that is looked at shows what comes. */
function withToasts(tabs = "mina") {
  Object.assign(toasts.world, { locks: () => undefined, later: clock.later });
  write(stream(`tabs="${tabs}"`) + list([]) + toast);
}

const shown = () => document.querySelectorAll("notification-toasts [data-part=title]").map(({ textContent }) => textContent);

async function arrive(...numbers) {
  tell("new", { items: numbers.map((number) => item(number)), live: true });
  await tick();
  await clock.live(600);
}

function look(isVisible = true) {
  document.visibilityState = isVisible ? "visible" : "hidden";
  document.hear(new Event("visibilitychange"));
}

test("what one user's tabs have shown counts for that user alone, whoever comes next to this browser", async () => {
  withToasts();
  await arrive(40);
  assert.deepEqual(shown(), ["Order 40"]);
  look(false);
  await arrive(39);
  look();
  assert.deepEqual(shown(), ["Order 40"], "another tab of hers may have shown it, as it has shown a later one");

  withToasts("noor");
  look(false);
  await arrive(3, 4);
  look();
  assert.deepEqual(shown(), ["Order 4"]);
  assert.equal($("[data-part=summary]").textContent, "2 while you were away");
});

test("a toast that goes leaves its reader at the next one, and the last one where they came from", async () => {
  withToasts();
  await arrive(1, 2);
  const [first, second] = document.querySelectorAll("notification-toasts [data-id] [type=button]");
  part("head").focus();
  first.focus();
  $("notification-toasts").heard("focusin", { relatedTarget: part("head") });
  first.click();
  expectFocus(second);
  tell("changed", change({ ops: [{ read_upto: 2 }] }));
  expectFocus(part("head"));
});

test("a switch that the browser forbids stays while it has the focus", async () => {
  globalThis.Notification = { permission: "default", requestPermission: async () => (Notification.permission = "denied") };
  withToasts();
  const other = document.createElement("button");
  const button = document.createElement("button");
  document.body.append(button, other);
  button.setAttribute("data-notifications-switch", "browser");
  $("notification-toasts").setAttribute("browser", "like this");
  press(button);
  await tick();
  expectFocus(button);
  assert.equal(button.getAttribute("aria-pressed"), "false");
  press(other);
  await tick();
  assert.ok(button.hidden);
  delete globalThis.Notification;
});
