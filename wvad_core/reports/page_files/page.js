// The page: its data made ready, what the address names shown, the keys.

const DATA = prepared(JSON.parse(document.getElementById("data").textContent));
let player = null;

function prepared(page) {
  page.videos.forEach((video, index) => {
    const {first, step} = video.seconds;
    const seconds = Array.isArray(video.seconds) ? video.seconds : video.scores.map((_, i) => first + step * i);
    const event = ([start, end, peak_time, peak, kind]) => ({start, end, peak_time, peak, kind});
    const events = (video.events || []).map(event);
    const peak = video.scores.reduce((a, b) => Math.max(a, b));
    const defaults = {category: null, misranked: null, media: null, truth: [], thumbnails: [], classes: [], others: []};
    page.videos[index] = {...defaults, ...video, index, id: `video-${index + 1}`, seconds, events, count: events.length,
      peak, words: `${video.name} ${video.category || ""}`.toLowerCase()};
  });
  return page;
}

function show() {
  const chosen = DATA.videos.find(video => `#${video.id}` === location.hash);
  const video = chosen || (DATA.tables.length ? null : list.sorted[0]);
  if (player) player.close();
  player = video ? new Player(DATA, video) : null;
  document.getElementById("main").replaceChildren(player ? player.element : DATA.tables.length ? overview(DATA) : "");
  const link = document.getElementById("to-overview");
  if (link) video ? link.removeAttribute("aria-current") : link.setAttribute("aria-current", "page");
  list.mark(video);
  if (location.hash && matchMedia("(max-width: 760px)").matches) document.getElementById("main").scrollIntoView();
}

const KEYS = {
  j: () => go(1), k: () => go(-1), ArrowDown: () => go(1), ArrowUp: () => go(-1),
  ArrowLeft: () => player && player.step(-1), ArrowRight: () => player && player.step(1),
  " ": () => player && player.toggle(), "/": () => list.filter.focus()};

function go(distance) {
  const video = list.neighbour(player && player.video, distance);
  if (video) location.replace(`#${video.id}`);
}

function pressed(event) {
  const action = KEYS[event.key];
  if (event.ctrlKey || event.altKey || event.metaKey || !action) return;
  const {target} = event;
  if (target.matches("input") && event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
  if (target.matches("video") && !"jk/".includes(event.key)) return;  // which has keys of its own
  if (target.matches("button") && event.key === " ") return;
  event.preventDefault();
  action();
}

document.getElementById("title").textContent = DATA.title;
document.getElementById("note").textContent = DATA.note;
const list = new List(DATA, document.getElementById("list"));
const HINTS = [["video", "j", "k"], ["along the curve", "←", "→"], ["play", "space"], ["filter", "/"]];
document.getElementById("list").append(make("p", {class: "quiet keys"}, ...HINTS.map(
  ([action, ...keys]) => make("span", {}, ...keys.map(key => make("kbd", {}, key)), action))));
addEventListener("hashchange", show);
document.addEventListener("keydown", pressed);
list.filter.addEventListener("keydown", event => {
  if (event.key === "Enter" || event.key === "Escape") list.filter.blur();
  if (event.key === "Enter" && list.shown.length) location.hash = list.shown[0].id;
});
show();
