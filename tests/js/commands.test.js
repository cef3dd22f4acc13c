import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { delta, item, json, tick, welcome } from "./client.js";
import { command, greet, leaveAll, posted, settled, stream } from "./page.js";

afterEach(leaveAll);

const done = json({ stamp: 8, position: "e.8", items: [], unread: 0, unseen: 0, seen_upto: 0, more: false });
const shared = { tabs: "k1", "changes-url": "/n/changes/" };
const alone = { locks: () => undefined }; // its key is that of what it keeps

/** Everything that is on its way by POST, one after the other. */
async function settle() {
  for (let turn = 0; turn < 300; turn++) await tick();
}

test("a command goes over the socket, and is told when it is done", () => {
  const { scene, of } = settled();
  assert.ok(command({ type: "read", ids: [7] }));
  const [{ ref, ...sent }] = scene.socket.said("read");
  assert.deepEqual(sent, { type: "read", ids: [7] });
  assert.deepEqual(of("done"), []);
  scene.socket.say({ type: "done", ref, stamp: 5 });
  assert.deepEqual(of("done").map(({ type, ids, stamp }) => [type, ids, stamp]), [["read", [7], 5]]);
  scene.socket.say({ type: "done", ref, stamp: 5 });
  assert.equal(of("done").length, 1);
});

test("a command may mean what an earlier step has touched: by its stamp", async () => {
  const { scene, leave } = settled();
  assert.ok(command({ type: "unread", stamp: 5 }));
  assert.equal(scene.socket.said("unread")[0].stamp, 5);
  await leave();
  const posting = stream();
  posting.scene.answer = done;
  command({ type: "undelete", stamp: 6 });
  await settle();
  assert.deepEqual(posted(posting.scene), ["undelete_stamp=6"]);
});

test("seen without a number means all that this page knows; other steps must say what they mean", () => {
  const { scene } = settled();
  scene.socket.say(delta("e.4", "e.9", { items: [item(9)] }));
  assert.ok(command({ type: "seen" }));
  assert.equal(scene.socket.said("seen")[0].upto, 9);
  assert.ok(!command({ type: "delete" }));
  assert.ok(!command({ type: "delete", ids: [1], upto: 3 }));
  assert.ok(!command({ type: "delete", ids: [1], stamp: 3 }));
  assert.equal(scene.socket.said("delete").length, 0);
});

test("whoever gives a command may name it", async () => {
  const { scene, of } = settled();
  command({ type: "read", ids: [7], ref: "mine" });
  scene.socket.say({ type: "done", ref: scene.socket.said("read")[0].ref, stamp: 5 });
  assert.equal(of("done")[0].ref, "mine");
});

test("two commands of the same name are two commands", () => {
  const { scene, of } = settled();
  command({ type: "read", ids: [7], ref: "x" });
  command({ type: "read", ids: [8], ref: "x" });
  for (const { ref } of scene.socket.said("read")) scene.socket.say({ type: "done", ref, stamp: 5 });
  assert.deepEqual(of("done").map(({ ids }) => ids), [[7], [8]]);
});

test("the socket's break leaves a command that was not done yet to the next way, once", async () => {
  const { scene, of } = settled();
  command({ type: "read", ids: [7] });
  command({ type: "read", ids: [8] });
  scene.socket.say({ type: "done", ref: scene.socket.said("read")[0].ref, stamp: 5 });
  scene.socket.end(1006);
  await settle();
  assert.deepEqual(posted(scene), []);
  scene.answer = done;
  scene.clock.pass(1000);
  greet(scene);
  await settle();
  assert.deepEqual(posted(scene), ["read=8"]);
  assert.deepEqual(of("done").map(({ ids, stamp }) => [ids, stamp]), [[[7], 5], [[8], 8]]);
});

test("however many commands there are, they are never too much for the server", async () => {
  const { scene, of } = settled();
  scene.answer = done;
  const ids = Array.from({ length: 60 }, (_, index) => index + 1);
  for (const id of ids) assert.ok(command({ type: "read", ids: [id] }));
  const overTheSocket = scene.socket.said("read").flatMap((frame) => frame.ids);
  await settle();
  assert.equal(overTheSocket.length, 20);
  assert.deepEqual([...overTheSocket, ...posted(scene).map((body) => Number(body.replace("read=", "")))], ids, "each goes one way, in order");
  for (const { ref } of scene.socket.said("read")) scene.socket.say({ type: "done", ref, stamp: 5 });
  assert.equal(of("done").length, 60);
  command({ type: "read", ids: [61] });
  assert.deepEqual(scene.socket.said("read").at(-1).ids, [61], "what is done makes room");
});

