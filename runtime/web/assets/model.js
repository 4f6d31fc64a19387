// One model: text in, translations out, with the graphs of `tfm convert --to ort`.
//
// It knows neither where files come from nor which build of ONNX Runtime it is given: the page gives
// it onnxruntime-web in a worker, Node onnxruntime-node.

import { alignedPlaces, alignmentWeights, defaultHeads, unattendedShare } from "./alignment.js";
import { foldCapitals } from "./capitals.js";
import { findDoubts } from "./doubts.js";
import { placeholdersAreKept, restorePlaceholders } from "./placeholders.js";
import { SentencePiece } from "./sentencepiece.js";

const LEAST_LIMIT = 8; // tokens that max_length_factor always allows
const INCOMPLETE = "\ufffd"; // what bytes decode to that are no whole character yet

/** A loaded model. Calls run one after the other. */
export class Model {
  #ort;
  #facts;
  #read;
  #source;
  #target;
  #translate;
  #score = null;

  /**
   * Load a model.
   *
   * @param {object} ort the module onnxruntime-web or onnxruntime-node
   * @param {object} facts model.json
   * @param {(name: string) => Promise<Uint8Array>} read the content of a file beside model.json
   */
  static async load(ort, facts, read) {
    const { files } = facts;
    const [graph, source, target] = await Promise.all([
      read(files.translate),
      read(files.source),
      files.target === files.source ? null : read(files.target),
    ]);
    const model = new Model();
    [model.#ort, model.#facts, model.#read] = [ort, facts, read];
    model.#source = new SentencePiece(source);
    model.#target = target === null ? model.#source : new SentencePiece(target);
    model.#translate = await openSession(ort, graph);
    return model;
  }

  /** What model.json says. */
  get facts() {
    return this.#facts;
  }

  /** Free the graphs. */
  async close() {
    await this.#translate.release();
    const score = await this.#score;
    this.#score = null;
    await score?.release();
  }

  /** Source ids of a sentence: pieces and, as the model was trained, EOS; [] without pieces. */
  encode(sentence) {
    const { source_vocab_size: size, max_source_length: longest } = this.#facts;
    const { unk_id: unknown, eos_id: end } = this.#facts.special_ids;
    const ids = this.#source.encode(this.#asRead(sentence)).map((id) => (id < size ? id : unknown));
    if (!ids.length) return [];
    return [...ids.slice(0, longest), ...(this.#facts.source_eos ? [end] : [])];
  }

  #asRead(sentence) {
    return this.#facts.fold_capitals ? foldCapitals(sentence) : sentence;
  }

  /** The text of target ids. */
  decode(ids) {
    return this.#target.decode(ids);
  }

  /**
   * The hypotheses of source ids, best first.
   *
   * @param {number[]} ids with EOS
   * @param {{beamSize?: number, hypotheses?: number}} options the model's own by default
   * @returns {Promise<{ids: number[], score: number}[]>}
   */
  async search(ids, { beamSize, hypotheses } = {}) {
    const count = hypotheses ?? this.#option("num_hypotheses");
    const changed = {
      beam_size: Math.max(beamSize ?? this.#option("beam_size"), count),
      num_hypotheses: count,
      max_length: this.#limit(ids.length),
    };
    const feeds = { source_ids: this.#rowOf(ids) };
    for (const [name, { type, value }] of Object.entries(this.#facts.inputs)) {
      feeds[name] = this.#tensorOf(type, changed[name] ?? value);
    }
    const outputs = await this.#translate.run(feeds);
    const { output_ids: found, output_lengths: lengths, output_scores: scores } = outputs;
    const width = found.dims[2];
    const results = [];
    for (let rank = 0; rank < found.dims[1]; rank += 1) {
      if (scores.data[rank] === -Infinity) continue;
      const start = rank * width;
      const row = found.data.slice(start, start + Number(lengths.data[rank]));
      results.push({ ids: Array.from(row, Number), score: scores.data[rank] });
    }
    if (!results.length) throw new Error("the model gave no finite score: export the model again");
    return results;
  }

  /**
   * The translation of one sentence.
   *
   * @param {string} sentence
   * @param {{beamSize?: number, alternatives?: number, alignment?: boolean, doubts?: boolean,
   *   onText?: (text: string) => void}} options alternatives: how many other translations; onText is
   *   told the text before alignment and doubts are looked for
   * @returns {Promise<{text: string, score: number, truncated: boolean, tokens: number[],
   *   alternatives: {text: string, score: number}[], alignment: number[][] | null,
   *   doubts: string[]}>} places of the alignment are in code points
   */
  async translate(sentence, options = {}) {
    const { beamSize, alternatives = 0, alignment = false, doubts = false, onText } = options;
    const source = this.encode(sentence);
    if (!source.length) return { ...NOTHING, alignment: alignment ? [] : null };
    const hypotheses = alternatives + 1;
    const [best, ...others] = await this.search(source, { beamSize, hypotheses });
    const truncated = best.ids.length >= this.#limit(source.length);
    const { text, ids } = await this.#complete(sentence, source, best.ids);
    onText?.(text);
    const result = { text, score: best.score, truncated, tokens: ids, alternatives: [] };
    const seen = new Set([text]);
    for (const other of others) {
      const { text: words } = await this.#complete(sentence, source, other.ids);
      if (!seen.has(words)) result.alternatives.push({ text: words, score: other.score });
      seen.add(words);
    }
    const wantsAttention = (alignment || doubts) && this.#facts.files.score !== null;
    const attention = wantsAttention ? await this.#attention(source, ids) : null;
    result.alignment = alignment && attention ? this.#align(sentence, source, ids, attention) : null;
    result.doubts = doubts ? this.#doubts(sentence, source, result, attention) : [];
    return result;
  }

  /** The text of target ids with the placeholders of its source, and the ids of that text. */
  async #complete(sentence, source, ids) {
    const text = this.decode(ids);
    if (this.#facts.files.score === null || placeholdersAreKept(sentence, text)) {
      return { text, ids };
    }
    const places = this.#align(sentence, source, ids, await this.#attention(source, ids));
    const complete = restorePlaceholders(sentence, text, places);
    return { text: complete, ids: this.#target.encode(complete) };
  }

  #align(sentence, source, target, attention) {
    const [layers, , heads] = attention.dims;
    const chosen = this.#facts.alignment ?? defaultHeads(layers, heads);
    return alignedPlaces(
      alignmentWeights(attention, chosen),
      this.#sourceSpans(sentence, source),
      this.#targetSpans(target),
    );
  }

  #doubts(source, ids, { text, tokens, score, truncated }, attention) {
    return findDoubts({
      ...{ source, text, tokens, score, truncated },
      sourceLength: ids.length,
      targetLanguage: this.#facts.target,
      lengthPenalty: this.#option("length_penalty"),
      unattended: attention ? unattendedShare(attention) : Number.NaN,
    });
  }

  /** Cross-attention of a pair, [layers, 1, heads, target, source]. The graph is loaded first. */
  async #attention(source, target) {
    this.#score ??= this.#read(this.#facts.files.score).then((graph) =>
      openSession(this.#ort, graph),
    );
    let session;
    try {
      session = await this.#score;
    } catch (error) {
      this.#score = null; // tried again the next time
      throw error;
    }
    const feeds = {
      source_ids: this.#rowOf(source),
      target_ids: this.#rowOf([...target, this.#facts.special_ids.eos_id]),
    };
    return (await session.run(feeds, ["cross_attention"])).cross_attention;
  }

  /** Where in the sentence each source id comes from; EOS stands for nothing. */
  #sourceSpans(sentence, ids) {
    const length = Array.from(sentence).length;
    const ends = this.#facts.source_eos ? 1 : 0;
    const places = this.#source.spans(this.#asRead(sentence)).slice(0, ids.length - ends);
    return [...places, ...Array(ends).fill([length, length])];
  }

  /** Where in the text that target ids decode to each of them stands. */
  #targetSpans(ids) {
    const places = [];
    let start = 0;
    for (let count = 1; count <= ids.length; count += 1) {
      const text = this.decode(ids.slice(0, count));
      if (text.endsWith(INCOMPLETE) && count < ids.length) continue;
      const end = Math.max(start, Array.from(text).length);
      while (places.length < count) places.push([start, end]);
      start = end;
    }
    return places;
  }

  #limit(sourceLength) {
    const factor = this.#facts.max_length_factor;
    const most = this.#option("max_length");
    if (!factor) return most;
    const scaled = Math.ceil(Number((factor * sourceLength).toFixed(6)));
    return Math.min(most, Math.max(LEAST_LIMIT, this.#option("min_length"), scaled));
  }

  #option(name) {
    return this.#facts.inputs[name].value;
  }

  #rowOf(ids) {
    return new this.#ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
  }

  /** A number, or a list of them. */
  #tensorOf(type, value) {
    const numbers = [value].flat();
    const dims = Array.isArray(value) ? [numbers.length] : [];
    return type === "int64"
      ? new this.#ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), dims)
      : new this.#ort.Tensor("float32", Float32Array.from(numbers), dims);
  }
}

const NOTHING = { text: "", score: 0, truncated: false, tokens: [], alternatives: [], doubts: [] };

function openSession(ort, graph) {
  return ort.InferenceSession.create(graph, {
    executionProviders: ["cpu"],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 4, // errors are thrown; warnings are about ONNX Runtime, not about the text
  });
}
