import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, item, load } from "./client.js";

const { claim, isDone, plan, world } = await load("notification-toasts");
const numbers = ({ items, summary }) => [items.map(({ number }) => number), summary];

test("live items have a toast each, up to three; more at once are summed up", () => {
  assert.deepEqual(numbers(plan([item(1), item(2), item(3)], true)), [[1, 2, 3], ""]);
  assert.deepEqual(numbers(plan([item(1), item(2), item(3), item(4)], true)), [[4], "many"]);
});

test("what was caught up is one toast, however little it is", () => {
  assert.deepEqual(numbers(plan([item(1)], false)), [[1], "away"]);
  assert.deepEqual(numbers(plan([item(1), item(2), item(3)], false)), [[3], "away"]);
});

const FOCUSED = [true, true];
const VISIBLE = [true, false];
const HIDDEN = [false, false];

/** Tabs of one browser, on one clock and one set of locks. */
function browser(locks = new Locks()) {
  const clock = new Clock();
  Object.assign(world, { locks: () => locks, later: clock.later });
  const ask = (attention, name = "tabs-7") => {
    const tab = { isMine: undefined };
    void claim(name, ...attention).then((isMine) => (tab.isMine = isMine));
    return tab;
  };
  const pass = async (milliseconds) => {
    clock.pass(milliseconds);
    await new Promise(setImmediate);
  };
  return { ask, pass, locks };
}

/** As much of the Web Locks API as a claim uses: taken or not, until the promise of its holder settles. */
class Locks {
  held = new Set();
  async request(name, { ifAvailable }, run) {
    assert.ok(ifAvailable, "nobody waits in line to show a toast");
    if (this.held.has(name)) return run(null);
    this.held.add(name);
    await run({ name });
    this.held.delete(name);
  }
}

test("the tab that has the focus shows it, whoever heard of it first", async () => {
  const { ask, pass } = browser();
  const [hidden, visible] = [ask(HIDDEN), ask(VISIBLE)];
  await pass(190);
  const focused = ask(FOCUSED);
  await pass(0);
  assert.equal(focused.isMine, true);
  assert.equal(visible.isMine, undefined, "it has not even asked");
  await pass(600);
  assert.deepEqual([hidden.isMine, visible.isMine], [false, false]);
});

test("without one in focus a visible tab shows it, and of several exactly one", async () => {
  const { ask, pass } = browser();
  const tabs = [ask(HIDDEN), ask(VISIBLE), ask(VISIBLE)];
  await pass(200);
  await pass(600);
  assert.deepEqual(tabs.map(({ isMine }) => isMine), [false, true, false]);
});

test("where all are hidden exactly one tells it", async () => {
  const { ask, pass } = browser();
  const tabs = [ask(HIDDEN), ask(HIDDEN), ask(HIDDEN)];
  await pass(599);
  assert.deepEqual(tabs.map(({ isMine }) => isMine), [undefined, undefined, undefined]);
  await pass(1);
  assert.deepEqual(tabs.map(({ isMine }) => isMine).sort(), [false, false, true]);
});

test("a tab whose timers are a minute late finds it told, and in the end the lock is let go", async () => {
  const { ask, pass, locks } = browser();
  ask(FOCUSED);
  await pass(0);
  await pass(60_000);
  const late = ask(FOCUSED);
  await pass(0);
  assert.equal(late.isMine, false);
  await pass(10_000);
  assert.equal(locks.held.size, 0);
});

test("each notification has its own teller, and so has each session", async () => {
  const { ask, pass } = browser();
  const all = [ask(FOCUSED, "mina-7"), ask(FOCUSED, "mina-8"), ask(FOCUSED, "noor-7")];
  await pass(0);
  assert.deepEqual(all.map(({ isMine }) => isMine), [true, true, true]);
});

for (const [kind, locks] of Object.entries({ without: null, "with denied": { request: () => Promise.reject(new Error("denied")) } })) {
  test(`${kind} Web Locks each visible tab shows it, and no hidden one`, async () => {
    const { ask, pass } = browser(locks);
    const tabs = [ask(FOCUSED), ask(VISIBLE), ask(HIDDEN)];
    await pass(600);
    assert.deepEqual(tabs.map(({ isMine }) => isMine), [true, true, false]);
  });
}

test("what has taken a step since it arrived, or was read with others, needs no telling any more", () => {
  const change = (...items) => ({ items, ops: [], reset: false });
  assert.equal(isDone(item(3), change(item(3, { read: true }))), true);
  assert.equal(isDone(item(3), change({ id: item(3).id, stamp: 9, hidden: true })), true);
  assert.equal(isDone(item(3), change(item(2, { read: true }), item(4))), false);
  assert.equal(isDone(item(3), { ...change(), ops: [{ read_upto: 3 }] }), true);
  assert.equal(isDone(item(3), { ...change(), ops: [{ read_upto: 2 }, { archived_upto: 2 }] }), false);
  assert.equal(isDone(item(3), { ...change(item(3), item(4)), reset: true }), false, "a fresh page names all, old and new");
});