test("until the socket has answered a command is the form's POST, for the page has just come by HTTP", async () => {
  const { scene, of } = stream();
  scene.answer = done;
  command({ type: "read", ids: [7, 8] });
  command({ type: "read", upto: 4 });
  await settle();
  assert.equal(scene.requests[0].url, "/notifications/mark/");
  assert.equal(String(scene.requests[0].body), "csrfmiddlewaretoken=secret&read=7&read=8");
  assert.equal(String(scene.requests[1].body), "csrfmiddlewaretoken=secret&read_upto=4");
  assert.ok(scene.requests.every(({ keepalive }) => keepalive), "also when the page is left for the link that was clicked");
  assert.deepEqual(of("done").map(({ stamp }) => stamp), [8, 8]);
});

test("POSTs go one after the other, in the order of the commands", async () => {
  const { scene } = stream();
  let release;
  scene.answer = () => new Promise((resolve) => (release = () => resolve(done)));
  command({ type: "read", ids: [7] });
  command({ type: "unread", ids: [7] });
  await settle();
  assert.deepEqual(posted(scene), ["read=7"]);
  release();
  await settle();
  assert.deepEqual(posted(scene), ["read=7", "unread=7"]);
});

test("a command that the server refuses is reported, not lost in silence", async () => {
  const { of, scene } = stream();
  command({ type: "read", ids: [7] }); // no network, though the browser believes in one
  await settle();
  scene.answer = { ...done, redirected: true };
  command({ type: "read", ids: [8] });
  await settle();
  scene.answer = json({}, 403);
  command({ type: "read", ids: [9] });
  await settle();
  assert.deepEqual(of("failed").map(({ ids }) => ids), [[7], [8], [9]]);
  assert.deepEqual(of("done"), []);
});

test("a second hello on the same socket sends no command again", async () => {
  const { scene } = settled();
  scene.answer = done;
  command({ type: "read", ids: [7] });
  scene.socket.say(delta("e.8", "e.9"));
  scene.socket.say(welcome());
  await settle();
  assert.deepEqual([scene.socket.said("read").length, posted(scene).length], [1, 0]);
});

test("no command overtakes one that goes by POST", async () => {
  const { scene } = settled();
  let release;
  scene.answer = () => new Promise((resolve) => (release = () => resolve(done)));
  command({ type: "read", ids: [7] });
  scene.socket.say({ type: "error", ref: scene.socket.said("read")[0].ref, code: "busy", message: "" });
  command({ type: "unread", ids: [7] });
  assert.equal(scene.socket.said("unread").length, 0);
  release();
  await settle();
  assert.deepEqual(posted(scene), ["read=7", "unread=7"]);
});

test("a command that the socket refuses is tried by POST", async () => {
  const { scene, of } = settled();
  scene.answer = done;
  command({ type: "read", ids: [7] });
  scene.socket.say({ type: "error", ref: scene.socket.said("read")[0].ref, code: "busy", message: "" });
  await settle();
  assert.deepEqual(posted(scene), ["read=7"]);
  assert.equal(of("done").length, 1);
});

test("what is given while nothing is connected waits, and is sent once, in order, when something is", async () => {
  const { scene, of } = settled();
  scene.answer = done;
  scene.socket.end(1006);
  command({ type: "archive", ids: [7] });
  command({ type: "unarchive", ids: [7] });
  await settle();
  assert.deepEqual([...posted(scene), ...of("failed")], []);
  scene.clock.pass(1000);
  greet(scene);
  await settle();
  assert.deepEqual(posted(scene), ["archive=7", "unarchive=7"]);
  assert.equal(scene.socket.said("archive").length, 0, "one command never goes two ways");
  scene.socket.end(1006);
  scene.clock.pass(1000);
  greet(scene);
  await settle();
  assert.equal(posted(scene).length, 2);
  assert.deepEqual(of("done").map(({ type }) => type), ["archive", "unarchive"]);
});

