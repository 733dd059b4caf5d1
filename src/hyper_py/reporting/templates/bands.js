/* The page of a field: table, charts, keys, start. */
let order = [...Array(count).keys()], sorted = ["hyper_id", 1];

const columns = [
  ["#", "", i => sources.hyper_id[i], i => String(sources.hyper_id[i])],
  ["RA", "h:m:s", i => sources.ra[i], i => skyText(sources.ra[i], sources.dec[i]).split("  ")[0]],
  ["Dec", "d:m:s", i => sources.dec[i], i => skyText(sources.ra[i], sources.dec[i]).split("  ")[1]],
  ["Size", "″", i => sources.deconv_fwhm_1[i], i => !sources.unresolved[i] ? `${short(sources.deconv_fwhm_1[i], 3)} × ${sources.deconv_fwhm_2[i] > 0 ? short(sources.deconv_fwhm_2[i], 3) : "0"}` : `< ${short(sources.deconv_ulim[i], 2)}`],
  ["Significance", "", i => sources.snr[i], i => short(sources.snr[i], 3)],
  ...byWavelength.map(b => [bands[b].name, facts.flux_unit, i => inBand("flux", b, i), i => fluxText(b, i), i => detected(b, i) ? "" : "weak"]),
  ...(sources.grey ? [["T", "K", i => sources.grey.temperature[i], i => short(sources.grey.temperature[i], 3)]] : []),
  ["Group", "", i => sources.cluster[i], i => String(sources.cluster[i])],
];
function fluxText(b, i) {
  if (!inBand("seen", b, i)) return "";
  const [value, error] = withError(inBand("flux", b, i), inBand("error", b, i));
  return `${value} ± ${error}`;
}

function fillTable() {
  const head = element("tr");
  columns.forEach(([name, unit], k) => {
    const cell = element("th", {}, name, element("small", { textContent: unit || " " }));
    if (sorted[0] === k) cell.dataset.order = sorted[1] > 0 ? "▲" : "▼";
    cell.addEventListener("click", () => { sorted = [k, sorted[0] === k ? -sorted[1] : k < 3 ? 1 : -1]; sortRows(); fillTable(); });
    head.append(cell);
  });
  $("table").tHead.replaceChildren(head);
  $("table").tBodies[0].replaceChildren(...order.map(i => {
    const row = element("tr", { className: i === view.chosen ? "chosen" : "" }, ...columns.map(([, , , text, kind]) => element("td", { textContent: text(i), className: kind ? kind(i) : "" })));
    row.dataset.row = i;
    row.addEventListener("click", () => choose(i, true));
    return row;
  }));
  $("count").textContent = `${count} found together in ${bands.length} bands`;
}
function sortRows() {
  const value = columns[sorted[0]]?.[2]; if (!value) return;
  const key = i => { const v = value(i); return v === null || Number.isNaN(v) ? -Infinity : v; };
  order.sort((a, b) => sorted[1] * (key(a) - key(b)) || a - b);
}

function choose(i, fromTable = false) {
  view.chosen = i;
  document.querySelectorAll("#table tbody tr").forEach(row => row.classList.toggle("chosen", +row.dataset.row === i));
  if (!fromTable) { const box = document.querySelector("#sources .table-box"), row = document.querySelector("#table tbody tr.chosen"); if (row) box.scrollTop = row.offsetTop - box.clientHeight / 2; }
  showCard(i); drawSpectra(); redraw();
}
function stepBy(by) { if (count) choose(order[(Math.max(order.indexOf(view.chosen), 0) + by + count) % count]); }
function zoomToChosen() { if (view.chosen < 0) return; const side = panels[0].canvas.clientWidth || 300; Object.assign(view, { east: sources.east[view.chosen], north: sources.north[view.chosen], scale: 8 * largestBeam / side }); redraw(); }

