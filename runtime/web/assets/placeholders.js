// Parts of a text that a translation must keep: finding them, and putting back those that it lost;
// runtime/placeholders.py. Places are in code points.

import { isUnspacedLetter } from "./scripts.js";
import { SPACE } from "./sentences.js";

// Chinese, Japanese, Thai and Korean go on after an address without a space.
const ATTACHED =
  "\\u0e00-\\u0eff\\u1000-\\u109f\\u1780-\\u17ff\\u3000-\\u9fff\\uac00-\\ud7a3\\uf900-\\ufaff\\uff00-\\uffef";
const OUTSIDE_URLS = `${SPACE}<>"'“”${ATTACHED}`;
const EMOJI =
  "[\\u{1f1e6}-\\u{1f1ff}]{2}|[0-9#*]\\ufe0f?\\u20e3|[\\u2600-\\u27bf\\u2b00-\\u2bff\\u{1f000}-\\u{1faff}]" +
  "(?:\\ufe0f|[\\u{1f3fb}-\\u{1f3ff}]|\\u200d[\\u2600-\\u27bf\\u{1f000}-\\u{1faff}]|[\\u{e0020}-\\u{e007f}])*";
const WORD = "A-Za-z0-9_";
const NAME = `[${WORD}.\\-]*[${WORD}\\-]`;
const ENDINGS =
  "txt|md|rst|pdf|docx?|xlsx?|pptx?|odt|csv|tsv|json|jsonl|xml|ya?ml|toml|ini|cfg|conf|log|html?|css" +
  "|jsx?|tsx?|py|ipynb|sh|bat|java|kt|rs|rb|php|sql|cpp|hpp|tex|so(?:\\.\\d+)*" +
  "|dll|exe|apk|dmg|deb|iso|zip|tar|gz|bz2|xz" +
  "|zst|rar|7z|png|jpe?g|gif|svg|webp|bmp|mp3|mp4|wav|flac|ogg|avi|mov|mkv|webm|onnx|com|org|net|edu" +
  "|gov|io|cn";
const D = "\\p{Nd}";
const KINDS = Object.entries({
  urls: `(?:(?:https?|ftp)://|www\\.)[^${OUTSIDE_URLS}]*[^${OUTSIDE_URLS})\\].,;:!?]`,
  mails: `(?<![${WORD}.%+\\-])[${WORD}.%+\\-]+@[A-Za-z0-9\\-]+(?:\\.[A-Za-z0-9\\-]+)*\\.[A-Za-z]{2,}`,
  tags: `</?[A-Za-z](?:[^<>\\n"'${ATTACHED}]|"[^<>\\n"]*"|'[^<>\\n']*')*>|&(?:[A-Za-z]+|#${D}+);`,
  braces: "\\$?\\{\\{[^{}\\n]*\\}\\}|[$%#]?\\{[^{}\\n]*\\}",
  formats: `%(?:\\([\\p{L}\\p{N}_]+\\))?[\\-+#0]*${D}*(?:\\.${D}+)?[hlL]*[diouxXeEfFgGcrs@](?![A-Za-z])`,
  emoji: EMOJI,
  paths:
    `(?<![${WORD}/.])(?:(?:[A-Za-z]:\\\\|~/|\\.\\.?/)(?:${NAME}[/\\\\])*${NAME}|(?:/${NAME}){2,})` +
    `|(?<![${WORD}/.\\-])(?:(?:[${WORD}\\-]+/)+[${WORD}\\-]+(?:\\.[${WORD}\\-]+)*\\.[a-z][a-z0-9]{1,4}` +
    `|[${WORD}\\-]+(?:\\.[${WORD}\\-]+)*\\.(?:${ENDINGS}))(?![${WORD}])` +
    `|(?<![^${SPACE}"'“‘\`(（])\\.[a-z][a-z0-9_\\-]{2,}(?![${WORD}.])`,
  mentions: `(?<![${WORD}@#&/])[@#][A-Za-z][${WORD}]*`,
  codes:
    `(?<![A-Za-z0-9.\\-])(?:[A-Z]{1,5}-?${D}[A-Z0-9]*(?:-[A-Z0-9]+)*|v${D}+(?:\\.${D}+)+` +
    `|${D}{1,3}(?:\\.${D}+){2,})(?![A-Za-z0-9])`,
  identifiers:
    `(?<![${WORD}.$\\-])(?:[A-Za-z_][${WORD}]*(?:\\.[A-Za-z_][${WORD}]*)*\\(\\)` +
    `|(?=[a-z]+[A-Z])[A-Za-z0-9]{4,}|[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+)(?![${WORD}])`,
  phones:
    `(?<![A-Za-z${D}.,:/+\\-])(?:\\+(?=(?:[ \\-]?${D}){9,15}(?![${D}.,]${D}))${D}+(?:[ \\-]${D}+)*` +
    `|(?!${D}{4}-${D}${D}?-${D}${D}?(?!${D}))(?=(?:-?${D}){9,25}(?![${D}.,]${D}))${D}+(?:-${D}+)*` +
    `|${D}{3,4}(?:[ \\-]${D}{3,4}){2,3}(?![ .,\\-]?${D})` +
    `|\\(${D}{3}\\) ?${D}{3}-${D}{4}(?!${D})|${D}{2,4}\\*{3,8}${D}{2,4}(?![${D}*]))`,
}).map(([kind, pattern]) => [kind, new RegExp(pattern, "gu")]);
const ADDABLE = new Set(["paths", "mentions", "codes", "identifiers", "phones"]); // of words
const LEAST_ALIKE = 0.4;

