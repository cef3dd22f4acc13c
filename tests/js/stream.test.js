import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { delta, item, json, tick, welcome } from "./client.js";
import { NotificationStream, command, greet, leaveAll, settled, stream } from "./page.js";

afterEach(leaveAll);

test("the socket resumes from the position that the page was printed at", () => {
  const { scene } = stream();
  scene.socket.open();
  assert.equal(scene.socket.url, "wss://site.example/notifications/socket/");
  assert.deepEqual(scene.socket.sent, [{ type: "hello", position: "e.4", language: "de" }]);
});

test("what is missed while away is news, but not live", () => {
  const { scene, of, element } = stream();
  greet(scene);
  scene.socket.say(delta("e.4", "e.4", { items: [item(5)], more: true, ack: "one" }));
  assert.deepEqual(of("new"), [], "the answer is not complete yet");
  scene.socket.say(delta("e.4", "e.6", { items: [item(6)], unseen: 2, ack: "two" }));
  assert.deepEqual(of("new").map(({ items, live }) => [items.map(({ number }) => number), live]), [[[5, 6], false]]);
  assert.equal(of("changed").at(-1).unseen, 2);
  assert.equal(element.position, "e.6");
  assert.deepEqual(scene.socket.said("ack").map(({ ack }) => ack), ["one", "two"]);
});

test("news whose catch-up was cut in the middle is told when the rest has come", () => {
  const { scene, of } = stream();
  greet(scene);
  scene.socket.say(delta("e.4", "e.4", { items: [item(5)], more: true }));
  scene.socket.end(1006);
  scene.clock.pass(1000);
  greet(scene);
  scene.socket.say(delta("e.4", "e.6", { items: [item(5), item(6)] }));
  assert.deepEqual(of("new").map(({ items }) => items.map(({ number }) => number)), [[5, 6]]);
});

test("what does not ask for an acknowledgement gets none", () => {
  const { scene } = settled();
  scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  assert.equal(scene.socket.said("ack").length, 0);
});

test("what comes after the answer to the hello is live", () => {
  const { scene, of } = settled();
  scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
  assert.deepEqual(of("new").map(({ live }) => live), [true]);
});

test("frames can be watched, both ways", () => {
  const { scene } = stream();
  const seen = [];
  const watch = ({ detail }) => seen.push([detail.direction, detail.type, detail.data.type]);
  document.addEventListener("notifications:frame", watch);
  greet(scene);
  scene.socket.say({ type: "bye", code: 4012, reason: "restart", retry_after: 1 });
  document.removeEventListener("notifications:frame", watch);
  assert.deepEqual(seen, [["out", "hello", "hello"], ["in", "welcome", "welcome"], ["in", "bye", "bye"]]);
});

test("an old item that changes, or one read elsewhere already, is no news", () => {
  const { scene, of } = settled();
  scene.socket.say(delta("e.4", "e.6", { items: [item(3, { stamp: 5, read: true }), item(6, { read: true }), { id: 1, stamp: 6, hidden: true }] }));
  assert.equal(of("changed").length, 1);
  assert.deepEqual(of("new"), []);
});

test("the same delta twice counts once", () => {
  const { scene, of } = settled();
  for (let twice = 0; twice < 2; twice++) scene.socket.say(delta("e.4", "e.5", { items: [item(5)], ack: "k" }));
  assert.equal(of("changed").length, 1);
  assert.equal(scene.socket.said("ack").length, 2, "it still frees the server's window");
});

test("a gap asks from where the page stands, once, and applies nothing", () => {
  const { scene, of, element } = settled();
  scene.socket.say(delta("e.6", "e.7", { items: [item(7)] }));
  scene.socket.say(delta("e.7", "e.8", { items: [item(8)] }));
  assert.deepEqual(scene.socket.said("hello").map(({ position }) => position), ["e.4"]);
  assert.deepEqual(of("changed"), []);
  scene.socket.say(delta("e.4", "e.8", { items: [item(7), item(8)] }));
  assert.equal(element.position, "e.8");
});

test("a reset replaces what the page has", () => {
  const { scene, of, element } = settled();
  scene.socket.say({ type: "reset", position: "f.9", items: [item(9)], unread: 1, unseen: 1, seen_upto: 0, ack: "r", more: true });
  assert.equal(element.position, "f.9");
  assert.deepEqual(of("changed").map(({ reset, more }) => [reset, more]), [[true, true]]);
  assert.equal(of("new").length, 1);
  assert.deepEqual(scene.socket.said("ack").map(({ ack }) => ack), ["r"]);
});

