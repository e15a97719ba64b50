// A sheet to draw a character on: black ink on white, the stroke as wide as the pen presses.

const PAUSE = 600; // ms after a stroke until the character counts as finished
const MARGIN = 0.12; // around the ink, share of its longer side

/**
 * @param canvas square
 * @param finished called with a PNG Blob when the pen has paused
 * @param changed called with the number of strokes after each change
 */
export function makePaper(canvas, { finished, changed }) {
  const ink = canvas.getContext("2d", { willReadFrequently: true });
  const strokes = []; // each: {width, points: [{x, y, pressure}]}, pixels of the canvas
  let pen = null; // the pointer that draws
  let pause;
  let width = 0.09 * canvas.width;

  function wipe() {
    ink.fillStyle = "#fff";
    ink.fillRect(0, 0, canvas.width, canvas.height);
    ink.fillStyle = "#000";
  }

  function dab({ x, y, pressure }, width) {
    ink.beginPath();
    ink.arc(x, y, Math.max(1, (width / 2) * (0.2 + 0.8 * pressure)), 0, 2 * Math.PI);
    ink.fill();
  }

  /** Dabs from one point to the next, close enough to be one line. */
  function line(from, to, width) {
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / (width / 12)));
    for (let step = 1; step <= steps; step++) {
      const share = step / steps;
      const between = (name) => from[name] + share * (to[name] - from[name]);
      dab({ x: between("x"), y: between("y"), pressure: between("pressure") }, width);
    }
  }

  function redraw() {
    wipe();
    for (const { points, width } of strokes) {
      dab(points[0], width);
      for (let i = 1; i < points.length; i++) line(points[i - 1], points[i], width);
    }
  }

  function pointOf(event) {
    const box = canvas.getBoundingClientRect();
    return {
      x: ((event.clientX - box.left) / box.width) * canvas.width,
      y: ((event.clientY - box.top) / box.height) * canvas.height,
      time: event.timeStamp,
    };
  }

  /** Pens measure it. For mice and most fingers, 0.5 or 0 or 1 always, slowness stands for it. */
  function pressureOf(event, point, last) {
    if (event.pointerType === "pen" || ![0, 0.5, 1].includes(event.pressure)) return event.pressure;
    if (!last) return 0.6;
    const speed = Math.hypot(point.x - last.x, point.y - last.y) / Math.max(1, point.time - last.time); // pixels a ms
    const wanted = Math.max(0.35, 1 - 0.25 * speed);
    return last.pressure + 0.25 * (wanted - last.pressure);
  }

  function extend(event) {
    const { points, width } = strokes.at(-1);
    const last = points.at(-1);
    const point = pointOf(event);
    point.pressure = pressureOf(event, point, last);
    if (last) line(last, point, width);
    else dab(point, width);
    points.push(point);
  }

  function later() {
    clearTimeout(pause);
    pause = setTimeout(async () => finished(await picture()), PAUSE);
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (pen !== null || event.button !== 0) return;
    event.preventDefault();
    clearTimeout(pause);
    pen = event.pointerId;
    canvas.setPointerCapture(pen);
    strokes.push({ width, points: [] });
    extend(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerId !== pen) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const one of all.length ? all : [event]) extend(one);
  });
  for (const end of ["pointerup", "pointercancel"])
    canvas.addEventListener(end, (event) => {
      if (event.pointerId !== pen) return;
      pen = null;
      changed(strokes.length);
      later();
    });

  /** The character, cut out square with a margin, as the pictures are that the model knows. */
  function picture() {
    const { data } = ink.getImageData(0, 0, canvas.width, canvas.height);
    let [left, top, right, bottom] = [canvas.width, canvas.height, -1, -1];
    for (let at = 0; at < data.length; at += 4)
      if (data[at] < 128) {
        const [x, y] = [(at / 4) % canvas.width, Math.floor(at / 4 / canvas.width)];
        [left, right, top, bottom] = [Math.min(left, x), Math.max(right, x), Math.min(top, y), Math.max(bottom, y)];
      }
    const side = Math.ceil(Math.max(right - left + 1, bottom - top + 1) * (1 + 2 * MARGIN));
    const square = new OffscreenCanvas(side, side);
    const cut = square.getContext("2d");
    cut.fillStyle = "#fff";
    cut.fillRect(0, 0, side, side);
    const [x, y] = [(left + right + 1 - side) / 2, (top + bottom + 1 - side) / 2];
    cut.drawImage(canvas, -Math.round(x), -Math.round(y));
    return square.convertToBlob({ type: "image/png" });
  }

  function undo() {
    strokes.pop();
    redraw();
    changed(strokes.length);
    clearTimeout(pause);
    if (strokes.length) later();
  }

  function clear() {
    strokes.length = 0;
    redraw();
    changed(0);
    clearTimeout(pause);
  }

  /** What was drawn is not asked for, until the next stroke. */
  function rest() {
    clearTimeout(pause);
  }

  wipe();
  return { undo, clear, rest, setBrush: (share) => (width = share * canvas.width) };
}
