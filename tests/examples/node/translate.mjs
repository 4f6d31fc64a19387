// Translates lines from stdin with a model of tfm, in Node.
//
//   tfm convert zh-en my-model --to ort          (in the root of the checkout, the others here)
//   npm ci --ignore-scripts
//   echo '我爱你。' | node translate.mjs ../../../my-model
//
// Options: --beam-size N; --ids prints token ids in the place of text; --web takes onnxruntime-web.

import { readFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

import { Model } from "../../../runtime/web/assets/model.js";
import { segmentsOf } from "../../../runtime/web/assets/plain_text.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    "beam-size": { type: "string" },
    ids: { type: "boolean", default: false },
    web: { type: "boolean", default: false },
  },
});

if (positionals.length !== 1) fail("usage: node translate.mjs FOLDER, written by tfm convert --to ort");
const [folder] = positionals;
const beamSize = values["beam-size"] === undefined ? undefined : Number(values["beam-size"]);
if (beamSize !== undefined && !(Number.isInteger(beamSize) && beamSize > 0)) {
  fail(`--beam-size is ${values["beam-size"]}: expected a number from 1`);
}

const model = await load().catch((error) => fail(error.message));
for await (const line of createInterface({ input: process.stdin })) {
  if (values.ids) {
    const source = model.encode(line);
    const [best] = source.length ? await model.search(source, { beamSize }) : [{ ids: [] }];
    console.log(best.ids.join(" "));
  } else {
    const translated = [];
    for (const { text } of segmentsOf(line)) {
      translated.push((await model.translate(text, { beamSize })).text);
    }
    console.log(translated.join(" "));
  }
}
await model.close();

async function load() {
  const ort = values.web ? await webRuntime() : await import("onnxruntime-node");
  const read = async (name) => new Uint8Array(await readFile(path.join(folder, name)));
  const facts = JSON.parse(await readFile(path.join(folder, "model.json"), "utf8"));
  return Model.load(ort, facts, read);
}

async function webRuntime() {
  const ort = await import("onnxruntime-web/wasm");
  ort.env.wasm.numThreads = 1;
  return ort;
}

function fail(message) {
  console.error(`Error: ${message}`);
  process.exit(1);
}
