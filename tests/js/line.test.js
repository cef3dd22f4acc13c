import assert from "node:assert/strict";
import { test } from "node:test";
import { enter, load, welcome } from "./client.js";

const { Line, backOff, judge, verdict, world } = await load("notification-stream");

function connect() {
  const scene = enter(world);
  const heard = [];
  const states = [];
  const page = {
    stands: () => ({ position: "a.1", state: states.at(-1), isCatching: false }),
    hello: () => ({ type: "hello", position: "a.1", language: "en" }),
    receive: (message) => heard.push(message),
    tell: (state) => {
      states.push(state);
      if (["signed-out", "closed"].includes(state)) line.close();
    },
    settle: () => {},
  };
  const line = new Line([["websocket", "/notifications/socket/"]], page);
  line.start();
  return { scene, line, heard, states };
}

function greet(scene, spread_seconds = 1) {
  scene.socket.open();
  scene.socket.say(welcome({ spread_seconds }));
}

test("waits are jittered over the whole of a span that doubles up to a minute", () => {
  assert.deepEqual([0, 1, 5, 6, 60].map((attempt) => backOff(attempt, 1)), [1000, 2000, 32_000, 60_000, 60_000]);
  assert.equal(backOff(6, 0.25), 15_000);
  assert.equal(backOff(6, 0), 0);
});

test("a wait is never shorter than the server asks", () => {
  assert.equal(backOff(0, 0.9, 7), 7000);
});

test("a wait is spread over as long as a crowd needs, and longer after several failures", () => {
  assert.deepEqual([0, 3, 4].map((attempt) => backOff(attempt, 1, 0, 11)), [11_000, 11_000, 16_000]);
  assert.equal(backOff(0, 0.5, 0, 11), 5500);
});

test("a cut without a goodbye is followed by a wait that the server's welcome has spread", () => {
  const { scene } = connect();
  greet(scene, 11);
  scene.socket.end(1006);
  scene.clock.pass(5_499);
  assert.equal(scene.sockets.length, 1);
  scene.clock.pass(1);
  assert.equal(scene.sockets.length, 2);
});

test("a goodbye has spread its pages itself", () => {
  const { scene } = connect();
  greet(scene, 11);
  scene.socket.say({ type: "bye", code: 4012, reason: "restart", retry_after: 2 });
  scene.socket.end(4012);
  scene.clock.pass(2_000);
  assert.equal(scene.sockets.length, 2);
});

test("each close code says whether to come back", () => {
  for (const code of [1000, 1001, 1006, 1011, 1012, 4008, 4012, 4013, 4029, 4429]) assert.equal(verdict(code), "return", code);
  for (const code of [4400, 4403, 4499]) assert.equal(verdict(code), "closed", code);
  assert.equal(verdict(4401), "signed-out");
});

test("a delta applies exactly where the page stands", () => {
  assert.equal(judge("a.3", { base: "a.3", position: "a.4" }), "apply");
  assert.equal(judge("a.3", { base: "a.3", position: "a.3" }), "apply");
  assert.equal(judge("a.4", { base: "a.3", position: "a.4" }), "drop");
  assert.equal(judge("a.3", { base: "a.4", position: "a.5" }), "ask");
});

test("a lost socket is opened again, later each time", () => {
  const { scene, states } = connect();
  for (const wait of [500, 1000, 2000]) {
    const before = scene.sockets.length;
    scene.socket.end(1006);
    scene.clock.pass(wait - 1);
    assert.equal(scene.sockets.length, before);
    scene.clock.pass(1);
    assert.equal(scene.sockets.length, before + 1);
  }
  assert.deepEqual(states, ["connecting", "reconnecting", "reconnecting", "reconnecting"]);
});

