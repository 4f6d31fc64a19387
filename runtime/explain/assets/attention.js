// Attention: tokens with lines between them, one large heat map, and all heads as small ones.
const { attention, alignment } = facts;
const sourceTokens = facts.source_tokens, targetTokens = facts.target_tokens;
const readByDecoder = [START, ...targetTokens.slice(0, -1)];
const scaled = (rows) => rows.map((row) => row.map((value) => value / attention.scale));

// Who looks (rows), who is looked at (columns), and in which words that is said.
const KINDS = {
  cross: {
    name: "target → source", layers: attention.cross, rows: targetTokens, columns: sourceTokens,
    rowClass: "target", columnClass: "source", rowTitle: "target", columnTitle: "source",
    hint: "Cross-attention: to write a target token, the decoder looks at the source.",
    reads: (row) => ["To write ", bold(row), ", the decoder looks at "],
  },
  encoder: {
    name: "source → source", layers: attention.encoder, rows: sourceTokens, columns: sourceTokens,
    rowClass: "source", columnClass: "source", rowTitle: "source", columnTitle: "source",
    hint: "Encoder self-attention: every source token looks at the whole source, before and after it.",
    reads: (row) => [bold(row), " looks at "],
  },
  decoder: {
    name: "target → target", layers: attention.decoder, rows: targetTokens, columns: readByDecoder,
    rowClass: "target", columnClass: "target", rowTitle: "is written", columnTitle: "written before",
    hint: "Decoder self-attention: to write a token, the decoder looks at those it has written before; never at what follows.",
    reads: (row) => ["To write ", bold(row), ", the decoder looks back at "],
  },
};
const bold = (token) => make("b", {}, shown(token));
const kindsShown = Object.keys(KINDS).filter((kind) => KINDS[kind].layers.length);

// layer: a number, or "all"; head: a number, or "mean"; aligned: the heads that align words best.
const look = { kind: "cross", layer: "all", head: "mean", aligned: true, row: null, column: null };

function weights() {
  if (look.aligned) return scaled(alignment.weights);
  const { layers } = KINDS[look.kind];
  const chosen = look.layer === "all" ? layers : [layers[look.layer]];
  const heads = chosen.flatMap((layer) => (look.head === "mean" ? layer : [layer[look.head]]));
  return heads[0].map((row, y) => row.map((_, x) => sum(heads.map((head) => head[y][x])) / heads.length / attention.scale));
}

let current = weights();
function change(changes) {
  Object.assign(look, { row: null, column: null }, changes);
  if (look.kind !== "cross") look.aligned = false;
  current = weights();
  drawAttention();
}

function choices(label, options, chosen, choose) {
  const group = make("div", { class: "choices", role: "group", "aria-label": label });
  for (const [value, text, title] of options) {
    group.append(make("button", { type: "button", "aria-pressed": String(chosen(value)), title, onclick: () => choose(value) }, text));
  }
  return make("div", { class: "control" }, make("span", {}, label), group);
}

function drawControls() {
  const { layers } = KINDS[look.kind];
  const numbered = (count) => Array.from({ length: count }, (_, index) => [index, String(index + 1)]);
  const bestHeads = `layer ${alignment.layer + 1}, head${alignment.heads.length > 1 ? "s" : ""} ${alignment.heads.map((head) => head + 1).join(", ")}`;
  const layerOptions = [["all", "all"], ...numbered(layers.length)];
  const headOptions = [["mean", "mean"], ...numbered(layers[0].length)];
  const best = look.kind === "cross" ? [["best", "alignment", bestHeads]] : [];
  byId("attention-controls").replaceChildren(
    choices("Who", kindsShown.map((kind) => [kind, KINDS[kind].name]), (kind) => kind === look.kind, (kind) => change({ kind, layer: "all", head: "mean", aligned: kind === "cross" })),
    choices("Layer", [...best, ...layerOptions], (layer) => (look.aligned ? layer === "best" : layer === look.layer), (layer) => change(layer === "best" ? { aligned: true, layer: "all", head: "mean" } : { aligned: false, layer })),
    choices("Head", headOptions, (head) => !look.aligned && head === look.head, (head) => change({ aligned: false, head })),
  );
  const chosenBy = facts.model.chosen_heads ? "that align words best, as the export found out" : "of a layer that mostly aligns words";
  const which = look.aligned ? ` Shown: ${bestHeads}, ${alignment.heads.length > 1 ? "those" : "the one"} ${alignment.heads.length > 1 ? chosenBy : chosenBy.replace("align ", "aligns ")}: which source token a target token comes from.` : "";
  byId("attention-hint").textContent = KINDS[look.kind].hint + which;
}

