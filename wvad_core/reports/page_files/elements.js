// Elements, numbers and times: what the other scripts draw with. Texts are set as texts, never as markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

/** An HTML element: make("p", {class: "note", onclick: f}, "text", child). */
const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

/** The same of a drawing. */
const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Three digits of a score: 0.873, 12.3, 1234. */
function number(value) {
  if (value === 0) return "0";
  return Math.abs(value) >= 1000 ? value.toFixed(0) : value.toPrecision(3);
}

/** 75 as "1:15", 3675 as "1:01:15"; with tenths where a second is long. */
function clock(seconds, tenths = false) {
  const whole = tenths ? Math.round(seconds * 10) / 10 : Math.round(seconds);
  const hours = Math.floor(whole / 3600), minutes = Math.floor(whole / 60) % 60;
  const rest = (whole % 60).toFixed(tenths ? 1 : 0).padStart(tenths ? 4 : 2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

/** A place in a video in words: its time, or its frame where no frame rate is known. */
const place = (video, time, tenths = false) => video.in_frames ? `frame ${Math.round(time)}` : clock(time, tenths);

/** Round marks of an axis from low to high, at most so many. */
function marks(low, high, most, steps) {
  let step = steps && steps.find(step => (high - low) / step <= most);
  if (!step) {
    const power = 10 ** Math.floor(Math.log10((high - low) / most));
    step = [1, 2, 5, 10].map(of => of * power).find(of => (high - low) / of <= most);
  }
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) found.push(i * step);
  return found;
}
