import assert from "node:assert/strict";
import { test } from "node:test";
import { item, load } from "./client.js";

const { Rows, age, dayName, dayOf, emphasised, keyOf, safeUrl, word } = await load("notification-list");

function rows(numbers, { show = "active", floor = 0, isFiltered = false } = {}) {
  const list = new Rows(show, floor, isFiltered);
  for (const number of numbers) list.set(100 + number, item(number, { archived: show === "archived" }));
  return list;
}

const change = (more) => ({ items: [], ops: [], reset: false, ...more });
const numbers = (changed) => changed.map(({ number }) => number);
const left = (list) => list.sorted.map(({ number }) => number);

test("only links that lead somewhere harmless survive", () => {
  for (const url of ["https://a.example/x", "http://a.example", "mailto:a@b.example", "/orders/7/", "?page=2", "orders"]) assert.equal(safeUrl(url), url);
  const hostile = ["javascript:alert(1)", " javascript:alert(1)", "java\nscript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x",
    "vbscript:x", "blob:https://a.example/1", "file:///etc/passwd", "http://[", ""];
  for (const url of hostile) assert.equal(safeUrl(url), "", url);
});

test("names are emphasised where they stand, as text", () => {
  assert.deepEqual(emphasised("<b>Ann</b> commented on Order 7", ["<b>Ann</b>", "Order 7"]), ["", "<b>Ann</b>", " commented on ", "Order 7", ""]);
  assert.deepEqual(emphasised("Order 7 Ltd paid", ["Order 7 Ltd", "Order 7"]), ["", "Order 7 Ltd", " paid"]);
  assert.deepEqual(emphasised("(?:Ann) [1] paid 5 €", ["(?:Ann) [1]", "5 €"]), ["", "(?:Ann) [1]", " paid ", "5 €", ""], "a name is no pattern");
  assert.deepEqual(emphasised("🔔 Zoë paid", ["🔔 Zoë"]), ["", "🔔 Zoë", " paid"]);
  assert.deepEqual(emphasised("Paid", ["Ann", ""]), ["Paid"]);
  assert.deepEqual(emphasised("", ["Ann"]), [""]);
});

test("ages are told in the language's words", () => {
  const minute = 60_000;
  assert.deepEqual([0, 5 * minute, 120 * minute, 3 * 1440 * minute].map((span) => age(span, "en")), ["now", "5 minutes ago", "2 hours ago", "3 days ago"]);
  assert.equal(age(-minute, "en"), "now", "a clock that is behind shows no future");
  assert.match(age(3 * 1440 * minute, "de"), /vor 3 Tagen/);
});

test("a row that comes with the operation that marks it keeps its content", () => {
  const list = rows([]);
  const [row] = list.apply(change({ items: [item(1)], ops: [{ read_upto: 1 }] }));
  assert.deepEqual([row.title, row.read], [item(1).title, true]);
});

test("one is told in the singular, where the server printed it", () => {
  const told = (dataset, value) => {
    const element = { dataset };
    word(element, value);
    return element.textContent;
  };
  const french = { label: "{count} nouvelles", one: "1 nouvelle" };
  assert.deepEqual([1, 2].map((count) => told(french, count)), ["1 nouvelle", "2 nouvelles"]);
  assert.equal(told({ label: "Offline, as of {time}" }, "14:05"), "Offline, as of 14:05");
  assert.equal(told({}, 1), undefined);
});

test("a new item enters, an older copy of a known one does not", () => {
  const list = rows([1, 2]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(3)] }))), [3]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(3, { stamp: 2, title: "stale" })] }))), []);
  assert.deepEqual(numbers(list.apply(change({ items: [item(2, { stamp: 9, read: true })] }))), [2]);
});

test("archived, hidden and deleted items leave, and come back when unarchived", () => {
  const list = rows([1, 2, 3]);
  list.apply(change({ items: [item(1, { stamp: 4, archived: true }), { id: 102, stamp: 5, hidden: true }] }));
  assert.deepEqual(left(list), [3]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(1, { stamp: 6 })] }))), [1]);
});

