/** The page: which view is shown, and what happens when something is asked for. */

import { base, clientWith, keepKey, keptKey, serverUrl } from "./api.js";
import { byId, h, say, show, toast } from "./dom.js";
import { makeForm } from "./form.js";
import { historyList } from "./history.js";
import { givesOf } from "./media.js";
import { rendered } from "./readme.js";
import { requestTabs } from "./request.js";
import { modelAddress, parse, predictionAddress } from "./router.js";
import { runView } from "./run.js";
import { hasEnded } from "./run_state.js";
import { themeButton } from "./theme_button.js";

const TITLE = "Unspool";
/** More models than this get a field to find one. */
const MOST_UNFILTERED = 8;

const page = {
  ...clientWith(keptKey()),
  /** Whether the server asks for a key. */
  keyed: true,
  /** By id; `null` until the server has told. */
  models: null,
  /** The model of the form. */
  model: null,
  form: null,
};
const tabs = requestTabs();
const run = runView(byId("run"), {
  cancel: (id) => page.client.cancel(id),
  changed(state) {
    nameTab(state);
    history.setStatus(state.id, state.status);
  },
});
const history = historyList((wanted) => withKey(() => page.client.list(wanted)));

themeButton(byId("theme-button"), byId("theme-text"));
keyDialog();
addEventListener("hashchange", route);
addEventListener("offline", () => show(byId("offline"), true));
addEventListener("online", () => show(byId("offline"), false));
byId("form").addEventListener("submit", submit);
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("form").requestSubmit();
});
byId("filter").addEventListener("input", filterModels);
byId("example").addEventListener("click", tryExample);
say(byId("run-hint"), /Mac|iP/.test(navigator.platform) ? "⌘ Enter" : "Ctrl Enter");
route();

// Where the page stands

/** Shows what the address says. */
async function route() {
  const asked = parse(location.hash);
  if (asked.view === "other") return;
  if (asked.view === "key") {
    takeKey(asked.key);
    window.history.replaceState(null, "", "#/");
    return route();
  }
  trouble(null);
  document.body.dataset.route = asked.view;
  if (asked.view === "prediction") await showPrediction(asked.id, asked.token);
  else {
    run.hide();
    history.mark(null);
    markModel(null);
    nameTab(null);
    if (asked.view === "model") await showModel(asked.id);
    else await showHome();
  }
}

function here(asked) {
  const now = parse(location.hash);
  return now.view === asked.view && now.id === asked.id;
}

async function showHome() {
  show(byId("view"), false);
  show(byId("side"), true);
  await loadModels();
}

async function showModel(id) {
  if (!(await loadModels()) || !here({ view: "model", id })) return;
  const model = page.models.get(id);
  if (model === undefined) {
    show(byId("view"), false);
    return trouble(`This server has no model ${id}.`);
  }
  present(model);
  nameTab(null, id);
}

/** A run: from the key's own predictions, or, by a link with a token, without any key. */
async function showPrediction(id, token) {
  if (run.id === id) return;
  history.mark(id);
  const asked = { view: "prediction", id };
  if (token !== null && (page.models === null) && !(await mayList())) return watchOnly(id, token);
  if (!(await loadModels()) || !here(asked)) return;
  let prediction;
  try {
    prediction = await page.client.get(id);
  } catch (error) {
    if (token !== null) return watchOnly(id, token);
    show(byId("view"), false);
    return trouble(error.message);
  }
  if (!here(asked)) return;
  const model = page.models.get(prediction.model);
  presentRun(model ?? null, prediction.model);
  if (model) fillFrom(id);
  followRun(id, tokenOf(prediction), { token: tokenOf(prediction), mayCancel: true, withKey: true });
}

async function mayList() {
  try {
    await loadModelsQuietly();
    return true;
  } catch {
    return false;
  }
}

function watchOnly(id, token) {
  show(byId("side"), page.models !== null);
  presentRun(null, `Prediction ${id.slice(0, 8)}`);
  followRun(id, token, { token, mayCancel: false, withKey: false });
}

