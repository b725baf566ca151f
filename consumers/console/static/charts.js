// Draws the charts of the page Now: the last hour at once, then each new point as the stream brings it.
"use strict";

const HOUR = 3600;
const AXIS = 48;
const SHORT = 600;
let points = {}, marks = [], charts = [];

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const valuesOf = (lines) => [points.time || [], ...lines.map((line) => points[line.key] || [])];

function drawMarks(plot) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const mark of marks) {
    const x = plot.valToPos(mark.time, "x", true);
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.strokeStyle = colour(mark.alarm ? "--bad" : "--faint");
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash(mark.alarm ? [6, 4] : [1, 4]);
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    ctx.fillStyle = ctx.strokeStyle;
    ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    ctx.fillText(mark.label, x + 4 * devicePixelRatio, bbox.top + 12 * devicePixelRatio);
  }
  ctx.restore();
}

const latest = (line) => (points[line.key] || []).at(-1);

function tell({ place, chart }) {
  const last = chart.lines.map((line) => {
    const value = latest(line);
    return `${line.name} ${value == null ? "unknown" : value.toFixed(chart.digits) + chart.unit}`;
  });
  place.setAttribute("aria-label", `${chart.title} over the last hour; now ${last.join(", ")}`);
}

function build(place) {
  const chart = JSON.parse(place.dataset.chart);
  const written = (value) => (value == null ? "–" : value.toFixed(chart.digits) + chart.unit);
  const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], { hour12: false });
  const axis = { stroke: colour("--faint"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const plot = new uPlot({
    width: place.clientWidth,
    height: 180,
    cursor: { y: false },
    series: [{ label: "time", value: (_, seconds) => (seconds == null ? "now" : clock(seconds)) }, ...chart.lines.map((line) => ({
      label: line.name, stroke: colour(`--c${line.colour}`), width: 1.75, spanGaps: true, points: { show: false },
      value: (_, value, series, index) => written(index == null ? latest(line) : value),
    }))],
    axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => clock(tick).slice(0, ticks.at(-1) - ticks[0] < SHORT ? 8 : 5)), space: 80 }, { ...axis, size: AXIS, values: (_, ticks) => ticks.map((tick) => +tick.toFixed(3)) }],
    scales: { x: { time: true } },
    hooks: { draw: [drawMarks] },
  }, valuesOf(chart.lines), place);
  const built = { place, chart, plot };
  tell(built);
  return built;
}

function rebuild() {
  for (const { plot } of charts) plot.destroy();
  charts = [...document.querySelectorAll(".chart")].map(build);
}

function add(point) {
  for (const name of Object.keys(point)) (points[name] ||= []).push(point[name]);
  while (points.time.length && points.time[0] < point.time - HOUR) for (const name of Object.keys(points)) points[name].shift();
  for (const one of charts) {
    one.plot.setData(valuesOf(one.chart.lines));
    tell(one);
  }
}

document.body.addEventListener("htmx:sseMessage", (event) => {
  if (event.detail.type !== "point") return;
  const news = JSON.parse(event.detail.data);
  marks = news.marks;
  if ("time" in news.point && (points.time || []).at(-1) !== news.point.time) add(news.point);
});

addEventListener("resize", () => charts.forEach(({ place, plot }) => plot.setSize({ width: place.clientWidth, height: 180 })));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", rebuild);

fetch("/now/points").then((answer) => answer.json()).then((found) => {
  ({ points, marks } = found);
  rebuild();
});
