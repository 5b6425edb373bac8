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

// What there are pictures of: the columns of a face that name PNG files, `sketch_file_name` of the sketch.
const kinds = (face) =>
  Object.entries(face)
    .filter(([column, file]) => column.endsWith("file_name") && file.endsWith(".png"))
    .map(([column]) => column.replace(/_?file_name$/, "") || "face");
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
  if (!faces.length) offer(page.faces.length ? kinds(page.faces[0]) : ["face"]);
  at("faces").append(...page.faces.map((face, index) => tile(face, faces.length + index)));
  shown.faces = [...faces, ...page.faces];
  at("end").textContent = `${shown.faces.length} of ${page.total}`;
  // Observed anew, the end is reported also if it has stayed in view.
  scrolled.unobserve(at("end"));
  scrolled.observe(at("end"));
}

// A choice for each kind of picture; the one that was chosen stays chosen where there is such a picture.
function offer(offered) {
  const chosen = offered.includes(kind()) ? kind() : "face";
  const choices = offered.map((one) => {
    const label = document.createElement("label");
    const choice = Object.assign(document.createElement("input"), { type: "radio", name: "kind", value: one, checked: one === chosen });
    label.append(choice, ` ${spoken(one).toLowerCase()}`);
    return label;
  });
  at("kind").replaceChildren(at("kind").querySelector("legend"), ...choices);
}

const spoken = (one) => one[0].toUpperCase() + one.slice(1).replaceAll("_", " ");

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
  at("one-pictures").replaceChildren(
    ...kinds(face).map((one) => Object.assign(new Image(), { id: `one-${one}`, alt: spoken(one), src: picture(shown.dataset, face.id, one) })),
  );
  const { id, seed, truncation_psi, quality, split } = face;
  facts(at("one-facts"), { id, seed, truncation: truncation_psi, quality: quality.toFixed(3), split });
  const to = (task) => `draw?${new URLSearchParams({ task, dataset: shown.dataset, id })}`;
  for (const [one, task] of [["sketch", "sketch"], ["layout", "segmentation"]]) {
    at(`draw-${one}`).href = to(task);
    at(`draw-${one}`).hidden = !kinds(face).includes(one);
  }
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
