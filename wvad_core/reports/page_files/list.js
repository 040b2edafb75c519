// The list of videos: filtered by text, sorted by any of its columns.

const COLUMNS = [
  {key: "name", title: "video", text: video => video.name, first: 1},
  {key: "peak", title: "peak", text: video => number(video.peak), first: -1, tip: "highest score"},
  {key: "count", title: "events", text: video => String(video.count), first: -1,
    when: videos => videos.some(video => video.count)},
  {key: "misranked", title: "wrong", first: -1, tip: "pairs with frames of the other class that are in the wrong order",
    text: video => video.misranked === null ? "" : `${(100 * video.misranked).toFixed(1)} %`,
    when: videos => videos.some(video => video.misranked !== null)},
  {key: "duration", title: "length", first: -1, tip: "minutes and seconds, or frames",
    text: video => video.in_frames ? String(Math.round(video.duration)) : clock(video.duration)}];

class List {
  /** element: where it goes. A click on a row changes the address, which page.js hears of. */
  constructor(page, element) {
    Object.assign(this, {page, videos: page.videos});
    this.columns = COLUMNS.filter(column => !column.when || column.when(page.videos));
    this.filter = make("input", {type: "search", id: "filter", placeholder: "Filter videos  ( / )", autocomplete: "off",
      spellcheck: "false", "aria-label": "Filter videos by text", oninput: () => this.refresh()});
    this.count = make("p", {class: "quiet", id: "count", role: "status"});
    this.heads = this.columns.map(column => make("th", {scope: "col", class: column.key},
      make("button", {type: "button", title: column.tip, onclick: () => this.sort(column)}, column.title)));
    this.body = make("tbody");
    const peaks = this.videos.map(video => video.peak), lowest = Math.min(0, ...peaks), highest = Math.max(...peaks);
    const height = video => (video.peak - lowest) / (highest - lowest || 1);
    this.rows = new Map(this.videos.map(video => [video, this.row(video, height(video))]));
    element.append(page.tables.length ? make("a", {href: "#overview", id: "to-overview"}, "Results") : "", this.filter,
      this.count, make("div", {class: "rows"}, make("table", {id: "videos"},
        make("caption", {class: "hidden"}, "Videos"), make("thead", {}, make("tr", {}, ...this.heads)), this.body)));
    this.sort(this.columns[1]);
  }

  row(video, height) {
    const name = make("a", {href: `#${video.id}`, title: video.name}, video.name);
    const cells = this.columns.map(column => column.key !== "name" ? make("td", {class: column.key}, column.text(video))
      : make("td", {class: "name"}, make("div", {class: "entry"}, this.small(video),
        make("div", {class: "named"}, name, sparkline(this.page, video)))));
    cells[1].style.setProperty("--part", height.toFixed(3));
    return make("tr", {onclick: () => { location.hash = video.id; }}, ...cells);
  }

  /** The key frame that is nearest to the highest score. */
  small({thumbnails, scores, seconds}) {
    if (!thumbnails.length) return null;
    const peak = seconds[scores.reduce((best, score, i) => score > scores[best] ? i : best, 0)];
    const [, jpeg] = thumbnails.reduce((a, b) => Math.abs(b[0] - peak) < Math.abs(a[0] - peak) ? b : a);
    return make("span", {class: "small", "aria-hidden": "true"},
      make("img", {src: `data:image/jpeg;base64,${jpeg}`, alt: "", loading: "lazy"}));
  }

  /** By a column, from its usual end; by the same column again, from the other. */
  sort(column) {
    this.direction = this.column === column ? -this.direction : column.first;
    this.column = column;
    this.heads.forEach((head, i) => head.setAttribute("aria-sort", this.columns[i] !== column ? "none"
      : this.direction > 0 ? "ascending" : "descending"));
    const compare = new Intl.Collator(undefined, {numeric: true}).compare, {key} = column;
    const order = key === "name" ? (a, b) => compare(a.name, b.name) : (a, b) => a[key] - b[key];
    this.sorted = [...this.videos].sort((a, b) => this.direction * order(a, b) || a.index - b.index);
    this.refresh();
  }

  refresh() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    this.shown = this.sorted.filter(video => words.every(word => video.words.includes(word)));
    this.body.replaceChildren(...this.shown.map(video => this.rows.get(video)));
    const all = this.videos.length, videos = all === 1 ? "1 video" : `${all} videos`;
    this.count.textContent = this.shown.length === all ? videos : `${this.shown.length} of ${videos}`;
  }

  mark(video) {
    if (this.marked) {
      this.marked.classList.remove("chosen");
      this.marked.querySelector("a").removeAttribute("aria-current");
    }
    this.marked = video && this.rows.get(video);
    if (!this.marked) return;
    this.marked.classList.add("chosen");
    this.marked.querySelector("a").setAttribute("aria-current", "true");
    const rows = this.body.closest(".rows"), row = this.marked, head = this.heads[0].offsetHeight;
    if (row.offsetTop - head < rows.scrollTop) rows.scrollTop = row.offsetTop - head;  // the list alone, not the page
    else if (row.offsetTop + row.offsetHeight > rows.scrollTop + rows.clientHeight) {
      rows.scrollTop = row.offsetTop + row.offsetHeight - rows.clientHeight;
    }
  }

  /** The video so many rows below another in the list as it is shown. */
  neighbour(video, distance) {
    const at = this.shown.indexOf(video);
    return this.shown[at < 0 ? 0 : clamp(at + distance, 0, this.shown.length - 1)] || video;
  }
}
