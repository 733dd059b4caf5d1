/* Colours, stretches and colour bars. */
const LEVELS = 1024;
const palettes = Object.fromEntries(Object.entries(JSON.parse($("palettes").textContent)).map(([name, text]) => [name, keyed(text)]));

function keyed(text) {
  const keys = text.match(/.{6}/g).map(key => [0, 2, 4].map(i => parseInt(key.slice(i, i + 2), 16)));
  const colours = new Uint32Array(LEVELS);
  for (let i = 0; i < LEVELS; i++) {
    const u = i / (LEVELS - 1) * (keys.length - 1), k = Math.min(Math.floor(u), keys.length - 2);
    const [r, g, b] = [0, 1, 2].map(c => Math.round(keys[k][c] + (u - k) * (keys[k + 1][c] - keys[k][c])));
    colours[i] = 0xff000000 | b << 16 | g << 8 | r;
  }
  return colours;
}

const stretches = {
  linear: t => t,
  sqrt: Math.sqrt,
  asinh: t => Math.asinh(5 * t) / Math.asinh(5),
  log: t => Math.log1p(1000 * t) / Math.log1p(1000),
};

/* Colours for equal steps of the value, stretch included. */
function colourTable(paint, steps = 4096) {
  const table = new Uint32Array(steps), stretch = stretches[paint.stretch], palette = palettes[paint.colours];
  for (let i = 0; i < steps; i++) table[i] = palette[Math.round(stretch(i / (steps - 1)) * (LEVELS - 1))];
  return table;
}

/* Draw values into a canvas of their own size, first row at the bottom; blank pixels stay clear. */
function paintValues(canvas, nx, ny, values, paint) {
  canvas.width = nx; canvas.height = ny;
  const context = canvas.getContext("2d"), picture = context.createImageData(nx, ny);
  const pixels = new Uint32Array(picture.data.buffer), table = colourTable(paint), last = table.length - 1;
  const factor = last / (paint.high - paint.low || 1);
  for (let y = 0; y < ny; y++) {
    const from = y * nx, to = (ny - 1 - y) * nx;
    for (let x = 0; x < nx; x++) {
      const value = values[from + x];
      if (value === value) { const k = (value - paint.low) * factor; pixels[to + x] = table[k < 0 ? 0 : k > last ? last : k | 0]; }
    }
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}

/* Canvas at the screen's resolution, or finer for paper; returns its context in CSS pixels, and its size. */
const paper = { ratio: 0 };
const PAPER_WIDTH = 680, PAPER_HEIGHT = 620; // CSS pixels on A4 and on Letter, margins taken off
function fitCanvas(canvas) {
  const ratio = paper.ratio || window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (paper.ratio || canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) { canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio); }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return { context, width, height };
}

/* On paper a canvas is printed as what was drawn, and clearing would be drawn white; sizing it has cleared it. */
function clear(context, width, height) { if (!paper.ratio) context.clearRect(0, 0, width, height); }

const themeColour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function niceStep(span, count) {
  const rough = span / Math.max(count, 1), power = 10 ** Math.floor(Math.log10(rough));
  return power * [1, 2, 5, 10].find(m => m * power >= rough * 0.999);
}

function ticks(low, high, count) {
  if (!(high > low)) return [];
  const step = niceStep(high - low, count), result = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) result.push(k * step);
  return result.map(value => Math.abs(value) < step * 1e-6 ? 0 : value);
}

const tickText = (value, all) => {
  const step = all.length > 1 ? Math.abs(all[1] - all[0]) : Math.abs(value) || 1;
  return Math.abs(value) >= 1e5 || (step < 1e-4) ? value.toExponential(1) : value.toFixed(Math.max(0, -Math.floor(Math.log10(step) + 1e-9)));
};

/* Colour bar with ticks where the stretch puts them. */
function drawScale(canvas, paint, unit) {
  const { context, width, height } = fitCanvas(canvas);
  clear(context, width, height);
  const stretch = stretches[paint.stretch], palette = palettes[paint.colours], bar = 12;
  for (let x = 0; x < width; x++) {
    const c = palette[Math.round(x / Math.max(width - 1, 1) * (LEVELS - 1))];
    context.fillStyle = `rgb(${c & 255},${c >> 8 & 255},${c >> 16 & 255})`;
    context.fillRect(x, 0, 1.5, bar);
  }
  context.fillStyle = context.strokeStyle = themeColour("--soft");
  context.font = "11.5px Inter, system-ui, sans-serif"; context.textBaseline = "top";
  const all = ticks(paint.low, paint.high, width / 48);
  const unitWidth = context.measureText(unit).width;
  let edge = -1e9;
  for (const value of all) {
    const x = stretch((value - paint.low) / (paint.high - paint.low)) * width, text = tickText(value, all), half = context.measureText(text).width / 2;
    const centre = Math.min(Math.max(x, half), width - half);
    if (centre - half < edge + 8 || centre + half > width - unitWidth - 8) continue;
    context.fillRect(x - .5, bar, 1, 4); context.textAlign = "center"; context.fillText(text, centre, bar + 6);
    edge = centre + half;
  }
  context.textAlign = "right"; context.fillText(unit, width, bar + 6);
}