test("what is given offline waits for the network, and has not failed", async () => {
  const { scene, of } = stream();
  scene.online = false;
  command({ type: "read", ids: [7] });
  await settle();
  assert.deepEqual([...posted(scene), ...of("failed")], []);
  scene.online = true;
  scene.answer = done;
  dispatchEvent(new Event("online"));
  await settle();
  assert.deepEqual(posted(scene), ["read=7"]);
});

test("a POST that the network's end has cut is sent again", async () => {
  const { scene, of } = stream();
  scene.answer = () => {
    scene.online = false;
    throw new TypeError("network changed");
  };
  command({ type: "read", ids: [7] });
  await settle();
  assert.deepEqual(of("failed"), []);
  scene.online = true;
  scene.answer = done;
  dispatchEvent(new Event("online"));
  await settle();
  assert.deepEqual(of("done").map(({ ids }) => ids), [[7]]);
});

test("at most two hundred wait: the oldest gives way, and that is told", () => {
  const { scene, of } = stream();
  scene.online = false;
  for (let id = 1; id <= 202; id++) command({ type: "read", ids: [id] });
  assert.deepEqual(of("failed").map(({ ids }) => ids), [[1], [2]]);
});

test("what waits survives a reload of the page, and is sent once", async () => {
  const before = stream({ more: shared, without: alone });
  before.scene.online = false;
  command({ type: "archive", ids: [7], ref: "mine" });
  command({ type: "read", upto: 4 });
  const { storage } = before.scene;
  await before.leave();
  const after = stream({ more: shared, without: alone, storage });
  after.scene.answer = done;
  greet(after.scene);
  await settle();
  assert.deepEqual(posted(after.scene), ["archive=7", "read_upto=4"]);
  assert.deepEqual(after.of("done").map(({ ref, type }) => [ref === "mine", type]), [[true, "archive"], [false, "read"]]);
  await after.leave();
  const again = stream({ more: shared, without: alone, storage });
  greet(again.scene);
  await settle();
  assert.deepEqual(posted(again.scene), []);
});

test("what waits is not sent for another user, nor for another session", async () => {
  const before = stream({ more: shared, without: alone });
  before.scene.online = false;
  command({ type: "read", upto: 4 });
  const { storage } = before.scene;
  await before.leave();
  const after = stream({ more: { ...shared, tabs: "k2" }, without: alone, storage });
  after.scene.answer = done;
  greet(after.scene);
  await settle();
  assert.deepEqual(posted(after.scene), []);
});

test("what waits when the session ends has failed: whoever signs in next may be another", async () => {
  const { scene, of } = settled({ more: shared, without: alone });
  scene.answer = done;
  command({ type: "read", upto: 4 });
  scene.socket.say({ type: "bye", code: 4401, reason: "signed out", retry_after: null });
  assert.deepEqual(of("failed").map(({ upto }) => upto), [4]);
  scene.socket.end(4401);
  scene.clock.pass(1000);
  greet(scene);
  await settle();
  assert.deepEqual(posted(scene), []);
  assert.equal(scene.storage["notifications-k1"], "[]");
});

test("nothing depends on the storage, which may be denied or hold nonsense", async () => {
  const denied = new Proxy({}, { get: () => { throw new DOMException("no", "SecurityError"); }, set: () => { throw new DOMException("no", "SecurityError"); } });
  for (const storage of [denied, { "notifications-k1": "{nonsense", "notifications-way": "x" }]) {
    const { scene, of, leave } = stream({ more: shared, without: alone, storage });
    greet(scene);
    command({ type: "read", ids: [7] });
    scene.socket.say({ type: "done", ref: scene.socket.said("read")[0].ref, stamp: 5 });
    assert.equal(of("done").length, 1);
    await leave();
  }
});

test("a site may wait for its command: the stamp of its step, or that it was refused", async () => {
  const { scene, element } = settled();
  const read = element.command({ type: "read", ids: [7] });
  scene.socket.say({ type: "done", ref: scene.socket.said("read")[0].ref, stamp: 5 });
  assert.deepEqual(await read, { stamp: 5 });
  scene.answer = json({}, 403);
  const refused = element.command({ type: "delete", ids: [7] });
  scene.socket.say({ type: "error", ref: scene.socket.said("delete")[0].ref, code: "unavailable", message: "" });
  await assert.rejects(refused);
  await assert.rejects(element.command({ type: "delete" }));
});
