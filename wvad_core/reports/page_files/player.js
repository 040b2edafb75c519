// One video: the file playing, or its pictures, in step with the curve; its events.

const NO_THRESHOLD = "No threshold is known: the curve is relative to the range of this video's own scores, and its "
  + "height says nothing about other videos.";

class Player {
  constructor(page, video) {
    Object.assign(this, {page, video, time: 0});
    this.thumbnails = video.thumbnails.map(([time, jpeg]) => ({time, source: `data:image/jpeg;base64,${jpeg}`}));
    this.chart = new Chart(page, video, time => this.seek(time));
    this.stage = make("div", {class: "stage"});
    this.readout = make("p", {class: "readout", id: "readout"});
    this.element = make("article", {id: "video"},
      make("h2", {}, video.name, video.category ? make("span", {class: "tag"}, video.category) : null),
      make("div", {class: "top"}, this.stage, make("div", {class: "beside"}, this.eventTable(), this.strip())),
      this.readout, this.chart.element, this.legend(),
      page.threshold === null && !page.limits ? make("p", {class: "quiet", id: "no-threshold"}, NO_THRESHOLD) : null);
    if (video.media) this.playFile(); else this.showPictures();
    this.seek(0);
  }

  close() {
    cancelAnimationFrame(this.frame);
    this.chart.close();
    const {media} = this;
    if (!media) return;
    this.media = null;  // so that nothing that it does on its way out has a part here
    media.pause();
    media.removeAttribute("src");
    media.load();
  }

  playFile() {
    this.media = make("video", {controls: true, preload: "metadata", playsinline: true, src: this.video.media,
      "aria-label": `Video ${this.video.name}`, onerror: () => this.failed()});
    for (const name of ["timeupdate", "seeking", "seeked"]) this.media.addEventListener(name, () => this.follow());
    this.media.addEventListener("play", () => this.run());
    this.media.addEventListener("loadedmetadata", event => { if (!event.target.videoWidth) this.failed(); });  // sound alone
    this.stage.append(this.media);
  }

  /** The cursor at the picture that is shown, in every frame while the video plays. */
  run() {
    cancelAnimationFrame(this.frame);
    this.follow();
    if (this.media && !this.media.paused) this.frame = requestAnimationFrame(() => this.run());
  }

  follow() {
    if (this.media) this.show(this.media.currentTime);
  }

  failed() {
    if (!this.media) return;
    const link = this.video.media;
    this.media.remove();
    this.media = null;
    this.showPictures();
    let name = link;
    try { name = decodeURIComponent(link); } catch { /* a name that is no UTF-8 stays encoded */ }
    this.stage.append(make("p", {class: "missing", role: "status"},
      `The video cannot be played here: ${name} is missing, or of a kind that this browser does not play.`
      + (this.thumbnails.length ? " Its key frames are shown." : "")));
    this.show(this.time);
  }

  showPictures() {
    if (!this.thumbnails.length) return;
    this.picture = make("img", {alt: `Key frame of ${this.video.name}`});
    this.stage.prepend(this.picture);
  }

  /** Go to a time, wherever it is shown. */
  seek(time) {
    const target = clamp(time, 0, this.video.duration);
    if (this.media) this.media.currentTime = target;
    this.show(target);
  }

  show(time) {
    const {video} = this, i = snippetAt(video, time);
    this.time = clamp(time, 0, video.duration);
    this.chart.move(this.time);
    const length = video.in_frames ? Math.round(video.duration) : clock(video.duration);
    this.readout.replaceChildren(make("b", {}, place(video, this.time, true)), ` of ${length} · score `,
      make("b", {}, number(video.scores[i])));
    this.rows.forEach(({row, event}) => row.classList.toggle("now", event.start <= this.time && this.time < event.end));
    if (!this.picture) return;
    const away = thumbnail => Math.abs(thumbnail.time - this.time);
    const nearest = this.thumbnails.reduce((a, b) => away(b) < away(a) ? b : a);
    if (this.picture.src !== nearest.source) this.picture.src = nearest.source;
  }

  toggle() {
    if (!this.media) return;
    if (this.media.paused) this.media.play().catch(() => { /* the error event says why */ }); else this.media.pause();
  }

  /** To the snippet before or after. */
  step(direction) {
    const {seconds} = this.video, next = snippetAt(this.video, this.time) + direction;
    this.seek(seconds[clamp(next, 0, seconds.length - 1)]);
  }

  eventTable() {
    const {video} = this, kinds = video.events.some(event => event.kind);
    const span = event => `${place(video, event.start)} – ${place(video, event.end)}`;
    this.rows = video.events.map(event => ({event, row: make("tr", {onclick: () => this.seek(event.start)},
      make("td", {}, make("button", {type: "button", class: "link"}, span(event))),
      make("td", {}, place(video, event.peak_time)), make("td", {}, number(event.peak)),
      kinds ? make("td", {}, event.kind || "") : null)}));
    if (!video.events.length) return this.page.threshold === null ? "" : make("p", {class: "quiet"}, "No events.");
    const names = ["event", "peak at", "peak score", ...kinds ? ["class"] : []];
    return make("div", {class: "events"}, make("table", {id: "events"},
      make("caption", {class: "hidden"}, "Events; choosing one goes there"),
      make("thead", {}, make("tr", {}, ...names.map(name => make("th", {scope: "col"}, name)))),
      make("tbody", {}, ...this.rows.map(({row}) => row))));
  }

  legend() {
    const {page, video} = this;
    const items = (page.runs.length ? page.runs : ["score"]).map((run, k) => legendItem(`line run${k % 6}`, run));
    const truth = video.events.length ? "truth strip" : "truth";
    if (video.truth.length) items.push(legendItem(truth, "anomalous by annotation"));
    if (video.events.length) items.push(legendItem("event", "event"));
    if (page.threshold !== null) items.push(legendItem("threshold", "threshold"));
    return make("ul", {class: "legend"}, ...items);
  }

  strip() {
    if (!this.thumbnails.length) return "";
    const item = ({time, source}) => make("li", {}, make("button", {type: "button", onclick: () => this.seek(time)},
      make("img", {src: source, alt: "Frame at", loading: "lazy"}), make("span", {}, place(this.video, time))));
    return make("ul", {class: "strip", "aria-label": "Key frames"}, ...this.thumbnails.map(item));
  }
}
