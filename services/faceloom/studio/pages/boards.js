// What one draws on. Both boards have the same verbs: stroke, fill, load, clear, pixels, state and restore.

export const SIDE = 256;

/** Dark lines on white. */
export class SketchBoard {
  constructor(canvas) {
    this.context = canvas.getContext("2d", { willReadFrequently: true });
  }

  stroke(from, to, size, erase) {
    const { context } = this;
    context.strokeStyle = erase ? "#fff" : "#000";
    context.lineWidth = size;
    context.lineCap = "round";
    context.beginPath();
    context.moveTo(...from);
    context.lineTo(...to);
    context.stroke();
  }

  load(image) {
    this.clear();
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(image, ...centred(image));
  }

  clear() {
    this.context.fillStyle = "#fff";
    this.context.fillRect(0, 0, SIDE, SIDE);
  }

  /** Grey values, rows from the top. */
  pixels() {
    const { data } = this.state();
    return Uint8Array.from({ length: SIDE * SIDE }, (_, i) =>
      Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]),
    );
  }

  state() {
    return this.context.getImageData(0, 0, SIDE, SIDE);
  }

  restore(state) {
    this.context.putImageData(state, 0, 0);
  }
}

/** A class for every pixel: no colour in between, so that it is painted by hand and not by the canvas. */
export class LayoutBoard {
  constructor(canvas, classes) {
    this.context = canvas.getContext("2d", { willReadFrequently: true });
    this.colours = classes.map(({ color }) => color);
    this.ids = new Uint8Array(SIDE * SIDE);
    this.id = 1;
  }

  stroke(from, to, size, erase) {
    const id = erase ? 0 : this.id;
    const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
    for (let step = 0; step <= steps; step += 1) {
      const along = (axis) => from[axis] + ((to[axis] - from[axis]) * step) / steps;
      this.#disc(along(0), along(1), size / 2, id);
    }
    this.#paint();
  }

  #disc(x, y, radius, id) {
    for (let row = Math.max(0, Math.ceil(y - radius)); row <= Math.min(SIDE - 1, y + radius); row += 1) {
      const half = Math.sqrt(radius ** 2 - (row - y) ** 2);
      const start = Math.max(0, Math.ceil(x - half));
      const end = Math.min(SIDE - 1, Math.floor(x + half));
      if (end >= start) this.ids.fill(id, row * SIDE + start, row * SIDE + end + 1);
    }
  }

  /** The area of one class around a point becomes another. */
  fill([x, y], erase) {
    const id = erase ? 0 : this.id;
    const start = Math.floor(y) * SIDE + Math.floor(x);
    const before = this.ids[start];
    if (before === id) return;
    const open = [start];
    this.ids[start] = id;
    while (open.length) {
      const place = open.pop();
      const column = place % SIDE;
      const around = [place - SIDE, place + SIDE];
      if (column > 0) around.push(place - 1);
      if (column < SIDE - 1) around.push(place + 1);
      for (const next of around) {
        if (this.ids[next] !== before) continue;
        this.ids[next] = id;
        open.push(next);
      }
    }
    this.#paint();
  }

  /** A layout in the classes' colours; what has another colour becomes background. */
  load(image) {
    const { context } = this;
    context.fillStyle = "#000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.imageSmoothingEnabled = false;
    context.drawImage(image, ...centred(image));
    const { data } = context.getImageData(0, 0, SIDE, SIDE);
    const known = new Map(this.colours.map((colour, id) => [colour.join(), id]));
    this.ids = this.ids.map((_, i) => known.get(`${data[4 * i]},${data[4 * i + 1]},${data[4 * i + 2]}`) ?? 0);
    this.#paint();
  }

  clear() {
    this.ids.fill(0);
    this.#paint();
  }

  /** Class ids, rows from the top. */
  pixels() {
    return this.ids;
  }

  state() {
    return this.ids.slice();
  }

  restore(state) {
    this.ids = state.slice();
    this.#paint();
  }

  #paint() {
    const picture = this.context.createImageData(SIDE, SIDE);
    this.ids.forEach((id, i) => picture.data.set([...this.colours[id], 255], 4 * i));
    this.context.putImageData(picture, 0, 0);
  }
}

/** Where a picture of any shape goes, whole and in the middle. */
function centred({ width, height }) {
  const scale = SIDE / Math.max(width, height);
  const [w, h] = [width * scale, height * scale];
  return [(SIDE - w) / 2, (SIDE - h) / 2, w, h];
}
