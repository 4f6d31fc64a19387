// The page: text in, translation out as it settles.

import { meaningOf } from "./doubts.js";
import { Documents } from "./documents.js";
import { openEngine } from "./engines.js";
import { Languages, nameOf } from "./languages.js";
import { segmentsOf } from "./plain_text.js";
import { SourcePane } from "./source_pane.js";
import { TargetPane } from "./target_pane.js";

const PAUSE = 250; // milliseconds without a key before a translation begins
const MOST_KEPT = 5000; // sentences
const ALTERNATIVES = 4;

const find = (selector) => document.querySelector(selector);

class App {
  #engine;
  #languages;
  #source = new SourcePane({
    onInput: (kind) => this.#changed(kind === "insertFromPaste" ? 0 : PAUSE),
    onPoint: (at) => this.#pointAt(at),
  });
  #target = new TargetPane({
    onWord: (index, word) => this.#markSource(index, word),
    onOpen: (index) => this.#open(index),
    onLeave: () => this.#close(),
  });
  #segments = [];
  #kept = new Map(); // results by languages and sentence
  #partials = new Map();
  #timer = 0;
  #running = new AbortController();
  #opened = -1;

  async start() {
    try {
      this.#engine = await openEngine();
    } catch (error) {
      this.#fail(error);
      return;
    }
    find("#where").textContent = this.#engine.where;
    find("#about").textContent = this.#engine.about();
    this.#languages = new Languages(this.#engine.models, (swapped) => this.#turned(swapped));
    new Documents(
      (...request) => this.#translateDocument(...request),
      this.#engine.documents,
      (file, signal) => this.#translateFile(file, signal),
    );
    find("#clear").addEventListener("click", () => this.#clear());
    find("#copy").addEventListener("click", () => this.#copy());
    find("#close").addEventListener("click", () => this.#close());
    addEventListener("keydown", (event) => this.#shortcut(event));
    if (this.#engine.needsKey) this.#askForKey();
    this.#changed(0);
    keepForOffline();
    await this.#prepareIfHere();
  }

  get #request() {
    return { source: this.#languages.source, target: this.#languages.target };
  }

  /** A model that is here already is loaded before anything is typed. */
  async #prepareIfHere() {
    const { source, target } = this.#request;
    const bytes = await this.#engine.missingBytes(source, target);
    if (bytes) this.#say(`${(bytes / 1e6).toFixed(0)} MB are loaded once, when you begin to type`);
    else this.#engine.prepare(source, target, () => {}).catch((error) => this.#fail(error));
  }

  /** The text or the languages are others than before. */
  #changed(pause) {
    const text = this.#source.text;
    this.#languages.read(text);
    const { source, target } = this.#request;
    this.#source.language = source;
    this.#target.language = target;
    document.title = `${nameOf(source)} to ${nameOf(target)}`;
    find("#clear").hidden = !text;
    find("#count").textContent = text ? `${Array.from(text).length.toLocaleString("en")} characters` : "";
    this.#close(false);
    this.#segments = segmentsOf(text);
    this.#show();
    clearTimeout(this.#timer);
    this.#running.abort();
    find("#error").hidden = true;
    if (this.#segments.length) this.#timer = setTimeout(() => this.#translate(), pause);
    else this.#settled();
  }

  #turned(swapped) {
    if (swapped) {
      const text = this.#target.text;
      if (text.trim()) this.#source.text = text;
    }
    this.#changed(0);
  }

  #keyOf(sentence, { source, target } = this.#request) {
    return `${source} ${target} ${sentence}`;
  }

  #stateOf({ text }) {
    const key = this.#keyOf(text);
    return { result: this.#kept.get(key) ?? null, partial: this.#partials.get(key) ?? "" };
  }

  #show() {
    const states = this.#segments.map((segment) => this.#stateOf(segment));
    this.#target.show(this.#source.text, this.#segments, states, this.#languages.target);
    this.#showDoubts();
  }

  /** Ask for the sentences that have no translation yet. */
  async #translate() {
    const sentences = [...new Set(this.#segments.map(({ text }) => text))];
    const missing = sentences.filter((text) => !this.#kept.has(this.#keyOf(text)));
    if (!missing.length) {
      this.#settled();
      return;
    }
    this.#running = new AbortController();
    const { signal } = this.#running;
    const request = this.#request;
    this.#target.isBusy = true;
    this.#say("Translating…");
    try {
      await this.#prepare(request);
      for (const [first, batch] of batchesOf(missing, this.#engine.limit)) {
        const keyOf = (index) => this.#keyOf(missing[first + index], request);
        await this.#engine.translate(batch, {
          ...request,
          ...{ alignment: true, doubts: true, signal },
          onPartial: (index, text) => this.#received(keyOf(index), null, text),
          onResult: (index, result) => this.#received(keyOf(index), result, ""),
        });
      }
      if (!signal.aborted) this.#settled();
    } catch (error) {
      if (!signal.aborted) this.#fail(error);
    }
  }

  /** Load the model, and show how far it is. */
  async #prepare({ source, target }) {
    const progress = find("#progress");
    const shown = setTimeout(() => (progress.hidden = false), 300);
    try {
      await this.#engine.prepare(source, target, (part) => {
        find("#progress-bar").value = part;
        const state = part < 1 ? `${Math.floor(part * 100)} %` : "starting";
        find("#progress-text").textContent = `Loading the model: ${state}`;
      });
    } finally {
      clearTimeout(shown);
      progress.hidden = true;
    }
  }

  /** What has come of a sentence: kept, even if the reader has gone on to other text. */
  #received(key, result, partial) {
    if (result === null) this.#partials.set(key, partial);
    else {
      this.#partials.delete(key);
      this.#keep(key, result);
    }
    this.#segments.forEach((segment, index) => {
      if (this.#keyOf(segment.text) === key) this.#target.update(index, this.#stateOf(segment));
    });
  }

  #keep(key, result) {
    this.#kept.delete(key);
    this.#kept.set(key, result);
    if (this.#kept.size > MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value);
  }

  #settled() {
    this.#target.isBusy = false;
    find("#copy").hidden = !this.#target.text.trim();
    this.#showDoubts();
    const count = this.#segments.length;
    if (!count) return;
    this.#say("");
    find("#announcement").textContent = `${count} ${count === 1 ? "sentence" : "sentences"} translated`;
  }

  #fail(error) {
    this.#target.isBusy = false;
    this.#say("");
    find("#error").textContent = error.message;
    find("#error").hidden = false;
  }

  #say(text) {
    find("#state").textContent = text;
  }

  #markSource(index, word) {
    const { begin, text } = this.#segments[index] ?? { begin: 0, text: "" };
    const places = word?.places ?? [];
    this.#source.highlight(places.map(([from, to]) => [begin + from, begin + to]));
    if (word && find("#target").contains(document.activeElement)) {
      const said = this.#stateOf(this.#segments[index]).result?.text.slice(word.begin, word.end).trim();
      const words = places.map(([from, to]) => text.slice(from, to)).join(" … ");
      if (words) find("#announcement").textContent = `${said}: ${words}`;
    }
  }

  /** Highlight what comes from the word at a place of the text. */
  #pointAt(at) {
    const index = this.#segments.findIndex(({ begin, end }) => at !== null && begin <= at && at < end);
    const { begin } = this.#segments[index] ?? { begin: 0 };
    const places = this.#target.lightFrom(index, at - begin);
    this.#source.highlight(unique(places).map(([from, to]) => [begin + from, begin + to]));
  }

  /** Show other translations of a sentence. */
  async #open(index) {
    const segment = this.#segments[index];
    if (!this.#stateOf(segment).result) return;
    this.#opened = index;
    this.#target.markOpen(index);
    find("#sentence").hidden = false;
    find("#sentence-source").textContent = segment.text;
    const list = find("#alternatives");
    const state = this.#stateOf(segment).result;
    list.replaceChildren(this.#alternative(index, state));
    try {
      const found = state.others ?? (await this.#alternativesOf(segment.text));
      if (this.#opened !== index) return;
      const others = found.filter(({ text }) => text !== state.text);
      list.append(...others.map((other) => this.#alternative(index, other)));
      if (!others.length) list.append(itemOf("There is no other translation of this sentence."));
    } catch (error) {
      if (this.#opened === index) list.append(itemOf(error.message));
    }
  }

  async #alternativesOf(sentence) {
    let found = null;
    await this.#engine.translate([sentence], {
      ...{ ...this.#request, alternatives: ALTERNATIVES, alignment: true, doubts: true },
      onResult: (_, result) => (found = result),
    });
    const { alternatives, ...best } = found;
    return [best, ...alternatives];
  }

  #alternative(index, choice) {
    const button = document.createElement("button");
    [button.type, button.textContent] = ["button", choice.text];
    const sentence = this.#segments[index].text;
    button.lang = this.#languages.target;
    button.setAttribute("aria-pressed", this.#kept.get(this.#keyOf(sentence)).text === choice.text);
    button.addEventListener("click", () => this.#choose(index, choice, button));
    return itemOf(button);
  }

  #choose(index, choice, button) {
    const sentence = this.#segments[index].text;
    const others = [...find("#alternatives").querySelectorAll("button")];
    this.#keep(this.#keyOf(sentence), { alignment: null, doubts: [], ...choice });
    this.#segments.forEach((segment, place) => {
      if (segment.text === sentence) this.#target.update(place, this.#stateOf(segment));
    });
    for (const other of others) other.setAttribute("aria-pressed", other === button);
    this.#showDoubts();
    find("#announcement").textContent = `Chosen: ${choice.text}`;
  }

  #close(withFocus = true) {
    const index = this.#opened;
    this.#opened = -1;
    this.#target.markOpen(-1);
    find("#sentence").hidden = true;
    if (!withFocus) return;
    if (index >= 0) this.#target.focus(index);
    else this.#source.focus();
  }

  #showDoubts() {
    const items = this.#segments.flatMap((segment, index) => {
      const doubts = this.#stateOf(segment).result?.doubts ?? [];
      return doubts.length ? [this.#doubtItem(segment, index, doubts.map(meaningOf))] : [];
    });
    find("#doubts").hidden = !items.length;
    find("#doubt-list").replaceChildren(...items);
  }

  #doubtItem(segment, index, reasons) {
    const button = document.createElement("button");
    [button.type, button.textContent] = ["button", this.#stateOf(segment).result.text || segment.text];
    button.addEventListener("click", () => this.#target.focus(index));
    const reason = document.createElement("span");
    reason.className = "reason";
    reason.textContent = ` ${reasons.join("; ")}`;
    return itemOf(button, reason);
  }

  async #translateDocument(sentences, text, signal, onResult) {
    const request = this.#languages.pairOf(text.slice(0, 20_000));
    await this.#prepare(request);
    const { limit } = this.#engine;
    for (const [first, batch] of batchesOf(sentences, limit)) {
      await this.#engine.translate(batch, {
        ...{ ...request, signal },
        onResult: (index, result) => onResult(first + index, result),
      });
    }
    return request.target;
  }

  async #translateFile(file, signal) {
    const { source, target } = this.#request;
    return { address: await this.#engine.translateFile(file, source, target, signal), target };
  }

  #clear() {
    this.#source.text = "";
    this.#changed(0);
    this.#say("");
    this.#source.focus();
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#target.text);
      this.#say("Copied");
      find("#announcement").textContent = "Copied";
    } catch {
      this.#say("Select the text to copy it: the browser does not allow it otherwise");
    }
  }

  #shortcut(event) {
    if (event.key === "Escape") {
      event.preventDefault();
      this.#close();
    } else if (event.ctrlKey && event.key === "Enter") {
      event.preventDefault();
      this.#target.focus();
    } else if (event.ctrlKey && event.shiftKey && event.code === "KeyX") {
      event.preventDefault();
      find("#swap").click();
    }
  }

  #askForKey() {
    if (sessionStorage.getItem("tfm api key")) return;
    const key = prompt("This server asks for an API key:");
    if (key) sessionStorage.setItem("tfm api key", key);
  }
}

function unique(places) {
  const sorted = places.toSorted((one, other) => one[0] - other[0]);
  return sorted.filter(([begin], index) => !index || begin >= sorted[index - 1][1]);
}

function itemOf(...content) {
  const item = document.createElement("li");
  item.append(...content);
  return item;
}

/** Sentences in batches: the first one's number, and as many as the server takes at once. */
function* batchesOf(sentences, limit) {
  const most = Math.min(4000, limit < 0 ? Infinity : limit);
  let batch = [];
  let size = 0;
  let first = 0;
  for (const [index, sentence] of sentences.entries()) {
    if (batch.length && size + sentence.length + 1 > most) {
      yield [first, batch];
      [batch, size, first] = [[], 0, index];
    }
    batch.push(sentence);
    size += sentence.length + 1;
  }
  if (batch.length) yield [first, batch];
}

/** Keep the page for visits without a network, where the engine needs none. */
function keepForOffline() {
  const isStatic = document.documentElement.dataset.engine === "browser";
  if (!isStatic || !("serviceWorker" in navigator)) return;
  navigator.serviceWorker.register("sw.js").catch((error) => {
    console.info(`This page is not kept for offline use: ${error.message}`); // in private windows
  });
}

new App().start();
