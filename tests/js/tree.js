/**
 * Just enough of a page's tree for `<notification-list>` and `<notification-toasts>`, with a browser's ways of losing the focus:
 * it falls to <body> as soon as its element is taken out, and at the next layout once that is hidden. To be imported before
 * client.js, which stands in for what is not there.
 */

const VOID = new Set(["input"]);
/** As the style sheet has it. */
const UNSEEN = "[hidden], template, [data-unread] [name=unread], [data-id]:not([data-unread]) [name=read]";
const kebab = (name) => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The text cut at each `mark` that stands in no brackets. */
function cut(text, mark) {
  let depth = 0;
  const pieces = [""];
  for (const letter of text.trim()) {
    depth += "([".includes(letter) - ")]".includes(letter);
    if (letter === mark && !depth) pieces.push("");
    else pieces[pieces.length - 1] += letter;
  }
  return pieces;
}

function isSimple(element, part, scope) {
  const [, name, inner] = /^:?([\w-]*)(?:\((.*)\))?$/s.exec(part) ?? [];
  if (part.startsWith("[")) {
    const [, attribute, value] = /^\[([\w-]+)(?:="?([^"]*)"?)?\]$/.exec(part);
    return value === undefined ? element.hasAttribute(attribute) : element.getAttribute(attribute) === value;
  }
  if (!part.startsWith(":")) return part === element.tag;
  if (name === "not") return !element.matches(inner, scope);
  if (name === "is") return element.matches(inner, scope);
  if (name === "focus-within") return element.contains(document.activeElement);
  return name === "scope" && element === scope;
}

function isMatch(element, [part, ...around], scope) {
  if (!element) return false;
  if (!part.match(/:\w[\w-]*(\([^)]*\)+)?|\[[^\]]*\]|^[\w-]+/g).every((simple) => isSimple(element, simple, scope))) return false;
  if (!around.length) return true;
  for (let outer = element.parentElement; outer; outer = outer.parentElement) if (isMatch(outer, around, scope)) return true;
  return false;
}

globalThis.HTMLElement = class Element extends EventTarget {
  tag = "";
  attributes = new Map();
  childNodes = []; // elements and strings
  parentElement = null;
  style = { setProperty() {} };
  listeners = [];
  dataset = new Proxy(this, {
    get: (_, name) => this.attributes.get(`data-${kebab(name)}`),
    has: (_, name) => this.attributes.has(`data-${kebab(name)}`),
    set: (_, name, value) => (this.setAttribute(`data-${kebab(name)}`, value), true),
  });

  getAttribute(name) {
    return this.attributes.get(name) ?? null;
  }
  hasAttribute(name) {
    return this.attributes.has(name);
  }
  setAttribute(name, value) {
    this.attributes.set(name, String(value));
  }
  removeAttribute(name) {
    this.attributes.delete(name);
  }
  toggleAttribute(name, isThere) {
    if (isThere) this.attributes.set(name, "");
    else this.attributes.delete(name);
  }

  get children() {
    return this.childNodes.filter((node) => node instanceof Element);
  }
  get firstElementChild() {
    return this.children[0] ?? null;
  }
  get nextElementSibling() {
    const { children } = this.parentElement;
    return children[children.indexOf(this) + 1] ?? null;
  }
  get content() {
    return this;
  }
  get isConnected() {
    return document.body.contains(this);
  }
  get textContent() {
    return this.childNodes.map((node) => node.textContent ?? node).join("");
  }
  set textContent(text) {
    this.replaceChildren(String(text));
  }

  contains(other) {
    for (let element = other; element; element = element.parentElement) if (element === this) return true;
    return false;
  }
  remove() {
    if (this.contains(document.activeElement)) document.activeElement = document.body;
    const { childNodes } = this.parentElement ?? { childNodes: [] };
    if (childNodes.includes(this)) childNodes.splice(childNodes.indexOf(this), 1);
    this.parentElement = null;
  }
  insertBefore(node, next) {
    node.remove?.();
    this.childNodes.splice(next ? this.childNodes.indexOf(next) : this.childNodes.length, 0, node);
    if (node instanceof Element) node.parentElement = this;
  }
  append(...nodes) {
    for (const node of nodes) this.insertBefore(node, null);
  }
  before(...nodes) {
    for (const node of nodes) this.parentElement.insertBefore(node, this);
  }
  after(...nodes) {
    const next = this.nextElementSibling;
    for (const node of nodes) this.parentElement.insertBefore(node, next);
  }
  replaceChildren(...nodes) {
    for (const child of this.children) child.remove();
    this.childNodes = [];
    this.append(...nodes);
  }
  cloneNode(isDeep = false) {
    const copy = document.createElement(this.tag);
    for (const [name, value] of this.attributes) copy.setAttribute(name, value);
    if (isDeep) copy.append(...this.childNodes.map((node) => node.cloneNode?.(true) ?? node));
    return copy;
  }

  matches(selector, scope = this) {
    return cut(selector, ",").some((each) => isMatch(this, cut(each, " ").reverse(), scope));
  }
  closest(selector) {
    return this.matches(selector) ? this : (this.parentElement?.closest(selector) ?? null);
  }
  querySelectorAll(selector, scope = this) {
    const children = this.tag === "template" ? [] : this.children;
    const found = (child) => (child.matches(selector, scope) ? [child] : []);
    return children.flatMap((child) => [...found(child), ...child.querySelectorAll(selector, scope)]);
  }
  querySelector(selector) {
    return this.querySelectorAll(selector)[0] ?? null;
  }

  checkVisibility() {
    return this.isConnected && !this.closest(UNSEEN);
  }
  focus() {
    if (this.checkVisibility()) document.activeElement = this;
  }
  click() {
    this.heard("click");
  }
  /** An event at this element, as it comes by those around it. Nothing else in these tests tells capture from bubbling. */
  heard(type, more = {}) {
    const event = Object.assign(new Event(type, { cancelable: true }), more);
    Object.defineProperty(event, "target", { value: this });
    const path = [document];
    for (let element = this; element; element = element.parentElement) path.splice(1, 0, element);
    for (const each of path) each.hear(event);
  }
  hear(event) {
    for (const { type, listener, signal } of this.listeners) if (type === event.type && !signal?.aborted) listener(event);
  }
  addEventListener(type, listener, { signal } = {}) {
    this.listeners = [...this.listeners.filter((each) => !each.signal?.aborted), { type, listener, signal }];
  }
  dispatchEvent(event) {
    this.hear(event);
    return !event.defaultPrevented;
  }

  getClientRects() {
    layOut();
    return this.checkVisibility() ? [this.box] : [];
  }
  getBoundingClientRect() {
    layOut();
    return this.box;
  }
  get offsetHeight() {
    layOut();
    return 0;
  }
  box = { top: 0 };
  animate() {
    return { cancel() {}, play() {} };
  }
};