function drawSpectra() {
  const fluxes = []; for (const b of byWavelength) for (let i = 0; i < count; i++) if (detected(b, i)) fluxes.push(inBand("flux", b, i));
  const box = $("all-spectra");
  if (!fluxes.length) { box.replaceChildren(element("h3", { textContent: "Spectra of all sources" }), element("p", { className: "muted", textContent: "No flux above 3σ." })); return; }
  const low = 10 ** (Math.floor(Math.log10(Math.min(...fluxes)) * 2) / 2), high = 10 ** (Math.ceil(Math.log10(Math.max(...fluxes)) * 2) / 2), { svg, x, y } = spectrumFrame(low, Math.max(high, 10 * low), 560, 340);
  for (let i = 0; i < count; i++) {
    const points = byWavelength.filter(b => detected(b, i)).map(b => `${x(bands[b].wavelength).toFixed(1)},${y(inBand("flux", b, i)).toFixed(1)}`);
    if (points.length < 2) continue;
    const line = drawn("polyline", { class: i === view.chosen ? "chosen" : "ghost", points: points.join(" ") });
    line.append(drawn("title", {}, `source ${sources.hyper_id[i]}`));
    line.addEventListener("click", () => choose(i));
    if (i === view.chosen) svg.append(line); else svg.prepend(line);
  }
  box.replaceChildren(element("h3", { textContent: "Spectra of all sources" }), svg, element("figcaption", { textContent: "Fluxes above 3σ. Click a line to show its source." }));
}

function drawIndices() {
  const box = $("indices"), grey = sources.grey, values = grey ? grey.temperature.filter(v => v !== null) : null, width = 560, height = 340, left = 46, right = 12, top = 12, bottom = 44;
  const sets = grey ? [["Temperatures of the grey bodies", "K", values]] : sources.pairs.map(([a, b], k) => [`${bands[a].name} to ${bands[b].name}`, "α", sources.alpha[k].filter((v, i) => v !== null && sources.alpha_error[k][i] < .5)]);
  const all = sets.flatMap(([, , list]) => list);
  const title = grey ? "Temperatures of the grey bodies" : "Spectral indices between adjacent bands";
  if (all.length < 3) { box.replaceChildren(element("h3", { textContent: title }), element("p", { className: "muted", textContent: "Too few." })); return; }
  const [low, high] = quantile(Float64Array.from(all), [.01, .99]), step = niceStep(high - low || 1, 16), first = Math.floor(low / step) * step, n = Math.max(1, Math.ceil((high - first) / step));
  const counts = sets.map(([, , list]) => { const bins = new Array(n).fill(0); for (const v of list) { const k = Math.floor((v - first) / step); if (k >= 0 && k < n) bins[k]++; } return bins; });
  const most = Math.max(1, ...counts.flat()), svg = drawn("svg", { viewBox: `0 0 ${width} ${height}` }), x = v => left + (v - first) / (n * step) * (width - left - right), y = c => height - bottom - c / (most * (sets.length > 1 ? 1.3 : 1.08)) * (height - top - bottom);
  for (const t of ticks(0, most, 4)) svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(t), y2: y(t) }), drawn("text", { x: left - 6, y: y(t) + 4, "text-anchor": "end" }, String(t)));
  const marks = ticks(first, first + n * step, 8); for (const t of marks) svg.append(drawn("text", { x: x(t), y: height - bottom + 18, "text-anchor": "middle" }, tickText(t, marks)));
  const hues = ["#1f77b4", "#17a398", "#e0a100", "#d1495b", "#8a5fbf", "#6b705c"];
  counts.forEach((bins, s) => {
    if (sets.length === 1) { bins.forEach((c, k) => svg.append(drawn("rect", { class: "fill", x: x(first + k * step) + .5, y: y(c), width: Math.max(1, (width - left - right) / n - 1), height: height - bottom - y(c) }))); return; }
    let path = `M${x(first)} ${y(0)}`; bins.forEach((c, k) => { path += `L${x(first + k * step)} ${y(c)}L${x(first + (k + 1) * step)} ${y(c)}`; });
    svg.append(drawn("path", { d: `${path}L${x(first + n * step)} ${y(0)}`, fill: "none", stroke: hues[s % hues.length], "stroke-width": 1.8 }), drawn("text", { x: left + 10, y: top + 18 + 16 * s, style: `fill: ${hues[s % hues.length]}` }, `${sets[s][0]} (${sets[s][2].length})`));
  });
  svg.append(drawn("rect", { class: "axis", x: left, y: top, width: width - left - right, height: height - top - bottom }), drawn("text", { x: (left + width) / 2, y: height - 8, "text-anchor": "middle" }, grey ? "temperature, K" : "spectral index α of F ~ ν^α"));
  box.replaceChildren(element("h3", { textContent: title }), svg, element("figcaption", { textContent: grey ? "Of all sources with enough fluxes; no colour correction is made." : "Errors below 0.5 only, number of sources in brackets; no colour correction is made." }));
}