test("a bulk step touches what had arrived by then and nothing later", () => {
  const list = rows([1, 2, 3]);
  const changed = list.apply(change({ ops: [{ read_upto: 2 }] }));
  assert.deepEqual(changed.map(({ number, read }) => [number, read]), [[2, true], [1, true]]);
  list.apply(change({ ops: [{ archived_upto: 1 }] }));
  assert.deepEqual(left(list), [3, 2]);
  list.apply(change({ ops: [{ deleted_upto: 2 }] }));
  assert.deepEqual(left(list), [3]);
});

test("the unread list lets go of what is read, the archived one of what is unarchived", () => {
  const leaves = (list, change) => (list.apply(change), !list.size);
  assert.ok(leaves(rows([1], { show: "unread" }), change({ items: [item(1, { stamp: 2, read: true })] })));
  assert.ok(leaves(rows([1], { show: "unread" }), change({ ops: [{ read_upto: 1 }] })));
  const archived = rows([1], { show: "archived" });
  assert.ok(leaves(archived, change({ items: [item(1, { stamp: 2 })] })));
  assert.deepEqual(numbers(archived.apply(change({ items: [item(3, { archived: true })] }))), [3]);
});

test("a reset keeps nothing that it does not bring", () => {
  const list = rows([1, 2]);
  const changed = list.apply(change({ items: [item(2, { stamp: 5 }), item(3)], reset: true, more: true }));
  assert.deepEqual(numbers(changed), [2, 3]);
  assert.deepEqual(left(list), [3, 2]);
  assert.equal(list.floor, 2, "what is older is on further pages");
});

test("a reset brings back what a restored database holds, whatever was newer before", () => {
  const list = rows([]);
  list.apply(change({ items: [item(2, { stamp: 9, read: true })] }));
  assert.deepEqual(numbers(list.apply(change({ items: [item(2)], reset: true }))), [2]);
});

test("the stream's reset is the page of a list of the newest, no further down than it reaches", () => {
  const newest = change({ items: [item(2), item(3)], reset: true, more: true });
  assert.ok(rows([]).isMeantBy(newest) && rows([1, 2]).isMeantBy(newest));
  assert.ok(!rows([1, 2, 3]).isMeantBy(newest), "what its reader has loaded below would be lost");
  assert.ok(rows([1, 2, 3]).isMeantBy({ ...newest, more: false }), "there is nothing below any more");
  assert.ok(!rows([]).isMeantBy({ ...newest, items: [] }), "where the next page begins only the server can tell");
  for (const other of [{ show: "unread" }, { isFiltered: true }]) assert.ok(!rows([], other).isMeantBy(newest));
});

test("a list whose rows have all been put away still shows what arrives, and what comes back to its stretch", () => {
  const list = rows([5, 6, 7], { floor: 5 });
  list.apply(change({ ops: [{ archived_upto: 7 }] }));
  assert.equal(list.size, 0);
  assert.deepEqual(numbers(list.apply(change({ items: [item(8)] }))), [8]);
  assert.deepEqual(numbers(list.apply(change({ items: [item(6, { stamp: 9 }), item(4, { stamp: 10 })] }))), [6], "4 is on another page");
});

test("older rows go on below, and the next ones begin where the server stopped looking", () => {
  const list = rows([8, 9], { floor: 8 });
  assert.deepEqual(numbers(list.apply({ items: [item(7), item(5)], more: true, before: 4 })), [7, 5]);
  assert.equal(list.floor, 4, "below what may not be seen");
  list.apply({ items: [], more: false, before: null });
  assert.deepEqual([list.floor, list.size], [0, 4]);
});

test("only the server knows what belongs into a filtered list", () => {
  const list = rows([1], { isFiltered: true });
  assert.deepEqual(numbers(list.apply(change({ items: [item(1, { stamp: 4, read: true }), item(5)] }))), [1]);
  list.apply(change({ items: [item(1, { stamp: 6, archived: true })] }));
  assert.equal(list.size, 0);
});

test("a page that stays open does not grow for ever, but keeps what its reader asked for", () => {
  const many = (from, to) => Array.from({ length: to - from + 1 }, (_, index) => item(from + index));
  const list = rows([]);
  list.apply(change({ items: many(1000, 1250) }));
  assert.deepEqual([list.size, list.sorted[0].number, list.floor], [200, 1250, 1051]);
  list.apply({ items: many(751, 1050), more: false });
  assert.equal(list.size, 500);
  list.apply(change({ items: many(1251, 1400) }));
  assert.equal(list.size, 650, "nothing is thrown away below who reads there");
  list.apply(change({ items: many(1401, 1700) }));
  assert.equal(list.size, 700);
});

