/** A page with a stream of its own, for tests: what it hears and says is remembered. */

import { delta, enter, load, tick, welcome } from "./client.js";

const { NotificationStream, world } = await load("notification-stream");
export { NotificationStream, world };

const EVENTS = ["changed", "new", "state", "done", "failed"];
let open = [];

/** `more`: further attributes. `storage`: what the tab has kept of an earlier page. `without`: what stands in for parts of the world. */
export function stream({ position = "e.4", top = 4, more = {}, storage = {}, without = {}, answer = null } = {}) {
  const scene = Object.assign(enter(world), { storage, answer });
  Object.assign(world, without);
  const element = new NotificationStream();
  const attributes = { url: "/notifications/socket/", "post-to": "/notifications/mark/", position, top, language: "de", ...more };
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.children = [{ name: "csrfmiddlewaretoken", value: "secret" }];
  const events = [];
  const listen = (event) => events.push([event.type.replace("notifications:", ""), event.detail]);
  for (const name of EVENTS) document.addEventListener(`notifications:${name}`, listen);
  element.connectedCallback();
  const leave = async () => {
    for (const name of EVENTS) document.removeEventListener(`notifications:${name}`, listen);
    element.isConnected = false;
    element.disconnectedCallback();
    await tick();
  };
  open.push(leave);
  return { scene, element, events, leave, of: (name) => events.filter(([type]) => type === name).map(([, detail]) => detail) };
}

/** After each test: no page of one test hears another's. */
export async function leaveAll() {
  for (const leave of open) await leave();
  open = [];
  document.visibilityState = "visible";
}

export function greet(scene) {
  scene.socket.open();
  scene.socket.say(welcome());
}

/** Greeted and caught up: what comes now is live. */
export function settled(options) {
  const made = stream(options);
  greet(made.scene);
  made.scene.socket.say(delta("e.4", "e.4"));
  made.events.length = 0;
  made.scene.socket.sent.length = 0;
  return made;
}

/** Whether the page took it. */
export function command(detail) {
  return !document.dispatchEvent(new CustomEvent("notifications:command", { detail, cancelable: true }));
}

/** What the page has posted: the fields of each form, without the token. */
export function posted(scene) {
  return scene.requests.filter(({ method }) => method === "POST").map(({ body }) => String(body).replace("csrfmiddlewaretoken=secret&", ""));
}