const isSpace = (character) => new RegExp(`^[${SPACE}]$`, "u").test(character ?? "");
const isLetterOrNumber = (character) => /^[\p{L}\p{N}]$/u.test(character ?? "");
const isSpacedLetter = (character) => isLetterOrNumber(character) && !isUnspacedLetter(character);

/** The placeholders of a text, in its order; of two that overlap the one that begins first. */
export function findPlaceholders(text) {
  const points = new Map();
  let count = 0;
  let unit = 0;
  for (const character of text) {
    points.set(unit, count);
    unit += character.length;
    count += 1;
  }
  points.set(unit, count);
  const matches = KINDS.flatMap(([kind, pattern], order) =>
    [...text.matchAll(pattern)].map((match) => ({
      text: match[0],
      kind,
      order,
      begin: points.get(match.index),
      end: points.get(match.index + match[0].length),
    })),
  );
  matches.sort((one, other) => one.begin - other.begin || one.order - other.order);
  const found = [];
  for (const { order, ...match } of matches) {
    if (!found.length || match.begin >= found.at(-1).end) found.push(match);
  }
  return found;
}

/** Whether a translation has all placeholders of its source, and none that it invented. */
export function placeholdersAreKept(source, target) {
  return !beyond(source, target).length && !added(source, target).length;
}

/**
 * The translation with all placeholders of its source, each as often as there.
 *
 * @param {string} source
 * @param {string} target
 * @param {number[][]} places of the alignment: [source begin, source end, target begin, target end]
 * @returns {string}
 */
export function restorePlaceholders(source, target, places) {
  let edits = added(source, target).map(({ begin, end }) => ({ begin, end, text: "" }));
  const invented = new Set(beyond(target, source).map(({ begin }) => begin));
  const kept = findPlaceholders(target).filter(({ begin }) => !invented.has(begin));
  const characters = Array.from(target);
  for (const placeholder of beyond(source, target)) {
    let edit = placeOf(placeholder, characters, places);
    const free = !kept.some((other) => overlap(edit, other));
    // What was added may be what it should have been.
    edits = edits.filter((other) => other.text || !covers(edit, other));
    if (!free || edits.some((other) => overlap(edit, other))) {
      edit = outside({ begin: edit.end, end: edit.end, text: placeholder.text }, [...kept, ...edits]);
    }
    edits.push(edit);
  }
  let restored = applied(characters, edits);
  // Bytes of an emoji that the model began and did not finish.
  if (!source.includes("\ufffd")) restored = restored.replaceAll("\ufffd", "");
  for (let tries = Array.from(restored).length + 1; tries; tries -= 1) {
    const last = added(source, restored).at(-1); // what edits made of their neighbours
    if (!last) break;
    restored = applied(Array.from(restored), [{ begin: last.begin, end: last.end, text: "" }]);
  }
  for (const { text } of beyond(source, restored)) restored = trim(`${restored} ${text}`);
  return restored;
}

/** Placeholders of a text that another has not, or not as often; the last of several equal ones. */
function beyond(text, other) {
  const left = new Map();
  for (const { text: found } of findPlaceholders(other)) left.set(found, (left.get(found) ?? 0) + 1);
  return findPlaceholders(text).filter(({ text: found }) => {
    left.set(found, (left.get(found) ?? 0) - 1);
    return left.get(found) < 0;
  });
}

function added(source, target) {
  return beyond(target, source).filter(({ kind }) => !ADDABLE.has(kind));
}

