/* Plain SVG: axes, lines and bars. */
function plot({ width = 360, height = 220, x, y, xLabel, yLabel, draw, xTicks, yTicks, xText, yText, left = 52 }) {
  const right = width - 12, top = 10, bottom = height - 40;
  const sx = value => left + (value - x[0]) / (x[1] - x[0] || 1) * (right - left), sy = value => bottom - (value - y[0]) / (y[1] - y[0] || 1) * (bottom - top);
  sy.top = top; sy.bottom = bottom;
  const line = (points, kind) => `<polyline class="${kind}" points="${points.map(([a, b]) => `${sx(a).toFixed(1)},${sy(b).toFixed(1)}`).join(" ")}"/>`;
  const across = xTicks || ticks(x[0], x[1], 6), up = yTicks || ticks(y[0], y[1], 4);
  return `<svg viewBox="0 0 ${width} ${height}" role="img">`
    + up.map(value => `<line class="axis" x1="${left}" x2="${right}" y1="${sy(value)}" y2="${sy(value)}" opacity=".6"/><text x="${left - 7}" y="${sy(value) + 4}" text-anchor="end">${yText ? yText(value) : tickText(value, up)}</text>`).join("")
    + draw({ sx, sy, line })
    + `<line class="axis" x1="${left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`
    + across.map(value => `<text x="${sx(value)}" y="${bottom + 16}" text-anchor="middle">${xText ? xText(value) : tickText(value, across)}</text>`).join("")
    + `<text x="${(left + right) / 2}" y="${height - 5}" text-anchor="middle">${xLabel}</text><text transform="translate(12 ${(top + bottom) / 2}) rotate(-90)" text-anchor="middle">${yLabel}</text></svg>`;
}

const powerText = value => { const e = Math.round(Math.log10(value)); return Math.abs(e) <= 3 ? String(+value.toPrecision(1)) : `1e${e}`; };

/* Histogram of a column, by equal steps of its logarithm; a click on a bar searches for its sources. */
function histogram(figure, { title, column, values, unit, mark, markText, note, search }) {
  const good = Array.from(values).filter(value => value > 0 && Number.isFinite(value)), rest = values.length - good.length;
  const head = `<h3>${title}</h3>`;
  if (!good.length) { figure.innerHTML = `${head}<figcaption>Nothing was measured.</figcaption>`; return; }
  let low = Math.log10(good.reduce((a, b) => Math.min(a, b))), high = Math.log10(good.reduce((a, b) => Math.max(a, b)));
  if (high - low < .05) { low -= .05; high += .05; }
  const n = Math.max(8, Math.min(36, Math.round(1.6 * Math.sqrt(good.length)))), step = (high - low) / n, counts = new Array(n).fill(0);
  for (const value of good) counts[Math.min(n - 1, Math.max(0, Math.floor((Math.log10(value) - low) / step)))]++;
  const most = Math.max(...counts), marks = (high - low > .8 ? [1, 2, 5] : high - low > .25 ? [1, 1.5, 2, 3, 4, 5, 7] : Array.from({ length: 90 }, (_, k) => 1 + k / 10)).flatMap(m => Array.from({ length: 24 }, (_, k) => m * 10 ** (k - 12))).sort((a, b) => a - b);
  const shown = marks.filter(value => Math.log10(value) >= low && Math.log10(value) <= high), thin = Math.ceil(shown.length / 6), xTicks = (high - low > .8 && shown.length > 8 ? shown.filter(value => /^1/.test(value.toExponential())) : shown.filter((_, k) => k % thin === 0)).map(Math.log10);
  figure.innerHTML = head + plot({
    width: Math.max(240, figure.clientWidth - 34), x: [low, high], y: [0, most * 1.06], yTicks: ticks(0, most * 1.06, 4).filter(Number.isInteger), xLabel: unit, yLabel: "sources", xTicks, xText: value => { const v = 10 ** value; return Math.abs(value) > 4 ? v.toExponential(0) : String(+v.toPrecision(2)); },
    draw: ({ sx, sy }) => counts.map((count, k) => `<rect class="fill hit" data-low="${10 ** (low + k * step)}" data-high="${10 ** (low + (k + 1) * step)}" x="${sx(low + k * step) + .6}" width="${Math.max(sx(low + step) - sx(low) - 1.2, .8)}" y="${sy(count)}" height="${sy.bottom - sy(count)}"><title>${count}: ${short(10 ** (low + k * step), 3)} to ${short(10 ** (low + (k + 1) * step), 3)}</title></rect>`).join("")
      + (mark > 0 && Math.log10(mark) > low && Math.log10(mark) < high ? `<line class="second" x1="${sx(Math.log10(mark))}" x2="${sx(Math.log10(mark))}" y1="${sy.top}" y2="${sy.bottom}"/><text x="${sx(Math.log10(mark)) + 5}" y="${sy.top + 10}">${markText}</text>` : ""),
  }) + `<figcaption>${note}${rest ? ` ${rest} without a positive value.` : ""}</figcaption>`;
  figure.querySelectorAll("rect.hit").forEach(bar => bar.addEventListener("click", () => search(`${column} >= ${(+bar.dataset.low).toPrecision(5)} ${column} < ${(+bar.dataset.high).toPrecision(5)}`)));
}

function median(values) {
  const good = Array.from(values).filter(Number.isFinite).sort((a, b) => a - b), half = good.length >> 1;
  return good.length ? (good.length % 2 ? good[half] : .5 * (good[half - 1] + good[half])) : NaN;
}