// Tokens on two sides, lines between them
let sides = { left: [], right: [] };
function drawLinks() {
  const kind = KINDS[look.kind];
  const side = (name, title, tokens, className, select) => {
    const column = make("div", { class: `side ${name}` }, make("div", { class: "head" }, title));
    sides[name] = tokens.map((token, index) => {
      const button = make("button", {
        type: "button", class: `token ${className}${isSpecial(token) ? " special" : ""}`, title: shown(token),
        onmouseenter: () => select(index), onfocus: () => select(index), onclick: () => select(index),
      }, ...tokenParts(token));
      column.append(button);
      return button;
    });
    return column;
  };
  byId("links").replaceChildren(
    side("left", `${kind.rowTitle} (looks)`, kind.rows, kind.rowClass, (row) => select({ row, column: null })),
    side("right", `${kind.columnTitle} (is looked at)`, kind.columns, kind.columnClass, (column) => select({ row: null, column })),
    svg("svg", { "aria-hidden": "true" }),
  );
  drawLines();
}

function drawLines() {
  const box = byId("links").getBoundingClientRect();
  const picture = byId("links").querySelector("svg");
  const place = (button, edge) => {
    const rect = button.getBoundingClientRect();
    return [rect[edge] - box.left, (rect.top + rect.bottom) / 2 - box.top];
  };
  const chosen = look.row !== null || look.column !== null;
  const lines = [];
  current.forEach((row, y) => row.forEach((weight, x) => {
    const lit = look.row === null ? look.column === x : look.row === y;
    if (weight < (lit ? 0.01 : 0.06) || (chosen && !lit)) return;
    const [x1, y1] = place(sides.left[y], "right"), [x2, y2] = place(sides.right[x], "left");
    const middle = (x1 + x2) / 2;
    lines.push(svg("path", {
      d: `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`,
      "stroke-width": (0.8 + 4.2 * weight).toFixed(2), "stroke-opacity": ((chosen ? 0.15 : 0.08) + 0.8 * weight).toFixed(3),
    }));
  }));
  picture.replaceChildren(...lines);
  const shade = (buttons, weightOf, at) => buttons.forEach((button, index) => {
    const weight = weightOf === null ? 0 : weightOf(index);
    button.style.background = weight > 0.01 ? `rgb(var(--hot) / ${(0.06 + 0.5 * weight).toFixed(3)})` : "";
    button.classList.toggle("at", index === at);
  });
  shade(sides.right, look.row === null ? null : (x) => current[look.row][x], look.column);
  shade(sides.left, look.row !== null || look.column === null ? null : (y) => current[y][look.column], look.row);
}

const reads = (row) => (look.aligned ? [bold(row), " is aligned with "] : KINDS[look.kind].reads(row));

