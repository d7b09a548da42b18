/** The control of an input that is a file, or several: choose, drop or paste one, or give a URL. */

import { h, say } from "./dom.js";
import { bytes } from "./format.js";
import { fileOf } from "./media.js";

/**
 * A place for files. Each is uploaded as soon as it is there.
 *
 * @param {{several: boolean}} options `several`: the value is a list
 * @returns the parts of a control, and `ready()`, which waits for uploads that go on
 */
export function dropZone(field, { upload, changed }, { several }) {
  const accept = (several ? field.item : field.schema)["x-accept"] ?? "";
  const input = h("input", { type: "file", accept: accept || false, multiple: several });
  const address = h("input", { type: "url", class: "address", placeholder: "or https://…", title: "The URL of a file", autocomplete: "off" });
  const list = h("ul", { class: "held" });
  const body = h("div", { class: "drop" }, h("div", { class: "drop-row" }, input, address), list);
  let held = [];

  const change = () => {
    body.classList.toggle("full", !several && held.length > 0);
    changed();
  };
  const hold = (one) => {
    if (!several) clear();
    held.push(one);
    list.append(one.element);
    one.element.querySelector("button").addEventListener("click", () => {
      drop(one);
      input.focus();
      change();
    });
    change();
  };
  const drop = (one) => {
    held = held.filter((other) => other !== one);
    one.release();
  };
  const clear = () => held.slice().forEach(drop);
  const take = (files) => {
    for (const file of several ? files : [...files].slice(0, 1)) hold(uploading(file, upload, change));
  };
  const takeAddress = () => {
    if (address.value.trim() === "") return;
    hold(given(address.value.trim()));
    address.value = "";
  };

  input.addEventListener("change", () => {
    take(input.files);
    input.value = "";
  });
  address.addEventListener("change", takeAddress);
  address.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    takeAddress();
  });
  body.addEventListener("paste", (event) => event.clipboardData.files.length && take(event.clipboardData.files));
  body.addEventListener("dragover", (event) => {
    event.preventDefault();
    body.classList.add("over");
  });
  body.addEventListener("dragleave", () => body.classList.remove("over"));
  body.addEventListener("drop", (event) => {
    event.preventDefault();
    body.classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
    else hold(given(event.dataTransfer.getData("text/uri-list") || event.dataTransfer.getData("text/plain")));
  });

  return {
    body,
    labelled: input,
    read() {
      takeAddress();
      const urls = held.map((one) => one.url).filter((url) => url !== null);
      return several ? (urls.length ? urls : undefined) : urls[0];
    },
    write(value) {
      clear();
      const urls = several ? (Array.isArray(value) ? value : []) : [value];
      for (const url of urls) if (typeof url === "string" && url !== "") hold(given(url));
      change();
    },
    ready: () => Promise.all(held.map((one) => one.done)),
  };
}

function uploading(file, upload, change) {
  const shown = URL.createObjectURL(file);
  const made = item(file.name || "pasted file", shown, file.type.split("/")[0]);
  const one = { ...made, url: null, release: () => (URL.revokeObjectURL(shown), made.element.remove()) };
  say(made.note, `uploading ${bytes(file.size)} …`);
  one.done = upload(file).then(
    (url) => {
      one.url = url;
      say(made.note, `${bytes(file.size)}, uploaded`);
      change();
    },
    (error) => {
      made.element.classList.add("failed");
      say(made.note, `not uploaded: ${error.message}`);
    },
  );
  return one;
}

function given(url) {
  const file = fileOf(url, new URL(".", location.href));
  const made = item(url.startsWith("data:") ? "inline file" : url, file?.here ? file.url : null, file?.kind);
  return { ...made, url, done: Promise.resolve(), release: () => made.element.remove() };
}

function item(name, shown, kind) {
  const note = h("span", { class: "note" });
  const remove = h("button", { type: "button", class: "button icon-button quiet", title: "Remove the file" }, h("span", { class: "cross", "aria-hidden": true }), h("span", { class: "hidden-text", text: "Remove the file" }));
  const words = h("span", { class: "held-words" }, h("span", { class: "held-name", text: name }), note);
  return { note, element: h("li", {}, preview(shown, kind), words, remove) };
}

function preview(url, kind) {
  if (url === null) return h("span", { class: "thumb", "aria-hidden": true });
  if (kind === "image") return h("img", { class: "thumb", src: url, alt: "" });
  if (kind === "video") return h("video", { class: "thumb", src: url, muted: true, preload: "metadata", playsinline: true });
  if (kind === "audio") return h("audio", { class: "thumb-audio", src: url, controls: true });
  return h("span", { class: "thumb", "aria-hidden": true });
}
