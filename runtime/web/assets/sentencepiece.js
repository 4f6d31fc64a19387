// SentencePiece's unigram segmentation (Kudo 2018, subword regularization), as its C++ library does
// it: the same ids. tests/runtime/web holds it to the Python package.

import { PIECE, readModelFile } from "./spm_file.js";

const SPACE = 0x20;
const WORD_START = [0xe2, 0x96, 0x81]; // ▁
const UNKNOWN_PENALTY = 10;
// What Python's str.strip() takes away.
const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const AT_ENDS = new RegExp(`^[${SPACES}]+|[${SPACES}]+$`, "gu");

/** One SentencePiece model. */
export class SentencePiece {
  #model;
  #trie;
  #bytePieces;
  #charsmap;
  #unknown;
  #unknownScore;

  /** @param {Uint8Array} data the .spm file */
  constructor(data) {
    const model = readModelFile(data);
    this.#model = model;
    this.#trie = new Trie();
    this.#bytePieces = new Int32Array(256).fill(-1);
    let least = Infinity;
    this.#unknown = model.pieces.findIndex(({ type }) => type === PIECE.UNKNOWN);
    model.pieces.forEach(({ piece, bytes, score, type }, id) => {
      if (type === PIECE.NORMAL) least = Math.min(least, score);
      if (type === PIECE.NORMAL || type === PIECE.USER_DEFINED) this.#trie.add(bytes, id);
      if (type === PIECE.BYTE) this.#bytePieces[Number.parseInt(piece.slice(3, 5), 16)] = id;
    });
    this.#unknownScore = Math.fround(least - UNKNOWN_PENALTY);
    this.#charsmap = new Charsmap(model.charsmap, userDefined(model.pieces));
  }

  /** How many pieces there are. */
  get size() {
    return this.#model.pieces.length;
  }

  /** The name of a token, "▁" being a space. */
  piece(id) {
    return this.#model.pieces[id].piece;
  }

  /** The ids of a text. */
  encode(text) {
    return this.#segments(text).map(({ id }) => id);
  }

