// Where sentences end. The same rules are in runtime/documents/sentences.py;
// tests/runtime/documents/sentences.json holds both to the same answers, so change them together.

import { isUnspacedLetter } from "./scripts.js";

// A unit is a letter of a script without spaces, or four other characters: about a token.
const MAX_UNITS = 120;
const NARROW = 0.25;
const LONGEST_WORD = 40; // that could be an abbreviation

// What Python calls spaces; JavaScript's \s has others.
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const IS_SPACE = new RegExp(`[${SPACE}]`, "u");
const IS_LETTER = /\p{L}/u;
const IS_DIGIT =
  /^[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792]+$/u;

const LINE = /[^\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]+/gu;
// What begins an item or a heading stays as it is: "- ", "## ", "> ", "2. ", "(a) ".
const MARKER = new RegExp(
  `^[${SPACE}]*(?:(?:[-*+•·>#]+|\\p{Nd}{1,3}[.)]|\\([0-9a-z]{1,3}\\))[${SPACE}]+)*`,
  "u",
);
const CLOSING = "”’」』）》】〉］｝｣\"')\\]}";
const STOPS = new RegExp(`[。｡！？!?….．；]+[${CLOSING}]*`, "gu");
const WIDE = /[。｡！？…．；]/u;
const GOES_ON = /^[，、,：:;；。！？]/u;
const ADDRESS = new RegExp(
  `(?:[a-zA-Z][a-zA-Z0-9+.-]{0,30}://|www\\.)[^${SPACE}\\u3000-\\u303f\\u4e00-\\u9fff\\uff00-\\uffef]+`,
  "gu",
);
const OPENS = /^[“‘「『（《【〈［｛"'(\[{]*$/u;
const OPENING = /[“‘「『（《【〈［｛"'(\[{]*/uy;
const WORD_BEFORE = new RegExp(`[^${SPACE}“‘「『（《【〈"'(\\[{—–-]*$`, "u");
const ACRONYM = /^(?:[A-Z]\.)*[A-Z]$/u;
const TITLE =
  /^(?:mr|mrs|ms|mx|dr|prof|st|sgt|capt|cpt|lt|col|maj|gen|rep|sen|gov|rev|hon|pres|mt|messrs|mme|mlle|sr|jr|ph\.d|e\.g|i\.e|vs|cf|viz|al|approx)$/iu;
const BEFORE_NUMBER =
  /^(?:nos?|figs?|vol|ch|chap|sec|eq|pp?|art|ca?|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)$/iu;
const CLAUSE = new RegExp(
  `[，、,;；：:]+[”’」』）》】"')\\]]*|(?<=[${SPACE}])[-–]+(?=[${SPACE}])|[—–]+`,
  "gu",
);

/**
 * The sentences of a text: where each begins and ends, in UTF-16 units, without the spaces, line
 * breaks and markers of list items between them. What has no letter in it is none.
 *
 * @param {string} text
 * @returns {[number, number][]}
 */
export function splitSentences(text) {
  const found = [];
  for (const match of text.matchAll(LINE)) {
    const line = match[0];
    for (const [begin, end] of sentencesOf(line)) {
      for (const [first, last] of shortEnough(line, begin, end)) {
        if (IS_LETTER.test(line.slice(first, last))) {
          found.push([match.index + first, match.index + last]);
        }
      }
    }
  }
  return found;
}

function* sentencesOf(line) {
  const lineEnd = line.length;
  let begin = line.match(MARKER)[0].length;
  const addresses = addressesOf(line, begin);
  let next = 0;
  let position = begin;
  let counted = begin;
  let quotes = 0; // straight ones of this sentence, up to `counted`
  for (;;) {
    STOPS.lastIndex = position;
    const match = STOPS.exec(line);
    if (match === null) break;
    const start = match.index;
    position = start + match[0].length;
    while (next < addresses.length && addresses[next][1] <= start) next += 1;
    const address = addresses[next];
    if (address && address[0] <= start && position < address[1]) continue;
    quotes += countQuotes(line, counted, start);
    counted = start;
    const stop = endOfClosing(line, quotes, start, position);
    if (isEnd(line, begin, start, stop)) {
      yield stripped(line, begin, stop);
      begin = position = counted = stop;
      quotes = 0;
    }
  }
  const [first, last] = stripped(line, begin, lineEnd);
  if (first < last) yield [first, last];
}

function addressesOf(line, begin) {
  ADDRESS.lastIndex = begin;
  const found = [];
  for (let match = ADDRESS.exec(line); match !== null; match = ADDRESS.exec(line)) {
    found.push([match.index, match.index + match[0].length]);
  }
  return found;
}

function countQuotes(line, begin, end) {
  let count = 0;
  for (let at = begin; at < end; at += 1) if (line[at] === '"') count += 1;
  return count;
}

/** Where the stops end with what they close: a straight quote that follows an even number of others
 * opens the next sentence. */
function endOfClosing(line, quotes, start, stop) {
  let before = quotes;
  for (let at = start; at < stop; at += 1) {
    if (line[at] === '"') {
      if (before % 2 === 0) return at;
      before += 1;
    }
  }
  return stop;
}

/** Whether line[start..stop], stops and what they close, end the sentence that begins at `begin`. */
function isEnd(line, begin, start, stop) {
  if (stop >= line.length) return true;
  const following = characterAt(line, stop);
  const stops = line.slice(start, stop);
  if (GOES_ON.test(following) || skipSpaces(line, begin, start) === start) return false;
  if (WIDE.test(stops)) return true;
  if (isUnspacedLetter(following)) {
    return !stops.startsWith(".") || isUnspacedLetter(characterBefore(line, start));
  }
  if (!IS_SPACE.test(following)) return stops.endsWith('"') && OPENS.test(following);
  OPENING.lastIndex = skipSpaces(line, stop, line.length);
  OPENING.test(line);
  const nextCharacter = characterAt(line, OPENING.lastIndex);
  if (/^\p{Lowercase}/u.test(nextCharacter)) return false;
  return stops !== "." || !isAbbreviation(line, begin, start, nextCharacter);
}

/** Whether the full stop belongs to the word before it, rather than to the sentence. */
function isAbbreviation(line, begin, dot, nextCharacter) {
  const word = line.slice(Math.max(begin, dot - LONGEST_WORD), dot).match(WORD_BEFORE)[0];
  if (IS_DIGIT.test(word) && skipSpaces(line, begin, dot) === dot - word.length) {
    return true; // the number of a line
  }
  if (TITLE.test(word)) return true;
  if (IS_DIGIT.test(nextCharacter) && BEFORE_NUMBER.test(word)) return true;
  return word !== "I" && ACRONYM.test(word);
}

/** The sentence, or its parts if it is too long. */
function* shortEnough(line, begin, end) {
  for (let limit = withinLimit(line, begin, end); limit < end; limit = withinLimit(line, begin, end)) {
    const half = halfway(line, begin, limit); // a part of a few characters helps nobody
    const cut = lastClause(line, half, limit) ?? lastSpace(line, half, limit) ?? limit;
    yield stripped(line, begin, cut);
    begin = skipSpaces(line, cut, end);
  }
  if (begin < end) yield [begin, end];
}

/** Where MAX_UNITS are full, or the end. */
function withinLimit(line, begin, end) {
  let units = 0;
  for (let at = begin; at < end; at += characterAt(line, at).length) {
    units += isUnspacedLetter(characterAt(line, at)) ? 1 : NARROW;
    if (units > MAX_UNITS) return at;
  }
  return end;
}

function halfway(line, begin, limit) {
  let left = Math.floor(Array.from(line.slice(begin, limit)).length / 2);
  let at = begin;
  for (; left > 0; left -= 1) at += characterAt(line, at).length;
  return at;
}

function lastClause(line, half, limit) {
  const before = Math.max(0, half - 1); // seen by what looks behind
  const part = line.slice(before, limit);
  CLAUSE.lastIndex = half - before;
  let last = null;
  for (let match = CLAUSE.exec(part); match !== null; match = CLAUSE.exec(part)) {
    last = before + match.index + match[0].length;
  }
  return last;
}

function lastSpace(line, half, limit) {
  for (let at = limit - 1; at >= half; at -= 1) if (IS_SPACE.test(line[at])) return at;
  return null;
}

function stripped(line, begin, end) {
  const first = skipSpaces(line, begin, end);
  let last = end;
  while (first < last && IS_SPACE.test(line[last - 1])) last -= 1;
  return [first, last];
}

function skipSpaces(line, begin, end) {
  let at = begin;
  while (at < end && IS_SPACE.test(line[at])) at += 1;
  return at;
}

function characterAt(line, at) {
  const point = line.codePointAt(at);
  return point === undefined ? "" : String.fromCodePoint(point);
}

function characterBefore(line, at) {
  const low = line.charCodeAt(at - 1);
  const isPair = low >= 0xdc00 && low < 0xe000 && at > 1;
  return isPair ? line.slice(at - 2, at) : line.slice(at - 1, at);
}
