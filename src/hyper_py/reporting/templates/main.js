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
  $("print-button").addEventListener("click", () => print());
  $("help-button").addEventListener("click", () => $("help").showModal());
  const boxes = { a: "apertures", f: "flagged", g: "groups", d: "detections", n: "labels" };
  document.addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
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
  const known = { map: () => map, background: () => loaded.background, rms: () => loaded.rms, model: () => ({ ...map, values: render() }), residual: () => { const model = get("model").values; return { ...map, values: map.values.map((value, i) => value - model[i]) }; } };
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
  const names = [["map", "map"], ["model", "model"], ["residual", "map − model"]];
  if (loaded.background) names.push(["background", "background"]);
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
