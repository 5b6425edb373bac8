// A drawing or a layout, and the faces that the translator makes of it after every stroke.

import { call, keyOf, picture, trying } from "./api.js";
import { LayoutBoard, SIDE, SketchBoard } from "./boards.js";

const PAUSE_MS = 250;
// Left and right are the face's own.
const WORDS = {
  eye_g: "glasses", l_eye: "left eye", r_eye: "right eye", l_brow: "left brow", r_brow: "right brow", l_ear: "left ear", r_ear: "right ear",
  u_lip: "upper lip", l_lip: "lower lip", ear_r: "earring", neck_l: "necklace",
};
const at = (id) => document.getElementById(id);
const canvas = at("board");
const boards = {};
const drafts = {};
let history = [];
let pending = null;
let timer = 0;

const task = () => document.querySelector("input[name=task]:checked").value;
const board = () => boards[task()];
const kind = () => (task() === "sketch" ? "sketch" : "layout");

// --- faces ---

function translateSoon() {
  keepDrawing();
  clearTimeout(timer);
  at("faces").classList.add("stale");
  timer = setTimeout(() => trying(translate), PAUSE_MS);
}

async function translate() {
  pending?.abort();
  pending = new AbortController();
  const query = { task: task(), size: SIDE, variants: at("variants").value, style_seed: at("style").value, alpha: at("alpha").value };
  const answer = await call("POST", "translate", { query, body: board().pixels(), signal: pending.signal });
  at("faces").replaceChildren(...answer.faces.map((face, index) => result(face, BigInt(query.style_seed) + BigInt(index))));
  at("faces").classList.remove("stale");
  at("model").textContent = `Made by ${answer.model}.`;
}

function result(data, number) {
  const link = document.createElement("a");
  const image = document.createElement("img");
  link.href = image.src = `data:image/png;base64,${data}`;
  // Seeds have 64 bits, numbers 53; after the last seed comes the first.
  const seed = BigInt.asUintN(64, number);
  link.download = `face-${seed}.png`;
  image.alt = `Style ${seed}`;
  link.append(image);
  return link;
}

// --- the drawing ---

function remember() {
  history.push(board().pixels());
  history = history.slice(-50);
}

function undo() {
  const last = history.pop();
  if (!last) return;
  board().show(last);
  translateSoon();
}

function changed(change) {
  remember();
  change();
  translateSoon();
}

function place(event) {
  const frame = canvas.getBoundingClientRect();
  return [((event.clientX - frame.left) / frame.width) * SIDE, ((event.clientY - frame.top) / frame.height) * SIDE];
}

function press(event) {
  if (event.button !== 0) return;
  const erase = at("erase").checked;
  if (at("fill").checked && !at("filling").hidden) {
    changed(() => board().fill(place(event), erase));
    return;
  }
  const size = Number(at("brush").value);
  let last = place(event);
  remember();
  board().stroke(last, last, size, erase);
  canvas.setPointerCapture(event.pointerId);
  const move = (next) => {
    for (const part of next.getCoalescedEvents?.() ?? [next]) {
      const here = place(part);
      board().stroke(last, here, size, erase);
      last = here;
    }
  };
  canvas.addEventListener("pointermove", move);
  const end = () => {
    canvas.removeEventListener("pointermove", move);
    translateSoon();
  };
  canvas.addEventListener("lostpointercapture", end, { once: true });
}

/** Shows a file on the board, as the studio reads it: what the command line takes, and nothing else. */
async function load(file, wanted = () => true) {
  const asked = task();
  const { pixels } = await call("POST", "board", { query: { task: asked, size: SIDE }, body: file });
  // It came late: another board is shown by now, or something was drawn that it would cover.
  if (task() === asked && wanted()) changed(() => board().show(bytesOf(pixels)));
}

/** A picture of the studio's own, as a file. */
async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error((await response.json()).error);
  return response.blob();
}

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const textOf = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));

/** Some face of the newest dataset, if there is one. */
async function anyFace() {
  const { datasets } = await call("GET", "datasets");
  const full = datasets.find(({ accepted }) => accepted);
  if (!full) return null;
  const offset = Math.floor(Math.random() * full.accepted);
  const { faces } = await call("GET", "faces", { query: { dataset: full.name, offset, limit: 1 } });
  return picture(full.name, faces[0].id, kind());
}

