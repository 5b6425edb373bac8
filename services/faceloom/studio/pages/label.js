// One face at a time: keep or reject, by key or by button. The next faces are fetched ahead.

import { call, chooseDataset, keyOf, picture, tell, trying } from "./api.js";

const AHEAD = 12;
const at = (id) => document.getElementById(id);
let dataset = "";
let waiting = [];
let history = [];
// Everybody goes through the same order, so those that were skipped are the first that are left.
let skipped = 0;
let busy = false;

const person = () => at("person").value.trim();

async function begin() {
  waiting = [];
  history = [];
  skipped = 0;
  at("question").hidden = true;
  at("nobody").hidden = person() !== "";
  at("export").href = `api/labels.jsonl?${new URLSearchParams({ dataset })}`;
  await sum();
  if (!person()) at("person").focus();
  else if (dataset) await ask();
}

async function ask() {
  const query = { dataset, person: person(), count: AHEAD, offset: skipped };
  const next = await call("GET", "labels/next", { query });
  waiting = next.faces;
  at("progress").max = next.total;
  at("progress").value = next.done;
  for (const id of waiting.slice(1)) new Image().src = picture(dataset, id);
  await show();
}

/** Returns when the first of those that wait is to be seen. */
async function show() {
  const { value, max } = at("progress");
  at("done").textContent = `${value} of ${max} judged by you`;
  if (!waiting.length) at("done").textContent += "; there are no others.";
  at("question").hidden = false;
  for (const id of ["face", "keep", "reject", "skip"]) at(id).hidden = !waiting.length;
  at("back").disabled = !history.length;
  at("keep").disabled = at("reject").disabled = true;
  if (!waiting.length) return;
  const image = at("face");
  image.src = picture(dataset, waiting[0]);
  try {
    await image.decode();
  } catch {
    const answer = await fetch(image.src);
    throw new Error(answer.ok ? "This is no picture." : (await answer.json()).error);
  }
  at("keep").disabled = at("reject").disabled = false;
}

// A key counts once the face is there that it is about.
async function alone(work) {
  if (busy) return;
  busy = true;
  tell("");
  const done = await trying(work);
  busy = false;
  if (done) trying(sum);
}

const judge = (label) =>
  alone(async () => {
    if (at("keep").disabled || !person()) return;
    const [id] = waiting;
    await call("PUT", "labels", { json: { dataset, id, person: person(), label } });
    history.push(id);
    at("progress").value += 1;
    await advance();
  });

const skip = () =>
  alone(async () => {
    if (!waiting.length) return;
    skipped += 1;
    await advance();
  });

async function advance() {
  waiting.shift();
  if (waiting.length) await show();
  else await ask();
}

const takeBack = () =>
  alone(async () => {
    const id = history.at(-1);
    if (!id) return;
    await call("DELETE", "labels", { query: { dataset, id, person: person() } });
    history.pop();
    waiting.unshift(id);
    at("progress").value -= 1;
    await show();
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
at("skip").addEventListener("click", skip);
at("back").addEventListener("click", takeBack);
document.addEventListener("keydown", (event) => {
  const { target, repeat, ctrlKey, metaKey, altKey } = event;
  if (repeat || ctrlKey || metaKey || altKey || target.matches("input, select")) return;
  const key = keyOf(event);
  if (key === "k" || key === "ArrowRight") judge("keep");
  if (key === "r" || key === "ArrowLeft") judge("reject");
  if (key === "n" || key === "ArrowDown") skip();
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
