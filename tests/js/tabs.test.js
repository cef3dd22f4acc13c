import assert from "node:assert/strict";
import { test } from "node:test";
import { browserWith, Browser, greet, news, settle } from "./browser.js";
import { delta, item, json, welcome } from "./client.js";

const opened = (browser) => browser.tabs.map(({ scene }) => scene.sockets.length);
const states = (browser) => browser.tabs.map(({ state }) => state);
const numbers = (tab) => tab.of("new").flatMap(({ items, live }) => items.map(({ number }) => [number, live]));

test("twenty tabs of one session have one connection", async () => {
  const browser = await browserWith(...Array(20).fill({}));
  assert.equal(browser.connections.length, 1);
  assert.deepEqual(new Set(states(browser)), new Set(["open"]));
  assert.deepEqual(browser.tabs.map(({ element }) => element.transport), ["websocket", ...Array(19).fill("shared")]);
  for (let beats = 0; beats < 3; beats++) {
    await browser.pass(25_000, 400);
    browser.tabs[0].scene.socket.say({ type: "heartbeat", position: "e.4" });
  }
  assert.equal(browser.connections.length, 1);
  assert.ok(browser.tabs.every(({ looks }) => looks.length === 0), "and who stands where it stands asks for nothing");
});

test("what the leading tab hears shows in every tab, live", async () => {
  const browser = await browserWith({}, {}, { isVisible: false });
  browser.tabs[0].scene.socket.say(delta("e.4", "e.5", { items: [item(5)], unread: 3 }));
  await settle();
  for (const tab of browser.tabs) {
    assert.equal(tab.position, "e.5");
    assert.deepEqual(numbers(tab), [[5, true]]);
    assert.equal(tab.element.unread, 3);
  }
});

test("a tab that was printed elsewhere catches up by HTTP, and that is not live", async () => {
  const browser = await browserWith({});
  browser.tabs[0].scene.socket.say(delta("e.4", "e.6", { items: [item(5), item(6)] }));
  const late = await browser.open({ position: "e.4" });
  late.scene.answer = news([delta("e.4", "e.6", { items: [item(5), item(6)] })]);
  await settle();
  assert.deepEqual(late.looks, ["/n/changes/?position=e.4&language=de"]);
  assert.equal(late.position, "e.6");
  assert.deepEqual(numbers(late), [[5, false], [6, false]]);
  browser.tabs[0].scene.socket.say(delta("e.6", "e.7", { items: [item(7)] }));
  await settle();
  assert.deepEqual(numbers(late).at(-1), [7, true]);
});

test("a tab that comes amid what its leader catches up with asks for all of it", async () => {
  const browser = await browserWith({});
  browser.tabs[0].scene.socket.say(delta("e.4", "e.4", { items: [item(5)], more: true }));
  const late = await browser.open({ position: "e.4" });
  late.scene.answer = news([delta("e.4", "e.6", { items: [item(5), item(6)] })]);
  browser.tabs[0].scene.socket.say(delta("e.4", "e.6", { items: [item(6)] }));
  await settle();
  assert.deepEqual(numbers(late).map(([number]) => number), [5, 6]);
  assert.equal(late.position, "e.6");
});

test("a tab that was printed later than its leader has heard asks once, and drops what it has", async () => {
  const browser = await browserWith({});
  const early = await browser.open({ position: "e.5" });
  early.scene.answer = news([], "e.5");
  await settle();
  await browser.pass(5_000);
  assert.equal(early.looks.length, 1);
  browser.tabs[0].scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  browser.tabs[0].scene.socket.say(delta("e.5", "e.6", { items: [item(6)] }));
  await settle();
  assert.deepEqual(numbers(early), [[6, true]]);
  assert.equal(early.looks.length, 1);
});

test("what a leader has missed is live for nobody, not even for a tab that has just come", async () => {
  const browser = new Browser();
  const leader = await browser.open();
  await settle();
  leader.scene.socket.open();
  leader.scene.socket.say(welcome());
  const late = await browser.open();
  await settle();
  leader.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await settle();
  leader.scene.socket.say(delta("e.5", "e.6", { items: [item(6)] }));
  await settle();
  for (const tab of [leader, late]) assert.deepEqual(numbers(tab), [[5, false], [6, true]]);
});

test("a tab that cannot apply what it is passed fills the gap by HTTP", async () => {
  const browser = await browserWith({}, {});
  const [leader, follower] = browser.tabs;
  follower.element.setAttribute("position", "e.3");
  follower.scene.answer = news([delta("e.3", "e.5", { items: [item(5)] })]);
  leader.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await settle();
  assert.equal(follower.position, "e.5");
  assert.equal(leader.looks.length, 0);
});

test("a gap that cannot be filled at once is filled later, without a flood of requests", async () => {
  const browser = await browserWith({}, {});
  const [leader, follower] = browser.tabs;
  follower.element.setAttribute("position", "e.3");
  leader.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await browser.pass(14_000);
  assert.ok(follower.looks.length <= 2, String(follower.looks.length));
  follower.scene.answer = news([delta("e.3", "e.5", { items: [item(5)] })]);
  await browser.pass(20_000);
  assert.equal(follower.position, "e.5");
});

