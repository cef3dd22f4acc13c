/**
 * "The socket's life": what the page and the server say to each other, in words. Listens to `notifications:frame` and
 * `notifications:state` on document; the sentences are attributes of the panel, so that they come in the page's language.
 */

const KEPT = 60;
const REPEATED = new Set(["heartbeat", "ack", "done"]);

class SocketLife {
  /** @type {HTMLElement} */ #panel;
  /** @type {HTMLElement} */ #list;
  /** @type {HTMLElement} */ #state;

  constructor(/** @type {HTMLElement} */ panel) {
    this.#panel = panel;
    this.#list = /** @type {HTMLElement} */ (panel.querySelector("[data-life-frames]"));
    this.#state = /** @type {HTMLElement} */ (panel.querySelector("[data-life-state]"));
    panel.hidden = false;
    const details = panel.querySelector("details");
    if (details && matchMedia("(max-width: 67.99rem)").matches) details.open = false;
  }

  frame(/** @type {{direction: "in"|"out", type: string, data: any}} */ { direction, type, data }) {
    const words = this.#words(direction, type, data ?? {});
    const isNews = type === "delta" && (data?.items ?? []).some((/** @type {any} */ item) => !item.hidden);
    this.#add(direction, type, words, isNews, REPEATED.has(type) ? `${direction} ${type}` : "");
  }

  state(/** @type {{state: string}} */ { state }) {
    this.#state.textContent = this.#panel.getAttribute(`data-state-${state}`) ?? state;
    this.#state.classList.toggle("is-open", state === "open");
    const words = { connecting: "knock", reconnecting: "closed", offline: "closed", "signed-out": "signedOut", closed: "ended" }[state];
    if (words) this.#add("note", "", this.#say(words), false, state === "reconnecting" ? "note reconnecting" : "");
  }

  #words(/** @type {string} */ direction, /** @type {string} */ type, /** @type {any} */ data) {
    const position = short(data.position);
    const commands = ["read", "unread", "archive", "unarchive", "delete", "undelete", "seen"];
    if (commands.includes(type)) return this.#say("command", { command: this.#panel.getAttribute(`data-do-${type}`) ?? type });
    switch (type) {
      case "hello":
        return data.position ? this.#say("hello", { position }) : this.#say("helloNew");
      case "welcome":
        return this.#say("welcome", { seconds: data.heartbeat_seconds });
      case "delta": {
        const count = (data.items ?? []).length;
        if (data.base === data.position && !count) return this.#say("deltaNone", { position });
        if (!count || (data.ops ?? []).length) return this.#say("deltaState", { position });
        return this.#say(count === 1 ? "deltaOne" : "deltaMany", { count, position });
      }
      case "reset":
        return this.#say("reset", { position });
      case "heartbeat":
        return direction === "in" ? this.#say("beatIn", { position }) : this.#say("beatOut");
      case "bye":
        return this.#say("bye", { code: data.code, reason: data.reason });
      case "error":
        return this.#say("error", { code: data.code });
      default:
        return this.#panel.dataset[type] ?? "";
    }
  }

  #say(/** @type {string} */ name, /** @type {Record<string, unknown>} */ values = {}) {
    return (this.#panel.dataset[name] ?? "").replace(/\{(\w+)\}/g, (_, key) => String(values[key] ?? ""));
  }

  /** A heartbeat every 25 s would push everything else out: the same quiet line again only counts up. */
  #add(
    /** @type {string} */ direction,
    /** @type {string} */ type,
    /** @type {string} */ words,
    /** @type {boolean} */ isNews,
    /** @type {string} */ quietKey,
  ) {
    const known = quietKey ? this.#list.querySelector(`[data-key="${CSS.escape(quietKey)}"]`) : null;
    const times = Number(known?.getAttribute("data-times") ?? 0) + 1;
    known?.remove();
    const row = element("li", `frame is-${direction}${isNews ? " is-news" : ""}`);
    row.setAttribute("data-times", String(times));
    if (quietKey) row.setAttribute("data-key", quietKey);
    const { page, server, times: timesWords } = this.#panel.dataset;
    if (direction !== "note") {
      row.append(element("span", "frame-way", direction === "out" ? `${page} → ${server}` : `${server} → ${page}`));
      row.append(element("span", "frame-name", times > 1 ? `${type} ×${times}` : type));
    }
    row.append(element("time", "", new Date().toLocaleTimeString(document.documentElement.lang, { timeStyle: "medium", hour12: false })));
    row.append(element("p", "frame-words", words));
    if (times > 1) row.title = (timesWords ?? "").replace("{count}", String(times));
    this.#list.prepend(row);
    while (this.#list.children.length > KEPT) this.#list.lastElementChild?.remove();
  }
}

function element(/** @type {string} */ name, /** @type {string} */ className, /** @type {string} */ text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

/** A position is opaque to scripts; for people its last part, the number of the newest step, says it best. */
function short(/** @type {unknown} */ position) {
  return String(position ?? "").split(".").at(-1) ?? "";
}

const panel = document.getElementById("socket-life");
if (panel) {
  const life = new SocketLife(panel);
  document.addEventListener("notifications:frame", (event) => life.frame(/** @type {CustomEvent} */ (event).detail));
  document.addEventListener("notifications:state", (event) => life.state(/** @type {CustomEvent} */ (event).detail));
}
