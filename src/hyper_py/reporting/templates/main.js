/* Put together: load, draw, and keep map, table and card at the same source. */
async function main() {
  const catalog = await loadCatalog(), n = catalog.n, ratio = facts.aperture_ratio * facts.fwhm_per_sigma, beam = facts.beam.pixels;
  const notRemark = facts.flags.filter(flag => !flag.remark).reduce((sum, flag) => sum | flag.bit, 0);
  catalog.px = Float32Array.from(catalog._x, (value, i) => Number.isFinite(value) ? value : catalog._x_peak[i]);
  catalog.py = Float32Array.from(catalog._y, (value, i) => Number.isFinite(value) ? value : catalog._y_peak[i]);
  catalog.semi_1 = Float32Array.from(catalog._sigma_1, value => Number.isFinite(value) ? ratio * value : facts.aperture_ratio * beam[0]);
  catalog.semi_2 = Float32Array.from(catalog._sigma_2, value => Number.isFinite(value) ? ratio * value : facts.aperture_ratio * beam[1]);
  catalog.angle = Float32Array.from(catalog._theta, value => Number.isFinite(value) ? value : beam[2]);
  catalog.calls = Uint8Array.from(catalog.FLAGS, value => value & notRemark ? 1 : 0);
  catalog.largest = catalog.semi_1.reduce((a, b) => Math.max(a, b), 1);

  const loaded = Object.fromEntries(await Promise.all(Object.keys(facts.layers).map(async name => [name, await loadLayer(name)])));
  const layers = makeLayers(loaded, catalog);
  let chosen = -1;
  const parts = {};
  function choose(i, { still = false, move = false } = {}) {
    chosen = i;
    parts.card?.show(i);
    if (still) return;
    parts.sky.choose(i); parts.table.choose(i);
    if (move && i >= 0) parts.sky.goTo(i);
    document.body.dataset.chosen = i >= 0 ? catalog.HYPER_ID[i] : "";
  }
  const step = by => { const i = parts.table.step(chosen, by); if (i >= 0) choose(i, { move: true }); };
  parts.sky = makeSky({ layers, catalog, onChoose: choose });
  parts.card = makeCard({ catalog, cutouts: cutter(loaded, catalog), sky: parts.sky, step, choose });
  parts.table = makeTable({ catalog, onChoose: choose, onFilter: visible => parts.sky.show(visible) });
  parts.card.show(-1);
  drawStatistics(catalog, parts.table.search); drawNoise(layers, parts.sky.paint);
  theme.onChange(() => { if (chosen >= 0) parts.card.show(chosen); drawNoise(layers, parts.sky.paint); });
  let width = innerWidth;
  window.addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; if (chosen >= 0) parts.card.show(chosen); } });

  const onPaper = on => { paper.ratio = on ? 3 : 0; theme.print(on); parts.sky.print(on); };
  window.addEventListener("beforeprint", () => onPaper(true)); window.addEventListener("afterprint", () => onPaper(false));
  $("print-button").addEventListener("click", () => $("printing").showModal());
  $("printing").addEventListener("close", () => {
    if ($("printing").returnValue !== "print") return;
    const wanted = Math.min(Math.max(Math.round(+$("print-cards").value) || 0, 0), 200);
    onPaper(true); parts.card.cards(parts.table.order().slice(0, wanted)); onPaper(false);
    setTimeout(() => print());
  });
  for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", async () => { try { await navigator.clipboard.writeText(button.dataset.copy); } catch { getSelection().selectAllChildren(button.previousElementSibling); document.execCommand("copy"); } button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); });
  $("help-button").addEventListener("click", () => $("help").showModal());
  const boxes = { a: "apertures", f: "flagged", g: "groups", d: "detections", n: "labels", c: "grid" };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open || $("printing").open) return;
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.key === "Escape") { if (typing) event.target.blur(); else choose(-1); return; }
    if (typing) { if (event.key === "Enter" && event.target.id === "search") { event.target.blur(); step(1); } return; }
    const actions = { ArrowRight: () => step(1), j: () => step(1), ArrowLeft: () => step(-1), k: () => step(-1), "+": () => parts.sky.zoom(1.6), "=": () => parts.sky.zoom(1.6), "-": () => parts.sky.zoom(1 / 1.6), 0: parts.sky.fit, z: () => { if (chosen >= 0) parts.sky.goTo(chosen, true); }, "/": () => $("search").focus(), t: theme.toggle, "?": () => $("help").showModal() };
    if (boxes[event.key]) { const input = $("show-" + boxes[event.key]); input.checked = !input.checked; parts.sky.draw(); } else if (actions[event.key]) { event.preventDefault(); actions[event.key](); }
  });
  document.body.dataset.ready = "true";
  window.hyperReport = { ...parts, catalog, choose, layers };
}