test("after half a minute of calm the waits start small again", () => {
  const { scene } = connect();
  const wait = () => {
    const [count, from] = [scene.sockets.length, scene.clock.now];
    scene.socket.end(1006);
    while (scene.sockets.length === count) scene.clock.pass(100);
    return scene.clock.now - from;
  };
  assert.deepEqual([wait(), wait(), wait()], [500, 1000, 2000]);
  greet(scene);
  scene.clock.pass(29_000);
  assert.equal(wait(), 4000, "a short life is no success");
  greet(scene);
  scene.clock.pass(30_000);
  assert.equal(wait(), 500);
});

test("a goodbye's delay is kept, even when the page is looked at meanwhile", () => {
  const { scene, line } = connect();
  scene.socket.open();
  scene.socket.say({ type: "bye", code: 4012, reason: "restart", retry_after: 9 });
  scene.socket.end(1006);
  line.wake();
  scene.clock.pass(8_999);
  assert.equal(scene.sockets.length, 1);
  scene.clock.pass(1);
  assert.equal(scene.sockets.length, 2);
});

test("a page that is looked at again does not sit out its wait", () => {
  const { scene, line } = connect();
  scene.random = 1;
  for (let tries = 0; tries < 5; tries++) {
    scene.socket.end(1006);
    line.wake();
  }
  assert.equal(scene.sockets.length, 6);
  scene.clock.pass(0);
  assert.equal(scene.sockets.length, 6, "and its timer is gone");
});

test("silence for a minute means that the socket is dead, whatever it believes", () => {
  const { scene } = connect();
  const first = scene.socket;
  greet(scene);
  scene.clock.pass(59_000);
  first.say({ type: "heartbeat", position: "a.1" });
  scene.clock.pass(59_000);
  assert.equal(scene.sockets.length, 1);
  scene.clock.pass(1_600);
  assert.equal(scene.sockets.length, 2);
  assert.ok(first.isClosed);
});

test("a page that slept finds its socket dead when its clock goes on", () => {
  const { scene } = connect();
  greet(scene);
  scene.clock.now += 3_600_000;
  scene.clock.pass(0);
  assert.ok(scene.sockets[0].isClosed);
  scene.clock.pass(500);
  assert.equal(scene.sockets.length, 2);
});

test("without a session it asks once more and then stays signed out", () => {
  const { scene, line, states } = connect();
  for (const code of [4401, 4401]) {
    scene.socket.open();
    scene.socket.say({ type: "bye", code, reason: "no session", retry_after: null });
    scene.socket.end(1006);
    scene.clock.pass(1000);
  }
  line.wake();
  scene.clock.pass(600_000);
  assert.equal(scene.sockets.length, 2);
  assert.equal(states.at(-1), "signed-out");
});

test("a session that worked in between earns its silent try anew", () => {
  const { scene } = connect();
  scene.socket.end(4401);
  scene.clock.pass(1000);
  greet(scene);
  scene.socket.end(4401);
  scene.clock.pass(1000);
  assert.equal(scene.sockets.length, 3);
});

test("a page that is not wanted stays away", () => {
  for (const code of [4400, 4403]) {
    const { scene, line, states } = connect();
    scene.socket.end(code);
    line.wake();
    scene.clock.pass(600_000);
    assert.equal(scene.sockets.length, 1);
    assert.equal(states.at(-1), "closed");
  }
});

test("without a network it says offline", () => {
  const { scene, states } = connect();
  scene.online = false;
  scene.socket.end(1006);
  assert.equal(states.at(-1), "offline");
});

test("what is not of this protocol is passed over", () => {
  const { scene, heard } = connect();
  scene.socket.open();
  for (const frame of ["", "<html>", "null", "7", '{"type":"news"}']) scene.socket.say(frame);
  assert.deepEqual(heard.filter((message) => message.type), [{ type: "news" }]);
});

test("a closed line leaves no timer and no socket", () => {
  const { scene, line } = connect();
  greet(scene);
  line.close();
  assert.ok(scene.socket.isClosed);
  assert.equal(scene.clock.waiting, 0);
  const waiting = connect();
  waiting.scene.socket.end(1006);
  waiting.line.close();
  assert.equal(waiting.scene.clock.waiting, 0);
});