function presentRun(model, title) {
  if (model) return present(model);
  page.model = page.form = null;
  say(byId("title"), title);
  byId("badges").replaceChildren();
  show(byId("asking"), false);
  show(byId("readme"), false);
  show(byId("view"), true);
}

async function followRun(id, token, { mayCancel, withKey }) {
  const streamUrl = new URL(`api/v3/predictions/${id}/stream?token=${encodeURIComponent(token ?? "")}`, base).href;
  const follow = (signal) => page.follow(withKey ? id : streamUrl, { signal });
  try {
    await run.follow(id, follow, { token, mayCancel });
  } catch (error) {
    trouble(error.message);
  }
  if (page.models !== null) history.refresh();
}

function tokenOf(prediction) {
  return new URL(prediction.urls.stream, base).searchParams.get("token");
}

// Models

async function loadModels() {
  if (page.models !== null) return true;
  const found = await withKey(loadModelsQuietly);
  return found !== null;
}

async function loadModelsQuietly() {
  if (page.models === null) {
    const models = await page.client.models();
    page.models = new Map(models.map((model) => [model.model_id, model]));
    page.keyed = keptKey() !== null;
    show(byId("key-button"), page.keyed);
    byId("models").replaceChildren(...models.map(modelEntry));
    show(byId("filter"), models.length > MOST_UNFILTERED);
    if (models.length === 0) byId("models").append(h("li", { class: "hint", text: "This server has no models." }));
    show(byId("side"), true);
    history.refresh();
  }
  return page.models;
}

function modelEntry(model) {
  return h(
    "li",
    {},
    h("a", { href: modelAddress(model.model_id), "data-id": model.model_id }, h("span", { class: "entry-model", text: model.model_id }), h("span", { class: "entry-words", text: firstWords(model.description) }), badges(model)),
  );
}

