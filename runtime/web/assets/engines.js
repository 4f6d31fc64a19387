// Two engines with one interface: a server, and the browser itself.
//
// translate(sentences, {source, target, alternatives, alignment, doubts, signal, onPartial, onResult})
// tells onResult(index, result) for each sentence; a result is that of Model.translate, its doubts
// names or words. An error is thrown with a message for the reader.

import { Translator } from "./tfm.js";

const MOST_ALTERNATIVES = 4;

/** The engine that this page has. */
export async function openEngine() {
  const fromServer = () => factsOf("tfm/info");
  const fromFolder = () => factsOf("models.json");
  const order =
    document.documentElement.dataset.engine === "browser"
      ? [fromFolder, fromServer]
      : [fromServer, fromFolder];
  for (const ask of order) {
    const facts = await ask();
    if (facts?.engine === "server") return new ServerEngine(facts, await settingsOf());
    if (facts?.engine === "browser") return new BrowserEngine(facts);
  }
  throw new Error("No engine was found beside this page: is the server still running?");
}

async function factsOf(path) {
  try {
    const response = await fetch(path);
    return response.ok ? await response.json() : null;
  } catch {
    return null; // no server, or another kind of answer: the other engine is tried
  }
}

async function settingsOf() {
  return (await factsOf("frontend/settings")) ?? {};
}

class BrowserEngine {
  #facts;
  #translators = new Map();

  constructor(facts) {
    this.#facts = facts;
    this.models = facts.models;
    this.limit = -1; // characters
    this.documents = []; // ends of the names of files that are translated beside .txt
    this.where = "in this browser: your text stays on this device";
  }

  about() {
    const names = this.models.map(({ name, variant }) => `${name} (${variant})`).join(", ");
    return `tfm ${this.#facts.version} · ${names} · onnxruntime-web ${this.#facts.onnxruntime_web.version}`;
  }

