// Runs the page's modules for the tests: a request as JSON on stdin, the answer as JSON on stdout.

import { readFileSync } from "node:fs";
import process from "node:process";

const ASSETS = new URL("../../../runtime/web/assets/", import.meta.url);
const module = (name) => import(new URL(name, ASSETS));

const TASKS = {
  async sentences({ texts }) {
    const { splitSentences } = await module("sentences.js");
    return texts.map((text) => splitSentences(text).map(([begin, end]) => text.slice(begin, end)));
  },

  async assemble({ texts, target }) {
    const { assemble, segmentsOf } = await module("plain_text.js");
    return texts.map((text) => {
      const segments = segmentsOf(text);
      return assemble(text, segments, segments.map((segment) => `<${segment.text}>`), target);
    });
  },

  async capitals({ texts }) {
    const { foldCapitals } = await module("capitals.js");
    return texts.map((text) => foldCapitals(text));
  },

  async placeholders({ texts, pairs }) {
    const { findPlaceholders, restorePlaceholders } = await module("placeholders.js");
    return {
      found: texts.map((text) =>
        findPlaceholders(text).map(({ text: part, kind, begin, end }) => [part, kind, begin, end]),
      ),
      restored: pairs.map(({ source, target, places }) =>
        restorePlaceholders(source, target, places),
      ),
    };
  },

  async vocabulary({ path, texts, ids }) {
    const { SentencePiece } = await module("sentencepiece.js");
    const model = new SentencePiece(new Uint8Array(readFileSync(path)));
    return {
      ids: texts.map((text) => model.encode(text)),
      spans: texts.map((text) => model.spans(text)),
      decoded: ids.map((row) => model.decode(row)),
    };
  },

  async damagedVocabulary({ files }) {
    const { SentencePiece } = await module("sentencepiece.js");
    return files.map((file) => {
      try {
        return String(new SentencePiece(Uint8Array.from(file)).size);
      } catch (error) {
        return error.message;
      }
    });
  },

  async scripts({ texts, languages }) {
    const { detectLanguage, isInOtherScript, isSpaced, scriptsOf } = await module("scripts.js");
    return {
      scripts: languages.map((language) => scriptsOf(language)),
      spaced: languages.map((language) => isSpaced(language)),
      foreign: texts.map((text) => languages.map((language) => isInOtherScript(text, language))),
      detected: texts.map((text) => detectLanguage(text, languages)),
    };
  },

  async doubts({ sentences }) {
    const { findDoubts } = await module("doubts.js");
    return sentences.map((sentence) =>
      findDoubts({ ...sentence, unattended: sentence.unattended ?? Number.NaN }),
    );
  },

  async meanings({ names }) {
    const { meaningOf } = await module("doubts.js");
    return names.map((name) => meaningOf(name));
  },

  async words({ pairs }) {
    const { alignedWords } = await module("places.js");
    return pairs.map(({ source, target, alignment }) =>
      alignedWords(source, target, alignment).map(({ begin, end, places }) => [
        target.slice(begin, end),
        places.map(([from, to]) => source.slice(from, to)),
      ]),
    );
  },

  async delta({ base, delta }) {
    const { applyDelta } = await module("delta.js");
    return Array.from(applyDelta(Uint8Array.from(base), Uint8Array.from(delta)));
  },

  /** Whole translations by onnxruntime-node, which the example installs. */
  async model({ folder, sentences, requests }) {
    const { Model } = await module("model.js");
    const ort = await import(new URL("../../examples/node/node_modules/onnxruntime-node/dist/index.js", import.meta.url));
    const read = async (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
    const facts = JSON.parse(readFileSync(`${folder}/model.json`, "utf8"));
    const model = await Model.load(ort.default ?? ort, facts, read);
    const answers = [];
    for (const sentence of sentences) {
      const answer = [];
      for (const request of requests) answer.push(await model.translate(sentence, request));
      answers.push(answer);
    }
    await model.close();
    return answers;
  },
};

let input = "";
for await (const chunk of process.stdin) input += chunk;
const { task, ...request } = JSON.parse(input);
process.stdout.write(JSON.stringify(await TASKS[task](request)));
