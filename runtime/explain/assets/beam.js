// The beam search as a tree: a column for each step, its candidates from the best down.
const STEP_WIDTH = 138, NODE_WIDTH = 112, ROW = 33, TOP = 22;
const { search } = facts;

function beamText() {
  const size = facts.options.beam_size;
  const own = facts.own ? "" : ` It is the search for the model’s own translation: ${facts.own_translation}`;
  if (size === 1) return `Greedy search: in each step the most probable token is taken. The other candidate of each step is shown beside it.${own}`;
  return `Each column is a step, and has the best candidates for the next token, the best on top. The ${size} best that do not end the sentence go on; an ⟨end⟩ among the ${size} best finishes a translation; the others are dropped. The number is the sum of the log-probabilities so far; of a finished translation it is the score, in which its length counts too. The winner is the finished translation with the best score.${own}`;
}

function line(step, place) { // places of a node and of those before it
  const places = [];
  for (let at = place, column = step; at !== null && column >= 0; column -= 1) {
    places.unshift(at);
    at = search.steps[column][at].parent;
  }
  return places;
}
const textOf = (places) => places.map((place, step) => search.steps[step][place].token).map((token) => (isSpecial(token) ? ` ${shown(token)}` : token)).join("").replaceAll("▁", " ").trim();

function scoreText(node, length) {
  const penalty = facts.options.length_penalty, sumText = `the sum ${minus(node.score, 3)}`;
  if (penalty === 0) return sumText;
  return `${sumText} over ${length}${penalty === 1 ? "" : ` to the power of ${penalty}`}, its length in tokens`;
}

function drawTree() {
  const { steps, path } = search;
  const rows = Math.max(...steps.map((nodes) => nodes.length));
  const first = [START, ...search.prefix].map(shown).join("");
  const width = STEP_WIDTH * (steps.length + 1), height = TOP + ROW * rows + 4;
  const tree = make("div", { class: "tree", style: `width: ${width}px; height: ${height}px`, role: "tree", "aria-label": "Beam search" });
  const picture = svg("svg", { width, height, "aria-hidden": "true" });
  const left = (step) => STEP_WIDTH * (step + 1), middle = (place) => TOP + ROW * place + 14;
  const nodes = [], edges = [];
  tree.append(picture, make("div", { class: "node kept won", style: `left: 0; top: ${TOP}px; width: ${NODE_WIDTH}px`, title: first }, make("span", {}, first)));
  const won = (step, place) => step < path.length && path[step] === place;

  function light(step, place) {
    const lit = line(step, place);
    const litAt = (column, row) => column < lit.length && lit[column] === row;
    nodes.forEach((column, s) => column.forEach((node, p) => node.classList.toggle("lit", litAt(s, p))));
    edges.forEach((column, s) => column.forEach((edge, p) => edge.classList.toggle("lit", litAt(s, p))));
    const node = steps[step][place];
    const fate = { kept: "goes on", dropped: step === steps.length - 1 ? "is dropped, or the search ended before it could go on" : "is dropped", finished: `is finished, with the score ${node.final === null ? "" : minus(node.final, 3)}` }[node.fate];
    say("beam-reading", make("b", {}, textOf(lit) || shown(node.token)), ` ${won(step, place) && node.fate === "finished" ? "wins: it " : ""}${fate}. `,
      make("span", { class: "number" }, `Sum ${minus(node.score, 3)}; the token ${shown(node.token)} has the probability ${percent(Math.exp(node.log_prob))}.`));
  }

  function move(event, step, place) {
    const target = {
      ArrowUp: () => nodes[step][place - 1], ArrowDown: () => nodes[step][place + 1],
      ArrowLeft: () => step > 0 && nodes[step - 1][steps[step][place].parent],
      ArrowRight: () => step + 1 < steps.length && nodes[step + 1][steps[step + 1].findIndex((node) => node.parent === place)],
    }[event.key];
    if (!target) return;
    event.preventDefault();
    const node = target();
    if (node) node.focus();
  }

  steps.forEach((candidates, step) => {
    tree.append(make("div", { class: "step", style: `left: ${left(step)}px; width: ${NODE_WIDTH}px` }, `step ${step + 1}`));
    nodes.push(candidates.map((node, place) => {
      const winner = won(step, place);
      const label = `Step ${step + 1}, rank ${place + 1}: ${shown(node.token)}, sum ${minus(node.score, 2)}, ${node.fate}${winner ? ", on the winner’s path" : ""}`;
      const button = make("button", {
        type: "button", class: `node ${node.fate}${winner ? " won" : ""}`, role: "treeitem", tabindex: winner ? "0" : "-1", "aria-label": label,
        style: `left: ${left(step)}px; top: ${TOP + ROW * place}px; width: ${NODE_WIDTH}px`,
        onmouseenter: () => light(step, place), onfocus: () => light(step, place), onclick: () => light(step, place),
        onkeydown: (event) => move(event, step, place),
      }, make("span", {}, ...tokenParts(node.token)), make("small", {}, minus(node.fate === "finished" ? node.final : node.score, 2)));
      tree.append(button);
      return button;
    }));
    edges.push(candidates.map((node, place) => {
      const x1 = left(step) - STEP_WIDTH + NODE_WIDTH, y1 = middle(node.parent ?? 0), x2 = left(step), y2 = middle(place), bend = (x2 - x1) / 2;
      return svg("path", { d: `M${x1},${y1} C${x1 + bend},${y1} ${x2 - bend},${y2} ${x2},${y2}`, class: `${node.fate}${won(step, place) ? " won" : ""}` });
    }));
  });
  // The winner's path lies over the others.
  const all = edges.flat();
  picture.append(...all.filter((edge) => !edge.classList.contains("won")), ...all.filter((edge) => edge.classList.contains("won")));
  byId("tree").append(tree);
  const last = path.length - 1;
  const winner = steps[last][path[last]];
  say("beam-reading", "The winner: ", make("b", {}, facts.own_translation || shown(winner.token)), make("span", { class: "number" }, `, with the score ${minus(winner.final, 3)}: ${scoreText(winner, search.prefix.length + path.length)}.`));
}

if (search === null) {
  byId("beam-text").textContent = "The translation was drawn at random, so there was no search.";
  document.querySelector("#beam .panel").hidden = true;
} else {
  byId("beam-text").textContent = beamText();
  for (const [name, text] of [["won", "the winner’s path"], ["kept", "goes on"], ["finished", "finished"], ["dropped", "dropped"]]) {
    byId("beam-legend").append(make("span", {}, make("i", { class: name }), text));
  }
  drawTree();
}
