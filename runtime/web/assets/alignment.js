// Which words of a translation come from which words of its source: runtime/alignment.py.
//
// Attention is a flat Float32Array in the order [layers, 1, heads, target, source].

const LEAST_ATTENTION = 0.3;

/** The heads that are taken where the export did not choose: all of the last layer but one, or, of a
 * decoder with few layers, of the last. */
export function defaultHeads(layers, heads) {
  const layer = layers < 4 ? layers - 1 : layers - 2;
  return { layer, heads: Array.from({ length: heads }, (_, head) => head), from_next_step: false };
}

/** What each target token but EOS looks at: rows of weights. */
export function alignmentWeights({ data, dims }, { layer, heads, from_next_step: fromNextStep }) {
  const [, , headCount, targets, sources] = dims;
  const rows = [];
  const first = fromNextStep ? 1 : 0;
  for (let target = first; target < targets - 1 + first; target += 1) {
    const row = new Float32Array(sources);
    for (const head of heads) {
      const start = ((layer * headCount + head) * targets + target) * sources;
      for (let source = 0; source < sources; source += 1) row[source] += data[start + source];
    }
    rows.push(row.map((sum) => sum / heads.length));
  }
  return rows;
}

/**
 * The places that belong together: for each target token that stands for something the source token
 * with the largest weight, as [source begin, source end, target begin, target end].
 */
export function alignedPlaces(weights, sourceSpans, targetSpans) {
  const places = [];
  targetSpans.forEach(([begin, end], target) => {
    if (begin >= end) return;
    let best = -1;
    sourceSpans.forEach(([first, last], source) => {
      if (first < last && (best < 0 || weights[target][source] > weights[target][best])) {
        best = source;
      }
    });
    if (best >= 0) places.push([...sourceSpans[best], begin, end]);
  });
  return places;
}

/** The share of source tokens but EOS that get little attention from every target token, in the mean
 * of all layers and heads; NaN for none. */
export function unattendedShare({ data, dims }) {
  const [layers, , heads, targets, sources] = dims;
  if (sources < 2) return Number.NaN;
  let little = 0;
  for (let source = 0; source < sources - 1; source += 1) {
    let most = 0;
    for (let target = 0; target < targets; target += 1) {
      let sum = 0;
      for (let plane = 0; plane < layers * heads; plane += 1) {
        sum += data[(plane * targets + target) * sources + source];
      }
      most = Math.max(most, sum / (layers * heads));
    }
    little += most < LEAST_ATTENTION ? 1 : 0;
  }
  return little / (sources - 1);
}