// A token, or a cell of the heat map, is pointed at.
function select(at) {
  Object.assign(look, at);
  drawLines();
  markMap();
  const kind = KINDS[look.kind];
  const most = (values, tokens) => values.map((weight, index) => [weight, index]).filter(([weight]) => weight >= 0.02)
    .sort((a, b) => b[0] - a[0]).slice(0, 5)
    .flatMap(([weight, index], rank) => [rank ? ", " : "", bold(tokens[index]), make("span", { class: "number" }, ` ${percent(weight)}`)]);
  if (look.row !== null && look.column !== null) {
    say("attention-reading", ...reads(kind.rows[look.row]), bold(kind.columns[look.column]), make("span", { class: "number" }, `: ${percent(current[look.row][look.column])} of its attention`));
  } else if (look.row !== null) {
    const found = most(current[look.row], kind.columns);
    say("attention-reading", ...(found.length ? [...reads(kind.rows[look.row]), ...found] : [bold(kind.rows[look.row]), " ends the translation, and is aligned with nothing"]));
  } else if (look.column !== null) {
    const found = most(current.map((row) => row[look.column]), kind.rows);
    say("attention-reading", bold(kind.columns[look.column]), ...(found.length ? [" is looked at by ", ...found] : [" is hardly looked at"]));
  }
}

// The large heat map
const map = { cell: 20, left: 0, top: 0, canvas: null };
const FONT = "13px system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'PingFang SC', 'Microsoft YaHei', 'Noto Sans CJK SC', sans-serif";

function drawMap() {
  const kind = KINDS[look.kind];
  if (map.canvas === null) {
    map.canvas = make("canvas", { tabindex: "0", role: "img" });
    map.canvas.addEventListener("pointermove", pointAtMap);
    map.canvas.addEventListener("pointerdown", pointAtMap);
    map.canvas.addEventListener("keydown", stepInMap);
    byId("map").append(map.canvas);
  }
  const context = map.canvas.getContext("2d");
  context.font = FONT;
  const widest = (tokens) => Math.min(110, Math.max(...tokens.map((token) => context.measureText(shown(token)).width)));
  map.left = Math.ceil(widest(kind.rows)) + 10;
  map.top = Math.ceil(widest(kind.columns)) + 10;
  const room = byId("map").clientWidth - map.left - 2;
  map.cell = Math.max(15, Math.min(34, Math.floor(room / kind.columns.length)));
  const width = map.left + map.cell * kind.columns.length + 2, height = map.top + map.cell * kind.rows.length + 2;
  const ratio = window.devicePixelRatio || 1;
  map.canvas.width = Math.round(width * ratio);
  map.canvas.height = Math.round(height * ratio);
  map.canvas.style.width = `${width}px`;
  map.canvas.style.height = `${height}px`;
  map.canvas.setAttribute("aria-label", `Heat map: ${kind.name}, ${kind.rows.length} rows, ${kind.columns.length} columns. The arrow keys move through its cells.`);
  markMap();
}

function clipped(context, text, most) {
  let cut = text;
  while (cut.length > 1 && context.measureText(cut).width > most) cut = `${[...cut.replace("…", "")].slice(0, -1).join("")}…`;
  return cut;
}

function markMap() {
  const kind = KINDS[look.kind], { cell, left, top, canvas } = map;
  const style = getComputedStyle(document.documentElement);
  const ink = style.getPropertyValue("--ink"), soft = style.getPropertyValue("--soft"), accent = style.getPropertyValue("--accent");
  const ratio = window.devicePixelRatio || 1, context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.font = FONT;
  context.textBaseline = "middle";
  const gap = cell > 18 ? 1 : 0.5;
  current.forEach((row, y) => row.forEach((weight, x) => {
    context.fillStyle = rgb(heat(weight));
    context.fillRect(left + x * cell, top + y * cell, cell - gap, cell - gap);
  }));
  context.textAlign = "right";
  kind.rows.forEach((token, y) => {
    context.fillStyle = look.row === y ? accent : isSpecial(token) ? soft : ink;
    context.fillText(clipped(context, shown(token), left - 10), left - 6, top + (y + 0.5) * cell);
  });
  kind.columns.forEach((token, x) => {
    const upright = context.measureText(shown(token)).width <= cell;
    context.save();
    context.translate(left + (x + 0.5) * cell, upright ? top - 11 : top - 6);
    if (!upright) context.rotate(-Math.PI / 2);
    context.textAlign = upright ? "center" : "left";
    context.fillStyle = look.column === x ? accent : isSpecial(token) ? soft : ink;
    context.fillText(clipped(context, shown(token), top - 10), 0, 0);
    context.restore();
  });
  context.strokeStyle = accent;
  context.lineWidth = 2;
  const columns = kind.columns.length, rows = kind.rows.length;
  if (look.row !== null && look.column !== null) context.strokeRect(left + look.column * cell, top + look.row * cell, cell - 1, cell - 1);
  else if (look.row !== null) context.strokeRect(left + 0.5, top + look.row * cell, columns * cell - 1, cell - 1);
  else if (look.column !== null) context.strokeRect(left + look.column * cell, top + 0.5, cell - 1, rows * cell - 1);
}