function drawStatistics(catalog, search) {
  const size = catalog.FWHM_GEOM, beam = Math.sqrt(facts.beam.major * facts.beam.minor);
  histogram($("hist-flux"), { title: "Flux", column: "FLUX", values: catalog.FLUX, unit: `flux (${facts.flux_unit})`, note: `Median ${short(median(catalog.FLUX), 3)} ${facts.flux_unit}.`, search });
  histogram($("hist-size"), { title: "Size", column: "FWHM_GEOM", values: size, unit: "FWHM, geometric mean (″)", mark: beam, markText: "beam", note: `Median ${short(median(size) / beam, 3)} beams.`, search });
  histogram($("hist-snr"), { title: "Signal to noise", column: "SNR", values: catalog.SNR, unit: facts.method === "matched" ? "significance in the filtered map" : "peak over local rms", mark: facts.threshold, markText: "threshold", note: `Median ${short(median(catalog.SNR), 3)}; threshold ${facts.threshold}.`, search });
  const rows = facts.flags.map(flag => ({ ...flag, count: catalog.FLAGS.reduce((sum, value) => sum + (value & flag.bit ? 1 : 0), 0) })).filter(flag => flag.count).sort((a, b) => b.count - a.count);
  const free = catalog.FLAGS.reduce((sum, value) => sum + (value ? 0 : 1), 0), width = Math.max(240, $("flag-counts").clientWidth - 34), room = width - 220, most = Math.max(1, ...rows.map(row => row.count));
  $("flag-counts").innerHTML = `<h3>Flags</h3>${rows.length ? `<svg viewBox="0 0 ${width} ${rows.length * 24 + 6}" role="img">${rows.map((row, k) => `<text x="150" y="${k * 24 + 17}" text-anchor="end">${row.name}</text><rect class="fill hit" data-word="${row.name}" x="158" y="${k * 24 + 5}" height="16" rx="3" width="${Math.max(room * row.count / most, 2)}"><title>${row.text}</title></rect><text x="${166 + room * row.count / most}" y="${k * 24 + 17}">${row.count}</text>`).join("")}</svg>` : ""}<figcaption>${free === catalog.n ? "No source has a flag." : `${free} of ${catalog.n} sources have no flag.`}</figcaption>`;
  $("flag-counts").querySelectorAll("rect").forEach(bar => bar.addEventListener("click", () => search(`"${bar.dataset.word}"`)));
}

function drawNoise(layers, paint) {
  const noise = facts.noise, figure = $("noise-map");
  if (layers.has("rms")) {
    figure.innerHTML = `<h3>Noise map</h3><canvas></canvas><canvas style="height:36px" id="noise-scale"></canvas><figcaption>Local rms, ${short(noise.lowest, 3)} to ${short(noise.highest, 3)} ${facts.unit}.</figcaption>`;
    const layer = layers.get("rms"), own = { low: noise.lowest, high: noise.highest, stretch: noise.highest > 5 * noise.lowest ? "log" : "linear", colours: paint.colours };
    paintValues(figure.querySelector("canvas"), layer.nx, layer.ny, layer.values, own); drawScale($("noise-scale"), own, facts.unit);
  } else figure.innerHTML = `<h3>Noise level</h3><p style="font-size:34px;letter-spacing:-.02em;margin:14px 0 4px">${short(noise.typical)} <span class="muted" style="font-size:17px">${facts.unit}</span></p><figcaption>One rms for the whole map. <code>detection.rms_map: local</code> measures it locally.</figcaption>`;
  const p = facts.pixels, at = k => p.low + (k + .5) * p.width, total = p.map.reduce((a, b) => a + b, 0), floor = .5;
  const steps = counts => { const points = []; counts.forEach((count, k) => { const v = Math.log10(Math.max(count, floor)); points.push([p.low + k * p.width, v], [p.low + (k + 1) * p.width, v]); }); return points; };
  const bell = p.map.map((_, k) => [at(k), Math.log10(Math.max(total * p.width / Math.sqrt(2 * Math.PI) * Math.exp(-.5 * at(k) ** 2), floor))]).filter(([, v]) => v > Math.log10(floor));
  const top = Math.log10(Math.max(...p.map, ...p.residual, 10)) + .2;
  $("noise-pixels").innerHTML = `<h3>Pixels</h3>` + plot({ width: 460, height: 250, x: [p.low, p.high], y: [Math.log10(floor), top], xLabel: "(value − mean) / rms", yLabel: "pixels", yTicks: [0, 1, 2, 3, 4, 5, 6].filter(v => v < top), yText: value => powerText(10 ** value), draw: ({ line }) => line(bell, "dash") + line(steps(p.map), "second") + line(steps(p.residual), "line") })
    + `<figcaption><span style="color:var(--warn)">Map</span> and <span style="color:var(--accent)">map minus model</span>; dashed: Gaussian of the rms.</figcaption>`;
  const rows = [["rms", `${short(noise.typical)} ${facts.unit}${noise.kind === "local" ? " (median)" : ""}`], ["Mean of the map", `${short(noise.mean)} ${facts.unit}`], ["rms without sources", p.residual_rms ? `${short(p.residual_rms * noise.typical)} ${facts.unit}` : "–"], ["Threshold", thresholdText], ["Noise model of the fit", noise.model], ["Blank pixels", `${(100 * facts.blank_share).toFixed(1)}%`], ["Independent beams", Math.round(facts.n_beams).toLocaleString("en")], ["Beam", `${short(facts.beam.major)}″ × ${short(facts.beam.minor)}″, ${facts.beam.pa.toFixed(1)}° (${facts.beam.source})`], ["Pixel", `${short(facts.pixel_arcsec)}″, ${short(facts.beam.area_pixels)} in a beam`], ["Unit of the file", facts.file_unit]];
  $("noise-facts").innerHTML = rows.map(([name, value]) => `<dt>${name}</dt><dd></dd>`).join("");
  $("noise-facts").querySelectorAll("dd").forEach((cell, k) => { cell.textContent = rows[k][1]; });
}
