// Sentences in capitals, for models that learned few of them; runtime/capitals.py.

const LEAST_LETTERS = 6;
const WORD = /\p{L}+/gu;
const DIGIT = /\p{Nd}/u;

/** A sentence that is all in capitals, in small letters but for its first; others unchanged. */
export function foldCapitals(sentence) {
  if (sentence.toLowerCase() === sentence || /\p{Lowercase}/u.test(sentence)) return sentence;
  const words = [...sentence.matchAll(WORD)].filter(
    ({ 0: word, index }) =>
      !DIGIT.test(before(sentence, index) + after(sentence, index + word.length)) &&
      word.toLowerCase() !== word,
  );
  const letters = words.reduce((sum, { 0: word }) => sum + Array.from(word).length, 0);
  if (words.length < 2 || letters < LEAST_LETTERS) return sentence;
  let folded = "";
  let position = 0;
  words.forEach(({ 0: word, index }, number) => {
    const [first, ...rest] = word;
    const small = rest.map(smallLetter).join("");
    const begins = number === 0 || word === "I" ? first : smallLetter(first);
    folded += sentence.slice(position, index) + begins + small;
    position = index + word.length;
  });
  return folded + sentence.slice(position);
}

/** The small letter; the same letter where it has two characters. */
function smallLetter(char) {
  const small = char.toLowerCase();
  return Array.from(small).length === 1 ? small : char;
}

const before = (text, index) => Array.from(text.slice(Math.max(0, index - 2), index)).at(-1) ?? "";
const after = (text, index) => Array.from(text.slice(index, index + 2))[0] ?? "";
