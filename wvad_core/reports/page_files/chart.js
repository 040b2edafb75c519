// The score curve of one video, over its events and its ground truth, with a cursor.

const CURVE = {height: 240, left: 52, right: 12, top: 14, bottom: 26};
const TIME_STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];

class Chart {
  /** video: of the page's data, as page.js prepares it. seek(time): what a click, or a finger that drags, asks for. */
  constructor(page, video, seek) {
    Object.assign(this, {page, video, seek, time: 0});
    this.relative = !page.limits;
    const all = [video.scores, ...video.others].flat();
    const low = all.reduce((a, b) => Math.min(a, b)), high = all.reduce((a, b) => Math.max(a, b));
    const [lowest, highest] = page.limits || [low, high];
    [this.low, this.high] = [Math.min(lowest, low), Math.max(highest, high)];
    if (!(this.high > this.low)) this.high = this.low + 1;
    this.tip = make("div", {class: "tip", hidden: true});
    this.drawing = draw("svg", {"aria-hidden": "true"});
    this.element = make("div", {class: "curve", id: "curve", tabindex: "0", role: "slider",
      "aria-label": "Position in the video", "aria-valuemin": "0", "aria-valuemax": video.duration},
      this.drawing, this.tip);
    this.listen();
    this.observer = new ResizeObserver(() => this.redraw());
    this.observer.observe(this.element);
    this.move(0);
  }

  close() {
    this.observer.disconnect();
  }

