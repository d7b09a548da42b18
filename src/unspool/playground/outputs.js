/** The outputs of a run: text that grows, players for files, JSON for everything else. */

import { h } from "./dom.js";
import { fileOf, filesIn } from "./media.js";

/** A text node longer than this is left alone and another one begins: browsers lay out again what changes. */
const NODE_LENGTH = 4000;
/** Longer texts are cut off on the screen; the download has all of it. */
const MOST_JSON = 100_000;

/** Draws outputs into `place`, adding what is new since the last time. */
export function outputsView(place, base) {
  let drawn = new Map();
  let final = false;

  const slot = (index) => {
    if (!drawn.has(index)) {
      const element = h("div", { class: "output-one" });
      place.append(element);
      drawn.set(index, { element, length: 0, parts: 0, text: null });
    }
    return drawn.get(index);
  };
  const clear = () => {
    place.replaceChildren();
    drawn = new Map();
    final = false;
  };

  return {
    clear,
    /** What has come so far. */
    draw(outputs) {
      for (const [index, output] of outputs) {
        const one = slot(index);
        if (output.text.length > one.length) growText(one, output.text);
        for (; one.parts < output.parts.length; one.parts += 1) one.element.append(part(output.parts[one.parts], base, "Part"));
      }
    },
    /** What there is in the end. Text that has streamed stays as it is, so that a selection or a place in it stays. */
    finish(results, outputs) {
      if (final) return;
      final = true;
      results.forEach((result, index) => {
        const name = results.length > 1 ? `Result ${index + 1}` : "Result";
        const streamed = outputs.get(index);
        if (streamed?.text && streamed.text === result) return;
        if (streamed === undefined && (result === "" || result === null)) return;
        const one = slot(index);
        const parts = streamed?.parts ?? [];
        if (parts.length === 1 && JSON.stringify(parts[0]) === JSON.stringify(result)) {
          one.element.replaceChildren(part(result, base, name));
        } else {
          fold(one.element);
          one.element.prepend(part(result, base, name));
        }
      });
      if (results.length === 0) place.append(h("p", { class: "hint", text: "It gave no outputs." }));
    },
  };
}

function growText(one, text) {
  if (one.text === null) {
    one.text = h("div", { class: "text-output" });
    one.element.append(one.text);
  }
  const { text: place } = one;
  const atEnd = place.scrollTop + place.clientHeight >= place.scrollHeight - 8;
  const last = place.lastChild;
  const added = text.slice(one.length);
  if (last && last.length < NODE_LENGTH) last.appendData(added);
  else place.append(document.createTextNode(added));
  one.length = text.length;
  if (place.scrollHeight <= place.clientHeight) return;
  // Longer than the screen: it scrolls by itself, by the keyboard too, and stays at its end for whoever was there.
  place.tabIndex = 0;
  if (atEnd) place.scrollTop = place.scrollHeight;
}

/** What streamed before the result is kept, folded: it may be playing. */
function fold(element) {
  if (element.childNodes.length === 0) return;
  const folded = h("details", { class: "fold parts" }, h("summary", { text: "As it came" }), ...element.childNodes);
  folded.open = [...folded.querySelectorAll("audio, video")].some((player) => !player.paused);
  element.append(folded);
}

/** One value: a file, text, or JSON with players for the files in it. */
function part(value, base, name) {
  const file = fileOf(value, base);
  if (file) return player(file, name);
  if (typeof value === "string") return h("div", { class: "text-output", tabindex: value.length > NODE_LENGTH ? 0 : null, text: value });
  const files = filesIn(value, base);
  const json = JSON.stringify(value, null, 2);
  const shown = json.length > MOST_JSON ? `${json.slice(0, MOST_JSON)}\n… ${json.length - MOST_JSON} more characters` : json;
  const block = h("pre", { class: "json-output", tabindex: 0, text: shown });
  if (files.length === 0) return block;
  const folded = h("details", { class: "fold" }, h("summary", { text: "JSON" }), block);
  return h("div", {}, ...files.map((one, index) => player(one, files.length > 1 ? `${name} ${index + 1}` : name)), folded);
}

function player(file, name) {
  const extension = /\.(\w{1,6})$/.exec(file.name)?.[1] ?? "";
  const text = [file.here ? "Download" : "Open", extension].join(" ").trim();
  const link = h("a", { class: "button small", href: file.url, download: file.name, target: "_blank", rel: "noopener noreferrer", text });
  const away = file.here ? null : h("span", { text: `It lies on ${new URL(file.url).host}.` });
  return h("figure", { class: "result" }, file.here ? shownFile(file, name) : null, h("figcaption", {}, link, away));
}

function shownFile({ kind, url }, name) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (kind === "image") return h("img", { src: url, alt: name });
  if (kind === "audio") return h("audio", { src: url, controls: true, preload: "metadata", "aria-label": name });
  if (kind !== "video") return null;
  const video = h("video", { src: url, controls: true, loop: true, playsinline: true, preload: "auto", "aria-label": name });
  // Short clips begin by themselves, without sound; sound is one press away.
  Object.assign(video, { muted: true, autoplay: !calm });
  return video;
}