  /**
   * Where in the text each id of `encode` comes from: code points from and to. The bytes of a
   * character that is no piece all have that character's place.
   */
  spans(text) {
    const points = codePointsAtBytes(text);
    const places = [];
    let before = 0; // bytes of a character whose last byte has not come
    for (const { id, begin, end } of this.#segments(text)) {
      const place = [points[begin], points[end]];
      if (this.#model.pieces[id].type === PIECE.BYTE && place[0] === place[1]) before += 1;
      else {
        for (; before >= 0; before -= 1) places.push(place);
        before = 0;
      }
    }
    const last = points[points.length - 1];
    for (; before > 0; before -= 1) places.push([last, last]);
    return places;
  }

  /** The text of ids, without space at its ends. */
  decode(ids) {
    const { pieces, unknownSurface, addDummyPrefix, removeExtraWhitespaces } = this.#model;
    let text = "";
    let bytes = [];
    let atStart = true;
    let sawSpace = false;
    const finishBytes = () => {
      if (bytes.length) text += decodeBytes(bytes);
      bytes = [];
    };
    for (const id of ids) {
      const { piece, type } = pieces[id];
      if (type === PIECE.BYTE) {
        bytes.push(Number.parseInt(piece.slice(3, 5), 16));
        continue;
      }
      finishBytes();
      if (sawSpace || text) atStart = false;
      sawSpace = false;
      if (type === PIECE.CONTROL) continue;
      if (type === PIECE.UNKNOWN) {
        text += unknownSurface;
        continue;
      }
      let surface = piece;
      if (atStart && (addDummyPrefix || removeExtraWhitespaces) && surface.startsWith("▁")) {
        surface = surface.slice(1);
        sawSpace = !removeExtraWhitespaces;
      }
      text += surface.replaceAll("▁", " ");
    }
    finishBytes();
    return text.replace(AT_ENDS, "");
  }

  /** Ids with the bytes of the text, from and to, that each comes from. */
  #segments(text) {
    const { bytes, origins } = this.#normalize(new TextEncoder().encode(text));
    const found = [];
    for (const { id, begin, end } of this.#bestPath(bytes)) {
      const place = { begin: origins[begin], end: origins[end] };
      if (id !== this.#unknown) found.push({ id, ...place });
      else if (this.#model.byteFallback) {
        for (let at = begin; at < end; at += 1) {
          // The last byte has the place of the character, those before it an empty one.
          const isLast = at === end - 1;
          const byte = this.#bytePieces[bytes[at]];
          found.push({ id: byte, begin: place.begin, end: isLast ? place.end : place.begin });
        }
      } else if (found.at(-1)?.id === this.#unknown) found.at(-1).end = place.end;
      else found.push({ id, ...place });
    }
    return found;
  }

  /** The normalized text in UTF-8, and of each of its bytes, and of its end, the byte of the text
   * that it comes from. */
  #normalize(input) {
    const { addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces } = this.#model;
    const space = escapeWhitespaces ? WORD_START : [SPACE];
    const bytes = [];
    const origins = [];
    const push = (values, origin) => {
      for (const value of values) {
        bytes.push(value);
        origins.push(origin);
      }
    };
    let at = 0;
    let next = this.#charsmap.prefix(input, at);
    if (removeExtraWhitespaces) {
      while (at < input.length && isSpace(next.bytes)) {
        at += next.length;
        next = this.#charsmap.prefix(input, at);
      }
    }
    if (at >= input.length) return { bytes, origins: [at] };
    if (addDummyPrefix) push(space, at);
    let afterSpace = removeExtraWhitespaces;
    while (at < input.length) {
      const { bytes: normal, length } = this.#charsmap.prefix(input, at);
      let from = 0;
      while (afterSpace && normal[from] === SPACE) from += 1;
      if (from < normal.length) {
        for (let index = from; index < normal.length; index += 1) {
          push(normal[index] === SPACE ? space : [normal[index]], at);
        }
        afterSpace = normal[normal.length - 1] === SPACE;
      }
      at += length;
      if (!removeExtraWhitespaces) afterSpace = false;
    }
    let end = at;
    if (removeExtraWhitespaces) {
      while (endsWith(bytes, space)) {
        bytes.length -= space.length;
        end = origins[bytes.length];
        origins.length = bytes.length;
      }
    }
    origins.push(end);
    return { bytes, origins };
  }

  /** The pieces of the most probable segmentation: ids with places in the normalized bytes. */
  #bestPath(bytes) {
    const size = bytes.length;
    const scores = new Float32Array(size + 1); // and sums in 32 bits, as in C++: ties come about so
    const starts = new Int32Array(size + 1).fill(-1);
    const ids = new Int32Array(size + 1).fill(-1);
    const offer = (start, end, id, score) => {
      const sum = Math.fround(score + scores[start]);
      if (starts[end] === -1 || sum > scores[end]) {
        [scores[end], starts[end], ids[end]] = [sum, start, id];
      }
    };
    for (let start = 0; start < size; ) {
      const length = Math.min(utf8Length(bytes[start]), size - start);
      let hasCharacter = false;
      let node = this.#trie.root;
      for (let at = start; at < size; at += 1) {
        node = node.get(bytes[at]);
        if (node === undefined) break;
        if (node.id === undefined) continue;
        offer(start, at + 1, node.id, this.#score(node.id, at + 1 - start));
        hasCharacter ||= at + 1 - start === length;
      }
      if (!hasCharacter) offer(start, start + length, this.#unknown, this.#unknownScore);
      start += length;
    }
    const path = [];
    for (let end = size; end > 0; end = starts[end]) {
      path.push({ id: ids[end], begin: starts[end], end });
    }
    return path.reverse();
  }

  #score(id, length) {
    const { type, score } = this.#model.pieces[id];
    return type === PIECE.USER_DEFINED ? length * this.#mostScore() - 0.1 : score;
  }

  #most;
  #mostScore() {
    this.#most ??= this.#model.pieces.reduce(
      (most, { type, score }) => (type === PIECE.NORMAL ? Math.max(most, score) : most),
      -Infinity,
    );
    return this.#most;
  }
}