async function startFromAFace() {
  const source = await anyFace();
  if (!source) throw new Error("There is no dataset with faces yet; order one under Builds.");
  await load(await fetched(source));
}

// --- what a reload does not lose ---

/** Keeps something for this page in this tab; null forgets it. */
function keep(key, value) {
  try {
    if (value === null) sessionStorage.removeItem(key);
    else sessionStorage.setItem(key, JSON.stringify({ address: location.search, value }));
  } catch {
    // A browser that keeps nothing still draws.
  }
}

function kept(key) {
  const [visit] = performance.getEntriesByType("navigation");
  // A link to a face asks for that face, again and again.
  if (visit?.type === "navigate" && new URLSearchParams(location.search).has("id")) return null;
  try {
    const found = JSON.parse(sessionStorage.getItem(key));
    return found?.address === location.search ? found.value : null;
  } catch {
    return null;
  }
}

function keepDrawing() {
  keep("task", task());
  keep(task(), board().isEmpty() ? null : textOf(board().pixels()));
}

function keptDrawing() {
  const text = kept(task());
  return text && bytesOf(text);
}

// --- the page ---

/** Shows the board of what is chosen: as it was left, or else with a picture, or empty. */
async function turnTo(source) {
  const laidOut = task() === "segmentation";
  at("classes").hidden = at("filling").hidden = !laidOut;
  at("brush").value = laidOut ? 14 : 4;
  history = [];
  const draft = drafts[task()] ?? keptDrawing();
  if (draft) {
    board().show(draft);
    translateSoon();
  } else {
    board().clear();
    const start = source ?? (await anyFace());
    if (start) await load(await fetched(start), () => !history.length);
  }
}

function showClasses(classes) {
  classes.forEach(({ name, color }, id) => {
    const label = document.createElement("label");
    const choice = document.createElement("input");
    const colour = document.createElement("i");
    Object.assign(choice, { type: "radio", name: "class", value: id, checked: id === boards.segmentation.id });
    choice.addEventListener("change", () => (boards.segmentation.id = id));
    colour.style.background = `rgb(${color})`;
    label.append(choice, colour, WORDS[name] ?? name);
    at("classes").append(label);
  });
}

async function begin() {
  const { classes } = await call("GET", "classes");
  boards.sketch = new SketchBoard(canvas);
  boards.segmentation = new LayoutBoard(canvas, classes);
  showClasses(classes);
  const asked = new URLSearchParams(location.search);
  const chosen = (kept("task") ?? asked.get("task")) === "segmentation" ? "segmentation" : "sketch";
  document.querySelector(`input[value=${chosen}]`).checked = true;
  let before = task();
  at("task").addEventListener("change", () => {
    drafts[before] = boards[before].pixels();
    before = task();
    trying(() => turnTo());
  });
  await turnTo(asked.has("id") ? picture(asked.get("dataset"), asked.get("id"), kind()) : null);
}

canvas.addEventListener("pointerdown", press);
at("undo").addEventListener("click", undo);
at("clear").addEventListener("click", () => changed(() => board().clear()));
at("another").addEventListener("click", () => trying(startFromAFace));
at("open").addEventListener("change", ({ target }) => {
  const [file] = target.files;
  if (!file) return;
  trying(() => load(file));
  // The same file may be opened again.
  target.value = "";
});
at("save").addEventListener("click", () => trying(save));
async function save() {
  const link = document.createElement("a");
  link.download = `${kind()}.png`;
  const { file } = await call("POST", "file", { query: { task: task(), size: SIDE }, body: board().pixels() });
  link.href = `data:image/png;base64,${file}`;
  link.click();
}
function restyle() {
  at("style").value = crypto.getRandomValues(new Uint32Array(1))[0];
  translateSoon();
}
at("restyle").addEventListener("click", restyle);
for (const id of ["variants", "style", "alpha"]) at(id).addEventListener("change", translateSoon);
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input:not([type=radio], [type=checkbox], [type=range]), select")) return;
  const key = keyOf(event);
  if ((event.ctrlKey || event.metaKey) && !event.shiftKey && key === "z") {
    event.preventDefault();
    undo();
  } else if (!event.ctrlKey && !event.metaKey && !event.altKey) {
    if (key === "e") at("erase").checked = !at("erase").checked;
    if (key === "f") at("fill").checked = !at("fill").checked;
    if (key === "s") restyle();
  }
});
trying(begin);
