// Builds as they go on; new ones are ordered here, and stopped.

import { call, tell, trying } from "./api.js";

const EVERY_MS = 2000;
const ENDED = new Set(["SUCCEEDED", "FAILED", "CANCELLED"]);
const at = (id) => document.getElementById(id);
let requestId = newId();
let lost = false;

function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function refresh() {
  const { builds } = await call("GET", "builds");
  at("builds").replaceChildren(...builds.map(row));
}

function row(build) {
  const line = document.createElement("tr");
  line.dataset.state = build.state;
  const bar = document.createElement("progress");
  const done = build.of === "accepted" ? build.kept : build.processed;
  bar.max = build.target;
  bar.value = build.state === "SUCCEEDED" ? build.target : done;
  const begun = new Date(build.created).toLocaleString();
  const rate = ENDED.has(build.state) ? "" : build.images_per_second.toFixed(1);
  line.append(
    cell("Dataset", named(build)),
    cell("State", build.state.toLowerCase(), why(build)),
    cell("Progress", bar, `${bar.value} of ${build.target} ${build.of}`),
    cell("Kept", build.kept),
    cell("Failed", build.failed),
    cell("Per second", rate),
    cell("Begun", begun),
    cell("", ENDED.has(build.state) ? "" : stopper(build)),
  );
  return line;
}

/** A cell, and what its column is called where there is no room for columns. */
function cell(name, ...parts) {
  const made = document.createElement("td");
  made.dataset.name = name;
  made.append(...parts.filter((part) => part !== ""));
  return made;
}

function named({ name, output, state }) {
  if (!name || state !== "SUCCEEDED") return name ?? output;
  const link = document.createElement("a");
  link.href = `gallery?${new URLSearchParams({ dataset: name })}`;
  link.textContent = name;
  return link;
}

function why({ error }) {
  const text = document.createElement("div");
  text.className = "why";
  text.textContent = error;
  return text;
}

function stopper({ id }) {
  const button = document.createElement("button");
  button.textContent = "Cancel";
  button.addEventListener("click", () =>
    trying(async () => {
      await call("POST", `builds/${encodeURIComponent(id)}/cancel`);
      await refresh();
    }),
  );
  return button;
}

at("order").addEventListener("submit", (event) => {
  event.preventDefault();
  const { name, count, of, seed, truncation_psi } = Object.fromEntries(new FormData(event.target));
  const json = { request_id: requestId, name, [of]: Number(count), seed: Number(seed), truncation_psi: Number(truncation_psi) };
  trying(async () => {
    await call("POST", "builds", { json });
    requestId = newId();
    await refresh();
  });
});

// What was said of an order stays until the next one.
async function follow() {
  try {
    if (!document.hidden) await refresh();
    if (lost) tell("");
    lost = false;
  } catch (error) {
    tell(error.message);
    lost = true;
  }
  setTimeout(follow, EVERY_MS);
}
follow();
