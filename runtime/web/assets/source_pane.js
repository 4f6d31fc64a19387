// The text to translate: a textarea above a mirror of its text, where places are highlighted.

/** The pane on the left. */
export class SourcePane {
  #area = document.querySelector("#source");
  #mirror = document.querySelector("#mirror");
  #onPoint;

  /** onPoint is told the place of the text under the pointer or the caret, null for none. */
  constructor({ onInput, onPoint }) {
    this.#onPoint = onPoint;
    this.#area.addEventListener("input", (event) => {
      this.highlight([]);
      // What an input method has not finished is no text yet: Pinyin is no English.
      if (!event.isComposing) onInput(event.inputType);
    });
    this.#area.addEventListener("compositionend", () => onInput(""));
    this.#area.addEventListener("pointermove", (event) => onPoint(this.#placeAt(event)));
    this.#area.addEventListener("pointerleave", () => onPoint(null));
    document.addEventListener("selectionchange", () => this.#pointAtCaret());
    this.highlight([]);
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    this.#area.value = text;
    this.highlight([]);
  }

  set language(language) {
    this.#area.lang = language;
  }

  focus() {
    this.#area.focus();
  }

  /** Mark places, [begin, end]; none takes the marks away. */
  highlight(places) {
    const parts = [];
    let position = 0;
    for (const [begin, end] of places) {
      const mark = document.createElement("mark");
      mark.textContent = this.text.slice(begin, end);
      parts.push(this.text.slice(position, begin), mark);
      position = end;
    }
    this.#mirror.replaceChildren(...parts, this.text.slice(position));
  }

  #placeAt({ clientX, clientY }) {
    // Of textareas, only newer browsers say it.
    const found = document.caretPositionFromPoint?.(clientX, clientY);
    return found?.offsetNode === this.#area ? found.offset : null;
  }

  #pointAtCaret() {
    if (document.activeElement !== this.#area) return;
    const { selectionStart, selectionEnd } = this.#area;
    this.#onPoint(selectionStart === selectionEnd ? selectionStart : null);
  }
}
