import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { enter, item, load } from "./client.js";

const { NotificationStream, world } = await load("notification-stream");
const tick = () => new Promise((resolve) => setImmediate(resolve));
let open = [];

function stream({ position = "e.4", top = 4 } = {}) {
  const scene = enter(world);
  const element = new NotificationStream();
  const attributes = { url: "/notifications/socket/", "post-to": "/notifications/mark/", position, top, language: "de" };
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.children = [{ name: "csrfmiddlewaretoken", value: "secret" }];
  const events = [];
  const listen = (event) => events.push([event.type.replace("notifications:", ""), event.detail]);
  const names = ["changed", "new", "state", "failed"].map((name) => `notifications:${name}`);
  for (const name of names) document.addEventListener(name, listen);
  element.connectedCallback();
  const leave = async () => {
    for (const name of names) document.removeEventListener(name, listen);
    element.isConnected = false;
    element.disconnectedCallback();
    await tick();
  };
  open.push(leave);
  return { scene, element, events, leave, of: (name) => events.filter(([type]) => type === name).map(([, detail]) => detail) };
}

afterEach(async () => {
  for (const leave of open) await leave();
  open = [];
});

function greet(scene) {
  scene.socket.open();
  scene.socket.say({ type: "welcome", heartbeat_seconds: 25, spread_seconds: 1, version: 1 });
}

const delta = (base, position, more = {}) => ({ type: "delta", base, position, items: [], ops: [], unread: 0, unseen: 0, seen_upto: 0, ack: "k", more: false, ...more });

function command(detail) {
  return !document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
}

/** Greeted and caught up: what comes now is live. */
function settled(options) {
  const made = stream(options);
  greet(made.scene);
  made.scene.socket.say(delta("e.4", "e.4"));
  made.events.length = 0;
  made.scene.socket.sent.length = 0;
  return made;
}

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

test("what does not ask for an acknowledgement gets none", () => {
  const { scene } = settled();
  const before = scene.socket.said("ack").length;
  scene.socket.say(delta("e.4", "e.5", { items: [item(5)], ack: undefined }));
  assert.equal(scene.socket.said("ack").length, before);
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
  for (let twice = 0; twice < 2; twice++) scene.socket.say(delta("e.4", "e.5", { items: [item(5)] }));
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

test("a command goes over the socket and is said again after a break, until it is done", () => {
  const { scene } = settled();
  assert.ok(command({ type: "read", ids: [7] }));
  const [{ ref, ...sent }] = scene.socket.said("read");
  assert.deepEqual(sent, { type: "read", ids: [7] });
  scene.socket.end(1006);
  scene.clock.pass(1000);
  greet(scene);
  assert.deepEqual(scene.socket.sent.map(({ type }) => type), ["hello", "read"]);
  scene.socket.say({ type: "done", ref });
  scene.socket.end(1006);
  scene.clock.pass(2000);
  greet(scene);
  assert.deepEqual(scene.socket.sent.map(({ type }) => type), ["hello"]);
});

test("however many commands there are, what follows a hello is never too much for the server", async () => {
  const { scene } = settled();
  scene.answer = { ok: true, redirected: false, json: async () => ({ position: "e.4", items: [], unread: 0, unseen: 0, seen_upto: 0, more: false }) };
  const ids = Array.from({ length: 40 }, (_, index) => index + 1);
  for (const id of ids) assert.ok(command({ type: "read", ids: [id] }));
  await tick();
  const overTheSocket = scene.socket.said("read").flatMap((frame) => frame.ids);
  const posted = scene.requests.map(({ body }) => Number(body.get("read")));
  assert.equal(overTheSocket.length, 20);
  assert.deepEqual([...overTheSocket, ...posted], ids, "each goes one way, and none is lost");
  scene.socket.end(4429);
  scene.clock.pass(60_000);
  assert.equal(scene.sockets.length, 2);
  greet(scene);
  assert.deepEqual(scene.socket.sent.map(({ type }) => type), ["hello", ...Array(20).fill("read")]);
  for (const { ref } of scene.socket.said("read")) scene.socket.say({ type: "done", ref });
  command({ type: "read", ids: [41] });
  assert.deepEqual(scene.socket.said("read").at(-1).ids, [41], "what is done makes room");
});

test("seen without a number means all that this page knows; other steps must say what they mean", () => {
  const { scene } = settled();
  scene.socket.say(delta("e.4", "e.9", { items: [item(9)] }));
  assert.ok(command({ type: "seen" }));
  assert.equal(scene.socket.said("seen")[0].upto, 9);
  assert.ok(!command({ type: "delete" }));
  assert.ok(!command({ type: "delete", ids: [1], upto: 3 }));
  assert.equal(scene.socket.said("delete").length, 0);
});

test("without a socket a command is the form's POST, and its answer the page's new state", async () => {
  const { scene, of, element } = stream();
  scene.answer = { ok: true, redirected: false, json: async () => ({ position: "e.7", items: [], unread: 0, unseen: 0, seen_upto: 4, more: false }) };
  command({ type: "read", ids: [7, 8] });
  command({ type: "read", upto: 4 });
  await tick();
  assert.equal(scene.requests[0].url, "/notifications/mark/");
  assert.equal(String(scene.requests[0].body), "csrfmiddlewaretoken=secret&read=7&read=8");
  assert.equal(String(scene.requests[1].body), "csrfmiddlewaretoken=secret&read_upto=4");
  assert.equal(of("changed")[0].reset, true);
  assert.equal(element.position, "e.7");
});

test("a command that neither way takes is reported, not lost in silence", async () => {
  const { of, scene } = stream();
  command({ type: "read", ids: [7] });
  await tick();
  scene.answer = { ok: true, redirected: true, json: async () => ({ position: "e.9", items: [] }) };
  command({ type: "read", ids: [8] });
  await tick();
  assert.deepEqual(of("failed").map(({ ids }) => ids), [[7], [8]]);
});

test("a command that the socket refuses is tried by POST", async () => {
  const { scene } = settled();
  command({ type: "read", ids: [7] });
  scene.socket.say({ type: "error", ref: scene.socket.said("read")[0].ref, code: "busy", message: "" });
  await tick();
  assert.equal(scene.requests.length, 1);
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
  await leave();
  assert.equal(scene.clock.waiting, 0);
  assert.ok(!command({ type: "read", ids: [1] }));
  dispatchEvent(new Event("online"));
  assert.equal(scene.sockets.length, 1);
});