  /** Bytes that have to be fetched before a pair can be translated; 0 if they are here. */
  async missingBytes(source, target) {
    const languages = { sourceLanguage: source, targetLanguage: target };
    if ((await Translator.availability(languages)) === "available") return 0;
    const model = this.models.find((known) => known.source === source && known.target === target);
    const files = [...Object.values(model.files), ...Object.values(this.#facts.onnxruntime_web.files)];
    return files.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Load the model of a pair; onProgress is told the part of it that is here. */
  async prepare(source, target, onProgress) {
    const pair = `${source} ${target}`;
    if (!this.#translators.has(pair)) {
      const created = Translator.create({
        sourceLanguage: source,
        targetLanguage: target,
        monitor: (events) => events.addEventListener("downloadprogress", (e) => onProgress(e.loaded)),
      });
      this.#translators.set(pair, created);
      created.catch(() => this.#translators.delete(pair));
    }
    return this.#translators.get(pair);
  }

  async translate(sentences, request) {
    const { source, target, alternatives = 0, alignment, doubts, signal } = request;
    const translator = await this.prepare(source, target, request.onProgress ?? (() => {}));
    for (const [index, sentence] of sentences.entries()) {
      signal?.throwIfAborted();
      const result = await translator.translateSentence(sentence, {
        ...{ alternatives: Math.min(alternatives, MOST_ALTERNATIVES), alignment, doubts, signal },
        onText: (text) => request.onPartial?.(index, text),
      });
      request.onResult(index, result);
    }
  }
}

class ServerEngine {
  #facts;

  constructor(facts, settings) {
    this.#facts = facts;
    this.models = facts.models;
    this.limit = settings.charLimit ?? -1;
    this.documents = settings.filesTranslation ? settings.supportedFilesFormat : [];
    this.needsKey = Boolean(settings.keyRequired);
    this.where = `by ${location.host || "a server"}`;
  }

  about() {
    const names = this.models.map(({ name, variant }) => `${name} (${variant})`).join(", ");
    return `tfm ${this.#facts.version} · ${names}`;
  }

  async missingBytes() {
    return 0;
  }

  async prepare() {}

  /** Translate a document; gives where the translation can be fetched. */
  async translateFile(file, source, target, signal) {
    const form = new FormData();
    for (const [name, value] of Object.entries({ file, source, target })) form.append(name, value);
    const key = sessionStorage.getItem("tfm api key");
    if (key) form.append("api_key", key);
    const response = await answerOf("translate_file", { method: "POST", body: form, signal });
    const { translatedFileUrl } = await response.json();
    // The name alone: behind a proxy the service may not know its own address.
    return `download_file/${translatedFileUrl.split("/").pop()}`;
  }

  async translate(sentences, request) {
    const { source, target, alternatives = 0, alignment = false, doubts = false, signal } = request;
    // A line break ends a sentence, so each has a line of its own.
    const body = {
      q: sentences.join("\n"),
      ...{ source, target, alternatives, alignment, doubts },
      partial: request.onPartial !== undefined,
    };
    const key = sessionStorage.getItem("tfm api key");
    if (key) body.api_key = key;
    const lines = new Lines(sentences, request);
    for await (const { event, data } of eventsOf(body, signal)) {
      if (event === "start") lines.start(data.sentences);
      else if (event === "partial") lines.partial(data);
      else if (event === "sentence") lines.sentence(data);
      else if (event === "error") throw new Error(data.error);
      else if (event === "end") return;
    }
    throw new Error("The server ended its answer too early: try again");
  }
}

/** Puts the server's sentences back into the lines that were asked for. */
class Lines {
  #request;
  #starts = [];
  #parts;
  #lineOf = [];

  constructor(sentences, request) {
    this.#request = request;
    let start = 0;
    for (const sentence of sentences) {
      this.#starts.push(start);
      start += Array.from(sentence).length + 1;
    }
    this.#parts = sentences.map(() => ({ expected: 0, found: [] }));
  }

  start(sentences) {
    for (const { index, begin } of sentences) {
      const line = this.#starts.findLastIndex((start) => start <= begin);
      this.#lineOf[index] = line;
      this.#parts[line].expected += 1;
    }
    this.#parts.forEach(({ expected }, line) => {
      if (!expected) this.#request.onResult(line, { ...EMPTY });
    });
  }

  partial({ index, text }) {
    const line = this.#lineOf[index];
    const { found } = this.#parts[line];
    this.#request.onPartial?.(line, [...found.map((part) => part.text), text].join(" "));
  }

  sentence(sentence) {
    const line = this.#lineOf[sentence.index];
    const part = this.#parts[line];
    part.found.push(sentence);
    if (part.found.length === part.expected) {
      this.#request.onResult(line, joined(part.found, this.#starts[line]));
    }
  }
}

const EMPTY = { text: "", score: 0, truncated: false, alternatives: [], alignment: [], doubts: [] };

/** One result of the sentences of a line. */
function joined(sentences, start) {
  sentences.sort((one, other) => one.index - other.index);
  const [first, ...rest] = sentences;
  if (!rest.length && first.begin === start) return first;
  const text = sentences.map((sentence) => sentence.text).join(" ");
  const alignment = [];
  let before = 0;
  for (const sentence of sentences) {
    const source = sentence.begin - start;
    for (const [begin, end, from, to] of sentence.alignment ?? []) {
      alignment.push([source + begin, source + end, before + from, before + to]);
    }
    before += Array.from(sentence.text).length + 1;
  }
  return {
    ...{ text, alignment, alternatives: [], score: Math.min(...sentences.map(({ score }) => score)) },
    truncated: sentences.some(({ truncated }) => truncated),
    doubts: [...new Set(sentences.flatMap(({ doubts }) => doubts ?? []))],
  };
}

/** The server-sent events of an answer. */
async function* eventsOf(body, signal) {
  const response = await post(body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (text + value).replaceAll("\r\n", "\n").split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = block.split("\n").map((line) => /^(\w+): ?(.*)$/s.exec(line));
      const of = (name) =>
        fields.filter((field) => field?.[1] === name).map((field) => field[2]).join("\n");
      if (of("data")) yield { event: of("event"), data: JSON.parse(of("data")) };
    }
  }
}

function post(body, signal) {
  return answerOf("tfm/translate", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
    signal,
  });
}

async function answerOf(path, request) {
  let response;
  try {
    response = await fetch(path, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached: is it running?", { cause: error });
  }
  if (response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  throw new Error(answer.error ?? `The server answered with status ${response.status}`);
}
