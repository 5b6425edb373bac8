// Datasets to look at: a grid that grows as one scrolls, and one face large.

import { call, chooseDataset, facts, picture, trying } from "./api.js";

const PAGE = 60;
const at = (id) => document.getElementById(id);
let shown = { dataset: "", faces: [], total: 0 };
let current = 0;
const scrolled = new IntersectionObserver(
  ([end]) => {
    if (end.isIntersecting && shown.faces.length < shown.total) trying(more);
  },
  { rootMargin: "400px" },
);

const kind = () => document.querySelector("input[name=kind]:checked").value;

async function show(dataset) {
  shown = { dataset: dataset.name, faces: [], total: dataset.accepted };
  const { planned, accepted, rejected, failed } = dataset;
  const share = `${((100 * accepted) / Math.max(1, planned)).toFixed(1)} %`;
  facts(at("figures"), { candidates: planned, accepted, rejected, failed, acceptance: share, digest: dataset.dataset_digest.slice(0, 12) });
  at("faces").replaceChildren();
  await more();
}

async function more() {
  const { dataset, faces } = shown;
  const page = await call("GET", "faces", { query: { dataset, offset: faces.length, limit: PAGE } });
  if (shown.dataset !== dataset || shown.faces.length !== faces.length) return;
  at("faces").append(...page.faces.map((face, index) => tile(face, faces.length + index)));
  shown.faces = [...faces, ...page.faces];
  at("end").textContent = `${shown.faces.length} of ${page.total}`;
  // Observed anew, the end is reported also if it has stayed in view.
  scrolled.unobserve(at("end"));
  scrolled.observe(at("end"));
}

function tile(face, index) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.loading = "lazy";
  image.alt = `Face ${face.id}`;
  image.dataset.id = face.id;
  image.src = picture(shown.dataset, face.id, kind());
  button.append(image);
  button.addEventListener("click", () => open(index));
  return button;
}

function open(index) {
  const face = shown.faces[index];
  if (!face) return;
  current = index;
  for (const one of ["face", "sketch", "layout"]) at(`one-${one}`).src = picture(shown.dataset, face.id, one);
  const { id, seed, truncation_psi, quality, split } = face;
  facts(at("one-facts"), { id, seed, truncation: truncation_psi, quality: quality.toFixed(3), split });
  const to = (task) => `draw?${new URLSearchParams({ task, dataset: shown.dataset, id })}`;
  at("draw-sketch").href = to("sketch");
  at("draw-layout").href = to("segmentation");
  if (!at("one").open) at("one").showModal();
}

at("previous").addEventListener("click", () => open(current - 1));
at("next").addEventListener("click", () => open(current + 1));
at("one").addEventListener("keydown", ({ key }) => {
  if (key === "ArrowLeft") open(current - 1);
  if (key === "ArrowRight") open(current + 1);
});
at("kind").addEventListener("change", () => {
  for (const image of document.querySelectorAll("#faces img")) image.src = picture(shown.dataset, image.dataset.id, kind());
});
trying(() => chooseDataset(at("dataset"), show));
