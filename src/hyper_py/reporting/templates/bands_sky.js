/* Bands side by side on one sky: pixels from the common plane, images, linked view. */
const bands = facts.bands, sources = facts.sources, count = sources.hyper_id.length;
const layers = {}, grids = new Map();
const shades = { layer: "map", stretch: "asinh", colours: "inferno", sources: true, numbers: false };
const view = { east: 0, north: 0, scale: 1, chosen: -1, cursor: null };
const trim = (value, digits) => String(+(+value).toPrecision(digits));
const byWavelength = bands.map((_, b) => b).sort((a, b) => bands[a].wavelength - bands[b].wavelength);
const inBand = (name, b, i) => sources.bands[name][b][i];
const detected = (b, i) => inBand("seen", b, i) && inBand("flux", b, i) >= 3 * inBand("error", b, i);
const POWERS = []; for (let d = 0; d < 4; d++) for (let i = 0; i <= d; i++) POWERS.push([i, d - i]);

/* Cubic in east at one north, for x and y: eight numbers. */
function alongRow({ scale, x, y }, north) {
  const n = north / scale, row = new Float64Array(8);
  POWERS.forEach(([i, j], k) => { row[i] += x[k] * n ** j; row[4 + i] += y[k] * n ** j; });
  return row;
}
function toPixel(b, east, north) {
  const p = bands[b].to_pixels, row = alongRow(p, north), e = east / p.scale;
  return [row[0] + e * (row[1] + e * (row[2] + e * row[3])), row[4] + e * (row[5] + e * (row[6] + e * row[7]))];
}

/* A layer in larger pixels, between their centres. */
function between(layer, x, y, size) {
  const u = Math.min(Math.max((x + .5) / size - .5, 0), layer.nx - 1), v = Math.min(Math.max((y + .5) / size - .5, 0), layer.ny - 1);
  const i = Math.min(Math.floor(u), Math.max(layer.nx - 2, 0)), j = Math.min(Math.floor(v), Math.max(layer.ny - 2, 0)), a = u - i, c = v - j;
  const at = (k, l) => layer.values[Math.min(l, layer.ny - 1) * layer.nx + Math.min(k, layer.nx - 1)];
  return (1 - c) * ((1 - a) * at(i, j) + a * at(i + 1, j)) + c * ((1 - a) * at(i, j + 1) + a * at(i + 1, j + 1));
}

/* What is shown of a band, on the pixels of its map: map, clean (less background), model, residual in sigma. */
function grid(b, kind) {
  const key = kind + b;
  if (grids.has(key)) return grids.get(key);
  const { map, model, background, rms } = layers[b], { nx, ny } = map, values = new Float32Array(nx * ny);
  const { binning: bin, coarse, rms: sigma } = bands[b];
  for (let y = 0, k = 0; y < ny; y++)
    for (let x = 0; x < nx; x++, k++) {
      if (kind === "map") { values[k] = map.values[k]; continue; }
      if (kind === "model") { values[k] = model.values[k]; continue; }
      const px = (x + .5) * bin - .5, py = (y + .5) * bin - .5;
      const left = map.values[k] - between(background, px, py, coarse);
      values[k] = kind === "clean" ? left : (left - model.values[k]) / (rms ? between(rms, px, py, coarse) : sigma);
    }
  const result = { nx, ny, values, bin };
  grids.set(key, result);
  return result;
}

function quantile(values, shares) {
  const stride = Math.max(1, Math.floor(values.length / 40000)), some = [];
  for (let k = 0; k < values.length; k += stride) if (values[k] === values[k]) some.push(values[k]);
  some.sort((a, b) => a - b);
  return shares.map(share => some.length ? some[Math.min(some.length - 1, Math.floor(share * some.length))] : 0);
}

/* Blue, white, red: residuals of both signs. */
const DIVERGING = (() => {
  const table = new Uint32Array(4096), ends = [[33, 82, 155], [247, 247, 247], [178, 33, 43]];
  for (let k = 0; k < 4096; k++) {
    const t = k / 4095 * 2, part = t < 1 ? 0 : 1, u = Math.abs(t - part), [r, g, b] = [0, 1, 2].map(c => Math.round(ends[part][c] + (ends[part + 1][c] - ends[part][c]) * u));
    table[k] = 0xff000000 | b << 16 | g << 8 | r;
  }
  return table;
})();
const SIGMAS = 5;