/* Images to look at; model and residual are computed when first asked for. */
function makeLayers(loaded, catalog) {
  const bin = facts.binning, map = loaded.map;
  const known = { map: () => map, background: () => loaded.background, rms: () => loaded.rms, model: () => ({ ...map, values: render() }), residual: () => { const model = get("model").values; return { ...map, values: map.values.map((value, i) => value - model[i]) }; }, residual_sigma: () => inNoise(get("residual")), sigma: () => inNoise(map), smooth: () => smoothed(get("residual")) };
  const made = new Map();
  function get(name) { if (!made.has(name)) made.set(name, known[name]()); return made.get(name); }
  function render() {
    const values = new Float32Array(map.nx * map.ny), extra = (bin * bin - 1) / 12;
    for (let k = 0; k < catalog.n; k++) {
      const s1 = catalog._sigma_1[k], s2 = catalog._sigma_2[k], a = catalog._amplitude[k] * facts.per_beam;
      if (!(s1 > 0) || !(a === a)) continue;
      const t1 = Math.sqrt(s1 * s1 + extra), t2 = Math.sqrt(s2 * s2 + extra), top = a * s1 * s2 / (t1 * t2), reach = 5 * Math.max(t1, t2), cos = Math.cos(catalog._theta[k]), sin = Math.sin(catalog._theta[k]);
      const low = (c) => Math.max(0, Math.ceil((c - reach) / bin)), high = (c, n) => Math.min(n - 1, Math.floor((c + reach) / bin));
      for (let y = low(catalog._y[k]); y <= high(catalog._y[k], map.ny); y++) for (let x = low(catalog._x[k]); x <= high(catalog._x[k], map.nx); x++) {
        const dx = (x + .5) * bin - .5 - catalog._x[k], dy = (y + .5) * bin - .5 - catalog._y[k], u = (dx * cos + dy * sin) / t1, v = (dy * cos - dx * sin) / t2;
        values[y * map.nx + x] += top * Math.exp(-.5 * (u * u + v * v));
      }
    }
    for (let i = 0; i < values.length; i++) if (!(map.values[i] === map.values[i])) values[i] = NaN;
    return values;
  }
  /* A layer less its mean, in units of the local noise. */
  function inNoise(layer) {
    const rms = loaded.rms, per = facts.rms_binning, mean = facts.noise.mean, values = new Float32Array(layer.values.length);
    for (let y = 0, i = 0; y < layer.ny; y++) for (let x = 0; x < layer.nx; x++, i++) values[i] = (layer.values[i] - mean) / (rms ? rms.values[Math.min(rms.ny - 1, Math.floor((y + .5) * bin / per)) * rms.nx + Math.min(rms.nx - 1, Math.floor((x + .5) * bin / per))] : facts.noise.typical);
    return { ...layer, values };
  }
  /* Means over Gaussians of twice the beam's FWHM, blank pixels left out: the background everywhere on the map. */
  function smoothed({ nx, ny, values }) {
    const sigma = 2 * facts.beam.fwhm_pixels / facts.fwhm_per_sigma / bin, reach = Math.max(1, Math.ceil(3 * sigma)), kernel = Float32Array.from({ length: 2 * reach + 1 }, (_, k) => Math.exp(-.5 * ((k - reach) / sigma) ** 2));
    const along = (from, weights, stepIn, stepOut, inner, outer) => {
      const sum = new Float32Array(from.length), weight = new Float32Array(from.length);
      for (let o = 0; o < outer; o++) for (let i = 0; i < inner; i++) { let s = 0, w = 0; for (let k = Math.max(-reach, -i); k <= reach && i + k < inner; k++) { const at = o * stepOut + (i + k) * stepIn, g = kernel[k + reach]; s += g * from[at]; w += g * weights[at]; } sum[o * stepOut + i * stepIn] = s; weight[o * stepOut + i * stepIn] = w; }
      return [sum, weight];
    };
    const known = Float32Array.from(values, value => value === value ? 1 : 0), [sum, weight] = along(...along(values.map(value => value === value ? value : 0), known, 1, nx, nx, ny), nx, 1, ny, nx);
    return { nx, ny, values: sum.map((value, i) => known[i] ? value / weight[i] : NaN) };
  }
  const names = [["map", "map"], ["sigma", "map ÷ noise"], ["model", "model"], ["residual", "map − model"], ["residual_sigma", "(map − model) ÷ noise"], ["smooth", "smooth background"]];
  if (loaded.background) names.push(["background", "background under sources"]);
  if (loaded.rms) names.push(["rms", "noise"]);
  return { get, names, has: name => name in loaded };
}

/* Squares around a source: from the map, or, where the map is binned, from the cutouts stored beside it. */
function cutter(loaded, catalog) {
  return (i, half) => {
    const x = Math.round(catalog._x_peak[i]), y = Math.round(catalog._y_peak[i]), stored = loaded.map_cutouts;
    if (facts.binning > 1 && stored && (i + 1) * stored.nx <= stored.ny) {
      const own = stored.nx, inner = Math.min(half, own >> 1), side = 2 * inner + 1;
      const pick = layer => { const values = new Float32Array(side * side); for (let r = 0; r < side; r++) for (let c = 0; c < side; c++) values[r * side + c] = layer.values[(i * own + r + (own >> 1) - inner) * own + c + (own >> 1) - inner]; return values; };
      return { side, bin: 1, x0: x - inner, y0: y - inner, data: pick(stored), background: pick(loaded.background_cutouts) };
    }
    const bin = facts.binning, inner = Math.max(Math.round(half / bin), 2), side = 2 * inner + 1, cx = Math.floor((x + .5) / bin), cy = Math.floor((y + .5) / bin);
    const pick = layer => { const values = new Float32Array(side * side).fill(NaN); if (layer) for (let r = 0; r < side; r++) for (let c = 0; c < side; c++) { const px = cx + c - inner, py = cy + r - inner; if (px >= 0 && py >= 0 && px < layer.nx && py < layer.ny) values[r * side + c] = layer.values[py * layer.nx + px]; } return values; };
    return { side, bin, x0: (cx - inner + .5) * bin - .5, y0: (cy - inner + .5) * bin - .5, data: pick(loaded.map), background: pick(loaded.background) };
  };
}
main();
