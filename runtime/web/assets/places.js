// Places in texts: code points, as alignments have them, and UTF-16 units, as the page does.

/** The place in UTF-16 units of each code point, and of the end. */
export function unitsOfPoints(text) {
  const units = [0];
  for (const character of text) units.push(units.at(-1) + character.length);
  return units;
}

/**
 * The words of a translation with the places of the source that they come from, in UTF-16 units.
 *
 * @param {string} source
 * @param {string} target
 * @param {number[][] | null} alignment [source begin, source end, target begin, target end] in code
 *   points, one for each token
 * @returns {{begin: number, end: number, places: [number, number][]}[]} in their order, with nothing
 *   but spaces between them; without an alignment one word with all of the target and no places
 */
export function alignedWords(source, target, alignment) {
  const sourceUnits = unitsOfPoints(source);
  const targetUnits = unitsOfPoints(target);
  const words = [];
  for (const [first, last, begin, end] of alignment ?? []) {
    const [from, to] = [targetUnits[begin], targetUnits[end]];
    if (from === undefined || to === undefined) continue; // of another text
    const place = trimmed(source, sourceUnits[first], sourceUnits[last]);
    const word = words.at(-1);
    if (word && continuesWord(target, word.end, from)) {
      word.end = Math.max(word.end, to);
      word.places.push(place);
    } else {
      words.push({ begin: word ? Math.max(from, word.end) : 0, end: to, places: [place] });
    }
  }
  if (!words.length) return [{ begin: 0, end: target.length, places: [] }];
  words.at(-1).end = target.length;
  words.forEach((word, index) => {
    if (index) words[index - 1].end = word.begin;
    word.places = merged(word.places);
  });
  for (const word of words) [word.begin, word.end] = trimmed(target, word.begin, word.end);
  return words;
}

/** Whether a token that begins there belongs to the word before it. */
function continuesWord(text, end, begin) {
  if (begin > end) return false;
  return /[\p{L}\p{N}'’-]$/u.test(text.slice(0, begin)) && isWithinWord(text.slice(begin));
}

function isWithinWord(rest) {
  // Scripts without spaces have a word for each token.
  return /^[\p{L}\p{N}'’-]/u.test(rest) && !/^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u.test(rest);
}

function trimmed(text, begin, end) {
  const part = text.slice(begin, end);
  return [begin + part.length - part.trimStart().length, end - part.length + part.trimEnd().length];
}

/** Places in their order, those that touch as one. */
function merged(places) {
  const sorted = places.filter(([begin, end]) => begin < end).sort((one, other) => one[0] - other[0]);
  const found = [];
  for (const [begin, end] of sorted) {
    const last = found.at(-1);
    if (last && begin <= last[1]) last[1] = Math.max(last[1], end);
    else found.push([begin, end]);
  }
  return found;
}
