// A minute of latency, a bar a second, each made of its hops; beside it the same as a list for those who do not see it.

import { HOPS } from "../call/latency.js";
import { make, setText } from "./dom.js";

const SECONDS = 60;
const SCALES_MS = [200, 400, 800, 1600, 3200, 10_000];
const GRID_LINES = 4;
const LABEL_PX = 52;
const MS = 1;
const SECOND_MS = 1000;

export class LatencyGraph {
  #canvas;
  #list;
  #bars = []; // {hop: ms}, newest last
  #items = new Map();

  /** @param {HTMLCanvasElement} canvas @param {HTMLElement} list a <ul> for the hops */
  constructor(canvas, list) {
    this.#canvas = canvas;
    this.#list = list;
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** @param {Record<string, number> | null} hops_ms of one second, what adds up to the whole; null leaves a gap */
  add(hops_ms) {
    this.#bars.push(hops_ms ?? {});
    if (this.#bars.length > SECONDS) this.#bars.shift();
    if (hops_ms) this.#describe(hops_ms);
    this.draw();
  }

  clear() {
    this.#bars = [];
    this.#items.clear();
    this.#list.replaceChildren();
    this.draw();
  }

  #describe(hops_ms) {
    for (const [index, { name, label }] of HOPS.entries()) {
      if (!(name in hops_ms)) this.#removeItem(name);
      if (!(name in hops_ms)) continue;
      if (!this.#items.has(name)) this.#addItem(name, label, index);
      setText(this.#items.get(name), `${hops_ms[name].toFixed(hops_ms[name] < 10 ? 1 : 0)} ms`);
    }
  }

  #addItem(name, label, index) {
    const value = make("span", "", "hop-value");
    const swatch = make("span", "", "hop-swatch");
    swatch.dataset.hop = name;
    const item = make("li", "", "", [swatch, make("span", label, "hop-label"), value]);
    item.dataset.order = String(index);
    const after = [...this.#list.children].find((other) => Number(other.dataset.order) > index) ?? null;
    this.#list.insertBefore(item, after);
    this.#items.set(name, value);
  }

  /** For example "Server and network" once the server has said more. */
  #removeItem(name) {
    this.#items.get(name)?.closest("li").remove();
    this.#items.delete(name);
  }

  draw() {
    const canvas = this.#canvas;
    const ratio = Math.min(2, devicePixelRatio || 1);
    canvas.width = Math.max(1, Math.round(canvas.clientWidth * ratio));
    canvas.height = Math.max(1, Math.round(canvas.clientHeight * ratio));
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(canvas);
    const total = (bar) => Object.values(bar).reduce((sum, value) => sum + value, 0);
    const highest = Math.max(0, ...this.#bars.map(total));
    const scale_ms = SCALES_MS.find((scale) => scale >= highest) ?? SCALES_MS.at(-1);
    const area = { width: canvas.clientWidth - LABEL_PX, height: canvas.clientHeight - 1 };
    drawGrid(context, style, area, scale_ms);
    drawBars(context, style, area, scale_ms, this.#bars);
  }
}

function drawGrid(context, style, area, scale_ms) {
  context.strokeStyle = style.getPropertyValue("--line");
  context.fillStyle = style.getPropertyValue("--dim");
  context.font = `11px ${style.fontFamily}`;
  context.textBaseline = "middle";
  context.lineWidth = 1;
  const unit = scale_ms < 1000 ? MS : SECOND_MS;
  for (let line = 0; line <= GRID_LINES; line++) {
    const y = Math.round(area.height * (1 - line / GRID_LINES)) + 0.5;
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(area.width, y);
    context.stroke();
    const value = (scale_ms * line) / GRID_LINES / unit;
    const label = line === GRID_LINES ? `${value} ${unit === MS ? "ms" : "s"}` : `${value}`;
    context.fillText(label, area.width + 6, Math.min(area.height - 6, Math.max(7, y)));
  }
}

function drawBars(context, style, area, scale_ms, bars) {
  const step = area.width / SECONDS;
  for (const [index, bar] of bars.entries()) {
    const x = area.width - (bars.length - index) * step;
    let y = area.height;
    for (const { name } of HOPS) {
      if (!bar[name]) continue;
      const height = (Math.min(bar[name], scale_ms) / scale_ms) * area.height;
      context.fillStyle = style.getPropertyValue(`--hop-${name}`);
      context.fillRect(x + 0.5, y - height, Math.max(1, step - 1), height);
      y -= height;
    }
  }
}
