// Files of models.json: fetched once, kept by the browser, verified.
//
// An entry of models.json is {path, bytes, size, sha256, base?}: where the file lies, how many bytes
// travel, how many it has when unpacked, and their hash; with `base` it is a delta of that file.

import { applyDelta } from "./delta.js";

const CACHE = "tfm-models";
const GZIP = [0x1f, 0x8b];

/** The files of one folder. */
export class Files {
  #base;
  #entries;
  #onProgress;

  /**
   * @param {URL} base the folder of models.json
   * @param {Record<string, object>} entries by name
   * @param {(loaded: number) => void} onProgress told how many more bytes there are
   */
  constructor(base, entries, onProgress = () => {}) {
    [this.#base, this.#entries, this.#onProgress] = [base, entries, onProgress];
  }

  /** The content of a file. Throws an Error that says what to do where it cannot be had. */
  async read(name) {
    const entry = this.#entries[name];
    let content = await this.#unpacked(entry);
    if (entry.base) content = applyDelta(await this.read(entry.base), content);
    if (!(await isIntact(content, entry))) {
      await (await openCache())?.delete(this.#key(entry));
      throw new Error(`${entry.path} is damaged: reload the page, or write the folder again`);
    }
    return content;
  }

  /** Fetch a file without reading it, so that it is here later. */
  async fetch(name) {
    await this.#packed(this.#entries[name]);
  }

  /** Whether all of these files are here already. */
  async has(names) {
    const cache = await openCache();
    if (cache === null) return false;
    const hits = names.map((name) => cache.match(this.#key(this.#entries[name])));
    return (await Promise.all(hits)).every(Boolean);
  }

  #key(entry) {
    return new URL(`${entry.path}?${entry.sha256.slice(0, 16)}`, this.#base).href;
  }

  async #unpacked(entry) {
    const packed = await this.#packed(entry);
    // A server that unpacks it on its own way has sent the content itself.
    if (packed[0] !== GZIP[0] || packed[1] !== GZIP[1]) return packed;
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  async #packed(entry) {
    const cache = await openCache();
    const kept = await cache?.match(this.#key(entry));
    if (kept) {
      this.#onProgress(entry.bytes);
      return new Uint8Array(await kept.arrayBuffer());
    }
    const url = new URL(entry.path, this.#base);
    let response;
    try {
      response = await fetch(url, { cache: "no-cache" });
    } catch (error) {
      throw new Error(`${entry.path} cannot be fetched: is this device online?`, { cause: error });
    }
    if (!response.ok) throw new Error(`${entry.path} cannot be fetched: status ${response.status}`);
    const content = await this.#received(response, entry);
    await keep(cache, this.#key(entry), content);
    return content;
  }

  async #received(response, entry) {
    const chunks = [];
    let told = 0;
    let loaded = 0;
    for (const reader = response.body.getReader(); ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      chunks.push(value);
      loaded += value.length;
      const more = Math.min(loaded, entry.bytes) - told;
      told += more;
      this.#onProgress(more);
    }
    this.#onProgress(entry.bytes - told);
    return new Uint8Array(await new Blob(chunks).arrayBuffer());
  }
}

/** Forget files that no entry names any more. */
export async function forgetOthers(base, entries) {
  const cache = await openCache();
  const paths = new Map(entries.map(({ path, sha256 }) => [new URL(path, base).href, sha256]));
  for (const { url } of (await cache?.keys()) ?? []) {
    const [path, version] = url.split("?");
    const isOurs = path.startsWith(base.href);
    if (isOurs && !paths.get(path)?.startsWith(version)) await cache.delete(url);
  }
}

async function openCache() {
  // Absent where the page is not secure: http from another machine.
  return globalThis.caches ? caches.open(CACHE).catch(() => null) : null;
}

async function keep(cache, key, content) {
  try {
    await cache?.put(key, new Response(content));
  } catch (error) {
    if (error.name !== "QuotaExceededError") throw error; // it is fetched again the next time
  }
}

async function isIntact(content, { size, sha256 }) {
  if (content.length !== size) return false;
  if (!globalThis.crypto?.subtle) return true; // the page is not secure
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("") === sha256;
}
