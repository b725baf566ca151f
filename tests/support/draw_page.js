// Reads a page from stdin and runs its scripts with as much of a browser as they use; prints what uPlot is
// asked to draw, a line for each plot.
"use strict";
const html = require("fs").readFileSync(0, "utf8");
const unescaped = (text) => text.replace(/<[^>]*>/g, "");
const matches = (text, pattern) => [...text.matchAll(pattern)].map((found) => found[1]);

function cellOf(cell) {
  const colour = /data-colour="(\d+)"/.exec(cell);
  return { textContent: unescaped(cell), dataset: { colour: colour && colour[1] } };
}
const rowOf = (row) => ({ cells: matches(row, /(<t[hd].*?<\/t[hd]>)/gs).map(cellOf) });

function tableOf(figure) {
  const [head, body] = [/<thead>(.*?)<\/thead>/s, /<tbody>(.*?)<\/tbody>/s].map((part) => part.exec(figure)[1]);
  const rows = (part) => matches(part, /<tr>(.*?)<\/tr>/gs).map(rowOf);
  return { tHead: { rows: rows(head) }, tBodies: [{ rows: rows(body) }] };
}

function figureOf(figure) {
  const parts = { table: tableOf(figure), ".plot": { clientWidth: 300 } };
  return { querySelector: (name) => parts[name] };
}

const figures = matches(html, /<figure>(.*?)<\/figure>/gs).map(figureOf);
const section = { open: true, dataset: {}, addEventListener() {}, querySelectorAll: () => figures };

const scripts = matches(html, /<script>(.*?)<\/script>/gs);
const uplot = new Function(`${scripts[0]}; return uPlot;`)(); // without a window it only defines itself
if (typeof uplot !== "function") throw new Error("uPlot is not there");

global.matchMedia = () => ({ addEventListener() {} });
global.getComputedStyle = () => ({ getPropertyValue: () => " #000000" });
global.document = { querySelectorAll: () => [section], documentElement: {} };
global.ResizeObserver = class {
  observe() {}
};
global.uPlot = class {
  constructor(options, data) {
    if (options.series.length !== data.length) throw new Error("each column is a series");
    options.series.slice(1).forEach((one) => one.stroke());
    console.log(JSON.stringify(data));
  }
};
new Function(scripts[1])();
