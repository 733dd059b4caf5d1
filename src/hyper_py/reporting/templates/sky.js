/* The map: image, ellipses, zoom and pan. Positions are zero-based pixels of the full map. */
function makeSky({ layers, catalog, onChoose }) {
  const [ny, nx] = facts.shape, bin = facts.binning;
  const canvas = $("map"), overlay = $("overlay");
  const picture = document.createElement("canvas");
  const view = { x: (nx - 1) / 2, y: (ny - 1) / 2, scale: 1, width: 1, height: 1 };
  const paint = { low: 0, high: 1, stretch: "asinh", colours: "inferno" };
  /* Layers in units of the noise have a scale of their own: colours that diverge from zero. */
  const inSigmas = name => name === "residual_sigma" || name === "sigma", factorOf = name => name === "rms" ? facts.rms_binning : bin;
  const paintOf = () => inSigmas(state.layer) ? { ...paint, stretch: "linear", colours: "diverging" } : paint, unitOf = () => inSigmas(state.layer) ? "local noise (σ)" : facts.unit;
  const state = { layer: "map", shown: null, chosen: -1, visible: null, hover: -1, fitted: true };
  const cuts = {}, axes = { left: parseInt(getComputedStyle(canvas).left), bottom: canvas.parentElement.clientHeight - canvas.offsetTop - canvas.clientHeight };

  /* No higher than the whole map needs. */
  function limitHeight() { const box = canvas.parentElement; box.style.maxHeight = `${Math.max(300, Math.ceil(canvas.clientWidth * ny / nx) + axes.bottom)}px`; }
  limitHeight();

  /* Marks that stand out from dark pictures, and from those with a light zero. */
  const onDark = { apertures: "#5fe0fb", flagged: "#a7f45c", groups: "#c3b4ff", detections: "#ffffff", chosen: "#ffffff", halo: "rgb(0 0 0 / .8)", grid: "rgb(255 255 255 / .3)" };
  const onLight = { apertures: "#0a7d3f", flagged: "#b512b5", groups: "#5b3fd6", detections: "#20242a", chosen: "#000000", halo: "rgb(255 255 255 / .9)", grid: "rgb(0 0 0 / .3)" };
  const isLight = () => inSigmas(state.layer) || paint.colours === "inverted";
  const toScreen = (x, y) => [view.width / 2 + (x - view.x) * view.scale, view.height / 2 - (y - view.y) * view.scale];
  const toMap = (sx, sy) => [view.x + (sx - view.width / 2) / view.scale, view.y - (sy - view.height / 2) / view.scale];
  const fitScale = () => Math.min(view.width / nx, view.height / ny);

  const sorted = values => Float32Array.from(values).sort(), share = (values, part) => values[Math.min(values.length - 1, Math.max(0, Math.round(part * (values.length - 1))))] ?? 0;

  /* Pixels of the quiet part of the map: squares of some beams whose scatter is below twice the typical one. Loud edges have no say. */
  function quietPixels({ values, nx, ny }) {
    const side = Math.max(8, Math.round(4 * facts.beam.fwhm_pixels / bin)), squares = [], step = Math.max(1, Math.floor(Math.sqrt(values.length / 400000)));
    for (let y0 = 0; y0 < ny; y0 += side) for (let x0 = 0; x0 < nx; x0 += side) {
      const own = [];
      for (let y = y0; y < Math.min(y0 + side, ny); y += step) for (let x = x0; x < Math.min(x0 + side, nx); x += step) { const value = values[y * nx + x]; if (value === value) own.push(value); }
      if (own.length < 12) continue;
      const all = sorted(own);
      squares.push({ own, scatter: share(all, .7) - share(all, .3) });
    }
    const typical = share(sorted(squares.map(one => one.scatter)), .35);
    return sorted(squares.filter(one => one.scatter <= 2 * typical).flatMap(one => one.own));
  }

  /* Limits of the sliders and the automatic cuts of a layer, kept once found. */
  function cutsOf(name) {
    if (!cuts[name]) {
      if (inSigmas(name)) return cuts[name] = { low: -20, high: 20, black: -5, white: 5, unit: 1 };
      const layer = layers.get(name), all = sorted(layer.values.filter(value => value === value)), low = share(all, 0), last = share(all, 1), quiet = quietPixels(layer), some = quiet.length > 100 ? quiet : all;
      if (name === "rms") return cuts[name] = { low, high: last > low ? last : low + 1, black: low, white: Math.max(share(all, .9), low + (last - low) / 50), unit: (last - low) / 50 || 1 };
      // The scatter of the quiet part, which in a map of sources and clouds is less than the rms; noise is dark, and a typical source bright.
      const middle = share(some, .5), rms = (middle - share(some, .16)) || facts.noise.typical || 1, good = catalog.FLUX_PEAK.filter((value, i) => value > 0 && !catalog.calls[i]), peaks = sorted(good.length ? good : catalog.FLUX_PEAK.filter(value => value > 0)), typical = Math.min(share(peaks, .3), 100 * rms);
      cuts[name] = { low, high: last > low ? last : low + 1, black: Math.max(middle - 1.5 * rms, low), white: middle + Math.max(15 * rms, typical, Math.min(share(some, .9992) - middle, 60 * rms)), unit: rms };
    }
    return cuts[name];
  }
  const bend = (value, c) => Math.asinh((value - c.low) / (10 * c.unit)), unbend = (u, c) => c.low + 10 * c.unit * Math.sinh(u);
  const toSlider = (value, c) => Math.round(1000 * bend(value, c) / bend(c.high, c)), fromSlider = (t, c) => unbend(t / 1000 * bend(c.high, c), c);

  function setCuts(low, high) {
    paint.low = low; paint.high = high > low ? high : low + 1e-9;
    const c = cutsOf(state.layer);
    $("black").value = toSlider(low, c); $("white").value = toSlider(high, c);
    repaint();
  }
  function autoCuts() { const c = cutsOf(state.layer); setCuts(c.black, c.white); }

  function repaint() {
    const layer = layers.get(state.layer);
    paintValues(picture, layer.nx, layer.ny, layer.values, paintOf());
    drawScale($("scale"), paintOf(), unitOf());
    $("stretch").disabled = $("colours").disabled = inSigmas(state.layer);
    draw();
  }

  let waiting = false;
  function draw() { if (!waiting) { waiting = true; requestAnimationFrame(() => { waiting = false; drawNow(); }); } }

  function drawNow() {
    const { context, width, height } = fitCanvas(canvas);
    view.width = width; view.height = height;
    context.fillStyle = themeColour("--sky"); context.fillRect(0, 0, width, height);
    const layer = layers.get(state.layer), factor = factorOf(state.layer);
    const [left, top] = toScreen(-.5, layer.ny * factor - .5);
    context.imageSmoothingEnabled = view.scale * factor < 3; context.imageSmoothingQuality = "high";
    context.drawImage(picture, left, top, layer.nx * factor * view.scale, layer.ny * factor * view.scale);
    drawOverlay();
  }

  const inView = (i, margin) => { const [sx, sy] = toScreen(catalog.px[i], catalog.py[i]); return sx > -margin && sx < view.width + margin && sy > -margin && sy < view.height + margin; };

  function ellipses(context, list, style, width, alpha = 1) {
    context.strokeStyle = style; context.lineWidth = width; context.globalAlpha = alpha;
    context.beginPath();
    for (let k = 0; k < list.length; k++) {
      const i = list[k], [sx, sy] = toScreen(catalog.px[i], catalog.py[i]), a = Math.max(catalog.semi_1[i] * view.scale, 2), b = Math.max(catalog.semi_2[i] * view.scale, 2), angle = -catalog.angle[i];
      context.moveTo(sx + a * Math.cos(angle), sy + a * Math.sin(angle));
      context.ellipse(sx, sy, a, b, angle, 0, 2 * Math.PI);
      if (k % 16 === 15) { context.stroke(); context.beginPath(); } // one path of thousands is slow
    }
    context.stroke(); context.globalAlpha = 1;
  }

  function drawOverlay() {
    const { context, width, height } = fitCanvas(overlay);
    clear(context, width, height);
    const colour = isLight() ? onLight : onDark;
    $("overlays").classList.toggle("on-light", isLight());
    const on = name => $("show-" + name).checked, near = [], far = [];
    const margin = view.scale * catalog.largest + 20;
    for (let i = 0; i < catalog.n; i++) if (inView(i, margin)) (state.visible && !state.visible[i] ? far : near).push(i);
    const families = skyGrid(view, toMap);
    if (on("grid")) drawGridLines(context, families, colour.grid);
    drawAxes($("axes"), families, axes.left, axes.bottom);
    if (on("groups")) drawGroups(context, near, colour.groups);
    const fine = Math.min(1, Math.max(.55, view.scale * facts.beam.fwhm_pixels / 12));
    if (on("apertures")) { ellipses(context, near, colour.apertures, 1.4 * fine, Math.min(.95, Math.max(.4, 2500 / near.length))); ellipses(context, far, colour.apertures, fine, .22); }
    if (on("flagged")) ellipses(context, near.filter(i => catalog.calls[i]), colour.flagged, 2 * fine);
    if (on("detections")) {
      context.beginPath();
      for (const i of near) { const [sx, sy] = toScreen(catalog._x_peak[i], catalog._y_peak[i]); context.moveTo(sx - 4, sy); context.lineTo(sx + 4, sy); context.moveTo(sx, sy - 4); context.lineTo(sx, sy + 4); }
      context.strokeStyle = colour.detections; context.lineWidth = 1; context.stroke();
    }
    if (on("labels")) drawLabels(context, near);
    if (state.hover >= 0 && state.hover !== state.chosen) ellipses(context, [state.hover], colour.chosen, 2, .8);
    if (state.chosen >= 0) { ellipses(context, [state.chosen], colour.halo, 5.5); ellipses(context, [state.chosen], colour.chosen, 2.8); }
    drawFurniture(context, width, height);
  }

  /* Numbers of the brightest sources first; one that would cover another waits for a closer look. */
  function drawLabels(context, list) {
    context.font = "600 11px Inter, system-ui, sans-serif"; context.textAlign = "left"; context.textBaseline = "bottom"; context.lineWidth = 3; context.strokeStyle = "rgb(0 0 0 / .65)"; context.fillStyle = "#fff";
    const taken = new Set(), cell = 9;
    state.labelled = 0;
    for (const i of [...list].sort((a, b) => (catalog.FLUX[b] || 0) - (catalog.FLUX[a] || 0))) {
      const [sx, sy] = toScreen(catalog.px[i], catalog.py[i]), d = .72 * catalog.semi_1[i] * view.scale + 2, text = String(catalog.HYPER_ID[i]), wide = 7 * text.length + 4, cells = [];
      for (let x = Math.floor((sx + d) / cell); x <= (sx + d + wide) / cell; x++) for (let y = Math.floor((sy - d - 14) / cell); y <= (sy - d) / cell; y++) cells.push(x * 10007 + y);
      if (cells.some(one => taken.has(one))) continue;
      cells.forEach(one => taken.add(one)); state.labelled++;
      context.strokeText(text, sx + d, sy - d); context.fillText(text, sx + d, sy - d);
    }
  }

  function drawGroups(context, list, style) {
    const middle = new Map();
    for (let i = 0; i < catalog.n; i++) { if (catalog.CLUSTER[i] < 2) continue; const g = catalog._group[i], m = middle.get(g) || [0, 0, 0]; m[0] += catalog.px[i]; m[1] += catalog.py[i]; m[2]++; middle.set(g, m); }
    context.beginPath();
    for (const i of list) { const m = middle.get(catalog._group[i]); if (!m) continue; context.moveTo(...toScreen(m[0] / m[2], m[1] / m[2])); context.lineTo(...toScreen(catalog.px[i], catalog.py[i])); }
    context.strokeStyle = style; context.lineWidth = 1.6; context.stroke();
  }

  /* Compass, beam and a bar of known length, on dark plates. */
  function drawFurniture(context, width, height) {
    const plate = (x, y, w, h) => { context.fillStyle = "rgb(8 9 12 / .58)"; context.beginPath(); context.roundRect(x, y, w, h, 7); context.fill(); };
    context.font = "600 12px Inter, system-ui, sans-serif"; context.textAlign = "center"; context.textBaseline = "middle"; context.lineWidth = 1.6; context.strokeStyle = context.fillStyle = "#fff";
    const cx = width - 48, cy = 48, length = 19;
    plate(width - 88, 8, 80, 80);
    context.fillStyle = "#fff";
    for (const [letter, [dx, dy]] of [["N", facts.north], ["E", facts.east]]) {
      const ox = cx - 6 * (facts.north[0] + facts.east[0]), oy = cy + 6 * (facts.north[1] + facts.east[1]);
      context.beginPath(); context.moveTo(ox, oy); context.lineTo(ox + length * dx, oy - length * dy); context.stroke();
      context.fillText(letter, ox + (length + 9) * dx, oy - (length + 9) * dy);
    }
    const about = .16 * width / view.scale * facts.pixel_arcsec, [size, sign] = about >= 2700 ? [3600, "°"] : about >= 45 ? [60, "′"] : [1, "″"];
    const nice = niceStep(about / size, 1), long = nice * size / facts.pixel_arcsec * view.scale, text = `${+nice.toPrecision(3)}${sign}`;
    plate(width - long - 40, height - 48, long + 32, 40);
    context.fillStyle = "#fff"; context.fillRect(width - long - 24, height - 19, long, 2); context.fillRect(width - long - 24, height - 23, 1.5, 10); context.fillRect(width - 25.5, height - 23, 1.5, 10);
    context.fillText(text, width - 24 - long / 2, height - 33);
    const [major, minor, angle] = facts.beam.pixels, a = major / 2 * view.scale, b = minor / 2 * view.scale, box = Math.max(2 * a + 20, 34);
    if (box < .4 * width) {
      plate(8, height - box - 26, Math.max(box, 56), box + 18); context.fillStyle = "#fff";
      const bx = 8 + Math.max(box, 56) / 2; context.beginPath(); context.ellipse(bx, height - 26 - box / 2, Math.max(a, 1), Math.max(b, 1), -angle, 0, 2 * Math.PI); context.globalAlpha = .85; context.fill(); context.globalAlpha = 1; context.fillText("beam", bx, height - 20);
    }
  }

  function clamp() {
    const lowest = fitScale() * .8; view.scale = Math.min(Math.max(view.scale, lowest), Math.max(80, lowest));
    view.x = Math.min(Math.max(view.x, -.5), nx - .5); view.y = Math.min(Math.max(view.y, -.5), ny - .5);
  }
  function zoom(factor, sx = view.width / 2, sy = view.height / 2) {
    const [x, y] = toMap(sx, sy); view.scale *= factor; clamp();
    const [x2, y2] = toMap(sx, sy); view.x += x - x2; view.y += y - y2; state.fitted = false; clamp(); draw();
  }
  function fit() { const box = canvas.getBoundingClientRect(); view.width = box.width; view.height = box.height; view.x = (nx - 1) / 2; view.y = (ny - 1) / 2; view.scale = fitScale(); state.fitted = true; draw(); }
  function goTo(i, close = false) {
    const [sx, sy] = toScreen(catalog.px[i], catalog.py[i]), edge = 40;
    if (close) view.scale = Math.min(view.width, view.height) / (16 * facts.beam.fwhm_pixels);
    if (!close && view.scale <= 1.02 * fitScale()) { draw(); return; }
    if (close || sx < edge || sy < edge || sx > view.width - edge || sy > view.height - edge) { view.x = catalog.px[i]; view.y = catalog.py[i]; state.fitted = false; clamp(); }
    draw();
  }

  function sourceAt(sx, sy) {
    const [x, y] = toMap(sx, sy), slack = 7 / view.scale;
    let best = -1, least = 1;
    for (let i = 0; i < catalog.n; i++) {
      const dx = x - catalog.px[i], dy = y - catalog.py[i], reach = catalog.semi_1[i] + slack;
      if (Math.abs(dx) > reach || Math.abs(dy) > reach) continue;
      const cos = Math.cos(catalog.angle[i]), sin = Math.sin(catalog.angle[i]);
      const distance = Math.hypot((dx * cos + dy * sin) / (catalog.semi_1[i] + slack), (dy * cos - dx * sin) / (catalog.semi_2[i] + slack));
      if (distance < least) { least = distance; best = i; }
    }
    return best;
  }

  function readout(sx, sy) {
    const [x, y] = toMap(sx, sy);
    if (x < -.5 || y < -.5 || x >= nx - .5 || y >= ny - .5) { $("readout").textContent = ""; return; }
    const layer = layers.get(state.layer), factor = factorOf(state.layer);
    const value = layer.values[Math.floor((y + .5) / factor) * layer.nx + Math.floor((x + .5) / factor)], [ra, dec] = skyAt(x, y), [lon, lat] = frameAt(x, y);
    const place = !Number.isFinite(ra) ? "" : isGalactic ? `l ${lon.toFixed(skyDecimals + 3)}°  b ${lat.toFixed(skyDecimals + 3)}°   ` : `${skyText(ra, dec)}   `;
    $("readout").textContent = `${place}x ${x.toFixed(1)}  y ${y.toFixed(1)}   ${Number.isFinite(value) ? `${short(value)} ${inSigmas(state.layer) ? "σ" : facts.unit}` : "blank"}`;
  }

  /* Pointers: one moves, two pinch; without movement it is a click. */
  const pointers = new Map();
  let travelled = 0, wasTwo = false;
  const at = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); pointers.set(event.pointerId, at(event)); if (pointers.size === 1) { travelled = 0; wasTwo = false; } else wasTwo = true; });
  canvas.addEventListener("pointermove", event => {
    const here = at(event), before = pointers.get(event.pointerId);
    if (!before) { readout(...here); const hover = sourceAt(...here); if (hover !== state.hover) { state.hover = hover; canvas.style.cursor = hover >= 0 ? "pointer" : "crosshair"; draw(); } return; }
    if (pointers.size === 2) {
      const other = [...pointers.entries()].find(([id]) => id !== event.pointerId)[1];
      const ratio = Math.hypot(here[0] - other[0], here[1] - other[1]) / Math.max(Math.hypot(before[0] - other[0], before[1] - other[1]), 1);
      zoom(ratio, (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
    } else {
      travelled += Math.abs(here[0] - before[0]) + Math.abs(here[1] - before[1]);
      if (travelled > 4) { view.x -= (here[0] - before[0]) / view.scale; view.y += (here[1] - before[1]) / view.scale; state.fitted = false; clamp(); draw(); }
    }
    pointers.set(event.pointerId, here);
  });
  const release = event => { if (pointers.delete(event.pointerId) && event.type === "pointerup" && travelled <= 4 && !wasTwo) onChoose(sourceAt(...at(event))); };
  canvas.addEventListener("pointerup", release); canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => { $("readout").textContent = ""; if (state.hover >= 0) { state.hover = -1; draw(); } });
  canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(-event.deltaY * (event.deltaMode ? .05 : .0016)), ...at(event)); }, { passive: false });
  canvas.addEventListener("dblclick", event => zoom(2, ...at(event)));
  $("zoom-in").addEventListener("click", () => zoom(1.6)); $("zoom-out").addEventListener("click", () => zoom(1 / 1.6)); $("zoom-fit").addEventListener("click", fit);
  for (const name of ["apertures", "flagged", "groups", "detections", "labels", "grid"]) $("show-" + name).addEventListener("change", draw);
  $("stretch").value = paint.stretch; $("colours").value = paint.colours;
  $("stretch").addEventListener("change", event => { paint.stretch = event.target.value; repaint(); });
  $("colours").addEventListener("change", event => { paint.colours = event.target.value; repaint(); onChoose(state.chosen, { still: true }); });
  $("auto").addEventListener("click", autoCuts);
  for (const name of ["black", "white"]) $(name).addEventListener("input", () => { const c = cutsOf(state.layer); paint.low = fromSlider(+$("black").value, c); paint.high = Math.max(fromSlider(+$("white").value, c), paint.low + 1e-3 * c.unit); repaint(); });
  for (const [value, text] of layers.names) $("layer").add(new Option(text, value));
  const kind = name => name === "rms" ? 1 : inSigmas(name) ? 2 : 0;
  $("layer").addEventListener("change", event => { const before = state.layer; state.layer = event.target.value; if (kind(before) !== kind(state.layer) || !cuts[state.layer]) autoCuts(); else setCuts(paint.low, paint.high); });
  new ResizeObserver(() => { if (paper.ratio) return; limitHeight(); const was = state.fitted; fitCanvas(canvas); if (was) fit(); else draw(); if (picture.width > 1) drawScale($("scale"), paintOf(), unitOf()); }).observe(canvas);
  theme.onChange(() => { drawScale($("scale"), paintOf(), unitOf()); draw(); });

  // Where the noise varies much, the map in units of it shows what is a source.
  if (layers.has("rms") && facts.noise.highest > 5 * facts.noise.typical) $("layer").value = state.layer = "sigma";
  autoCuts(); fit();
  return {
    paint, fit, zoom, goTo, draw, view, toScreen,
    choose(i) { state.chosen = i; draw(); },
    /* On paper a whole map has its own shape, and what is looked at closely keeps its own. */
    print(on) {
      const box = canvas.parentElement, wide = PAPER_WIDTH - axes.left, tall = Math.min(Math.round(wide * ny / nx), PAPER_HEIGHT);
      box.style.maxHeight = "none"; if (!on) limitHeight();
      box.style.width = on ? `${(state.fitted ? Math.round(tall * nx / ny) : wide) + axes.left}px` : "";
      box.style.height = on ? `${(state.fitted ? tall : Math.round(.7 * wide)) + axes.bottom}px` : "";
      if (state.fitted) fit();
      drawNow(); drawScale($("scale"), paintOf(), unitOf());
    },
    state, cutsOf,
    show(visible) { state.visible = visible; draw(); },
  };
}
