// How probable each target token was.
const totalLogProb = sum(facts.log_probs);
facts.target_tokens.forEach((token, index) => {
  const logProb = facts.log_probs[index];
  const unsure = Math.min(1, -logProb / 4); // e^-4: less than 2 %
  const given = index < facts.given;
  const describe = () => say(
    "sure-reading", bold(token), given ? " was given, not chosen. The model finds it probable with " : " has the probability ",
    make("span", { class: "number" }, `${percent(Math.exp(logProb))}, log-probability ${minus(logProb, 3)}`),
  );
  byId("sure").append(make("li", {}, make("button", {
    type: "button", style: `background: rgb(var(--unsure) / ${(0.75 * unsure).toFixed(3)})`,
    class: unsure > 0.5 ? "sure-strong" : "", "aria-label": `${shown(token)}, ${percent(Math.exp(logProb))}`,
    onmouseenter: describe, onfocus: describe, onclick: describe,
  }, make("span", {}, ...tokenParts(token)), make("small", {}, given ? "given" : percent(Math.exp(logProb))))));
});
say(
  "sure-reading", "All tokens together: log-probability ", make("span", { class: "number" }, minus(totalLogProb, 3)),
  ", per token ", make("span", { class: "number" }, minus(totalLogProb / facts.log_probs.length, 3)), ", in nats.",
);
if (!facts.own) {
  const note = byId("own-note");
  note.hidden = false;
  note.append(facts.own_translation === facts.target ? "This translation was given; the model itself writes the same." : `This translation was given. The model itself writes: ${facts.own_translation}`);
}
