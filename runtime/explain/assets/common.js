// What all panels need: the facts, small helpers, and the colors of light or dark mode.
const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const sum = (values) => values.reduce((total, value) => total + value, 0);
function percent(part) {
  if (part < 0.0005) return "<\u00a00.1\u00a0%";
  return `${(100 * part).toFixed(part >= 0.0995 ? 0 : 1)}\u00a0%`;
}
const minus = (number, digits) => number.toFixed(digits).replace("-", "−");

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function svg(tag, attributes = {}) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// Tokens: </s> and <s> are said in words, the mark of a space is kept but paler.
const SPECIAL = { "</s>": "⟨end⟩", "<s>": "⟨start⟩", "<pad>": "⟨start⟩", "<unk>": "⟨unknown⟩" };
const isSpecial = (token) => token in SPECIAL;
const shown = (token) => SPECIAL[token] ?? token;
const START = "<s>";

function tokenParts(token) {
  if (isSpecial(token)) return [shown(token)];
  if (token.startsWith("▁") && token.length > 1) return [make("span", { class: "space" }, "▁"), token.slice(1)];
  return [token];
}

// Colors
function channels(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim().split(/\s+/).map(Number);
}
let palette = {};
function readPalette() {
  palette = { cold: channels("--cold"), hot: channels("--hot"), minus: channels("--minus"), zero: channels("--zero"), plus: channels("--plus") };
}
function mix(from, to, part) {
  return from.map((value, index) => Math.round(value + (to[index] - value) * part));
}
// Small weights stay visible: half of the color is there at a weight of a quarter.
const heat = (weight) => mix(palette.cold, palette.hot, Math.sqrt(Math.min(1, Math.max(0, weight))));
const wave = (value) => (value < 0 ? mix(palette.zero, palette.minus, Math.min(1, -value)) : mix(palette.zero, palette.plus, Math.min(1, value)));
const rgb = (color) => `rgb(${color.join(" ")})`;

readPalette();
const redraws = []; // what each panel draws with colors
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  readPalette();
  for (const redraw of redraws) redraw();
});

// A matrix as a small image: one pixel for each number.
function paint(canvas, rows, color) {
  canvas.width = rows[0].length;
  canvas.height = rows.length;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  rows.forEach((row, y) => row.forEach((value, x) => {
    const place = 4 * (y * canvas.width + x);
    const [red, green, blue] = color(value);
    image.data.set([red, green, blue, 255], place);
  }));
  context.putImageData(image, 0, 0);
}

function say(id, ...parts) {
  byId(id).replaceChildren(...parts);
}
