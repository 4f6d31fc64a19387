// The Translator API of the W3C's Web Machine Learning community group, on tfm's own models:
//
//   import { Translator } from "./tfm.js";
//   const translator = await Translator.create({ sourceLanguage: "zh", targetLanguage: "en" });
//   console.log(await translator.translate("我爱你。"));
//
// Beyond it, `translateSentence` gives alternatives, alignment and doubts.

import { assembledParts, segmentsOf } from "./plain_text.js";

const BASE = new URL("./", import.meta.url);

/** Requests to the worker, which is started by the first one. */
class Engine {
  #worker = null;
  #waiting = new Map();
  #count = 0;

  /** The worker's answer; `on` is told of what comes before it. */
  ask(method, parameters, on = {}) {
    this.#worker ??= this.#start();
    this.#count += 1;
    const id = this.#count;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject, on });
      this.#worker.postMessage({ id, method, ...parameters });
    });
  }

  #start() {
    const worker = new Worker(new URL("worker.js", BASE), { type: "module" });
    worker.onmessage = ({ data: { id, progress, partial, result, error } }) => {
      const request = this.#waiting.get(id);
      if (request === undefined) return;
      if (progress !== undefined) request.on.progress?.(progress);
      else if (partial !== undefined) request.on.partial?.(partial);
      else {
        this.#waiting.delete(id);
        if (error === undefined) request.resolve(result);
        else request.reject(new DOMException(error, "OperationError"));
      }
    };
    worker.onerror = () => this.#fail();
    return worker;
  }

  #fail() {
    const reason = "the engine stopped: reload the page";
    for (const { reject } of this.#waiting.values()) reject(new DOMException(reason, "OperationError"));
    this.#waiting.clear();
    this.#worker = null;
  }
}

const engine = new Engine();
const loaded = new Set(); // pairs
const loading = new Map();

/** Told of a model's download: "downloadprogress" events, `loaded` from 0 to 1. */
class CreateMonitor extends EventTarget {
  ondownloadprogress = null;

  tell(part) {
    const event = new ProgressEvent("downloadprogress", {
      lengthComputable: true,
      loaded: part,
      total: 1,
    });
    this.ondownloadprogress?.(event);
    this.dispatchEvent(event);
  }
}

/** Translates from one language into another; see `create`. */
export class Translator {
  #pair;
  #destroyed = new AbortController();

  /** The most of a text, in the units of `measureInputUsage`. */
  inputQuota = Infinity;

  /** @private `create` makes one. */
  constructor(pair, sourceLanguage, targetLanguage) {
    this.#pair = pair;
    this.sourceLanguage = sourceLanguage;
    this.targetLanguage = targetLanguage;
  }

  /**
   * Whether there is a model: "unavailable", "downloadable", "downloading" or "available".
   *
   * @param {{sourceLanguage: string, targetLanguage: string}} languages such as zh and en-US
   */
  static async availability(languages) {
    const pair = await pairOf(languages);
    if (pair === null) return "unavailable";
    const name = nameOf(pair);
    if (loaded.has(name)) return "available";
    if (loading.has(name)) return "downloading";
    return (await engine.ask("isKept", pair)) ? "available" : "downloadable";
  }

  /**
   * Load a model.
   *
   * @param {{sourceLanguage: string, targetLanguage: string, monitor?: (m: EventTarget) => void,
   *   signal?: AbortSignal}} options monitor is given what "downloadprogress" events go to
   * @throws {DOMException} NotSupportedError: no model for these languages; AbortError;
   *   OperationError: it cannot be loaded
   */
  static async create({ sourceLanguage, targetLanguage, monitor, signal }) {
    signal?.throwIfAborted();
    const events = new CreateMonitor();
    monitor?.(events);
    const pair = await pairOf({ sourceLanguage, targetLanguage });
    if (pair === null) {
      const message = `no model here translates from ${sourceLanguage} to ${targetLanguage}`;
      throw new DOMException(message, "NotSupportedError");
    }
    await untilAborted(load(pair, events), signal);
    return new Translator(pair, sourceLanguage, targetLanguage);
  }

