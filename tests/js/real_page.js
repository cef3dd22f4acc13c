/**
 * The client's real stream in a program of its own, with Node's socket and clock: `node --experimental-websocket real_page.js
 * URL COOKIE`. Says each change of its state and each title that arrives, one line of JSON each, until it is ended.
 */

import { load } from "./client.js";

const [, , address, cookie] = process.argv;
const { NotificationStream, world } = await load("notification-stream");
const headers = { cookie, origin: new URL(address).origin };
world.socket = (url) => new WebSocket(url, { protocols: "notifications.v1.json", headers });
world.online = () => true; // Node learnt of `navigator` late
const say = (what) => console.log(JSON.stringify(what));
document.addEventListener("notifications:state", ({ detail }) => say({ state: detail.state }));
document.addEventListener("notifications:new", ({ detail }) => say({ titles: detail.items.map(({ title }) => title) }));
const stream = new NotificationStream();
stream.setAttribute("url", address);
stream.setAttribute("language", "en");
stream.connectedCallback();
