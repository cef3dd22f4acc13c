import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import { delta, item, json, tick, welcome } from "./client.js";
import { command, leaveAll, posted, stream, world } from "./page.js";

afterEach(leaveAll);

const more = { "events-url": "/n/events/", "changes-url": "/n/changes/" };
const news = (messages, position = messages.at(-1)?.position ?? "e.4") => json({ messages, position, spread_seconds: 1 });
const states = ({ of }) => of("state").map(({ state }) => state);

function page(options = {}) {
  return stream({ more, ...options });
}

/** The server's answer to a fresh connection on this rung. */
function greet(way, position = "e.4") {
  if (way.open) way.open();
  way.say(welcome());
  way.say(delta(position, position));
}

/** A page whose sockets are eaten: each is cut at once. */
function eaten(options) {
  const made = page(options);
  made.scene.socket.end(1006);
  made.scene.clock.pass(500);
  made.scene.socket.end(1006);
  return made;
}

/** And whose streams come to nothing either. */
async function polling(answer = news([]), options = {}) {
  const made = eaten(options);
  made.scene.answer = answer;
  made.scene.stream.refuse();
  await tick();
  return made;
}

test("where sockets fail twice events take over, from where the page stands", () => {
  const made = eaten();
  const { scene, element } = made;
  assert.equal(scene.stream.url, "/n/events/?position=e.4&language=de");
  greet(scene.stream);
  assert.deepEqual([element.state, element.transport], ["open", "events"]);
  scene.stream.say(delta("e.4", "e.5", { items: [item(5)] }));
  assert.equal(element.position, "e.5");
  assert.deepEqual(made.of("new").map(({ live }) => live), [true]);
  scene.clock.pass(40_000);
  assert.equal(scene.sockets.length, 2);
});

test("where sockets open but nothing comes through events take over after ten seconds", () => {
  const { scene } = page();
  scene.socket.open();
  scene.clock.pass(9_999);
  assert.equal(scene.streams.length, 0);
  scene.clock.pass(1);
  assert.ok(scene.socket.isClosed);
  assert.equal(scene.streams.length, 1);
  assert.equal(scene.sockets.length, 1);
});

test("where the server has no event stream the page polls at once", async () => {
  const { scene, element } = await polling();
  assert.deepEqual(scene.requests.map(({ url }) => url), ["/n/changes/?position=e.4&language=de"]);
  assert.ok(scene.stream.isClosed);
  assert.deepEqual([element.state, element.transport], ["open", "polling"]);
});

test("where a proxy keeps events back the page polls after ten seconds", async () => {
  const { scene, element } = eaten();
  scene.answer = news([]);
  scene.clock.pass(10_000);
  await tick();
  assert.ok(scene.stream.isClosed);
  assert.equal(element.transport, "polling");
});

test("where no way leads to the server it is away: the page waits, longer each time, and begins at the top", async () => {
  const made = eaten();
  const { scene } = made;
  scene.stream.refuse();
  await tick(); // the first look fails
  scene.clock.pass(1_000);
  await tick(); // the second
  assert.equal(made.element.state, "reconnecting");
  const count = scene.sockets.length;
  scene.clock.pass(1_999);
  assert.equal(scene.sockets.length, count);
  scene.clock.pass(1);
  assert.equal(scene.sockets.length, count + 1);
});

test("a page that polls looks every 15 to 60 seconds, less often while nothing comes", async () => {
  const { scene, element } = await polling();
  const waits = [];
  for (const random of [0, 0.99, 0, 0.99, 0, 0.99, 0, 0.99]) {
    const [count, from] = [scene.requests.length, scene.clock.now];
    while (scene.requests.length === count) await scene.clock.live(250, 250);
    waits.push((scene.clock.now - from) / 1000);
    scene.random = random;
  }
  assert.ok(waits.every((wait) => wait >= 15 && wait <= 60), String(waits));
  assert.ok(waits.at(-1) > 2 * waits[0]);
  scene.answer = ({ url }) => news(/e\.4/.test(url) ? [delta("e.4", "e.5", { items: [item(5)] })] : [], "e.5");
  while (element.position === "e.4") await scene.clock.live(250, 250);
  const count = scene.requests.length;
  await scene.clock.live(20_000, 250);
  assert.equal(scene.requests.length, count + 1, "after news it looks soon again");
});

