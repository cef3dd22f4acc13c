import assert from "node:assert/strict";
import { test } from "node:test";
import { Clock, item, load } from "./client.js";

const { Countdown, plan } = await load("notification-toasts");
const numbers = ({ items, summary }) => [items.map(({ number }) => number), summary];

test("live items have a toast each, up to three; more at once are summed up", () => {
  assert.deepEqual(numbers(plan([item(1), item(2), item(3)], true)), [[1, 2, 3], ""]);
  assert.deepEqual(numbers(plan([item(1), item(2), item(3), item(4)], true)), [[4], "many"]);
});

test("what was caught up is one toast, however little it is", () => {
  assert.deepEqual(numbers(plan([item(1)], false)), [[1], "away"]);
  assert.deepEqual(numbers(plan([item(1), item(2), item(3)], false)), [[3], "away"]);
});

test("a toast leaves after eight seconds, but not while somebody reads", () => {
  const clock = new Clock();
  const gone = [];
  const countdown = new Countdown((toast) => gone.push(toast), clock);
  countdown.add("a");
  clock.pass(7000);
  countdown.pause(true);
  countdown.add("b");
  clock.pass(60_000);
  assert.deepEqual(gone, []);
  countdown.pause(false);
  clock.pass(7999);
  assert.deepEqual(gone, []);
  clock.pass(1);
  assert.deepEqual(gone, ["a", "b"]);
});

test("a dismissed toast leaves no timer", () => {
  const clock = new Clock();
  const countdown = new Countdown(assert.fail, clock);
  countdown.add("a");
  countdown.remove("a");
  assert.equal(clock.waiting, 0);
});
