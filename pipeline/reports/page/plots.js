// Draw each figure's table with uPlot, in the colours of the page, again when these change.
"use strict";
(() => {
  const HEIGHT = 220;
  const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 2], [1, 2]];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const number = (cell) => (cell.textContent === "" ? null : Number(cell.textContent));

  function columnsOf(table) {
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map(number));
    return [...table.tHead.rows[0].cells].map((_, at) => rows.map((row) => row[at]));
  }

  function seriesOf(heading) {
    const at = Number(heading.dataset.colour);
    return {
      label: heading.textContent,
      stroke: () => colour(`--c${at % DASHES.length}`),
      dash: DASHES[at % DASHES.length],
      width: 2,
      points: { size: 4 },
      spanGaps: true,
    };
  }

  function axis(size) {
    return {
      stroke: () => colour("--faint"),
      grid: { stroke: () => colour("--line"), width: 1 },
      ticks: { stroke: () => colour("--line"), width: 1 },
      size,
    };
  }

  function draw(figure) {
    const place = figure.querySelector(".plot");
    const table = figure.querySelector("table");
    const [first, ...others] = table.tHead.rows[0].cells;
    const options = {
      width: place.clientWidth,
      height: HEIGHT,
      scales: { x: { time: false } },
      series: [{ label: first.textContent }, ...others.map(seriesOf)],
      axes: [axis(36), axis(64)],
    };
    const plot = new uPlot(options, columnsOf(table), place);
    new ResizeObserver(() => {
      if (place.clientWidth) plot.setSize({ width: place.clientWidth, height: HEIGHT });
    }).observe(place);
    dark.addEventListener("change", () => plot.redraw());
  }

  function drawAll(section) {
    if (section.open && !section.dataset.drawn) {
      section.dataset.drawn = "yes";
      section.querySelectorAll("figure").forEach(draw);
    }
  }

  for (const section of document.querySelectorAll("details.section")) {
    section.addEventListener("toggle", () => drawAll(section));
    drawAll(section);
  }
})();