/* Cuts and colours of an image of a band. */
function paintOf(b, kind) {
  if (kind === "residual") return { low: -SIGMAS, high: SIGMAS, table: DIVERGING };
  const band = bands[b], [low, high] = quantile(grid(b, kind === "model" ? "clean" : kind).values, [.02, .997]);
  const floor = kind === "map" ? Math.min(low, band.level - band.rms) : -1.5 * band.rms;
  return { low: floor, high: Math.max(high, floor + 8 * band.rms), table: colourTable({ stretch: shades.stretch, colours: shades.colours }) };
}

/* Draw a part of the sky, less `shift`, into a canvas. `where` is {east, north, scale}: its middle, arcsec a CSS pixel. */
function paintSky(canvas, b, kind, where, paint, shift = 0) {
  const { context, width, height } = fitCanvas(canvas), ratio = canvas.width / Math.max(width, 1), w = canvas.width, h = canvas.height;
  if (!w || !h) return { context, width, height };
  const { nx, ny, values, bin } = grid(b, kind), picture = context.createImageData(w, h), pixels = new Uint32Array(picture.data.buffer);
  const step = where.scale / ratio, { scale } = bands[b].to_pixels, last = paint.table.length - 1, factor = last / (paint.high - paint.low || 1);
  for (let py = 0, k = 0; py < h; py++) {
    const row = alongRow(bands[b].to_pixels, where.north - (py + .5 - h / 2) * step);
    for (let px = 0; px < w; px++, k++) {
      const e = (where.east - (px + .5 - w / 2) * step) / scale;
      const x = row[0] + e * (row[1] + e * (row[2] + e * row[3])), y = row[4] + e * (row[5] + e * (row[6] + e * row[7]));
      const i = Math.floor((x + .5) / bin), j = Math.floor((y + .5) / bin);
      if (i < 0 || j < 0 || i >= nx || j >= ny) continue;
      const value = values[j * nx + i] - shift;
      if (value === value) { const c = (value - paint.low) * factor; pixels[k] = paint.table[c < 0 ? 0 : c > last ? last : c | 0]; }
    }
  }
  context.putImageData(picture, 0, 0);
  return { context, width, height };
}

const onScreen = (where, width, height, east, north) => [width / 2 - (east - where.east) / where.scale, height / 2 - (north - where.north) / where.scale];

/* The ellipse of a source at half its peak, as the band shows it. */
function outline(context, b, i, where, width, height) {
  const [x, y] = onScreen(where, width, height, sources.east[i], sources.north[i]);
  const major = inBand("major", b, i) / 2 / where.scale, minor = inBand("minor", b, i) / 2 / where.scale;
  if (x < -major || y < -major || x > width + major || y > height + major) return null;
  context.beginPath(); context.ellipse(x, y, Math.max(major, 2), Math.max(minor, 2), -Math.PI / 2 - inBand("pa", b, i) * Math.PI / 180, 0, 2 * Math.PI);
  return [x, y, major];
}

function drawBeam(context, b, where, height) {
  const { major, minor, pa } = bands[b].beam, a = major / 2 / where.scale, c = minor / 2 / where.scale;
  if (a > 60 || a < 1) return;
  context.beginPath(); context.ellipse(10 + a, height - 10 - a, a, c, -Math.PI / 2 - pa * Math.PI / 180, 0, 2 * Math.PI);
  context.fillStyle = "rgb(255 255 255 / .28)"; context.fill(); context.strokeStyle = "#fff"; context.lineWidth = 1; context.stroke();
}

function drawBar(context, where, width, height) {
  const most = where.scale * width / 3.2, minutes = most >= 60, length = [5, 3, 2, 1].map(m => m * 10 ** Math.floor(Math.log10(minutes ? most / 60 : most))).find(m => m <= (minutes ? most / 60 : most)) * (minutes ? 60 : 1);
  const pixels = length / where.scale, text = minutes ? `${+(length / 60).toPrecision(3)}′` : `${+length.toPrecision(3)}″`;
  context.fillStyle = "#fff"; context.shadowColor = "#000"; context.shadowBlur = 3;
  context.fillRect(width - 12 - pixels, height - 12, pixels, 2);
  context.font = "11.5px Inter, system-ui, sans-serif"; context.textAlign = "center"; context.fillText(text, width - 12 - pixels / 2, height - 17);
  context.shadowBlur = 0;
}

