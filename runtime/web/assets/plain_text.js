// Plain text: its sentences, and everything between them as it was; runtime/documents/plain_text.py.

import { isSpaced } from "./scripts.js";
import { splitSentences } from "./sentences.js";

/**
 * The sentences of a text.
 *
 * @param {string} text
 * @returns {{text: string, begin: number, end: number}[]} places in UTF-16 units
 */
export function segmentsOf(text) {
  return splitSentences(text).map(([begin, end]) => ({ text: text.slice(begin, end), begin, end }));
}

/** The parts of the translated text: what is between sentences, and the sentences, in turns; one
 * part more than twice the segments. */
export function assembledParts(text, segments, translations, target) {
  const spaced = isSpaced(target);
  const parts = [];
  let position = 0;
  segments.forEach((segment, number) => {
    let between = text.slice(position, segment.begin);
    if (number && translations[number] !== segment.text) {
      between = betweenSentences(between, spaced);
    }
    parts.push(between, translations[number]);
    position = segment.end;
  });
  return [...parts, text.slice(position)];
}

/** The whole text, with translations in the places of its sentences. */
export function assemble(text, segments, translations, target) {
  return assembledParts(text, segments, translations, target).join("");
}

function betweenSentences(between, spaced) {
  if (!between && spaced) return " ";
  return between === " " && !spaced ? "" : between;
}
