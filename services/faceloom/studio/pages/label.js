// One face at a time: keep or reject, by key or by button. The next faces are fetched ahead.

import { call, chooseDataset, picture, trying } from "./api.js";

const AHEAD = 12;
const at = (id) => document.getElementById(id);
let dataset = "";
let waiting = [];
let history = [];
let busy = false;

const person = () => at("person").value.trim();

async function begin() {
  waiting = [];
  history = [];
  at("question").hidden = true;
  at("export").href = `api/labels.jsonl?${new URLSearchParams({ dataset })}`;
  await sum();
  if (!dataset || !person()) return;
  await ask();
}

async function ask() {
  const next = await call("GET", "labels/next", { query: { dataset, person: person(), count: AHEAD } });
  waiting = next.faces;
  at("progress").max = next.total;
  at("progress").value = next.done;
  show();
  for (const id of waiting) new Image().src = picture(dataset, id);
}

function show() {
  const { value, max } = at("progress");
  at("done").textContent = waiting.length ? `${value} of ${max} judged by you` : `You have judged all ${max}.`;
  at("question").hidden = false;
  for (const id of ["face", "keep", "reject"]) at(id).hidden = !waiting.length;
  at("back").disabled = !history.length;
  if (waiting.length) at("face").src = picture(dataset, waiting[0]);
}

// A key counts once the face is there that it is about.
async function alone(work) {
  if (busy) return;
  busy = true;
  const done = await trying(work);
  busy = false;
  if (done) trying(sum);
}

const judge = (label) =>
  alone(async () => {
    if (!waiting.length || !person()) return;
    const [id] = waiting;
    await call("PUT", "labels", { json: { dataset, id, person: person(), label } });
    waiting.shift();
    history.push(id);
    at("progress").value += 1;
    if (waiting.length) show();
    else await ask();
  });

const takeBack = () =>
  alone(async () => {
    const id = history.at(-1);
    if (!id) return;
    await call("DELETE", "labels", { query: { dataset, id, person: person() } });
    history.pop();
    waiting.unshift(id);
    at("progress").value -= 1;
    show();
  });

async function sum() {
  const { keep, reject, tied, people, agreement } = await call("GET", "labels", { query: { dataset } });
  const names = Object.entries(people).map(([name, count]) => `${name} ${count}`);
  const parts = [`${keep} to keep, ${reject} to reject`];
  if (tied) parts.push(`${tied} on which people are divided`);
  if (agreement !== null) parts.push(`two people agree on ${(100 * agreement).toFixed(0)} % of the faces they both saw`);
  at("verdicts").textContent = names.length ? `${parts.join("; ")} (${names.join(", ")}).` : "Nobody has judged a face of this dataset.";
}

at("keep").addEventListener("click", () => judge("keep"));
at("reject").addEventListener("click", () => judge("reject"));
at("back").addEventListener("click", takeBack);
document.addEventListener("keydown", ({ key, target, repeat, ctrlKey, metaKey, altKey }) => {
  if (repeat || ctrlKey || metaKey || altKey || target.matches("input, select")) return;
  if (key === "k" || key === "ArrowRight") judge("keep");
  if (key === "r" || key === "ArrowLeft") judge("reject");
  if (key === "u" || key === "Backspace") takeBack();
});
at("person").value = localStorage.getItem("person") ?? "";
at("person").addEventListener("change", () => {
  localStorage.setItem("person", person());
  at("person").blur();
  trying(begin);
});
trying(() =>
  chooseDataset(at("dataset"), (chosen) => {
    dataset = chosen.name;
    return begin();
  }),
);
