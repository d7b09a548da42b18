/** Small tools for the document. Text is always set as text: nothing here takes HTML. */

/** The element with that id, which the page has. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * Makes an element.
 *
 * @param {string} tag its name
 * @param {object} [said] attributes; `class`, `text`, `on` (listeners by event) and `props` (properties) are special;
 *   `false`, `null` and `undefined` leave an attribute out, `true` sets it without a value
 * @param {...(Node|string|null|undefined)} children
 */
export function h(tag, said = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(said)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name === "props") Object.assign(element, value);
    else if (name === "text") element.textContent = value;
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets the text of an element if it is another one, so that nothing is announced twice. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides an element. */
export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

/** Copies text, also where the page is not in a secure context. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

function copyBySelection(text) {
  const area = h("textarea", { class: "hidden-text", props: { value: text, readOnly: true } });
  const before = document.activeElement;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  before?.focus();
  return copied;
}

/** Says something for a moment at the edge of the page. */
export function toast(text) {
  const place = byId("toast");
  place.textContent = text;
  place.classList.add("shown");
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => place.classList.remove("shown"), 4000);
}
