// Scripts of languages and texts: the rules of runtime/scripts.py.

// Letters of each script, by its ISO 15924 code. Kana stands for both syllabaries of Japanese.
export const LETTERS = {
  Latn: "A-Za-z\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u024f\\u1e00-\\u1eff\\uff21-\\uff3a\\uff41-\\uff5a",
  Grek: "\\u0370-\\u03ff\\u1f00-\\u1fff",
  Cyrl: "\\u0400-\\u052f",
  Armn: "\\u0531-\\u0587",
  Hebr: "\\u05d0-\\u05f2",
  Arab: "\\u0620-\\u064a\\u066e-\\u06d3\\u06fa-\\u06ff\\u0750-\\u077f\\ufb50-\\ufdff\\ufe70-\\ufefc",
  Deva: "\\u0900-\\u0963",
  Beng: "\\u0980-\\u09e3",
  Guru: "\\u0a01-\\u0a5e\\u0a70-\\u0a75",
  Gujr: "\\u0a81-\\u0ae3",
  Orya: "\\u0b01-\\u0b63",
  Taml: "\\u0b82-\\u0bd7",
  Telu: "\\u0c00-\\u0c63",
  Knda: "\\u0c80-\\u0ce3",
  Mlym: "\\u0d00-\\u0d63",
  Sinh: "\\u0d81-\\u0df3",
  Thai: "\\u0e01-\\u0e3a\\u0e40-\\u0e4e",
  Laoo: "\\u0e81-\\u0ecd\\u0edc-\\u0edf",
  Tibt: "\\u0f40-\\u0fbc",
  Mymr: "\\u1000-\\u103f\\u1050-\\u109f",
  Geor: "\\u10a0-\\u10ff\\u1c90-\\u1cbf",
  Ethi: "\\u1200-\\u135a",
  Khmr: "\\u1780-\\u17d3",
  Hang: "\\u1100-\\u11ff\\u3130-\\u318f\\uac00-\\ud7a3",
  Kana: "\\u3041-\\u3096\\u309d-\\u309f\\u30a1-\\u30fa\\u30fc-\\u30ff\\uff66-\\uff9d",
  Hani: "\\u3005\\u3007\\u3400-\\u4dbf\\u4e00-\\u9fff\\uf900-\\ufaff\\u{20000}-\\u{3ffff}",
};
// Scripts without spaces: here a character says about as much as a word elsewhere.
const NO_SPACES = ["Hani", "Kana", "Khmr", "Laoo", "Mymr", "Thai", "Tibt"];
// In names of languages such as zho_Hans.
const SUBTAGS = {
  Hans: ["Hani"],
  Hant: ["Hani"],
  Jpan: ["Kana", "Hani"],
  Hira: ["Kana", "Hani"],
  Kore: ["Hang", "Hani"],
  Hang: ["Hang", "Hani"],
};
// Languages that are written in one script, or in any of several. Others are not judged.
const LANGUAGES = [
  [["Latn"], "af ca cs cy da de en eo es et eu fi fo fr ga gl ha hr ht hu id ig is it la lb lt lv" +
    " mi mt nb nl nn no pl pt ro sk sl so sq sv sw tl tr vi xh yo zu" +
    " afr cat ces cym dan deu ger eng epo spa est eus fin fao fra fre gle glg hau hrv hat hun ind" +
    " ibo isl ita lat ltz lit lav mri mlt nob nld dut nno nor pol por ron rum slk slv som sqi swe" +
    " swa swh tgl tur vie xho yor zul"],
  [["Cyrl"], "ru uk be bg mk rus ukr bel bul mkd"],
  [["Grek"], "el ell"],
  [["Armn"], "hy hye"],
  [["Hebr"], "he iw yi heb yid"],
  [["Arab"], "ar fa ur ps ug ara arb fas pes urd pus uig"],
  [["Deva"], "hi mr ne sa hin mar nep npi san"],
  [["Beng"], "bn as ben asm"],
  [["Gujr"], "gu guj"],
  [["Orya"], "or ori ory"],
  [["Taml"], "ta tam"],
  [["Telu"], "te tel"],
  [["Knda"], "kn kan"],
  [["Mlym"], "ml mal"],
  [["Sinh"], "si sin"],
  [["Thai"], "th tha"],
  [["Laoo"], "lo lao"],
  [["Tibt"], "bo dz bod dzo"],
  [["Mymr"], "my mya"],
  [["Geor"], "ka kat"],
  [["Ethi"], "am ti amh tir"],
  [["Khmr"], "km khm"],
  [["Hang", "Hani"], "ko kor"],
  [["Kana", "Hani"], "ja jpn"],
  [["Hani"], "zh zho chi cmn yue wuu nan lzh"],
];
const SCRIPTS = new Map(
  LANGUAGES.flatMap(([scripts, codes]) => codes.split(" ").map((code) => [code, scripts])),
);

