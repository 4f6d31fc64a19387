// Documents that are translated whole: text files by either engine, others by the server.

import { assemble, segmentsOf } from "./plain_text.js";

const MOST_BYTES = 20e6;
const ENDING = /\.txt$/i;

/** The list of files. */
export class Documents {
  #card = document.querySelector("#documents");
  #list = document.querySelector("#document-list");
  #translate;
  #endings;
  #translateFile;

  /**
   * translate(sentences, text, signal, onResult) gives the target language;
   * translateFile(file, signal) gives where a document with one of these endings is fetched, and the
   * target language
   */
  constructor(translate, endings, translateFile) {
    this.#translate = translate;
    [this.#endings, this.#translateFile] = [endings, translateFile];
    const input = document.querySelector("#file");
    if (endings.length) {
      input.accept = endings.join(",");
      document.querySelector('label[for="file"]').textContent = "Open a file";
    }
    input.addEventListener("change", () => {
      this.add(input.files);
      input.value = "";
    });
    this.#acceptDrops();
  }

  /** Translate files, one after the other. */
  async add(files) {
    for (const file of files) await this.#add(file);
  }

  #acceptDrops() {
    const veil = document.querySelector("#drop");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      veil.hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) veil.hidden = true;
    });
    addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      veil.hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  async #add(file) {
    this.#card.hidden = false;
    const row = document.createElement("li");
    const name = document.createElement("span");
    name.textContent = file.name;
    const action = document.createElement("button");
    [action.type, action.className, action.textContent] = ["button", "button", "Stop"];
    const progress = document.createElement("progress");
    progress.setAttribute("aria-label", file.name);
    row.append(name, action, progress);
    this.#list.append(row);
    const stopped = new AbortController();
    action.addEventListener("click", () => stopped.abort());
    try {
      const link = await this.#linkTo(file, stopped.signal, (part) => {
        progress.value = part;
      });
      action.replaceWith(link);
    } catch (error) {
      action.remove();
      const message = document.createElement("p");
      message.className = "error";
      message.setAttribute("role", "alert");
      message.textContent = error.name === "AbortError" ? "Stopped." : error.message;
      row.append(message);
    }
    progress.remove();
  }

  async #linkTo(file, signal, onProgress) {
    const name = file.name.toLowerCase();
    if (!ENDING.test(name) && this.#endings.some((ending) => name.endsWith(ending))) {
      const { address, target } = await this.#translateFile(file, signal);
      return savingLink(file.name, target, address);
    }
    const { text, target } = await this.#translated(file, signal, onProgress);
    const blob = new Blob([text], { type: "text/plain;charset=utf-8" });
    return savingLink(file.name, target, URL.createObjectURL(blob));
  }

  async #translated(file, signal, onProgress) {
    if (!ENDING.test(file.name)) {
      const known = this.#endings.length ? this.#endings.join(", ") : "text files (.txt)";
      throw new Error(`${file.name}: only ${known} are translated here`);
    }
    if (file.size > MOST_BYTES) {
      throw new Error(`${file.name} has ${Math.ceil(file.size / 1e6)} MB, at most ${MOST_BYTES / 1e6} MB are read`);
    }
    const text = decode(await file.arrayBuffer(), file.name);
    const segments = segmentsOf(text);
    const translations = [];
    let done = 0;
    const target = await this.#translate(
      segments.map((segment) => segment.text),
      text,
      signal,
      (index, result) => {
        translations[index] = result.text;
        done += 1;
        onProgress(done / segments.length);
      },
    );
    return { text: assemble(text, segments, translations, target), target };
  }
}

/** Text of a file: UTF-8, UTF-16 with a byte order mark, or GB18030. */
function decode(content, name) {
  const bytes = new Uint8Array(content);
  const marked = { "255,254": "utf-16le", "254,255": "utf-16be" }[bytes.subarray(0, 2).join()];
  if (!marked && bytes.subarray(0, 4096).includes(0)) throw new Error(`${name} is not a text file`);
  for (const encoding of marked ? [marked] : ["utf-8", "gb18030"]) {
    try {
      return new TextDecoder(encoding, { fatal: true }).decode(bytes);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
  }
  throw new Error(`${name} is in an unknown encoding: save it as UTF-8`);
}

function savingLink(name, target, address) {
  const link = document.createElement("a");
  link.className = "button";
  link.textContent = "Save";
  link.download = name.replace(/(\.[^.]*)?$/, `.${target}$1`);
  link.href = address;
  return link;
}