test("looks of many pages are spread", async () => {
  const waits = [];
  for (const random of [0, 0.9]) {
    const { scene, leave } = await polling();
    scene.random = random;
    for (let looks = 1; looks < 3; looks++) {
      waits.push(scene.clock.now);
      while (scene.requests.length === looks) await scene.clock.live(250, 250);
    }
    waits.push(scene.clock.now);
    await leave();
  }
  const [, a, b, , c, d] = waits;
  assert.ok(d - c > 1.2 * (b - a), `${b - a} and ${d - c} milliseconds`);
});

test("a page that polls looks at once when it is looked at, when it is online again and after a command", async () => {
  const { scene, element } = await polling();
  for (const name of ["visibilitychange", "online"]) {
    const count = scene.requests.length;
    dispatchEvent(new Event(name));
    await tick();
    assert.equal(scene.requests.length, count + 1, name);
  }
  scene.answer = ({ method }) => (method === "POST" ? json({ stamp: 5, items: [] }) : news([delta("e.4", "e.5", { items: [item(4, { stamp: 5, read: true })] })]));
  command({ type: "read", ids: [104] });
  for (let turn = 0; turn < 5; turn++) await tick();
  assert.deepEqual(posted(scene), ["read=104"]);
  assert.equal(element.position, "e.5");
});

test("what a page finds at its first look it has missed; what it finds at a later one is live", async () => {
  const made = await polling(news([delta("e.4", "e.5", { items: [item(5)] })]));
  made.scene.answer = news([delta("e.5", "e.6", { items: [item(6)] })]);
  await made.scene.clock.live(20_000, 1000);
  assert.deepEqual(made.of("new").map(({ items, live }) => [items[0].number, live]), [[5, false], [6, true]]);
});

test("a look that fails shows, and is soon made again", async () => {
  const made = await polling();
  made.scene.answer = null;
  await made.scene.clock.live(30_000, 250);
  assert.equal(made.element.state, "reconnecting");
  made.scene.answer = news([delta("e.4", "e.5", { items: [item(5)] })]);
  await made.scene.clock.live(20_000, 250);
  assert.deepEqual([made.element.state, made.element.position, made.element.transport], ["open", "e.5", "polling"]);
  assert.deepEqual(made.of("new").map(({ live }) => live), [false]);
});

test("an answer that is none counts as none", async () => {
  for (const answer of [json({}, 500), json({ nothing: 1 }), { ok: true, status: 200, json: async () => JSON.parse("<html>") }]) {
    const { element, leave } = await polling(answer);
    assert.notEqual(element.state, "open");
    await leave();
  }
});

test("a page that polls learns that its session is over: it asks once more, and stays signed out", async () => {
  const made = await polling();
  const { scene } = made;
  scene.answer = json({}, 401);
  await scene.clock.live(120_000, 500);
  const count = scene.requests.length;
  assert.equal(made.element.state, "signed-out");
  await scene.clock.live(120_000, 500);
  assert.equal(scene.requests.length, count);
  assert.equal(scene.clock.waiting, 0);
});

test("the end of the session ends an event stream like a socket", async () => {
  const made = eaten();
  const { scene } = made;
  greet(scene.stream);
  scene.stream.say({ type: "bye", code: 4401, reason: "signed out", retry_after: null });
  scene.stream.cut();
  scene.answer = json({}, 401);
  scene.clock.pass(1_000);
  scene.stream.refuse(); // 401, which no script can see
  await scene.clock.live(5_000, 250);
  assert.equal(made.element.state, "signed-out");
});

test("an event stream that was full goes on at once, unnoticed, from where the page stands", () => {
  const made = eaten();
  const { scene } = made;
  greet(scene.stream);
  scene.stream.say(delta("e.4", "e.5", { items: [item(5)] }));
  const before = states(made).length;
  scene.stream.say({ type: "bye", code: 4012, reason: "go on from here", retry_after: 0 });
  scene.stream.cut();
  assert.equal(scene.streams.length, 2);
  assert.match(scene.stream.url, /position=e\.5/);
  greet(scene.stream, "e.5");
  scene.stream.say(delta("e.5", "e.6", { items: [item(6)] }));
  assert.equal(states(made).length, before);
  assert.deepEqual(made.of("new").map(({ live }) => live), [true, true]);
});

