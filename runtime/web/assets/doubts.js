// Signs that a translation is wrong: runtime/doubts.py.

import { isInOtherScript } from "./scripts.js";

const NUMBER = /\p{Nd}+(?:[.,:]\p{Nd}+)*/gu;
const WORD = "[\\p{L}\\p{N}_]";
const IN_WORDS = new RegExp(
  `[一二两三四五六七八九十百千万亿]|(?<!${WORD})(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven` +
    `|twelve|${WORD}+teen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|hundred|thousand|million` +
    `|first|second|third|half|twice|a|an)(?!${WORD})`,
  "iu",
);
const SPELLED_OUT = 4; // digits, of numbers that are also written in words
const LONGEST_PERIOD = 8; // tokens of what a loop repeats

// Name, what it means, how doubtful a sentence is, and from where on that counts.
const DOUBTS = [
  ["truncated", "it reached max_length", (sentence) => Number(sentence.truncated), 1],
  ["empty", "nothing was written", empty, 1],
  ["loop", "it repeats itself", loop, 6],
  ["script", "it is not in the script of the target language", otherScript, 1],
  ["numbers", "the numbers differ", numbers, 1],
  ["length", "it is much longer or shorter than the sentence", length, 2],
  ["attention", "it looks at little of the sentence", (sentence) => sentence.unattended, 0.7],
  ["probability", "the model gives it a low probability", probability, 1],
];

/** What a doubt of a name means, in words; other text as it is. */
export function meaningOf(name) {
  return DOUBTS.find(([known]) => known === name)?.[1] ?? name;
}

/**
 * Names of the doubts about a translation.
 *
 * @param {{source: string, text: string, tokens: number[], score: number, truncated: boolean,
 *   sourceLength: number, targetLanguage: string, lengthPenalty: number, unattended: number}}
 *   sentence sourceLength with EOS; unattended NaN where it is not known
 */
export function findDoubts(sentence) {
  return DOUBTS.filter(([, , measure, limit]) => measure(sentence) >= limit).map(([name]) => name);
}

function empty({ source, text }) {
  return Number(Boolean(source.trim()) && !text.trim());
}

/** The most tokens that a repeated sequence of up to eight adds to the one before it. */
function loop({ tokens }) {
  let longest = 0;
  for (let period = 1; period <= LONGEST_PERIOD; period += 1) {
    let run = 0;
    for (let index = period; index < tokens.length; index += 1) {
      run = tokens[index] === tokens[index - period] ? run + 1 : 0;
      if (run >= period) longest = Math.max(longest, run);
    }
  }
  return longest;
}

function otherScript({ text, targetLanguage }) {
  return Number(isInOtherScript(text, targetLanguage));
}

/** How many numbers in digits are on one side only, short ones not counted where the other side has
 * numbers in words. */
function numbers({ source, text }) {
  const texts = [source, text].map((side) => side.normalize("NFKC"));
  const [left, right] = texts.map((side) =>
    (side.match(NUMBER) ?? []).map((number) => number.replaceAll(/\P{Nd}/gu, "")),
  );
  if (!left.length) return 0; // words may have become digits
  const alone = [
    ...without(left, right).map((number) => [number, texts[1]]),
    ...without(right, left).map((number) => [number, texts[0]]),
  ];
  return alone.filter(
    ([number, other]) => Array.from(number).length > SPELLED_OUT || !IN_WORDS.test(other),
  ).length;
}

/** The items of one list that are left when those of another are taken away, one for one. */
function without(items, others) {
  const rest = [...others];
  return items.filter((item) => {
    const place = rest.indexOf(item);
    if (place >= 0) rest.splice(place, 1);
    return place < 0;
  });
}

/** How many times longer one side is than the other, in tokens; the few that any short sentence may
 * have more do not count. */
function length({ sourceLength, tokens }) {
  const [source, target] = [sourceLength + 3, tokens.length + 3];
  return Math.max(source / target, target / source);
}

/** Minus the mean log-probability of its tokens, EOS among them. */
function probability({ tokens, score, lengthPenalty }) {
  const count = tokens.length + 1;
  const mean = (score * count ** lengthPenalty) / count;
  return Number.isFinite(mean) ? -mean : Number.NaN;
}