function pointAtMap(event) {
  const box = map.canvas.getBoundingClientRect();
  const column = Math.floor((event.clientX - box.left - map.left) / map.cell);
  const row = Math.floor((event.clientY - box.top - map.top) / map.cell);
  const kind = KINDS[look.kind];
  if (row >= kind.rows.length || column >= kind.columns.length || (row < 0 && column < 0)) return;
  const at = { row: row < 0 ? null : row, column: column < 0 ? null : column };
  if (at.row !== look.row || at.column !== look.column) select(at);
}

function stepInMap(event) {
  const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
  if (!step) return;
  event.preventDefault();
  const kind = KINDS[look.kind];
  const within = (value, size) => Math.min(size - 1, Math.max(0, value));
  const [down, right] = look.row === null || look.column === null ? [0, 0] : step;
  select({ row: within((look.row ?? 0) + down, kind.rows.length), column: within((look.column ?? 0) + right, kind.columns.length) });
}

// All heads as small heat maps
const thumbnails = []; // [button, kind, layer, head]
function makeThumbnails() {
  const { layers } = KINDS[look.kind];
  const size = Math.max(44, Math.min(112, 520 / layers[0].length));
  const kind = look.kind, ratio = KINDS[kind].rows.length / KINDS[kind].columns.length;
  const grid = make("div", { class: "heads", style: `grid-template-columns: auto repeat(${layers[0].length}, ${size}px)` });
  grid.append(make("span"), ...layers[0].map((_, head) => make("span", { class: "label" }, `head ${head + 1}`)));
  thumbnails.length = 0;
  layers.forEach((heads, layer) => {
    grid.append(make("span", { class: "label" }, `layer ${layer + 1}`));
    heads.forEach((rows, head) => {
      const canvas = make("canvas", { "aria-hidden": "true" });
      const button = make("button", {
        type: "button", "aria-label": `${KINDS[kind].name}, layer ${layer + 1}, head ${head + 1}`,
        style: `width: ${size}px; height: ${Math.max(36, Math.min(160, size * ratio))}px`,
        onclick: () => { change({ aligned: false, layer, head }); byId("attention-hint").scrollIntoView({ block: "nearest" }); },
      }, canvas);
      paint(canvas, scaled(rows), heat);
      thumbnails.push([button, layer, head]);
      grid.append(button);
    });
  });
  byId("thumbnails").replaceChildren(grid);
  byId("heads-title").textContent = `All layers and heads: ${KINDS[kind].name}`;
}

let thumbnailsOf = null;
function drawThumbnails() {
  if (thumbnailsOf !== look.kind) {
    makeThumbnails();
    thumbnailsOf = look.kind;
  }
  for (const [button, layer, head] of thumbnails) {
    const shownHere = look.aligned ? layer === alignment.layer && alignment.heads.includes(head)
      : (look.layer === "all" || look.layer === layer) && (look.head === "mean" || look.head === head);
    button.setAttribute("aria-pressed", String(shownHere));
  }
}

function drawAttention() {
  drawControls();
  drawLinks();
  drawMap();
  drawThumbnails();
  say("attention-reading", "Nothing is chosen: a line stands for more than 6 % of a token’s attention, a thick line for all of it.");
}
drawAttention();
redraws.push(() => { thumbnailsOf = null; drawAttention(); });
let lastWidth = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === lastWidth) return; // a phone's address bar changes the height alone
  lastWidth = window.innerWidth;
  drawMap();
  drawLines();
});