const ADDRESS = /\S*(?::\/\/|@|www\.)\S*/gu;
const LOWER = "a-z\\u00df-\\u00f6\\u00f8-\\u024f\\u1e00-\\u1eff";
const IN_WORD = `[${LETTERS.Latn}]`;
const LATIN_WORD = new RegExp(`(?<!${IN_WORD})[A-Z]?[${LOWER}]{2,}(?!${IN_WORD})`, "gu");
const LEAST_UNITS = 2; // words, or characters of a script without spaces
const OUTWEIGHS = 4; // so many times the units of the right script

const UNSPACED = new RegExp(`[${NO_SPACES.map((script) => LETTERS[script]).join("")}]`, "u");

/** The scripts that a language is written in; [] if that is not known, or not only one. */
export function scriptsOf(language) {
  const [code, ...subtags] = language.split(/[-_]/);
  for (const tag of subtags) {
    const scripts = SUBTAGS[tag] ?? [tag];
    if (scripts.every((script) => script in LETTERS)) return scripts;
    if (/^\p{L}{4}$/u.test(tag)) return []; // a script that is not known here
  }
  return SCRIPTS.get(code.toLowerCase()) ?? [];
}

/** Whether a character is a letter of a script without spaces between words. */
export function isUnspacedLetter(character) {
  return UNSPACED.test(character);
}

/** Whether a language has spaces between words and sentences, as far as is known. */
export function isSpaced(language) {
  const scripts = scriptsOf(language);
  return !scripts.length || scripts.some((script) => !NO_SPACES.includes(script));
}

/** Whether a sentence is clearly not written as the language is. */
export function isInOtherScript(sentence, language) {
  const scripts = scriptsOf(language);
  if (!scripts.length) return false;
  const others = Object.keys(LETTERS).filter((script) => !scripts.includes(script));
  if (!pattern("letters", others).test(sentence)) return false;
  const text = sentence.replace(ADDRESS, " ");
  let foreign = count(text, pattern("units", others.filter((script) => script !== "Latn")));
  if (!scripts.includes("Latn")) {
    const words = text.match(LATIN_WORD) ?? [];
    foreign += words.some((word) => /^\p{Lowercase}/u.test(word)) ? words.length : 0;
  }
  const right = count(text, pattern("units", scripts));
  return foreign >= LEAST_UNITS && foreign > OUTWEIGHS * right;
}

/**
 * Which of several languages a text is written in, by its scripts.
 *
 * @param {string} text
 * @param {string[]} languages to choose from
 * @returns {string | null} null if none of its letters is of one of their scripts
 */
export function detectLanguage(text, languages) {
  let best = null;
  let most = 0;
  for (const language of new Set(languages)) {
    const scripts = scriptsOf(language);
    const units = scripts.length ? count(text, pattern("units", scripts)) : 0;
    if (units > most) [best, most] = [language, units];
  }
  return best;
}

const patterns = new Map();

/** "letters": one letter; "units": a word, or a character of a script without spaces. */
function pattern(kind, scripts) {
  const key = `${kind} ${scripts.join(" ")}`;
  let made = patterns.get(key);
  if (made === undefined) {
    made =
      kind === "letters"
        ? new RegExp(`[${scripts.map((script) => LETTERS[script]).join("")}]`, "u")
        : new RegExp(
            scripts
              .map((script) => `[${LETTERS[script]}]${NO_SPACES.includes(script) ? "" : "+"}`)
              .join("|"),
            "gu",
          );
    patterns.set(key, made);
  }
  return made;
}

function count(text, units) {
  return (text.match(units) ?? []).length;
}