/* Ticks of RA below a panel and of Dec, turned, at its left; the canvas is larger than the panel by these margins. */
function drawPanelAxes(canvas, families, panel) {
  const { context, width, height } = fitCanvas(canvas), left = width - panel.clientWidth, base = panel.clientHeight;
  clear(context, width, height);
  context.font = "10.5px Inter, system-ui, sans-serif"; context.fillStyle = themeColour("--soft"); context.textAlign = "center";
  for (const { isLongitude, levels } of families) {
    let last = -1e9;
    for (const { text, below, left: y } of [...levels].sort((a, b) => isLongitude ? a.below - b.below : a.left - b.left)) {
      const half = context.measureText(text).width / 2;
      if (isLongitude && below !== null && left + below + half <= width) {
        context.fillRect(left + below - .5, base, 1, 4);
        if (below - half < last + 8 || below < half - left) continue;
        context.textBaseline = "top"; context.fillText(text, left + below, base + 6); last = below + half;
      } else if (!isLongitude && y !== null) {
        context.fillRect(left - 4, y - .5, 4, 1);
        if (y - half < last + 8 || y - half < 0 || y + half > base) continue;
        context.save(); context.translate(left - 6, y); context.rotate(-Math.PI / 2); context.textBaseline = "bottom"; context.fillText(text, 0, 0); context.restore(); last = y + half;
      }
    }
  }
}

const panels = [];
function drawField() {
  const { clientWidth: side, clientHeight: tall } = panels[0].canvas;
  const families = skyGrid({ x: view.east, y: view.north, width: side, height: tall }, (sx, sy) => [view.east - (sx - side / 2) * view.scale, view.north - (sy - tall / 2) * view.scale], { frame: skyOf, spacing: [60, 60] });
  panels.forEach(({ canvas, axes, b }) => {
    drawPanelAxes(axes, families, canvas);
    const { context, width, height } = paintSky(canvas, b, shades.layer, view, panels.paint[b]);
    const dark = shades.layer !== "residual" && shades.colours !== "inverted";
    if (shades.sources || view.chosen >= 0)
      for (let i = 0; i < count; i++) {
        const chosen = i === view.chosen;
        if (!chosen && !shades.sources) continue;
        if (!inBand("seen", b, i)) continue;
        const strong = detected(b, i);
        const at = outline(context, b, i, view, width, height);
        if (!at) continue;
        context.strokeStyle = chosen ? "#ffd54a" : dark ? (strong ? "rgb(92 214 240 / .95)" : "rgb(190 200 210 / .5)") : (strong ? "rgb(0 105 140 / .95)" : "rgb(90 100 110 / .55)");
        context.lineWidth = chosen ? 2.4 : strong ? 1.2 : .8; context.setLineDash(strong || chosen ? [] : [3, 3]); context.stroke(); context.setLineDash([]);
        if (shades.numbers) { context.fillStyle = dark ? "#fff" : "#111"; context.font = "11px Inter, system-ui, sans-serif"; context.textAlign = "left"; context.fillText(sources.hyper_id[i], at[0] + at[2] + 2, at[1] - 2); }
      }
    if (view.cursor) {
      const [x, y] = onScreen(view, width, height, ...view.cursor);
      context.strokeStyle = dark ? "rgb(255 255 255 / .8)" : "rgb(0 0 0 / .7)"; context.lineWidth = 1; context.beginPath();
      context.moveTo(x - 9, y); context.lineTo(x - 3, y); context.moveTo(x + 3, y); context.lineTo(x + 9, y); context.moveTo(x, y - 9); context.lineTo(x, y - 3); context.moveTo(x, y + 3); context.lineTo(x, y + 9); context.stroke();
    }
    drawBeam(context, b, view, height); drawBar(context, view, width, height);
  });
}
let waiting = false;
function redraw() { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; drawField(); }); } }
function repaint() { panels.paint = bands.map((_, b) => paintOf(b, shades.layer)); redraw(); }