/** What a README says first, without its title. */
function firstWords(markdown) {
  const paragraph = (markdown ?? "").split(/\n\s*\n/).find((block) => block.trim() && !/^\s*#/.test(block)) ?? "";
  return paragraph.replace(/<[^>]*>|[*_`]|\]\([^)]*\)|\[/g, "").replace(/\s+/g, " ").trim();
}

function badges(model) {
  const gives = givesOf(model.type);
  const given = gives === null ? [] : [h("span", { class: "badge gives", text: gives })];
  const streamed = (model.streams ?? []).map((name) => h("span", { class: "badge", text: name }));
  return h("span", { class: "badges" }, ...given, ...(streamed.length ? streamed : [h("span", { class: "badge none", text: "does not stream" })]));
}

/** Puts the form, the badges and the README of a model there, unless they are there already. */
function present(model) {
  markModel(model.model_id);
  for (const part of ["view", "asking", "readme"]) show(byId(part), true);
  if (page.model === model) return;
  page.model = model;
  say(byId("title"), model.model_id);
  byId("badges").replaceChildren(...[...badges(model).children].map((badge) => h("li", {}, badge)));
  byId("readme").replaceChildren(rendered(model.readme ?? model.description ?? "", model.model_id));
  page.form = makeForm(byId("fields"), model.api_schema.api_schemas[0].request_schema, { upload: (file) => page.client.upload(file), changed: showRequest });
  show(byId("form-error"), false);
  showRequest();
}

function markModel(id) {
  for (const link of byId("models").querySelectorAll("a")) {
    if (link.dataset.id === id) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** Shows the models whose id, kind or streams have all the words that were typed. */
function filterModels() {
  const words = byId("filter").value.toLowerCase().split(/\s+/);
  for (const item of byId("models").children) {
    const text = item.textContent.toLowerCase();
    show(item, words.every((word) => text.includes(word)));
  }
}

function showRequest() {
  if (page.form === null) return;
  const { model_id: model, type, streams } = page.model;
  const text = (streams ?? []).includes("output") && ["text", null].includes(givesOf(type));
  tabs.show({ url: serverUrl, model, inputs: page.form.peek(), key: page.keyed, text });
}

function tryExample() {
  const example = page.form.example();
  if (example === null) return toast("This model needs a file of yours, so there is no example to try.");
  page.form.fill(example);
  byId("run-button").focus({ preventScroll: true });
}

function fillFrom(id) {
  const inputs = history.inputsOf(id);
  if (inputs !== undefined) page.form.fill(inputs);
  else history.refresh().then(() => run.id === id && history.inputsOf(id) && page.form.fill(history.inputsOf(id)));
}

// Running

async function submit(event) {
  event.preventDefault();
  const button = byId("run-button");
  if (button.disabled || page.form === null) return;
  button.disabled = true;
  show(byId("form-error"), false);
  try {
    const inputs = await page.form.collect();
    if (inputs !== null) await start(page.model, inputs);
  } finally {
    button.disabled = false;
  }
}

async function start(model, inputs) {
  let prediction;
  try {
    prediction = await page.client.submit(model.model_id, inputs);
  } catch (error) {
    if (error.status === 401) return askForKey(error.message);
    const rest = error.errors?.length ? page.form.showErrors(error.errors) : [error.message];
    say(byId("form-error"), rest.join(" · "));
    return show(byId("form-error"), rest.length > 0);
  }
  location.hash = predictionAddress(prediction.id);
  document.body.dataset.route = "prediction";
  const token = tokenOf(prediction);
  followRun(prediction.id, token, { mayCancel: true, withKey: true });
  history.refresh().then(() => history.mark(prediction.id));
  bringIntoSight(byId("run"));
}

/** Scrolls only if the beginning of the element is not to be seen well. */
function bringIntoSight(element) {
  const { top } = element.getBoundingClientRect();
  if (top < byId("top").offsetHeight || top > innerHeight * 0.4) element.scrollIntoView({ block: "start", behavior: "smooth" });
}

function nameTab(state, model = page.model?.model_id) {
  const name = [model, TITLE].filter(Boolean).join(" · ");
  if (state === null) document.title = name;
  else if (hasEnded(state.status)) document.title = `${state.status} · ${name}`;
  else document.title = `${Math.floor(state.percentage)} % · ${name}`;
}

function trouble(message) {
  say(byId("trouble"), message ?? "");
  show(byId("trouble"), message !== null);
}

// The key

/** Asks the server; if it wants a key, so does the page. `null` if there is no answer. */
async function withKey(ask) {
  try {
    return await ask();
  } catch (error) {
    if (error.status === 401) askForKey(keptKey() === null ? "" : error.message);
    else trouble(error.message);
    return null;
  }
}

function takeKey(key) {
  keepKey(key);
  Object.assign(page, clientWith(key));
  page.models = page.model = page.form = null;
  byId("key-dialog").close();
}

function askForKey(message) {
  const dialog = byId("key-dialog");
  say(byId("key-error"), message);
  show(byId("forget"), page.models !== null);
  show(byId("key-cancel"), page.models !== null);
  if (!dialog.open) dialog.showModal();
  byId("key").focus();
}

function keyDialog() {
  const dialog = byId("key-dialog");
  byId("key-button").addEventListener("click", () => askForKey(""));
  byId("key-cancel").addEventListener("click", () => dialog.close());
  dialog.addEventListener("cancel", (event) => page.models === null && event.preventDefault());
  byId("forget").addEventListener("click", () => {
    keepKey(null);
    location.reload();
  });
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const key = byId("key").value.trim();
    if (key === "") return say(byId("key-error"), "Type or paste the key.");
    await tryKey(key);
  });
}

/** Keeps the key if the server knows it. */
async function tryKey(key) {
  const button = byId("connect");
  button.disabled = true;
  try {
    await clientWith(key).client.models();
  } catch (error) {
    byId("key").setAttribute("aria-invalid", "true");
    return say(byId("key-error"), error.message);
  } finally {
    button.disabled = false;
  }
  byId("key").value = "";
  byId("key").removeAttribute("aria-invalid");
  takeKey(key);
  await route();
}