class Trie {
  root = new Map();

  add(bytes, id) {
    let node = this.root;
    for (const byte of bytes) {
      let next = node.get(byte);
      if (next === undefined) {
        next = new Map();
        node.set(byte, next);
      }
      node = next;
    }
    node.id = id;
  }
}

/** What normalization makes of the beginning of a text: rules in a double-array trie (Darts). */
class Charsmap {
  #units = new Uint32Array();
  #values = new Uint8Array();
  #symbols;

  constructor(blob, symbols) {
    this.#symbols = symbols;
    if (blob.length < 4) return;
    const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
    const size = view.getUint32(0, true);
    this.#units = Uint32Array.from({ length: size / 4 }, (_, i) => view.getUint32(4 + 4 * i, true));
    this.#values = blob.subarray(4 + size);
  }

  /** The longest rule's result for the text from `at` on, and how many bytes it reads. */
  prefix(input, at) {
    if (at >= input.length) return { bytes: [], length: 0 };
    const symbol = longestSymbol(this.#symbols, input, at);
    if (symbol) return { bytes: input.subarray(at, at + symbol), length: symbol };
    const [length, value] = this.#longest(input, at);
    if (length) {
      const end = this.#values.indexOf(0, value);
      return { bytes: this.#values.subarray(value, end < 0 ? undefined : end), length };
    }
    const size = Math.min(utf8Length(input[at]), input.length - at);
    return { bytes: input.subarray(at, at + size), length: size };
  }

  #longest(input, at) {
    const units = this.#units;
    let best = [0, 0];
    if (!units.length) return best;
    let node = offsetOf(units[0]);
    for (let index = at; index < input.length; index += 1) {
      node ^= input[index];
      const unit = units[node];
      if (unit === undefined || (unit & 0x800000ff) >>> 0 !== input[index]) break;
      node ^= offsetOf(unit);
      if ((unit >>> 8) & 1) best = [index + 1 - at, units[node] & 0x7fffffff];
    }
    return best;
  }
}

function offsetOf(unit) {
  return ((unit >>> 10) << ((unit & 512) >>> 6)) >>> 0;
}

/** Symbols that normalization leaves alone, in a trie; null for none. */
function userDefined(pieces) {
  const symbols = pieces.filter(({ type }) => type === PIECE.USER_DEFINED);
  if (!symbols.length) return null;
  const trie = new Trie();
  for (const { bytes } of symbols) trie.add(bytes, bytes.length);
  return trie;
}

function longestSymbol(trie, input, at) {
  let longest = 0;
  let node = trie?.root;
  for (let index = at; node !== undefined && index < input.length; index += 1) {
    node = node.get(input[index]);
    longest = node?.id ?? longest;
  }
  return longest;
}

function utf8Length(byte) {
  if (byte < 0xc0) return 1;
  if (byte < 0xe0) return 2;
  return byte < 0xf0 ? 3 : 4;
}

function isSpace(bytes) {
  return bytes.length === 1 && bytes[0] === SPACE;
}

function endsWith(bytes, end) {
  const start = bytes.length - end.length;
  return start >= 0 && end.every((byte, index) => bytes[start + index] === byte);
}

/** Of each byte of a text in UTF-8, and of its end, which code point it belongs to. */
function codePointsAtBytes(text) {
  const points = [];
  let count = 0;
  for (const character of text) {
    const length = new TextEncoder().encode(character).length;
    for (let index = 0; index < length; index += 1) points.push(count);
    count += 1;
  }
  points.push(count);
  return points;
}

/** Text of bytes; each byte that is part of no character becomes U+FFFD. */
function decodeBytes(bytes) {
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    const length = utf8Length(bytes[at]);
    let character = null;
    try {
      if (at + length <= bytes.length) {
        character = strict.decode(Uint8Array.from(bytes.slice(at, at + length)));
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
    }
    text += character ?? String.fromCodePoint(0xfffd);
    at += character === null ? 1 : length;
  }
  return text;
}

