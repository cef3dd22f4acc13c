import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./client.js";

const { badge, counted, place } = await load("notification-bell");
const view = { width: 1200, height: 800 };
const button = (left, top) => ({ left, right: left + 40, top, bottom: top + 40 });

test("the badge is exact up to 99", () => {
  assert.deepEqual([1, 99, 100, 12_345].map(badge), ["1", "99", "99+", "99+"]);
});

test("the title says the count once, whatever the site's own is", () => {
  assert.equal(counted("My orders", 3), "(3)\xa0My orders");
  assert.equal(counted(counted("My orders", 3), 4), "(4)\xa0My orders");
  assert.equal(counted(counted("My orders", 3), 0), "My orders");
  assert.equal(counted("(3)\xa0(120)\xa0My orders", 100), "(99+)\xa0My orders"); // from a cache, under a copy of itself
  assert.equal(counted(counted("(2) Inbox", 5), 0), "(2) Inbox"); // a number of the site's
  assert.equal(counted("", 1), "(1)\xa0");
});

test("the panel opens towards the room that there is", () => {
  assert.deepEqual(place(button(1100, 10), view), { top: "50px", bottom: "auto", room: "750px", left: "auto", right: "60px" });
  assert.deepEqual(place(button(20, 10), view), { top: "50px", bottom: "auto", room: "750px", left: "20px", right: "auto" });
  assert.deepEqual(place(button(20, 700), view), { top: "auto", bottom: "100px", room: "700px", left: "20px", right: "auto" });
});