  listen() {
    const at = event => this.timeAt(event.clientX - this.drawing.getBoundingClientRect().left);
    this.element.addEventListener("pointerdown", event => {
      if (event.button) return;
      this.dragging = true;
      this.element.setPointerCapture(event.pointerId);
      this.seek(at(event));
    });
    this.element.addEventListener("pointermove", event => {
      if (this.dragging) this.seek(at(event));
      this.hover(at(event));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      this.element.addEventListener(end, () => { this.dragging = false; });
    }
    this.element.addEventListener("pointerleave", () => { this.tip.hidden = true; });
  }

  timeAt(x) {
    return clamp((x - CURVE.left) / this.width, 0, 1) * this.video.duration;
  }

  x(time) { return CURVE.left + this.width * time / this.video.duration; }

  y(score) {
    return CURVE.top + (CURVE.height - CURVE.top - CURVE.bottom) * (1 - (score - this.low) / (this.high - this.low));
  }

  /** The cursor to a time. */
  move(time) {
    this.time = time;
    const i = snippetAt(this.video, time);
    this.element.setAttribute("aria-valuenow", time.toFixed(2));
    this.element.setAttribute("aria-valuetext", `${place(this.video, time)}, score ${number(this.video.scores[i])}`);
    if (!this.cursor) return;
    this.cursor.setAttribute("transform", `translate(${this.x(time).toFixed(2)} 0)`);
    this.dot.setAttribute("cy", this.y(this.video.scores[i]).toFixed(2));
  }

  hover(time) {
    const {video} = this, i = snippetAt(video, time), score = video.scores[i];
    const lines = [[place(video, time, true), ""], ...this.page.runs.length ? this.page.runs.map(
      (run, k) => [number((k ? video.others[k - 1] : video.scores)[i]), run]) : [[number(score), "score"]]];
    if (this.relative && !this.page.runs.length) {
      lines.push([`${Math.round(100 * (score - this.low) / (this.high - this.low))} %`, "of this video's range"]);
    }
    const likely = video.classes.reduce((best, [name, of]) => !best || of[i] > best[1] ? [name, of[i]] : best, null);
    if (likely) lines.push([number(likely[1]), likely[0]]);
    this.tip.replaceChildren(...lines.map(([value, label]) => make("div", {}, make("b", {}, value), " ", label)));
    this.tip.hidden = false;
    const x = this.x(time), left = x + this.tip.offsetWidth + 16 > this.element.clientWidth;
    this.tip.style.left = `${left ? Math.max(0, x - this.tip.offsetWidth - 10) : x + 10}px`;
  }

  redraw() {
    this.width = Math.max(this.element.clientWidth - CURVE.left - CURVE.right, 40);
    const {height} = CURVE, full = this.width + CURVE.left + CURVE.right;
    this.drawing.setAttribute("viewBox", `0 0 ${full} ${height}`);
    this.drawing.setAttribute("width", full);
    this.drawing.setAttribute("height", height);
    this.dot = draw("circle", {class: "dot", r: 4});
    this.cursor = draw("g", {class: "cursor"}, draw("line", {y1: CURVE.top - 6, y2: height - CURVE.bottom}), this.dot);
    this.drawing.replaceChildren(...this.bands(), ...this.axes(), ...this.curves(), ...this.threshold(), this.cursor);
    this.move(this.time);
  }

  bands() {
    const top = CURVE.top, bottom = CURVE.height - CURVE.bottom;
    const box = (start, end, kind, y, height) => draw("rect", {class: kind, x: this.x(start), y,
      width: Math.max(this.x(Math.min(end, this.video.duration)) - this.x(start), 1.5), height});
    const truth = ([start, end]) => this.video.events.length  // whose bands take the height
      ? box(start, end, "truth strip", bottom - 8, 8) : box(start, end, "truth", top, bottom - top);
    return [...this.video.truth.map(truth),
      ...this.video.events.flatMap(event => [box(event.start, event.end, "event", top, bottom - top),
        box(event.start, event.end, "event-bar", top - 6, 5)])];
  }

  axes() {
    const bottom = CURVE.height - CURVE.bottom, {video} = this, parts = [];
    const [low, high] = this.relative ? [0, 100] : [this.low, this.high];
    for (const mark of marks(low, high, 5)) {
      const y = this.y(this.relative ? this.low + (this.high - this.low) * mark / 100 : mark);
      parts.push(draw("line", {class: "grid", x1: CURVE.left, x2: CURVE.left + this.width, y1: y, y2: y}),
        draw("text", {class: "mark", x: CURVE.left - 6, y: y + 4, "text-anchor": "end"},
          this.relative ? `${mark} %` : String(Number(mark.toPrecision(6)))));
    }
    for (const mark of marks(0, video.duration, Math.max(this.width / 90, 2), video.in_frames ? null : TIME_STEPS)) {
      const x = this.x(mark), anchor = x > CURVE.left + this.width - 18 ? "end" : "middle";
      parts.push(draw("line", {class: "tick", x1: x, x2: x, y1: bottom, y2: bottom + 4}),
        draw("text", {class: "mark", x, y: bottom + 17, "text-anchor": anchor},
          video.in_frames ? String(mark) : clock(mark, mark % 1 !== 0)));
    }
    parts.push(draw("line", {class: "base", x1: CURVE.left, x2: CURVE.left + this.width, y1: bottom, y2: bottom}));
    return parts;
  }

  /** A step for each snippet, as long as it is. */
  path(scores) {
    const ends = [...this.video.seconds.slice(1), this.video.duration];
    const at = time => this.x(time).toFixed(2);
    return scores.map((score, i) => `${i ? "L" : "M"}${at(this.video.seconds[i])} ${this.y(score).toFixed(2)}`
      + `H${at(ends[i])}`).join("");
  }

  line(d, k) { return draw("path", {class: `line run${k % 6}`, d}); }

  curves() {
    const path = this.path(this.video.scores), bottom = CURVE.height - CURVE.bottom;
    const area = `${path}V${bottom}H${this.x(this.video.seconds[0]).toFixed(2)}Z`;
    return [...this.video.others.length ? [] : [draw("path", {class: "area", d: area})],
      ...this.video.others.map((scores, k) => this.line(this.path(scores), k + 1)).reverse(), this.line(path, 0)];
  }

  threshold() {
    const value = this.page.threshold;
    if (value === null) return [];
    const y = this.y(value), right = CURVE.left + this.width;
    return [draw("line", {class: "threshold", x1: CURVE.left, x2: right, y1: y, y2: y}),
      draw("text", {class: "threshold-name", x: right - 2, y: y - 5, "text-anchor": "end"},
        `threshold ${number(value)}`)];
  }
}

/** A curve of a few pixels' height for the list, with its events below it, or its ground truth. */
function sparkline(page, video) {
  const count = Math.min(video.scores.length, 72), [low, high] = page.limits || [
    video.scores.reduce((a, b) => Math.min(a, b)), video.scores.reduce((a, b) => Math.max(a, b))];
  const heights = Array.from({length: count}, (_, i) => {
    const [first, last] = [i, i + 1].map(k => Math.floor(k * video.scores.length / count));
    const part = video.scores.slice(first, last);
    return 15 - 14 * clamp((part.reduce((a, b) => Math.max(a, b)) - low) / (high - low || 1), 0, 1);
  });
  const line = heights.map((y, i) => `${i ? "L" : "M"}${(100 * i / count).toFixed(1)} ${y.toFixed(1)}`
    + `H${(100 * (i + 1) / count).toFixed(1)}`).join("");
  const at = time => 100 * Math.min(time / video.duration, 1);
  const mark = (start, end, kind) => draw("rect", {class: kind, x: at(start), y: 16, height: 2,
    width: Math.max(at(end) - at(start), 1)});
  return draw("svg", {class: "spark", viewBox: "0 0 100 18", preserveAspectRatio: "none", "aria-hidden": "true"},
    draw("path", {class: "area", d: `${line}V15H0Z`}), draw("path", {class: "spark-line run0", d: line}),
    ...video.events.length ? video.events.map(event => mark(event.start, event.end, "event-bar"))
      : video.truth.map(([start, end]) => mark(start, end, "truth strip")));
}

/** Which snippet is at a time: the last one that has begun. */
function snippetAt(video, time) {
  let low = 0, high = video.seconds.length - 1;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (video.seconds[middle] <= time + 1e-6) low = middle; else high = middle - 1;
  }
  return low;
}