test("a gap in an event stream is asked for by a new one", () => {
  const { scene, element } = eaten();
  greet(scene.stream);
  const [first] = scene.streams;
  first.say(delta("e.6", "e.7", { items: [item(7)] }));
  assert.ok(first.isClosed);
  assert.match(scene.stream.url, /position=e\.4/);
  scene.stream.say(welcome());
  scene.stream.say(delta("e.4", "e.7", { items: [item(6), item(7)] }));
  assert.equal(element.position, "e.7");
});

test("from time to time a better way is tried, and taken over without a gap", async () => {
  const made = eaten();
  const { scene, element } = made;
  greet(scene.stream);
  const [lower] = scene.streams;
  for (let beats = 0; beats < 9 && scene.sockets.length < 3; beats++) {
    scene.clock.pass(25_000);
    lower.say({ type: "heartbeat", position: "e.4" });
  }
  assert.equal(scene.sockets.length, 3);
  scene.socket.open();
  lower.say(delta("e.4", "e.5", { items: [item(5)] }));
  assert.equal(element.transport, "events");
  scene.socket.say(welcome());
  assert.ok(lower.isClosed);
  assert.deepEqual([element.state, element.transport], ["open", "websocket"]);
  assert.deepEqual(scene.socket.said("hello").map(({ position }) => position), ["e.4", "e.5"], "and on from here");
  scene.socket.say(delta("e.4", "e.5", { items: [item(5)] })); // the answer to the first
  scene.socket.say(welcome());
  scene.socket.say(delta("e.5", "e.5"));
  scene.socket.say(delta("e.5", "e.6", { items: [item(6)] }));
  assert.deepEqual(made.of("new").map(({ items, live }) => [items.map(({ number }) => number), live]), [[[5], true], [[6], true]]);
  assert.deepEqual(states(made), ["connecting", "reconnecting", "open"]);
});

test("a better way that still leads nowhere disturbs nothing", async () => {
  const made = eaten();
  const { scene, element } = made;
  greet(scene.stream);
  for (let beats = 0; beats < 40; beats++) {
    scene.clock.pass(25_000);
    scene.stream.say({ type: "heartbeat", position: "e.4" });
    if (beats % 2 && scene.sockets.length > 2) scene.socket.end?.(1006);
  }
  assert.ok(scene.sockets.length > 6 && scene.sockets.length < 20, `${scene.sockets.length} tries in 1000 s`);
  assert.equal(scene.streams.length, 1);
  assert.deepEqual([element.state, element.transport], ["open", "events"]);
});

test("from polling each of the better ways is tried, the best first", async () => {
  const { scene, element } = await polling();
  const [sockets, streams] = [scene.sockets.length, scene.streams.length];
  dispatchEvent(new Event("online"));
  assert.deepEqual([scene.sockets.length, scene.streams.length], [sockets + 1, streams]);
  scene.socket.end(1006);
  assert.deepEqual([scene.sockets.length, scene.streams.length], [sockets + 1, streams + 1]);
  scene.stream.refuse();
  assert.equal(element.transport, "polling");
  while (scene.sockets.length === sockets + 1) await scene.clock.live(1000, 1000); // and again, from the best down
  greet(scene.socket);
  assert.equal(element.transport, "websocket");
});

test("online again, a better way is tried at once", async () => {
  const { scene } = eaten();
  greet(scene.stream);
  for (const name of ["online", "online", "visibilitychange"]) {
    dispatchEvent(new Event(name));
    assert.equal(scene.sockets.length, 3, name);
  }
});

test("online again after its line was lost, a page begins with the best way", async () => {
  const { scene, element } = await polling();
  scene.answer = null;
  scene.online = false;
  while (element.state === "open") await scene.clock.live(1000, 1000);
  const [count, from] = [scene.sockets.length, scene.clock.now];
  scene.online = true;
  dispatchEvent(new Event("online"));
  while (scene.sockets.length === count) await scene.clock.live(1000, 1000);
  greet(scene.socket);
  assert.equal(element.transport, "websocket");
  assert.ok(scene.clock.now - from < 30_000, "and not when it looks for a better one");
});

test("the way that worked is remembered for the next page of this tab", async () => {
  const before = await polling();
  await before.leave();
  const after = page({ storage: before.scene.storage, answer: news([]) });
  await tick();
  assert.deepEqual([after.scene.sockets.length, after.scene.streams.length], [0, 0]);
  assert.equal(after.element.transport, "polling");
});