  /** The translation of a text, its layout kept. */
  async translate(text, { signal } = {}) {
    let whole = "";
    for await (const part of this.#parts(String(text), signal)) whole += part;
    return whole;
  }

  /** The same, as a stream of strings: a sentence at a time. */
  translateStreaming(text, { signal } = {}) {
    const parts = this.#parts(String(text), signal);
    return new ReadableStream({
      async pull(controller) {
        try {
          const { done, value } = await parts.next();
          if (done) controller.close();
          else controller.enqueue(value);
        } catch (error) {
          controller.error(error);
        }
      },
      async cancel() {
        await parts.return();
      },
    });
  }

  /**
   * The translation of one sentence, with all that is known about it.
   *
   * @param {string} sentence
   * @param {{alternatives?: number, alignment?: boolean, doubts?: boolean, beamSize?: number,
   *   signal?: AbortSignal, onText?: (text: string) => void}} options as of Model.translate
   * @returns {Promise<object>} as of Model.translate
   */
  translateSentence(sentence, { signal, onText, ...options } = {}) {
    const request = { ...this.#pair, sentence, options };
    return this.#ask("translate", request, signal, { partial: onText });
  }

  /** How many tokens the model reads of a text. */
  async measureInputUsage(text, { signal } = {}) {
    let count = 0;
    for (const segment of segmentsOf(String(text))) {
      count += (await this.#ask("encode", { ...this.#pair, text: segment.text }, signal)).length;
    }
    return count;
  }

  /** Stop what runs; nothing can be translated with it from then on. */
  destroy() {
    this.#destroyed.abort(new DOMException("the translator was destroyed", "AbortError"));
  }

  async *#parts(text, signal) {
    const segments = segmentsOf(text);
    const translations = segments.map(() => "");
    let written = 0;
    const untilNow = () => assembledParts(text, segments, translations, this.#pair.target);
    for (const [index, segment] of segments.entries()) {
      translations[index] = (await this.translateSentence(segment.text, { signal })).text;
      const parts = untilNow().slice(written, 2 * index + 2);
      written = 2 * index + 2;
      yield parts.join("");
    }
    const rest = untilNow().slice(written).join("");
    if (rest) yield rest;
  }

  #ask(method, parameters, signal, on = {}) {
    const either = signal
      ? AbortSignal.any([signal, this.#destroyed.signal])
      : this.#destroyed.signal;
    if (either.aborted) return Promise.reject(either.reason);
    return untilAborted(engine.ask(method, parameters, on), either);
  }
}

/** The model's languages for those that are asked for, which may say more: en-US is en. */
async function pairOf({ sourceLanguage, targetLanguage }) {
  const response = await fetch(new URL("models.json", BASE));
  if (!response.ok) throw new DOMException("models.json cannot be fetched", "NetworkError");
  const { models } = await response.json();
  const wanted = [sourceLanguage, targetLanguage];
  for (const reading of [String, primary]) {
    const [source, target] = wanted.map(reading);
    if (models.some((model) => model.source === source && model.target === target)) {
      return { source, target };
    }
  }
  return null;
}

/** en of en-US; what is no language tag stays as it is. */
function primary(language) {
  try {
    return new Intl.Locale(language).language;
  } catch {
    return language;
  }
}

function nameOf({ source, target }) {
  return `${source} ${target}`;
}

async function load(pair, events) {
  const name = nameOf(pair);
  if (loaded.has(name)) {
    events.tell(1);
    return;
  }
  if (!loading.has(name)) {
    const monitors = new Set();
    const progress = (part) => monitors.forEach((monitor) => monitor.tell(part));
    const promise = engine.ask("load", pair, { progress }).then(
      () => loaded.add(name),
    ).finally(() => loading.delete(name));
    loading.set(name, { promise, monitors });
  }
  const { promise, monitors } = loading.get(name);
  monitors.add(events);
  await promise;
}

function untilAborted(promise, signal) {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}
