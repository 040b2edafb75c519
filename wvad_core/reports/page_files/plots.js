// The overview of a test set: tables of metrics, ROC and precision-recall curves.

const PLOT = {size: 300, left: 40, bottom: 40, top: 8, right: 12};

function tableOf(table) {
  const head = table.columns.map(text => make(text ? "th" : "td", text ? {scope: "col"} : {}, text));
  const row = ([first, ...rest]) => make("tr", {}, make("th", {scope: "row"}, first),
    ...rest.map(text => make("td", {}, text)));
  return make("section", {class: "card"}, make("h3", {}, table.title),
    make("div", {class: "wide", tabindex: "0", role: "group", "aria-label": table.title},
      make("table", {class: "numbers"},
        make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...table.rows.map(row)))),
    table.note ? make("p", {class: "quiet"}, table.note) : null);
}

function plotOf(plot) {
  const {size, left, bottom, top, right} = PLOT, drawing = draw("svg", {
    viewBox: `0 0 ${left + size + right} ${top + size + bottom}`, role: "img", "aria-label": plot.title});
  const x = value => left + size * value, y = value => top + size * (1 - value);
  for (const mark of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    drawing.append(draw("line", {class: "grid", x1: x(0), x2: x(1), y1: y(mark), y2: y(mark)}),
      draw("line", {class: "grid", y1: y(0), y2: y(1), x1: x(mark), x2: x(mark)}),
      draw("text", {class: "mark", x: left - 6, y: y(mark) + 4, "text-anchor": "end"}, String(mark)),
      draw("text", {class: "mark", x: x(mark), y: y(0) + 16, "text-anchor": "middle"}, String(mark)));
  }
  const point = (line, i) => `${i ? "L" : "M"}${x(line.x[i]).toFixed(1)} ${y(line.y[i]).toFixed(1)}`;
  const path = line => line.x.map((_, i) => point(line, i)).join("");
  if (plot.chance) drawing.append(draw("path", {class: "chance", d: path(plot.chance)}));
  plot.lines.forEach((line, k) => drawing.append(draw("path", {class: `line run${k % 6}`, d: path(line)})));
  drawing.append(draw("text", {class: "mark", x: x(0.5), y: y(0) + 34, "text-anchor": "middle"}, plot.x_label),
    draw("text", {class: "mark", transform: `translate(10 ${y(0.5)}) rotate(-90)`, "text-anchor": "middle"},
      plot.y_label));
  const names = plot.lines.map((line, k) => legendItem(`line run${k % 6}`, line.label));
  if (plot.chance) names.push(legendItem("chance", plot.chance.label));
  return make("section", {class: "card plot"}, make("h3", {}, plot.title), drawing,
    make("ul", {class: "legend upright"}, ...names), plot.note ? make("p", {class: "quiet"}, plot.note) : null);
}

/** A sample of what is drawn, and its name. */
function legendItem(kind, name) {
  const sample = kind.startsWith("line") || kind === "chance" || kind === "threshold"
    ? draw("path", {class: kind, d: "M0 6H20"}) : draw("rect", {class: kind, width: 20, height: 12});
  return make("li", {}, draw("svg", {width: 20, height: 12, "aria-hidden": "true"}, sample), name);
}

const overview = page => make("article", {id: "overview"}, make("h2", {}, "Results"),
  make("div", {class: "cards"}, ...page.tables.map(tableOf)), make("div", {class: "cards"}, ...page.plots.map(plotOf)));
