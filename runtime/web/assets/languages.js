// The choice of languages: both sides, automatic direction, swapping.

import { detectLanguage } from "./scripts.js";

export const AUTO = "auto";
const names = new Intl.DisplayNames(["en"], { type: "language", fallback: "code" });

/** What a language is called. */
export function nameOf(language) {
  try {
    return names.of(language.replaceAll("_", "-"));
  } catch {
    return language; // no code that browsers know
  }
}

/** The two lists and the button between them. */
export class Languages {
  #models;
  #sourceList = document.querySelector("#source-language");
  #targetList = document.querySelector("#target-language");
  #source = AUTO; // as chosen
  #target;
  #detected;

  /** onChange(wasSwapped) is called when the reader has chosen something else */
  constructor(models, onChange) {
    this.#models = models;
    this.#detected = models[0].source;
    this.#target = models[0].target;
    this.#fill();
    this.#sourceList.addEventListener("change", () => {
      this.#source = this.#sourceList.value;
      this.#target = this.#fitting(this.source);
      this.#show();
      onChange(false);
    });
    this.#targetList.addEventListener("change", () => {
      this.#target = this.#targetList.value;
      this.#fitSource();
      onChange(false);
    });
    const swap = document.querySelector("#swap");
    swap.disabled = !models.some((model) => this.#has(model.target, model.source));
    swap.addEventListener("click", () => this.#swap(onChange));
  }

  get source() {
    return this.#source === AUTO ? this.#detected : this.#source;
  }

  get target() {
    return this.#target;
  }

  /** Take note of the text, whose language is found where it is not chosen. */
  read(text) {
    if (this.#source !== AUTO) return;
    ({ source: this.#detected, target: this.#target } = this.pairOf(text));
    this.#show();
  }

  /** The languages that another text would be translated from and into. */
  pairOf(text) {
    if (this.#source !== AUTO) return { source: this.#source, target: this.#target };
    const sources = this.#models.map(({ source }) => source);
    const source = detectLanguage(text, sources) ?? this.#detected;
    return { source, target: this.#fitting(source) };
  }

  #swap(onChange) {
    const [source, target] = [this.source, this.#target];
    if (!this.#has(target, source)) return;
    this.#source = target;
    this.#target = source;
    this.#show();
    onChange(true);
  }

  #has(source, target) {
    return this.#models.some((model) => model.source === source && model.target === target);
  }

  /** The target, or another one that a source can be translated into. */
  #fitting(source) {
    if (this.#has(source, this.#target)) return this.#target;
    return this.#models.find((model) => model.source === source).target;
  }

  /** A source that can be translated into the target. */
  #fitSource() {
    if (!this.#has(this.source, this.#target)) {
      this.#source = this.#models.find(({ target }) => target === this.#target).source;
    }
    this.#show();
  }

  #fill() {
    const sources = [...new Set(this.#models.map(({ source }) => source))];
    const targets = [...new Set(this.#models.map(({ target }) => target))];
    this.#sourceList.replaceChildren(
      new Option("Auto", AUTO),
      ...sources.map((language) => new Option(nameOf(language), language)),
    );
    this.#targetList.replaceChildren(
      ...targets.map((language) => new Option(nameOf(language), language)),
    );
    this.#show();
  }

  #show() {
    this.#sourceList.options[0].textContent = `Auto: ${nameOf(this.#detected)}`;
    this.#sourceList.value = this.#source;
    this.#targetList.value = this.#target;
  }
}
