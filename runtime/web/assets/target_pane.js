// The translation: sentences that can be pointed at, walked through with the keyboard, and opened.

import { meaningOf } from "./doubts.js";
import { assembledParts } from "./plain_text.js";
import { alignedWords } from "./places.js";

const PLACEHOLDER = "The translation appears here as you type";

/** The pane on the right. */
export class TargetPane {
  #area = document.querySelector("#target");
  #sentences = []; // {element, words, text}
  #segments = [];
  #lit = null; // {sentence, word}
  #on;

  /** on: onWord(index, word) for a word that is pointed at (null for none), onOpen(index), onLeave() */
  constructor(on) {
    this.#on = on;
    this.#area.addEventListener("pointerover", ({ target }) => this.#point(target));
    this.#area.addEventListener("pointerleave", () => this.light(null));
    this.#area.addEventListener("click", ({ target }) => {
      const index = this.#indexOf(target);
      if (index >= 0 && getSelection().isCollapsed) on.onOpen(index);
    });
    this.#area.addEventListener("keydown", (event) => this.#key(event));
    this.#area.addEventListener("focusin", ({ target }) => {
      if (target.matches(":focus-visible")) this.#lightWord(this.#indexOf(target), 0);
    });
    this.#area.addEventListener("focusout", () => this.light(null));
    document.addEventListener("copy", (event) => this.#copy(event));
  }

  get text() {
    return this.#area.querySelector(".placeholder") ? "" : this.#area.textContent;
  }

  set language(language) {
    this.#area.lang = language;
  }

  set isBusy(busy) {
    this.#area.setAttribute("aria-busy", busy);
  }

  /**
   * Show the sentences of a text.
   *
   * @param {string} text the source
   * @param {object[]} segments of it
   * @param {{result: object | null, partial: string}[]} states of each: null as long as it waits
   * @param {string} target language
   */
  show(text, segments, states, target) {
    this.#lit = null;
    const focused = this.#sentences.findIndex(({ element }) => element === document.activeElement);
    this.#segments = segments;
    this.#sentences = [];
    if (!text.trim()) {
      const placeholder = document.createElement("span");
      placeholder.className = "placeholder";
      placeholder.textContent = PLACEHOLDER;
      this.#area.replaceChildren(placeholder);
      return;
    }
    const texts = states.map(({ result, partial }) => result?.text ?? partial);
    const parts = assembledParts(text, segments, texts, target);
    this.#area.replaceChildren(
      ...parts.map((part, index) => {
        if (index % 2 === 0) return part;
        const place = (index - 1) / 2;
        return this.#sentence(place, segments[place].text, states[place]);
      }),
    );
    this.#sentences[focused]?.element.focus();
  }

  /** Show what has come of one sentence. */
  update(index, state) {
    const old = this.#sentences[index];
    if (!old) return;
    const hadFocus = old.element === document.activeElement;
    const element = this.#sentence(index, this.#segments[index].text, state);
    element.classList.toggle("open", old.element.classList.contains("open"));
    old.element.replaceWith(element);
    if (hadFocus) element.focus();
  }

  /** Mark the sentence whose alternatives are shown; -1 for none. */
  markOpen(index) {
    this.#sentences.forEach(({ element }, place) => element.classList.toggle("open", place === index));
  }

  focus(index = 0) {
    (this.#sentences[index]?.element ?? this.#area).focus();
  }

  /** Highlight a word, {sentence, word} by their numbers; null for none. */
  light(place) {
    if (this.#lit) this.#elementOf(this.#lit)?.classList.remove("lit");
    this.#lit = place;
    if (place) this.#elementOf(place)?.classList.add("lit");
    const found = place && this.#sentences[place.sentence]?.words[place.word];
    this.#on.onWord(place ? place.sentence : -1, found || null);
  }

  /** Highlight the words that come from a place of a source sentence. */
  lightFrom(sentence, at) {
    for (const { element } of this.#sentences) {
      for (const lit of element.querySelectorAll(".lit")) lit.classList.remove("lit");
    }
    this.#lit = null;
    const { element, words } = this.#sentences[sentence] ?? { words: [] };
    const marked = [];
    words.forEach(({ places }, word) => {
      const found = places.find(([begin, end]) => begin <= at && at < end);
      if (found) {
        element.children[word].classList.add("lit");
        marked.push(found);
      }
    });
    return marked;
  }

  #sentence(index, source, { result, partial }) {
    const element = document.createElement("span");
    element.className = "sentence";
    element.setAttribute("role", "button");
    element.tabIndex = 0;
    const text = result?.text ?? partial;
    const words = alignedWords(source, text, result?.alignment);
    let position = 0;
    words.forEach(({ begin, end }, word) => {
      if (!text) return;
      const span = document.createElement("span");
      span.className = "word";
      span.dataset.word = word;
      span.textContent = text.slice(begin, end);
      element.append(text.slice(position, begin), span);
      position = end;
    });
    element.append(text.slice(position));
    element.classList.toggle("waiting", result === null);
    const doubts = (result?.doubts ?? []).map(meaningOf);
    if (doubts.length) {
      element.classList.add("doubtful");
      element.title = doubts.join("; ");
      element.setAttribute("aria-description", `worth a second look: ${doubts.join("; ")}`);
    }
    this.#sentences[index] = { element, words };
    return element;
  }

  #elementOf({ sentence, word }) {
    return this.#sentences[sentence]?.element.children[word];
  }

  #indexOf(node) {
    const element = node.closest?.(".sentence");
    return this.#sentences.findIndex((sentence) => sentence.element === element);
  }

  #point(node) {
    const word = node.closest(".word");
    this.light(word ? { sentence: this.#indexOf(word), word: Number(word.dataset.word) } : null);
  }

  #lightWord(sentence, word) {
    const count = this.#sentences[sentence]?.words.length ?? 0;
    if (count) this.light({ sentence, word: Math.max(0, Math.min(word, count - 1)) });
  }

  #key(event) {
    const index = this.#indexOf(event.target);
    const word = this.#lit?.sentence === index ? this.#lit.word : 0;
    const moves = {
      ArrowRight: () => this.#lightWord(index, word + 1),
      ArrowLeft: () => this.#lightWord(index, word - 1),
      ArrowDown: () => this.#sentences[index + 1]?.element.focus(),
      ArrowUp: () => this.#sentences[index - 1]?.element.focus(),
      Enter: () => this.#on.onOpen(index),
      " ": () => this.#on.onOpen(index),
      Escape: () => this.#on.onLeave(),
    };
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    move();
  }

  /** Where nothing is selected, all of it is copied. */
  #copy(event) {
    if (!this.#area.contains(document.activeElement) || !getSelection().isCollapsed) return;
    event.clipboardData.setData("text/plain", this.text);
    event.preventDefault();
  }
}