function fitView() {
  const [e0, e1, n0, n1] = facts.extent, side = panels[0].canvas.clientWidth || 300;
  Object.assign(view, { east: (e0 + e1) / 2, north: (n0 + n1) / 2, scale: Math.max(e1 - e0, n1 - n0) * 1.02 / side });
  redraw();
}
function zoom(factor, east = view.east, north = view.north) {
  const [e0, e1, n0, n1] = facts.extent, side = panels[0].canvas.clientWidth || 300;
  const scale = Math.min(Math.max(view.scale * factor, facts.pixel_arcsec / 24), Math.max(e1 - e0, n1 - n0) * 2 / side), kept = scale / view.scale;
  view.east = east + (view.east - east) * kept; view.north = north + (view.north - north) * kept; view.scale = scale;
  redraw();
}
function placeOf(canvas, event) {
  const box = canvas.getBoundingClientRect();
  return [view.east - (event.clientX - box.left - box.width / 2) * view.scale, view.north - (event.clientY - box.top - box.height / 2) * view.scale];
}
/* RA and Dec of a place on the plane (gnomonic). */
function skyOf(east, north) {
  const r = Math.PI / 180, a = facts.plane.ra * r, d = facts.plane.dec * r, e = east / 3600 * r, n = north / 3600 * r;
  const x = Math.cos(d) - n * Math.sin(d);
  const ra = a + Math.atan2(e, x), dec = Math.atan2(Math.sin(d) + n * Math.cos(d), Math.hypot(x, e));
  return [((ra / r) % 360 + 360) % 360, dec / r];
}
function readout(east, north) {
  const unit = shades.layer === "residual" ? "σ" : facts.unit, texts = byWavelength.map(b => {
    const { nx, ny, values, bin } = grid(b, shades.layer), [x, y] = toPixel(b, east, north), i = Math.floor((x + .5) / bin), j = Math.floor((y + .5) / bin);
    const value = i >= 0 && j >= 0 && i < nx && j < ny ? values[j * nx + i] : NaN;
    return `${bands[b].name} ${short(value, 3)}`;
  });
  $("readout").replaceChildren(...[skyText(...skyOf(east, north)), ...texts, unit].map(text => Object.assign(document.createElement("span"), { textContent: text })));
}
function nearest(east, north, within) {
  let best = -1, distance = within;
  for (let i = 0; i < count; i++) { const d = Math.hypot(sources.east[i] - east, sources.north[i] - north); if (d < distance) { distance = d; best = i; } }
  return best;
}

function makePanels() {
  byWavelength.forEach(b => {
    const band = bands[b], figure = document.createElement("figure"), canvas = document.createElement("canvas"), axes = document.createElement("canvas"), frame = document.createElement("div"), name = document.createElement("div"), caption = document.createElement("figcaption");
    name.className = "name"; name.textContent = band.name; name.append(Object.assign(document.createElement("span"), { textContent: `${trim(band.wavelength, 4)} µm · beam ${trim(band.beam.major, 3)}″` }));
    caption.textContent = `${band.detected} of ${band.covered} above 3σ\nrms ${short(band.rms, 3)} ${facts.unit}`;
    canvas.setAttribute("aria-label", `Map of ${band.name}`); canvas.tabIndex = 0;
    frame.className = "frame"; canvas.className = "sky"; axes.className = "axes"; frame.append(canvas, axes);
    figure.append(name, frame, caption); $("sky-grid").append(figure);
    panels.push({ canvas, axes, b });
    let from = null, moved = 0;
    canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(Math.max(-1, Math.min(1, event.deltaY / 240))), ...placeOf(canvas, event)); }, { passive: false });
    canvas.addEventListener("pointerdown", event => { from = [event.clientX, event.clientY]; moved = 0; canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", event => {
      const place = placeOf(canvas, event);
      if (from) {
        const dx = event.clientX - from[0], dy = event.clientY - from[1]; moved += Math.abs(dx) + Math.abs(dy); from = [event.clientX, event.clientY];
        view.east += dx * view.scale; view.north += dy * view.scale;
      } else { view.cursor = place; readout(...place); }
      redraw();
    });
    canvas.addEventListener("pointerup", event => {
      if (from && moved < 5) { const place = placeOf(canvas, event), i = nearest(...place, Math.max(14 * view.scale, band.beam.major / 2)); if (i >= 0) choose(i); }
      from = null;
    });
    canvas.addEventListener("pointerleave", () => { view.cursor = null; redraw(); });
  });
}
