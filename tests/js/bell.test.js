import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./client.js";

const { badge, place } = await load("notification-bell");
const view = { width: 1200, height: 800 };
const button = (left, top) => ({ left, right: left + 40, top, bottom: top + 40 });

test("the badge is exact up to 99", () => {
  assert.deepEqual([1, 99, 100, 12_345].map(badge), ["1", "99", "99+", "99+"]);
});

test("the panel opens towards the room that there is", () => {
  assert.deepEqual(place(button(1100, 10), view), { top: "50px", bottom: "auto", room: "750px", left: "auto", right: "60px" });
  assert.deepEqual(place(button(20, 10), view), { top: "50px", bottom: "auto", room: "750px", left: "20px", right: "auto" });
  assert.deepEqual(place(button(20, 700), view), { top: "auto", bottom: "100px", room: "700px", left: "20px", right: "auto" });
});
