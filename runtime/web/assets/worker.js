// The engine in a worker: loads models and translates sentences, one after the other.
//
// A message is {id, method, ...}; answers are {id, progress}, {id, partial}, {id, result} or
// {id, error}.

import { Files, forgetOthers } from "./files.js";
import { Model } from "./model.js";

const BASE = new URL("./", import.meta.url);
const RUNTIME = ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"];
const WASM = RUNTIME[2];

const models = new Map();
let manifest = null;
let runtime = null;

const METHODS = {
  /** Load the model of a pair; `progress` is the part of its files that is here. */
  async load({ source, target }, post) {
    await modelOf(source, target, (progress) => post({ progress }));
    return null;
  },

  /** Whether the files of a pair are kept already. */
  async isKept({ source, target }) {
    const entries = entriesOf(await listedModel(source, target));
    return new Files(BASE, entries).has(Object.keys(entries));
  },

  async translate({ source, target, sentence, options }, post) {
    const model = await modelOf(source, target);
    return model.translate(sentence, { ...options, onText: (partial) => post({ partial }) });
  },

  /** Source ids of a text, EOS included. */
  async encode({ source, target, text }) {
    return (await modelOf(source, target)).encode(text);
  },
};

let last = Promise.resolve();

self.onmessage = ({ data: { id, method, ...parameters } }) => {
  const post = (answer) => self.postMessage({ id, ...answer });
  last = last.then(async () => {
    try {
      post({ result: await METHODS[method](parameters, post) });
    } catch (error) {
      post({ error: error instanceof Error ? error.message : String(error) });
    }
  });
};

async function readManifest() {
  if (manifest === null) {
    const response = await fetch(new URL("models.json", BASE));
    if (!response.ok) throw new Error(`models.json cannot be fetched: status ${response.status}`);
    manifest = await response.json();
    const listed = manifest.models.flatMap(({ files }) => Object.values(files));
    await forgetOthers(BASE, [...listed, ...Object.values(manifest.onnxruntime_web.files)]);
  }
  return manifest;
}

async function listedModel(source, target) {
  const { models: listed } = await readManifest();
  const found = listed.find((model) => model.source === source && model.target === target);
  if (!found) throw new Error(`no model here translates from ${source} to ${target}`);
  return found;
}

/** All files that a model needs, the runtime's among them. */
function entriesOf(listed) {
  return { ...listed.files, [WASM]: manifest.onnxruntime_web.files[WASM] };
}

function modelOf(source, target, onProgress = () => {}) {
  const pair = `${source} ${target}`;
  if (!models.has(pair)) {
    const loading = loadModel(source, target, onProgress);
    models.set(pair, loading);
    loading.catch(() => models.delete(pair)); // tried again the next time
  }
  return models.get(pair);
}

async function loadModel(source, target, onProgress) {
  const listed = await listedModel(source, target);
  const entries = entriesOf(listed);
  const total = Object.values(entries).reduce((sum, { bytes }) => sum + bytes, 0);
  let loaded = 0;
  const files = new Files(BASE, entries, (bytes) => {
    loaded += bytes;
    onProgress(Math.min(1, loaded / total));
  });
  runtime ??= loadRuntime(files).catch((error) => {
    runtime = null;
    throw error;
  });
  const [ort] = await Promise.all([
    runtime,
    // Into the cache, so that hovering over a word works offline too; it is small.
    listed.facts.files.score ? files.fetch(listed.facts.files.score) : null,
  ]);
  const model = await Model.load(ort, listed.facts, (name) => files.read(name));
  onProgress(1);
  return model;
}

async function loadRuntime(files) {
  const { path } = (await readManifest()).onnxruntime_web;
  const [entry, glue] = RUNTIME.map((name) => new URL(`${path}${name}`, BASE).href);
  const [ort, wasmBinary] = await Promise.all([import(entry), files.read(WASM)]);
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1; // more only wait for each other in small models
  ort.env.wasm.wasmPaths = { mjs: glue };
  ort.env.wasm.wasmBinary = wasmBinary;
  return ort;
}
