/**
 * A model's README as a part of the page.
 *
 * It is foreign text: marked makes HTML of it, and DOMPurify lets only plain prose through. What is left cannot run,
 * cannot look like a part of the page (no ids, classes, styles, forms), cannot lead into it (no relative links), and
 * cannot tell anybody that it is being read (no pictures from elsewhere).
 */

import { h } from "./dom.js";
import { fileOf } from "./media.js";
import { Marked } from "./vendor/marked.esm.js";
import DOMPurify from "./vendor/purify.es.mjs";

const TAGS = (
  "a b blockquote br caption code del details div dd dl dt em h1 h2 h3 h4 h5 h6 hr i img kbd li mark ol p pre q s samp small " +
  "strong sub summary sup table tbody td tfoot th thead tr u ul var"
).split(" ");
const RULES = {
  ALLOWED_TAGS: TAGS,
  ALLOWED_ATTR: ["href", "src", "alt", "title", "align", "colspan", "rowspan", "start", "open", "width", "height"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/**
 * HTML inside of the markdown keeps its plain tags, without attributes, and its words.
 *
 * DOMPurify would do the same. But whatever parses `onclick="…"` under this page's policy makes the browser report an
 * attack, though nothing runs; and then real reports are lost among those.
 */
function plainTags(html) {
  const known = html.replace(/<!--[\s\S]*?(-->|$)/g, "").split(/(<\/?[a-z][^<>]*>)/i);
  return known.map((piece, index) => (index % 2 ? plainTag(piece) : escaped(piece))).join("");
}

function plainTag(tag) {
  const [, slash, name] = /^<(\/?)([a-z][a-z0-9]*)/i.exec(tag) ?? [null, "", ""];
  return TAGS.includes(name.toLowerCase()) && !["a", "img"].includes(name.toLowerCase()) ? `<${slash}${name}>` : "";
}

function escaped(text) {
  return text.replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

const markdown = new Marked({ gfm: true, async: false, renderer: { html: ({ text }) => plainTags(text) } });

/** The README of a model as elements that can be put into the page, below a heading that is its id. */
export function rendered(readme, id) {
  const fragment = DOMPurify.sanitize(markdown.parse(readme), RULES);
  fragment.querySelectorAll("a").forEach(tameLink);
  fragment.querySelectorAll("img").forEach(tamePicture);
  if (fragment.firstElementChild?.matches("h1") && fragment.firstElementChild.textContent === id) fragment.firstElementChild.remove();
  lowerHeadings(fragment);
  fragment.querySelectorAll("table").forEach((table) => {
    const scrolling = h("div", { class: "scrolling", tabindex: 0, role: "group", "aria-label": "Table" });
    table.replaceWith(scrolling);
    scrolling.append(table);
  });
  fragment.querySelectorAll("pre").forEach((block) => block.setAttribute("tabindex", "0"));
  foldFrom(fragment, "How to call it");
  return fragment;
}

function tameLink(link) {
  if (!/^(https?:\/\/|mailto:)/i.test(link.getAttribute("href") ?? "")) {
    link.replaceWith(...link.childNodes);
    return;
  }
  link.rel = "noopener noreferrer nofollow";
  link.target = "_blank";
}

function tamePicture(picture) {
  const source = picture.getAttribute("src") ?? "";
  const file = fileOf(source, new URL(".", location.href));
  if (file?.here && file.kind === "image") {
    picture.src = file.url;
    picture.loading = "lazy";
    return;
  }
  const words = picture.alt || "picture";
  const inLink = picture.closest("a") !== null || !/^https?:\/\//i.test(source);
  picture.replaceWith(inLink ? words : h("a", { href: source, text: words, rel: "noopener noreferrer nofollow", target: "_blank" }));
}

/** The page has its own first heading. */
function lowerHeadings(fragment) {
  for (const level of [5, 4, 3, 2, 1]) {
    fragment.querySelectorAll(`h${level}`).forEach((heading) => heading.replaceWith(h(`h${level + 1}`, {}, ...heading.childNodes)));
  }
}

/** The server's pages end with programs; this page has its own, which follow the form. */
function foldFrom(fragment, title) {
  const heading = [...fragment.querySelectorAll("h3")].findLast((one) => one.textContent === title && one.parentNode === fragment);
  if (!heading) return;
  const folded = h("details", {}, h("summary", { text: title }));
  heading.before(folded);
  while (folded.nextSibling) folded.append(folded.nextSibling);
  heading.remove();
}