/** Where a lost placeholder goes. */
function placeOf({ begin: from, end: to, text }, target, places) {
  const own = places.filter(([first, last]) => first < to && from < last);
  let begin = own.length ? Math.min(...own.map((place) => place[2])) : 0;
  let end = own.length ? Math.max(...own.map((place) => place[3])) : 0;
  [begin, end] = wholeWords(target, begin, end);
  const [first, last] = [Array.from(text)[0], Array.from(text).at(-1)];
  while (begin < end && !isLetterOrNumber(target[begin]) && target[begin] !== first) begin += 1;
  while (begin < end && !isLetterOrNumber(target[end - 1]) && target[end - 1] !== last) end -= 1;
  const written = target.slice(begin, end);
  if (begin < end) {
    const replaced =
      likeness(written.join("").toLowerCase(), text.toLowerCase()) > LEAST_ALIKE ||
      !written.some((character) => /\p{L}/u.test(character));
    return { begin: replaced ? begin : end, end, text };
  }
  const before = places.filter((place) => place[1] <= from).map((place) => place[3]);
  const at = before.length ? wholeWords(target, 0, Math.max(...before))[1] : 0;
  return { begin: at, end: at, text };
}

/** The same part, and the rest of the words at its ends; without spaces around it. */
function wholeWords(text, from, to) {
  let [begin, end] = [from, to];
  while (begin < end && isSpace(text[begin])) begin += 1;
  while (begin < end && isSpace(text[end - 1])) end -= 1;
  if (begin === end) return [begin, end];
  while (begin && isSpacedLetter(text[begin - 1]) && isSpacedLetter(text[begin])) begin -= 1;
  while (end < text.length && isSpacedLetter(text[end]) && isSpacedLetter(text[end - 1])) end += 1;
  return [begin, end];
}

/** An insertion that stands in none of the others. */
function outside(edit, others) {
  let at = edit.begin;
  for (const other of [...others].sort((one, two) => one.begin - two.begin)) {
    if (other.begin < at && at < other.end) at = other.end;
  }
  return { ...edit, begin: at, end: at };
}

/** The text with all edits, and with spaces where words would touch or gaps would be left. */
function applied(text, edits) {
  const pieces = [];
  let at = 0;
  for (const edit of [...edits].sort((one, two) => one.begin - two.begin || one.end - two.end)) {
    pieces.push([text.slice(at, edit.begin), false]);
    pieces.push([Array.from(edit.text), edit.begin === edit.end]);
    at = edit.end;
  }
  pieces.push([text.slice(at), false]);
  let joined = [];
  let before = false;
  for (const [part, inserted] of pieces) {
    if (!part.length) continue;
    const [left, right] = [joined.at(-1), part[0]];
    const letters = [left, right].map(isSpacedLetter);
    const between = (inserted || before) && letters.some(Boolean);
    let piece = part;
    if (joined.length && !isSpace(left) && !isSpace(right) && (letters.every(Boolean) || between)) {
      joined.push(" ");
    } else if (isSpace(left) && isSpace(right)) {
      piece = piece.slice(piece.findIndex((character) => !isSpace(character)) >>> 0);
    }
    joined = [...joined, ...piece];
    before = inserted;
  }
  return trim(joined.join(""));
}

function trim(text) {
  return text.replace(new RegExp(`^[${SPACE}]+|[${SPACE}]+$`, "gu"), "");
}

function overlap(edit, other) {
  return edit.begin < other.end && other.begin < edit.end;
}

function covers(edit, other) {
  return edit.begin <= other.begin && other.end <= edit.end;
}

/** Twice the characters in common blocks over all characters: difflib's ratio of Python. */
function likeness(one, two) {
  const [a, b] = [Array.from(one), Array.from(two)];
  return a.length + b.length ? (2 * inCommon(a, b)) / (a.length + b.length) : 1;
}

/** The characters of the longest common block, and of those on either side of it. */
function inCommon(a, b) {
  let [from, into, size] = [0, 0, 0];
  let lengths = new Map();
  a.forEach((character, i) => {
    const next = new Map();
    b.forEach((other, j) => {
      if (character !== other) return;
      const length = (lengths.get(j - 1) ?? 0) + 1;
      next.set(j, length);
      if (length > size) [from, into, size] = [i - length + 1, j - length + 1, length];
    });
    lengths = next;
  });
  if (!size) return 0;
  return (
    size +
    inCommon(a.slice(0, from), b.slice(0, into)) +
    inCommon(a.slice(from + size), b.slice(into + size))
  );
}