const REFLECTED = { dateTime: "datetime", className: "class" };
for (const name of ["hidden", "id", "name", "type", "value", "href", "search", "role"]) REFLECTED[name] = name;
for (const name of ["Busy", "Label", "Hidden", "Current", "Disabled", "PosInSet", "SetSize"]) {
  REFLECTED[`aria${name}`] = `aria-${name.toLowerCase()}`;
}
for (const [property, name] of Object.entries(REFLECTED)) {
  Object.defineProperty(HTMLElement.prototype, property, {
    get() {
      return name === "hidden" ? this.hasAttribute(name) : this.getAttribute(name);
    },
    set(value) {
      if (value === null || value === false) this.removeAttribute(name);
      else this.setAttribute(name, value === true ? "" : value);
    },
  });
}

/** Who asks for a size asks for a layout. */
function layOut() {
  if (!document.activeElement.checkVisibility()) document.activeElement = document.body;
}

const defined = new Map();
globalThis.customElements = { get: (name) => defined.get(name), define: (name, made) => void defined.set(name, made) };
globalThis.localStorage = {};

const page = new HTMLElement();
globalThis.document = Object.assign(page, {
  tag: "html",
  baseURI: "https://site.example/orders/7/",
  visibilityState: "visible",
  hasFocus: () => true,
  getElementById: () => null,
  createElement: (tag) => Object.assign(new (defined.get(tag) ?? HTMLElement)(), { tag }),
});
document.body = document.activeElement = document.createElement("body");
document.append(document.body);

/** Puts a page's body in the place of the one before. Every element is written with its end. */
export function write(html) {
  for (const element of document.body.querySelectorAll("notification-list, notification-toasts")) element.disconnectedCallback();
  document.body.replaceChildren();
  let at = document.body;
  for (const [, end, tag, attributes, text] of html.matchAll(/<(\/?)([\w-]+)([^>]*)>|([^<]+)/g)) {
    if (text) at.append(text);
    else if (end) at = at.parentElement;
    else {
      const element = document.createElement(tag);
      for (const [, name, value = ""] of attributes.matchAll(/([\w-]+)(?:="([^"]*)")?/g)) element.setAttribute(name, value);
      at.append(element);
      if (!VOID.has(tag)) at = element;
    }
  }
  for (const element of document.body.querySelectorAll("notification-list, notification-toasts")) element.connectedCallback();
}