const STEPS = {
  read: ["read", true], unread: ["read", false], archive: ["archived", true], unarchive: ["archived", false], delete: ["hidden", true],
};

test("what a step will do shows before the server has said so", () => {
  for (const [type, [property, value]] of Object.entries(STEPS)) {
    const told = rows([1, 2, 3]).foretell({ type, ids: [102] });
    assert.deepEqual(told.map((row) => [row.number, row[property]]), [[2, value]], type);
  }
  assert.deepEqual(rows([1, 2, 3]).foretell({ type: "read", upto: 2 }).map(({ number }) => number), [2, 1]);
  assert.deepEqual(rows([1]).foretell({ type: "unarchive", stamp: 7 }), [], "what an undo brings back is not here to be told");
  const list = rows([1, 2]);
  list.apply({ items: list.foretell({ type: "archive", ids: [101] }) });
  assert.deepEqual(left(list), [2]);
});

test("the delta has the last word over what was foretold, and a delta from before the step has none", () => {
  const list = rows([4]);
  const tell = (more) => list.apply(change({ items: [item(4, more)] }));
  list.apply({ items: list.foretell({ type: "read", ids: [104] }) });
  tell({ stamp: 4, read: false });
  assert.equal(list.get(104).read, true);
  tell({ stamp: 5, read: false, title: "unread in another tab since" });
  assert.equal(list.get(104).read, false);
});

test("a step that failed is put right by reading again", () => {
  const list = rows([4]);
  list.apply({ items: list.foretell({ type: "read", ids: [104] }) });
  list.apply(change({ items: [item(4)], reset: true }));
  assert.equal(list.get(104).read, false);
});

test("days are named in the language's words, by the reader's clock", () => {
  const name = (day, language = "en") => dayName(day, "2026-03-30", language);
  assert.deepEqual(["2026-03-30", "2026-03-29", "2026-03-28"].map((day) => name(day)), ["today", "yesterday", "March 28"]);
  assert.equal(name("2026-03-31"), "today", "a clock that is behind shows no future");
  assert.equal(name("2025-12-31"), "December 31, 2025");
  assert.deepEqual([name("2026-03-29", "de"), name("2025-12-31", "de")], ["gestern", "31. Dezember 2025"]);
  const zone = process.env.TZ;
  process.env.TZ = "Asia/Seoul";
  assert.equal(dayOf(new Date("2026-03-29T15:30:00Z")), "2026-03-30");
  process.env.TZ = "America/Lima";
  assert.equal(dayOf(new Date("2026-03-30T03:30:00Z")), "2026-03-29");
  if (zone === undefined) delete process.env.TZ;
  else process.env.TZ = zone;
});

const press = (key, more = {}) => keyOf({ key, code: "", ctrlKey: false, shiftKey: false, altKey: false, metaKey: false, ...more });

test("keys go by their letter, with the modifiers that the help names", () => {
  assert.deepEqual(["j", "Delete", "PageDown", "z"].map((key) => press(key)), ["j", "delete", "pagedown", "z"]);
  assert.equal(press("A", { shiftKey: true, code: "KeyA" }), "shift+a");
  assert.equal(press("?", { shiftKey: true }), "?", "on some layouts with Shift, on some without");
  assert.equal(press("End", { ctrlKey: true }), "ctrl+end");
  assert.equal(press("J", { code: "KeyJ" }), "j", "Caps Lock");
  for (const modifier of ["altKey", "metaKey"]) assert.equal(press("e", { [modifier]: true }), "");
  assert.equal(press("r", { ctrlKey: true }), "ctrl+r", "which is the browser's");
});

test("keys of another script count by their place, those of a Latin layout by their letter", () => {
  assert.equal(press("ت", { code: "KeyJ" }), "j");
  assert.equal(press("ㅓ", { code: "KeyJ" }), "j");
  assert.equal(press("Process", { code: "KeyK" }), "k");
  assert.equal(press("j", { code: "KeyC" }), "j", "Dvorak");
});
