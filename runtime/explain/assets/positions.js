// Position encodings: a row for each position, a column for each dimension, the sines before the
// cosines, so that the waves can be seen.
const dimensions = facts.positions.values[0].length;
const interleaved = (facts.model.positions ?? "paper") === "paper"; // sine, cosine, sine, ...
const half = dimensions / 2;
const dimensionOf = (column) => (!interleaved ? column : column < half ? 2 * column : 2 * (column - half) + 1);
const waves = facts.positions.values.map((row) => row.map((_, column) => row[dimensionOf(column)] / facts.positions.scale));

const wavelength = (column) => 2 * Math.PI * 10000 ** ((column % half) / (facts.model.positions === "fairseq" ? half - 1 : half));

function positionsText() {
  const unsure = facts.model.positions === null ? " This model folder does not say which sinusoids it has; these are the paper’s." : "";
  return `Attention alone does not know the order of tokens. So each token gets the number of its position, written as ${dimensions} sines and cosines that are added to its embedding. Each row is a position. Each column is a dimension, a wave that one goes along from top to bottom: on the left the sines, from short waves to long ones, on the right the cosines${interleaved ? " (in the model they stand in turn)" : ""}. Blue is 1, white 0, orange −1. No two rows are the same.${unsure}`;
}

function namesAt(position) {
  const names = [];
  if (position < sourceTokens.length) names.push(`source ${shown(sourceTokens[position])}`);
  if (position < readByDecoder.length) names.push(`target ${shown(readByDecoder[position])}`);
  return names.join(", ");
}

const ROW_HEIGHT = Math.max(8, Math.min(20, 360 / waves.length));
const waveCanvas = make("canvas", { role: "img", style: `height: ${ROW_HEIGHT * waves.length}px`, "aria-label": `Position encodings: ${waves.length} positions, ${dimensions} dimensions` });
function pointAtWaves(event) {
  const box = waveCanvas.getBoundingClientRect();
  const inside = (part, size) => Math.min(size - 1, Math.max(0, Math.floor(part * size)));
  const position = inside((event.clientY - box.top) / box.height, waves.length);
  const column = inside((event.clientX - box.left) / box.width, dimensions);
  const long = wavelength(column);
  say("positions-reading", make("b", {}, `Position ${position}`), ` (${namesAt(position)}), dimension ${dimensionOf(column)}: `,
    make("span", { class: "number" }, `${minus(waves[position][column], 2)}, a ${column < half ? "sine" : "cosine"} with a wave of ${long < 100 ? long.toFixed(1) : Math.round(long).toLocaleString("en")} tokens`));
}
waveCanvas.addEventListener("pointermove", pointAtWaves);
waveCanvas.addEventListener("pointerdown", pointAtWaves);

function drawWaves() {
  paint(waveCanvas, waves, wave);
}
byId("positions-text").textContent = positionsText();
const every = Math.ceil(14 / ROW_HEIGHT); // rows between two labels
byId("waves").append(
  make("div", { class: "labels", style: `grid-template-rows: repeat(${waves.length}, ${ROW_HEIGHT}px)`, "aria-hidden": "true" }, ...waves.map((_, index) => make("span", {}, index % every ? "" : String(index)))),
  waveCanvas,
  make("div", { class: "axis", "aria-hidden": "true" }, ...["sines", "cosines"].map((name) => make("div", {}, make("span", {}, `${name}, short waves`), make("span", {}, "long ones")))),
);
say("positions-reading", "Position 0 is the first source token, and ⟨start⟩ for the decoder.");
drawWaves();
redraws.push(drawWaves);