test("when the leading tab is closed another takes over, from where it stands", async () => {
  const browser = await browserWith({}, {}, {});
  const [leader, next] = browser.tabs;
  leader.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await settle();
  leader.close();
  await settle();
  assert.ok(leader.scene.socket.isClosed);
  assert.deepEqual(opened(browser), [1, 0]);
  next.scene.socket.open();
  assert.equal(next.scene.socket.said("hello")[0].position, "e.5");
  await greet(next);
  await settle();
  assert.deepEqual(states(browser), ["open", "open"]);
});

test("when it crashes, too", async () => {
  const browser = await browserWith({}, {});
  browser.tabs[0].crash();
  await settle();
  assert.deepEqual(opened(browser), [1]);
});

test("a hidden tab that begins to lead leaves it to a visible one", async () => {
  const browser = await browserWith({}, { isVisible: false }, { isVisible: false }, { isVisible: true });
  const [leader, , , visible] = browser.tabs;
  leader.close();
  await settle();
  assert.deepEqual(browser.leaders, [visible]);
  assert.deepEqual(browser.tabs.map(({ scene }) => scene.sockets.filter(({ isClosed }) => !isClosed).length), [0, 0, 1]);
});

test("where all are hidden one of them leads", async () => {
  const browser = await browserWith({}, { isVisible: false }, { isVisible: false });
  browser.tabs[0].close();
  await settle();
  assert.equal(browser.connections.length, 1);
});

test("a leader that does not answer is relieved within two seconds, and follows when it comes back to life", async () => {
  const browser = await browserWith({}, {}, { isVisible: false });
  const [leader, visible, hidden] = browser.tabs;
  leader.hang();
  await browser.pass(1_900);
  assert.deepEqual(browser.leaders, [visible]);
  await greet(visible);
  visible.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await settle();
  assert.equal(hidden.position, "e.5");
  leader.scene.answer = news([delta("e.4", "e.5", { items: [item(5)] })]);
  leader.goOn();
  await settle();
  assert.ok(leader.scene.socket.isClosed);
  assert.equal(browser.connections.length, 1);
  assert.deepEqual([leader.state, leader.position, leader.element.transport], ["open", "e.5", "shared"]);
  assert.deepEqual(numbers(leader), [[5, false]], "what it missed is not live");
});

test("a leader that answers is left alone, hidden or not", async () => {
  const browser = await browserWith({}, {});
  const [leader] = browser.tabs;
  leader.show(false);
  await browser.pass(25_000);
  leader.scene.socket.say({ type: "heartbeat", position: "e.4" });
  await browser.pass(25_000);
  assert.deepEqual(browser.leaders, [leader]);
});

test("hidden tabs neither ask nor take over: their timers are no clock", async () => {
  const browser = await browserWith({}, { isVisible: false });
  const [leader, hidden] = browser.tabs;
  leader.hang();
  await browser.pass(10_000);
  assert.deepEqual(browser.leaders, [leader]);
  hidden.show();
  await browser.pass(1_900);
  assert.deepEqual(browser.leaders, [hidden]);
});

test("a tab that is frozen lets go at once, and follows when it is resumed", async () => {
  const browser = await browserWith({}, { isVisible: false });
  const [leader, other] = browser.tabs;
  leader.show(false);
  leader.happens("freeze");
  leader.hang();
  await settle();
  assert.ok(leader.scene.socket.isClosed);
  assert.deepEqual(browser.leaders, [other]);
  await greet(other);
  other.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  leader.scene.answer = news([delta("e.4", "e.5", { items: [item(5)] })]);
  leader.goOn();
  leader.happens("resume");
  await settle();
  assert.equal(leader.position, "e.5");
  assert.equal(browser.connections.length, 1);
});

test("in the back/forward cache a page holds nothing, and shown again it catches up", async () => {
  for (const role of ["leader", "follower"]) {
    const browser = await browserWith({}, {});
    const tab = browser.tabs[role === "leader" ? 0 : 1];
    const other = browser.tabs[role === "leader" ? 1 : 0];
    tab.happens("pagehide", { persisted: true });
    await settle();
    assert.equal(browser.locksOf(tab), 0);
    assert.ok([...browser.channels].every((channel) => channel.tab !== tab));
    assert.equal(tab.scene.clock.waiting, 0);
    if (role === "leader") await greet(other);
    other.scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
    tab.scene.answer = news([delta("e.4", "e.5", { items: [item(5)] })]);
    tab.happens("pageshow", { persisted: true });
    await settle();
    assert.deepEqual([tab.position, tab.state], ["e.5", "open"], role);
    assert.deepEqual(numbers(tab), [[5, false]], role);
    assert.equal(browser.connections.length, 1);
    for (const name of ["pagehide", "pageshow"]) tab.happens(name, { persisted: true });
    await settle();
    other.scene.socket.say(delta("e.5", "e.6", { items: [item(6)] }));
    await settle();
    assert.deepEqual(numbers(tab).at(-1), [6, true], "after an absence in which nothing happened");
  }
});

