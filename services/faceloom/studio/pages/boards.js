// What one draws on. Both boards have the same verbs: stroke, fill, clear, pixels, show and isEmpty.

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

  clear() {
    this.context.fillStyle = "#fff";
    this.context.fillRect(0, 0, SIDE, SIDE);
  }

  /** Grey values, rows from the top. */
  pixels() {
    const { data } = this.context.getImageData(0, 0, SIDE, SIDE);
    return Uint8Array.from({ length: SIDE * SIDE }, (_, i) =>
      Math.round(0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]),
    );
  }

  /** Shows such grey values. */
  show(pixels) {
    const picture = this.context.createImageData(SIDE, SIDE);
    pixels.forEach((grey, i) => picture.data.set([grey, grey, grey, 255], 4 * i));
    this.context.putImageData(picture, 0, 0);
  }

  isEmpty() {
    return this.pixels().every((grey) => grey === 255);
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

  clear() {
    this.ids.fill(0);
    this.#paint();
  }

  /** Class ids, rows from the top. */
  pixels() {
    return this.ids.slice();
  }

  /** Shows such ids. */
  show(pixels) {
    this.ids = pixels.slice();
    this.#paint();
  }

  isEmpty() {
    return this.ids.every((id) => id === 0);
  }

  #paint() {
    const picture = this.context.createImageData(SIDE, SIDE);
    this.ids.forEach((id, i) => picture.data.set([...this.colours[id], 255], 4 * i));
    this.context.putImageData(picture, 0, 0);
  }
}
