// Both voices as one picture: Moshi is a disc that grows with loudness, the caller two rows of bars beside it. Also the
// picture of the film.

const BARS = 10; // each side
const FRAME_MS = 1000 / 30;
const REST_RADIUS = 0.19; // of the smaller side of the picture
const FULL_RADIUS = 0.36;
const BAR_HEIGHTS = [0.2, 0.24, 0.3, 0.34, 0.36, 0.34, 0.3, 0.26, 0.22, 0.18]; // of the smaller side, from the disc outward

export class Stage {
  #canvas;
  #voices;
  #colours = {};
  #echoes = [0, 0, 0]; // levels that follow Moshi's, each more slowly
  #running = false;
  #lastFrame_ms = 0;
  #still = matchMedia("(prefers-reduced-motion: reduce)");

  /** @param {HTMLCanvasElement} canvas @param {{mine: {value: number}, reply: {value: number}, muted: boolean}} voices */
  constructor(canvas, voices) {
    this.#canvas = canvas;
    this.#voices = voices;
    new ResizeObserver(() => this.redraw()).observe(canvas);
    this.readColours();
  }

  /** After the page's colours changed. */
  readColours() {
    const style = getComputedStyle(this.#canvas);
    for (const name of ["panel", "moshi", "mine", "line", "dim"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.redraw();
  }

  run() {
    if (this.#running) return;
    this.#running = true;
    requestAnimationFrame((now_ms) => this.#frame(now_ms));
  }

  rest() {
    this.#running = false;
    this.#echoes.fill(0);
    requestAnimationFrame(() => this.redraw());
  }

  redraw() {
    this.#fitPixels();
    this.#draw();
  }

  #frame(now_ms) {
    if (!this.#running) return;
    requestAnimationFrame((next_ms) => this.#frame(next_ms));
    if (now_ms - this.#lastFrame_ms < FRAME_MS - 2) return;
    this.#lastFrame_ms = now_ms;
    const target = this.#voices.reply.value;
    this.#echoes = this.#echoes.map((echo, i) => echo + (target - echo) * (this.#still.matches ? 1 : 0.6 / (i + 1)));
    this.#draw();
  }

  #fitPixels() {
    const ratio = Math.min(2, devicePixelRatio || 1);
    const width = Math.round(this.#canvas.clientWidth * ratio);
    const height = Math.round(this.#canvas.clientHeight * ratio);
    if (width && height && (this.#canvas.width !== width || this.#canvas.height !== height)) {
      this.#canvas.width = width;
      this.#canvas.height = height;
    }
  }

  #draw() {
    const { width, height } = this.#canvas;
    const context = this.#canvas.getContext("2d");
    const side = Math.min(width / 1.6, height * 1.15);
    context.fillStyle = this.#colours.panel;
    context.fillRect(0, 0, width, height);
    context.save();
    context.translate(width / 2, height / 2);
    this.#drawMoshi(context, side);
    this.#drawMine(context, side, 1);
    this.#drawMine(context, side, -1);
    context.restore();
  }

  #drawMoshi(context, side) {
    const radius = (level) => side * (REST_RADIUS + (FULL_RADIUS - REST_RADIUS) * level);
    const [near, middle, far] = this.#echoes.map(radius);
    context.fillStyle = this.#colours.moshi;
    this.#disc(context, far * 1.3, 0.1);
    this.#disc(context, middle * 1.14, 0.2);
    const gradient = context.createRadialGradient(-near * 0.35, -near * 0.4, near * 0.1, 0, 0, near);
    gradient.addColorStop(0, `color-mix(in srgb, ${this.#colours.moshi} 65%, white)`);
    gradient.addColorStop(1, this.#colours.moshi);
    context.fillStyle = gradient;
    this.#disc(context, near, this.#running ? 1 : 0.45);
  }

  #drawMine(context, side, direction) {
    const lit = this.#voices.muted ? 0 : this.#voices.mine.value * BARS;
    const step = side * 0.034;
    const width = step * 0.5;
    for (let bar = 0; bar < BARS; bar++) {
      const x = direction * (side * 0.44 + bar * step);
      const share = Math.min(1, Math.max(0, lit - bar));
      const height = side * BAR_HEIGHTS[bar] * (0.16 + 0.84 * share);
      context.fillStyle = share > 0 ? this.#colours.mine : this.#colours.line;
      context.globalAlpha = share > 0 ? 0.45 + 0.55 * share : 1;
      context.beginPath();
      context.roundRect(x - width / 2, -height / 2, width, height, width / 2);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  #disc(context, radius, alpha) {
    context.globalAlpha = alpha;
    context.beginPath();
    context.arc(0, 0, radius, 0, 2 * Math.PI);
    context.fill();
    context.globalAlpha = 1;
  }
}