test("a lost connection shows in all tabs, and so does its return", async () => {
  const browser = await browserWith({}, {});
  const [leader, follower] = browser.tabs;
  leader.scene.socket.end(1006);
  await settle();
  assert.deepEqual(states(browser), ["reconnecting", "reconnecting"]);
  await browser.pass(1_000);
  leader.scene.socket.open();
  leader.scene.socket.say({ type: "welcome", spread_seconds: 1 });
  leader.scene.socket.say(delta("e.4", "e.4", { items: [item(5)], more: true }));
  leader.scene.socket.say(delta("e.4", "e.6", { items: [item(6)] }));
  await settle();
  assert.deepEqual(states(browser), ["open", "open"]);
  assert.deepEqual(numbers(follower), [[5, false], [6, false]], "what the absence of the line has kept back is not live");
  assert.equal(follower.looks.length, 0);
});

test("the end of the session is told to all tabs, and none of them asks again", async () => {
  const browser = await browserWith({}, {}, {});
  const [leader] = browser.tabs;
  for (let twice = 0; twice < 2; twice++) {
    leader.scene.socket.say({ type: "bye", code: 4401, reason: "signed out", retry_after: null });
    leader.scene.socket.end(4401);
    await browser.pass(1_000);
  }
  await browser.pass(60_000);
  assert.deepEqual(states(browser), ["signed-out", "signed-out", "signed-out"]);
  assert.deepEqual(opened(browser), [2, 0, 0]);
  for (const tab of browser.tabs) assert.equal(tab.scene.clock.waiting, 0);
  assert.equal(browser.channels.size, 0);
});

test("each tab has its own connection where one cannot be shared", async () => {
  const attributes = [{ tabs: "" }, { "changes-url": "" }];
  for (const tab of [{ without: ["locks"] }, { without: ["channel"] }, ...attributes.map((more) => ({ more }))]) {
    const browser = await browserWith(tab, tab);
    assert.deepEqual(opened(browser), [1, 1], JSON.stringify(tab));
  }
});

test("each tab has its own connection where locks are denied", async () => {
  const browser = new Browser();
  browser.request = async () => {
    throw new DOMException("in a sandbox", "SecurityError");
  };
  for (let count = 0; count < 2; count++) await browser.open();
  await settle();
  assert.deepEqual(opened(browser), [1, 1]);
});

test("tabs of another user, and in another language, have nothing in common", async () => {
  const browser = await browserWith({}, { more: { tabs: "k2" } }, { more: { language: "fr" } });
  assert.deepEqual(opened(browser), [1, 1, 1]);
  await greet(browser.tabs[1]);
  browser.tabs[0].scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  await settle();
  assert.deepEqual(browser.tabs.map(({ position }) => position), ["e.5", "e.4", "e.4"]);
});

test("a command in a tab that follows goes by POST; what comes of it comes to all", async () => {
  const browser = await browserWith({}, {});
  const [leader, follower] = browser.tabs;
  follower.scene.answer = json({ stamp: 5, items: [] });
  assert.ok(follower.command({ type: "read", ids: [104] }));
  await settle();
  assert.deepEqual(follower.of("done").map(({ type, ids, stamp }) => [type, ids, stamp]), [["read", [104], 5]]);
  assert.deepEqual(leader.of("done"), []);
  follower.scene.answer = () => new Promise(() => {});
  follower.command({ type: "read", ids: [105] });
  for (const ref of ["1", "2"]) leader.scene.socket.say({ type: "done", ref, stamp: 9 });
  await settle();
  assert.equal(follower.of("done").length, 1, "what is done for one tab is not for another");
});

test("where the leading tab polls, a step that another takes shows at once", async () => {
  const plain = { more: { url: "", "events-url": "" }, answer: news([], "e.4") };
  const browser = await browserWith(plain, plain);
  const [leader, follower] = browser.tabs;
  assert.deepEqual(states(browser), ["open", "open"]);
  leader.scene.answer = news([delta("e.4", "e.5", { items: [item(4, { stamp: 5, read: true })] })]);
  follower.scene.answer = json({ stamp: 5, items: [] });
  follower.command({ type: "read", ids: [104] });
  await settle();
  await settle();
  assert.equal(leader.looks.at(-1), "/n/changes/?position=e.4&language=de");
  assert.deepEqual([leader.position, follower.position], ["e.5", "e.5"]);
});

test("elements that come and go leave no lock, channel, timer or connection", async () => {
  for (const count of [1, 3]) {
    const browser = await browserWith(...Array(count).fill({}));
    for (const tab of browser.tabs) tab.element.refresh(); // which fails, and will be made again
    await settle();
    for (const tab of browser.tabs) await tab.swap();
    await settle();
    for (const tab of browser.tabs) {
      assert.equal(browser.locksOf(tab), 0);
      assert.equal(tab.scene.clock.waiting, 0);
    }
    assert.equal(browser.channels.size, 0);
    assert.equal(browser.connections.length, 0);
  }
});
