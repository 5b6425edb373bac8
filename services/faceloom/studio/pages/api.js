// Calls of the studio's API, and what every page does with them.

/** Calls the API; what it refuses is thrown as an Error that says why. */
export async function call(method, path, { query = {}, json, body, signal } = {}) {
  const search = new URLSearchParams(query);
  let response;
  try {
    response = await fetch(`api/${path}?${search}`, {
      method,
      signal,
      body: json === undefined ? body : JSON.stringify(json),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The studio does not answer.");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** Where a picture of a face is: its face, sketch or layout. */
export function picture(dataset, id, kind = "face") {
  return `api/picture?${new URLSearchParams({ dataset, id, kind })}`;
}

/** Says something to people; nothing when all is well. */
export function tell(text) {
  document.getElementById("message").textContent = text;
}

/** Runs what a page does, and tells people why it failed; answers whether it did not. */
export async function trying(work) {
  try {
    await work();
    tell("");
    return true;
  } catch (error) {
    if (error.name !== "AbortError") tell(error.message);
    return false;
  }
}

/** Which key was pressed: its letter in lower case, also under Caps Lock and on keyboards of other scripts. */
export function keyOf({ key, code }) {
  if (/^[a-z]$/i.test(key)) return key.toLowerCase();
  return /^Key[A-Z]$/.test(code) ? code.at(-1).toLowerCase() : key;
}

/** Fills the list of datasets; the one that the address names is chosen. Calls back when another one is. */
export async function chooseDataset(select, changed) {
  const { datasets } = await call("GET", "datasets");
  const wanted = new URLSearchParams(location.search).get("dataset");
  select.replaceChildren(...datasets.map(({ name }) => new Option(name, name, false, name === wanted)));
  if (!datasets.length) throw new Error("There is no finished dataset yet; order one under Builds.");
  const show = () => trying(() => changed(datasets.find(({ name }) => name === select.value)));
  select.addEventListener("change", show);
  await show();
}

/** A definition list of what has a value. */
export function facts(list, pairs) {
  list.replaceChildren(
    ...Object.entries(pairs).map(([name, value]) => {
      const pair = document.createElement("div");
      pair.append(document.createElement("dt"), document.createElement("dd"));
      pair.firstChild.textContent = name;
      pair.lastChild.textContent = value;
      return pair;
    }),
  );
}