test("rows for a page that was printed without any are no news", () => {
  const { scene, of } = stream({ position: "", top: 0 });
  greet(scene);
  scene.socket.say({ type: "reset", position: "e.4", items: [item(4)], unread: 1, unseen: 1, seen_upto: 0, ack: "r", more: false });
  assert.equal(of("changed").length, 1);
  assert.deepEqual(of("new"), []);
});

test("a heartbeat is answered at once; one that stands elsewhere makes the page ask, unless the delta comes", () => {
  const { scene } = settled();
  scene.socket.say({ type: "heartbeat", position: "e.4" });
  assert.equal(scene.socket.said("heartbeat").length, 1);
  scene.clock.pass(5000);
  assert.equal(scene.socket.said("hello").length, 0);
  scene.socket.say({ type: "heartbeat", position: "e.5" });
  scene.socket.say(delta("e.4", "e.5"));
  scene.clock.pass(5000);
  assert.equal(scene.socket.said("hello").length, 0);
  scene.socket.say({ type: "heartbeat", position: "e.6" });
  scene.clock.pass(1500);
  assert.deepEqual(scene.socket.said("hello").map(({ position }) => position), ["e.5"]);
});

test("the element says where it stands, in properties", () => {
  const { scene, element } = stream();
  assert.deepEqual([element.position, element.state, element.transport], ["e.4", "connecting", ""]);
  greet(scene);
  scene.socket.say(delta("e.4", "e.5", { items: [item(5)], unread: 7, unseen: 2 }));
  assert.deepEqual([element.position, element.state, element.transport], ["e.5", "open", "websocket"]);
  assert.deepEqual([element.unread, element.unseen], [7, 2]);
});

test("a site may ask for what has happened meanwhile", () => {
  const { scene, element } = settled();
  element.refresh();
  assert.deepEqual(scene.socket.said("hello").map(({ position }) => position), ["e.4"]);
});

test("a state is told once", () => {
  const { scene, of } = stream();
  for (let tries = 0; tries < 3; tries++) {
    scene.socket.end(1006);
    scene.clock.pass(5_000);
  }
  greet(scene);
  scene.socket.say(welcome());
  assert.deepEqual(of("state").map(({ state }) => state), ["connecting", "reconnecting", "open"]);
});

test("of two elements one has the socket, and when it goes the other takes over", async () => {
  const { scene, leave } = stream();
  const second = new NotificationStream();
  second.setAttribute("url", "/notifications/socket/");
  second.setAttribute("position", "e.5");
  second.connectedCallback();
  assert.equal(scene.sockets.length, 1);
  await leave();
  assert.ok(scene.sockets[0].isClosed);
  assert.equal(scene.sockets.length, 2);
  second.isConnected = false;
  second.disconnectedCallback();
  await tick();
  assert.equal(scene.clock.waiting, 0);
});

test("an element that is only moved keeps its socket", async () => {
  const { scene, element } = settled();
  element.disconnectedCallback();
  element.connectedCallback();
  await tick();
  assert.equal(scene.sockets.length, 1);
  assert.ok(!scene.sockets[0].isClosed);
});

test("an element that has left hears and asks nothing more", async () => {
  const { scene, leave } = settled();
  scene.socket.say({ type: "heartbeat", position: "e.9" });
  await leave();
  assert.equal(scene.clock.waiting, 0);
  assert.ok(!command({ type: "read", ids: [1] }));
  dispatchEvent(new Event("online"));
  assert.equal(scene.sockets.length, 1);
});

test("elements that come and go, as a Turbo visit or an htmx swap has them do, leave nothing behind", async () => {
  const counted = { added: 0, removed: 0 };
  const { addEventListener } = document;
  document.addEventListener = function add(name, listener, options) {
    counted.added++;
    options?.signal?.addEventListener("abort", () => counted.removed++);
    return addEventListener.call(this, name, listener, options);
  };
  const global = globalThis.addEventListener;
  globalThis.addEventListener = document.addEventListener.bind(document);
  try {
    for (let visit = 0; visit < 20; visit++) {
      const { scene, leave } = stream({ more: { "events-url": "/e/", "changes-url": "/c/" } });
      counted.added -= 5; // the test's own
      if (visit % 2) greet(scene);
      else scene.socket.end(1006);
      scene.answer = json({ messages: [], position: "e.4", spread_seconds: 1 });
      await leave();
      assert.equal(scene.clock.waiting, 0);
      assert.ok([...scene.sockets, ...scene.streams].every((each) => each.isClosed || each.onclose === null || !visit % 2));
    }
    assert.ok(counted.added > 0);
    assert.equal(counted.added, counted.removed);
  } finally {
    document.addEventListener = addEventListener;
    globalThis.addEventListener = global;
  }
});