function fillBands() {
  const head = ["Band", "Wavelength", "Beam", "Pixel", "Map", "rms", "Covered", "Detected", "Offset east", "Offset north", "Calibration"];
  const rows = byWavelength.map(b => {
    const band = bands[b], reference = b === facts.reference, offset = k => reference ? "reference" : band.offset_error[k] === null ? "–" : `${withError(band.offset[k], band.offset_error[k]).join(" ± ")}″`;
    const texts = [band.name, `${trim(band.wavelength, 4)} µm`, `${trim(band.beam.major, 3)}″ × ${trim(band.beam.minor, 3)}″`, `${trim(band.pixel_arcsec, 3)}″`, `${band.shape[1]} × ${band.shape[0]}`, `${short(band.rms, 3)} ${facts.unit}`, String(band.covered), String(band.detected), offset(0), offset(1), band.calibration_error === null ? "not given" : `${trim(100 * band.calibration_error, 3)}%`];
    return element("tr", {}, ...texts.map((text, k) => element("td", { textContent: text, className: k ? "" : "words" })));
  });
  $("band-table").replaceChildren(element("thead", {}, element("tr", {}, ...head.map((text, k) => element("th", { textContent: text, className: k ? "" : "words" })))), element("tbody", {}, ...rows));
}

async function start() {
  for (let b = 0; b < bands.length; b++) {
    const own = layers[b] = {};
    for (const kind of ["map", "model", "background", "rms"]) if (facts.layers[`${kind}_${b}`]) own[kind] = await loadLayer(`${kind}_${b}`);
  }
  makePanels(); fillTable(); fillBands(); drawIndices(); repaint(); fitView();
  choose(count ? 0 : -1, true);
  for (const [id, key] of [["layer", "layer"], ["stretch", "stretch"], ["colours", "colours"]]) $(id).addEventListener("change", event => { shades[key] = event.target.value; repaint(); if (view.chosen >= 0) drawCuts(view.chosen); });
  $("show-sources").addEventListener("change", event => { shades.sources = event.target.checked; redraw(); });
  $("show-numbers").addEventListener("change", event => { shades.numbers = event.target.checked; redraw(); });
  $("zoom-in").addEventListener("click", () => zoom(1 / 1.5)); $("zoom-out").addEventListener("click", () => zoom(1.5)); $("zoom-fit").addEventListener("click", fitView);
  $("search").addEventListener("change", event => { const i = sources.hyper_id.indexOf(+event.target.value); if (i >= 0) choose(i); });
  document.addEventListener("keydown", event => {
    if (event.target.matches("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { ArrowRight: () => stepBy(1), ArrowLeft: () => stepBy(-1), j: () => stepBy(1), k: () => stepBy(-1), z: zoomToChosen, "+": () => zoom(1 / 1.5), "-": () => zoom(1.5), 0: fitView, t: () => theme.toggle() }[event.key];
    if (action) { event.preventDefault(); action(); }
  });
  let timer = 0;
  addEventListener("resize", () => { clearTimeout(timer); timer = setTimeout(() => { redraw(); if (view.chosen >= 0) drawCuts(view.chosen); }, 60); });
  theme.onChange(() => { redraw(); });
  document.documentElement.dataset.ready = "yes";
}
start();