test("a way that has worked is not given up for a server that restarts", () => {
  const { scene } = page();
  greet(scene.socket);
  for (let tries = 0; tries < 4; tries++) {
    scene.socket.end(1006);
    scene.clock.pass(10_000 - 1);
  }
  assert.equal(scene.streams.length, 0);
  scene.socket.end(1006);
  scene.clock.pass(10_000 - 1);
  scene.socket.end(1006);
  assert.equal(scene.streams.length, 1, "but one that fails again and again is");
});

test("a server that answers, if only to send the page away, is reached: the way is kept", () => {
  const { scene } = page();
  for (let tries = 1; tries < 9; tries++) {
    const from = scene.clock.now;
    scene.socket.open();
    scene.socket.say({ type: "bye", code: 4013, reason: "busy", retry_after: 2 });
    scene.socket.end(4013);
    while (scene.sockets.length === tries) scene.clock.pass(100);
    assert.ok(scene.clock.now - from >= 2000);
  }
  assert.equal(scene.streams.length, 0);
});

test("without a network no way is judged", () => {
  const made = page();
  made.scene.online = false;
  for (let tries = 0; tries < 5; tries++) {
    made.scene.socket.end(1006);
    while (made.scene.socket.onclose === null) made.scene.clock.pass(100);
  }
  assert.equal(made.scene.streams.length, 0);
  assert.equal(made.element.state, "offline");
});

test("a way that the browser or the page does not have is left out", async () => {
  const { socket, events } = world;
  const missing = (name) => () => {
    throw new ReferenceError(`${name} is not defined`);
  };
  const cases = [
    [{ ...more, url: "" }, {}, "events"],
    [{ ...more, url: "", "events-url": "" }, {}, "polling"],
    [more, { socket: missing("WebSocket") }, "events"],
    [more, { socket: missing("WebSocket"), events: missing("EventSource") }, "polling"],
  ];
  for (const [attributes, without, name] of cases) {
    const made = stream({ more: attributes, without });
    const { scene, element, leave } = made;
    scene.answer = news([]);
    await scene.clock.live(1000);
    if (name === "events") greet(scene.stream);
    assert.equal(element.transport, name);
    assert.equal(scene.sockets.length, 0);
    await leave();
  }
  Object.assign(world, { socket, events });
});

test("a hidden tab whose timers come late, and at once, has not lost its server", async () => {
  const { scene, element } = await polling();
  scene.clock.now += 60_000;
  scene.clock.pass(0);
  await tick();
  assert.equal(element.state, "open");
  assert.equal(scene.requests.length, 2);
});

test("an answer that comes when nobody waits for it any more changes nothing", async () => {
  const { scene, element, leave } = await polling();
  let release;
  scene.answer = () => new Promise((resolve) => (release = resolve));
  dispatchEvent(new Event("visibilitychange"));
  await tick();
  await leave();
  release(news([delta("e.4", "e.5", { items: [item(5)] })]));
  await tick();
  assert.equal(element.position, "e.4");
  assert.equal(scene.clock.waiting, 0);
});

test("without Web Locks no tab holds an event stream: six of them would leave no connection for the site", async () => {
  const made = stream({ more, without: { locks: () => undefined }, answer: news([]) });
  made.scene.socket.end(1006);
  made.scene.clock.pass(500);
  made.scene.socket.end(1006);
  await tick();
  assert.equal(made.scene.streams.length, 0);
  assert.equal(made.element.transport, "polling");
});

test("a look that is overtaken by another way's news leads no page back", async () => {
  const { scene, element } = await polling();
  let release;
  scene.answer = () => new Promise((resolve) => (release = resolve));
  dispatchEvent(new Event("visibilitychange"));
  await tick();
  element.setAttribute("position", "e.9");
  release(news([{ type: "reset", position: "e.5", items: [], unread: 0, unseen: 0, seen_upto: 0, more: false }]));
  await tick();
  assert.equal(element.position, "e.9");
});

test("whatever the rung, a page that leaves keeps no connection and no timer", async () => {
  for (const rung of ["websocket", "events", "polling", "scout"]) {
    const made = rung === "polling" ? await polling() : rung === "websocket" ? page() : eaten();
    const { scene } = made;
    if (rung === "websocket") greet(scene.socket);
    if (rung === "events" || rung === "scout") greet(scene.stream);
    if (rung === "scout") dispatchEvent(new Event("online"));
    await made.leave();
    assert.equal(scene.clock.waiting, 0, rung);
    for (const each of [...scene.sockets.slice(rung === "websocket" ? 0 : 2), ...scene.streams]) assert.ok(each.isClosed, rung);
  }
});
