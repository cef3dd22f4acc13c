import assert from "node:assert/strict";
import { test } from "node:test";
import { item, load } from "./client.js";

const { Rows, age, emphasised, safeUrl } = await load("notification-list");

function rows(numbers, { show = "active", before = 0, more = false } = {}) {
  const list = new Rows(show, before, more);
  for (const number of numbers) list.has(item(number, { archived: show === "archived" }));
  return list;
}

const change = (more) => ({ items: [], ops: [], reset: false, ...more });
const numbers = ({ changed }) => changed.map(({ number }) => number);

test("only links that lead somewhere harmless survive", () => {
  for (const url of ["https://a.example/x", "http://a.example", "mailto:a@b.example", "/orders/7/", "?page=2", "orders"]) assert.equal(safeUrl(url), url);
  const hostile = ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x",
    "vbscript:x", "blob:https://a.example/1", "file:///etc/passwd", "http://[", ""];
  for (const url of hostile) assert.equal(safeUrl(url), "", url);
});

test("names are emphasised where they stand, as text", () => {
  const parts = emphasised("<b>Ann</b> commented on Order 7", ["<b>Ann</b>", "Order 7"]);
  assert.deepEqual(parts.map(({ text, isName }) => (isName ? `[${text}]` : text)), ["[<b>Ann</b>]", " commented on ", "[Order 7]"]);
  assert.deepEqual(emphasised("Order 7 Ltd paid", ["Order 7 Ltd", "Order 7"]).map(({ text }) => text), ["Order 7 Ltd", " paid"]);
  assert.deepEqual(emphasised("Paid", ["Ann", ""]), [{ text: "Paid", isName: false }]);
  assert.deepEqual(emphasised("", ["Ann"]), []);
});

test("ages are told in the language's words", () => {
  const minute = 60_000;
  assert.deepEqual([0, 5 * minute, 120 * minute, 3 * 1440 * minute].map((span) => age(span, "en")), ["now", "5 min. ago", "2 hr. ago", "3 days ago"]);
  assert.equal(age(-minute, "en"), "now", "a clock that is behind shows no future");
  assert.match(age(3 * 1440 * minute, "de"), /vor 3 Tagen/);
});

test("a new item enters, an older copy of a known one does not", () => {
  const list = rows([1, 2]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(3)] }))), [3]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(3, { stamp: 2, title: "stale" })] }))), []);
  assert.deepEqual(numbers(list.apply(change({ items: [item(2, { stamp: 9, read: true })] }))), [2]);
});

test("archived, hidden and deleted items leave, and come back when unarchived", () => {
  const list = rows([1, 2, 3]);
  const gone = list.apply(change({ items: [item(1, { stamp: 4, archived: true }), { id: 102, stamp: 5, hidden: true }] }));
  assert.deepEqual(gone.removed, [101, 102]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(1, { stamp: 6 })] }))), [1]);
});

test("a bulk step touches what had arrived by then and nothing later", () => {
  const list = rows([1, 2, 3]);
  const { changed } = list.apply(change({ ops: [{ read_upto: 2 }] }));
  assert.deepEqual(changed.map(({ number, read }) => [number, read]), [[1, true], [2, true]]);
  assert.deepEqual(list.apply(change({ ops: [{ archived_upto: 1 }] })).removed, [101]);
  assert.deepEqual(list.apply(change({ ops: [{ deleted_upto: 2 }] })).removed, [102]);
  assert.equal(list.size, 1);
});

test("the unread list lets go of what is read, the archived one of what is unarchived", () => {
  assert.deepEqual(rows([1], { show: "unread" }).apply(change({ items: [item(1, { stamp: 2, read: true })] })).removed, [101]);
  assert.deepEqual(rows([1, 2], { show: "unread" }).apply(change({ ops: [{ read_upto: 1 }] })).removed, [101]);
  const archived = rows([1], { show: "archived" });
  assert.deepEqual(archived.apply(change({ items: [item(1, { stamp: 2 })] })).removed, [101]);
  assert.deepEqual(numbers(archived.apply(change({ items: [item(3, { archived: true })] }))), [3]);
});

test("a reset keeps nothing that it does not bring", () => {
  const list = rows([1, 2]);
  const { changed, removed } = list.apply(change({ items: [item(2, { stamp: 5 }), item(3)], reset: true, more: true }));
  assert.deepEqual(removed, [101]);
  assert.deepEqual(changed.map(({ number }) => number), [2, 3]);
  assert.equal(list.more, true);
});

test("a reset brings back what a restored database holds, whatever was newer before", () => {
  const list = rows([]);
  list.apply(change({ items: [item(2, { stamp: 9, read: true })] }));
  assert.deepEqual(numbers(list.apply(change({ items: [item(2)], reset: true }))), [2]);
  const late = { items: [item(2, { stamp: 1, read: true })], reset: true, isLate: true };
  assert.deepEqual(numbers(list.apply(change(late))), [], "what was read by HTTP may be older than a delta since");
});

test("a list whose rows have all been put away still shows what arrives, and what comes back to its stretch", () => {
  const list = rows([5, 6, 7], { more: true });
  list.apply(change({ ops: [{ archived_upto: 7 }] }));
  assert.equal(list.size, 0);
  assert.deepEqual(numbers(list.apply(change({ items: [item(8)] }))), [8]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(6, { stamp: 9 }), item(4, { stamp: 10 })] }))), [6], "4 is on another page");
});

test("a page shows its own stretch of numbers only", () => {
  const older = rows([5, 6], { before: 7, more: true });
  assert.deepEqual(numbers(older.apply(change({ items: [item(8), item(3)] }))), []);
  assert.deepEqual(numbers(rows([5, 6], { before: 7 }).apply(change({ items: [item(3)] }))), [3]);
  assert.ok(rows([]).isFirstPage && !older.isFirstPage && !rows([], { show: "unread" }).isFirstPage);
});

test("a page that stays open does not grow for ever", () => {
  const list = rows([]);
  list.apply(change({ items: Array.from({ length: 250 }, (_, index) => item(index + 1)) }));
  assert.equal(list.size, 200);
  assert.equal(list.newest, 250);
  assert.equal(list.more, true);
});
