"use strict";
// Answers are hostile text: they only ever become text nodes.
const at = (id) => document.getElementById(id);
const SPEAKERS = { user: "Question", assistant: "Earlier answer", system: "Instruction" };
let shown = null, busy = false;

function turn(message) {
  const box = document.createElement("div"), head = document.createElement("b"), text = document.createElement("div");
  box.className = "turn";
  head.textContent = SPEAKERS[message.role] || message.role;
  text.className = "text";
  text.dir = "auto";
  text.textContent = message.content;
  box.append(head, text);
  return box;
}

function show(state) {
  shown = state.pair;
  at("progress").textContent = `${state.rated} of ${state.total} rated by ${state.rater}`;
  at("bar").max = state.total;
  at("bar").value = state.rated;
  at("pair").hidden = shown === null;
  at("end").hidden = shown !== null;
  at("undo").disabled = state.rated === 0;
  if (shown === null) return;
  at("asked").replaceChildren(...shown.messages.map(turn));
  for (const side of ["a", "b"]) {
    at(side).textContent = shown[side];
    at(side).scrollTop = 0;
  }
  scrollTo(0, 0);
}

async function ask(path, body) {
  if (busy) return;
  busy = true;
  try {
    const sent = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
    const answer = await fetch(path, sent), told = await answer.json();
    at("notice").hidden = answer.ok;
    if (answer.ok) show(told);
    else at("notice").textContent = `Not kept: ${told.error}`;
  } catch {
    at("notice").hidden = false;
    at("notice").textContent = "Not kept: the program that serves this page has ended. Start it again; it goes on where you were.";
  } finally {
    busy = false;
  }
}

const rate = (choice) => shown && ask("rate", { pair: shown.id, choice });
const undo = () => ask("undo", {});

for (const button of document.querySelectorAll("[data-choice]")) button.addEventListener("click", () => rate(button.dataset.choice));
at("undo").addEventListener("click", undo);
document.addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "a" || key === "b") rate(key);
  else if (key === "t") rate("tie");
  else if (key === "u") undo();
});
ask("state");
