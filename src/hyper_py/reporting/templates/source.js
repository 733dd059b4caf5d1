/* One source: cutouts on one scale, radial profile, numbers. */
function makeCard({ catalog, cutouts, sky, step, choose }) {
  const card = $("card");
  const unit = facts.unit, flux = facts.flux_unit;

  /* Sum of the Gaussians of some sources at a pixel, in the unit of the map. */
  function gaussians(list, x, y) {
    let sum = 0;
    for (const k of list) {
      const dx = x - catalog._x[k], dy = y - catalog._y[k], cos = Math.cos(catalog._theta[k]), sin = Math.sin(catalog._theta[k]);
      const u = (dx * cos + dy * sin) / catalog._sigma_1[k], v = (dy * cos - dx * sin) / catalog._sigma_2[k], q = u * u + v * v;
      if (q < 40) sum += catalog._amplitude[k] * Math.exp(-.5 * q);
    }
    return sum * facts.per_beam;
  }
  function neighbours(x, y, reach) {
    const list = [];
    for (let k = 0; k < catalog.n; k++) { const r = reach + 4 * catalog._sigma_1[k]; if (Math.abs(catalog._x[k] - x) < r && Math.abs(catalog._y[k] - y) < r && catalog._amplitude[k] === catalog._amplitude[k]) list.push(k); }
    return list;
  }

  function stampsOf(i) {
    const half = Math.round(Math.max(2.6 * facts.beam.fwhm_pixels, 1.6 * catalog.semi_1[i] + facts.beam.fwhm_pixels));
    const cut = cutouts(i, half), list = neighbours(catalog.px[i], catalog.py[i], half), n = cut.side * cut.side;
    const model = new Float32Array(n), residual = new Float32Array(n), own = new Float32Array(n), known = Array.from(cut.background).filter(Number.isFinite).sort((a, b) => a - b), level = known.length ? known[known.length >> 1] : 0;
    for (let y = 0, k = 0; y < cut.side; y++) for (let x = 0; x < cut.side; x++, k++) {
      model[k] = gaussians(list, cut.x0 + x * cut.bin, cut.y0 + y * cut.bin); own[k] = gaussians([i], cut.x0 + x * cut.bin, cut.y0 + y * cut.bin);
      residual[k] = cut.data[k] - model[k] - (cut.background[k] === cut.background[k] ? cut.background[k] : level);
    }
    return { ...cut, model, residual, own };
  }

  const SIGMAS = { low: -5, high: 5, stretch: "linear", colours: "diverging" };
  const found = id => document.getElementById(id);
  /* `suffix` tells the canvases of several cards apart. */
  function drawStamps(i, stamps, suffix = "") {
    const all = [["data", stamps.data], ["background", stamps.background], ["model", stamps.model]], rms = catalog.LOCAL_RMS[i];
    let low = Infinity, high = -Infinity;
    for (const [, values] of all) for (const value of values) { if (value < low) low = value; }
    for (let y = 0, k = 0; y < stamps.side; y++) for (let x = 0; x < stamps.side; x++, k++) {
      const dx = (stamps.x0 + x * stamps.bin - catalog.px[i]) / catalog.semi_1[i], dy = (stamps.y0 + y * stamps.bin - catalog.py[i]) / catalog.semi_1[i];
      if (dx * dx + dy * dy < 1 && stamps.data[k] > high) high = stamps.data[k];
    }
    if (!(high > low)) { high = Math.max(...stamps.data.filter(Number.isFinite)); if (!(high > low)) { low -= 1; high = low + 2; } }
    const paint = { low, high, stretch: "linear", colours: sky.paint.colours };
    for (const [name, values, own] of [...all.map(one => [...one, paint]), ["residual", stamps.residual.map(value => value / rms), SIGMAS]]) {
      const canvas = found(`stamp-${name}${suffix}`), small = paintValues(document.createElement("canvas"), stamps.side, stamps.side, values, own);
      const { context, width } = fitCanvas(canvas), scale = width / stamps.side;
      clear(context, width, width); context.imageSmoothingEnabled = false; context.drawImage(small, 0, 0, width, width);
      const place = (x, y) => [((x - stamps.x0) / stamps.bin + .5) * scale, width - ((y - stamps.y0) / stamps.bin + .5) * scale];
      for (const [k, style, line] of [...neighbours(catalog.px[i], catalog.py[i], stamps.side * stamps.bin / 2).filter(k => k !== i).map(k => [k, name === "residual" ? "rgb(0 0 0 / .35)" : "rgb(255 255 255 / .5)", 1]), [i, name === "residual" ? "#111" : "#5fe0fb", 1.6]]) {
        const [x, y] = place(catalog.px[k], catalog.py[k]);
        context.beginPath(); context.ellipse(x, y, catalog.semi_1[k] / stamps.bin * scale, catalog.semi_2[k] / stamps.bin * scale, -catalog.angle[k], 0, 2 * Math.PI); context.strokeStyle = style; context.lineWidth = line; context.stroke();
      }
    }
    drawScale(found(`stamp-scale${suffix}`), paint, unit); drawScale(found(`sigma-scale${suffix}`), SIGMAS, "σ");
  }
  const stampsHtml = (suffix = "") => `<div class="stamps">${["data", "background", "model", "residual"].map(name => `<figure><canvas id="stamp-${name}${suffix}"></canvas><figcaption>${name === "residual" ? "Residual ÷ noise" : name[0].toUpperCase() + name.slice(1)}</figcaption></figure>`).join("")}</div>
      <div class="scales"><canvas id="stamp-scale${suffix}"></canvas><canvas id="sigma-scale${suffix}"></canvas></div>`;

  /* Means in elliptical rings of data minus background and companions; errors for independent beams. */
  function profile(i, stamps) {
    const s1 = catalog._sigma_1[i], s2 = catalog._sigma_2[i];
    if (!(s1 > 0)) return "";
    const scale = Math.sqrt(s1 * s2) * facts.pixel_arcsec, cos = Math.cos(catalog._theta[i]), sin = Math.sin(catalog._theta[i]);
    const reach = Math.min(5.5, (stamps.side / 2 - .5) * stamps.bin / s2), width = Math.max(.35, 1 / Math.sqrt(s1 * s2)), rings = [];
    for (let y = 0, k = 0; y < stamps.side; y++) for (let x = 0; x < stamps.side; x++, k++) {
      const dx = stamps.x0 + x * stamps.bin - catalog._x[i], dy = stamps.y0 + y * stamps.bin - catalog._y[i];
      const r = Math.hypot((dx * cos + dy * sin) / s1, (dy * cos - dx * sin) / s2), value = stamps.residual[k] + stamps.own[k];
      if (r > reach || value !== value) continue;
      const ring = rings[Math.floor(r / width)] ||= { n: 0, r: 0, sum: 0 };
      ring.n++; ring.r += r; ring.sum += value;
    }
    const rms = catalog.LOCAL_RMS[i], points = rings.filter(ring => ring).map(ring => ({ x: ring.r / ring.n * scale, y: ring.sum / ring.n, e: rms / Math.sqrt(Math.max(1, ring.n * stamps.bin ** 2 / facts.beam.area_pixels)) }));
    const peak = catalog._amplitude[i] * facts.per_beam, curve = [], beam = [], beamSigma = facts.beam.fwhm_pixels / facts.fwhm_per_sigma * facts.pixel_arcsec;
    for (let k = 0; k <= 80; k++) { const r = k / 80 * reach * scale; curve.push([r, peak * Math.exp(-.5 * (r / scale) ** 2)]); beam.push([r, peak * Math.exp(-.5 * (r / beamSigma) ** 2)]); }
    const radius = Math.sqrt(catalog.semi_1[i] * catalog.semi_2[i]) * facts.pixel_arcsec;
    const legend = rows => rows.map(([kind, text], k) => `<g transform="translate(318 ${14 + 15 * k})">${kind === "dot" ? '<line class="error" x1="10" x2="10" y1="-8" y2="4"/><circle class="dot" cx="10" cy="-2" r="2.6"/>' : `<line class="${kind}" x1="0" x2="20" y1="-2" y2="-2"/>`}<text x="26" y="2">${text}</text></g>`).join("");
    return plot({
      width: 520, height: 230, x: [0, reach * scale], y: [Math.min(0, ...points.map(p => p.y - p.e)) - .06 * peak, Math.max(peak, ...points.map(p => p.y + p.e)) * 1.08], xLabel: "radius (″, geometric mean of the axes)", yLabel: unit,
      draw: ({ sx, sy, line }) => line(curve, "line") + line(beam, "dash") + `<line class="axis" x1="${sx(0)}" x2="${sx(reach * scale)}" y1="${sy(0)}" y2="${sy(0)}"/>`
        + (radius < reach * scale ? `<line class="second" x1="${sx(radius)}" x2="${sx(radius)}" y1="${sy.top}" y2="${sy.bottom}"/>` : "")
        + legend([["dot", "data, with errors"], ["line", "fitted Gaussian"], ["dash", "the beam, same peak"], ["second", "aperture"]])
        + points.map(p => `<line class="error" x1="${sx(p.x)}" x2="${sx(p.x)}" y1="${sy(p.y - p.e)}" y2="${sy(p.y + p.e)}"/><circle class="dot" cx="${sx(p.x)}" cy="${sy(p.y)}" r="2.6"/>`).join(""),
    });
  }

  const row = (name, value, error, unitOf) => { const [v, e] = withError(value, error); return `<tr><td>${name}</td><td>${v}${e ? ` <span class="unit">±</span> ${e}` : ""} <span class="unit">${unitText(unitOf)}</span></td></tr>`; };

  function numbers(i) {
    const c = catalog, unresolved = !(c.DECONV_FWHM_1[i] > 0);
    return `<table class="numbers"><tbody>
      ${row("Flux", c.FLUX[i], c.FLUX_ERR[i], flux)}${row("Peak", c.FLUX_PEAK[i], c.FLUX_PEAK_ERR[i], unit)}${row("Gaussian flux", c.FLUX_GAUSS[i], c.FLUX_GAUSS_ERR[i], flux)}
      ${row("FWHM, major", c.FWHM_1[i], c.FWHM_1_ERR[i], "″")}${row("FWHM, minor", c.FWHM_2[i], c.FWHM_2_ERR[i], "″")}${row("Position angle", c.PA[i], c.PA_ERR[i], "°")}
      ${unresolved ? row("Deconvolved, 3σ limit", c.DECONV_ULIM[i], NaN, "″") : row("Deconvolved, major", c.DECONV_FWHM_1[i], c.DECONV_FWHM_1_ERR[i], "″")}
      ${row("Signal to noise", c.SNR[i], NaN, "")}${row("Local noise", c.LOCAL_RMS[i], NaN, unit)}
      <tr><td>Group</td><td>${c.CLUSTER[i] > 1 ? `${c.CLUSTER[i]} sources` : "alone"}</td></tr></tbody></table>`;
  }

  function everything(i) {
    const rows = facts.columns.filter(column => column.place !== undefined).sort((a, b) => a.place - b.place).map(({ name, unit: unitOf, text }) => `<tr title="${text}"><td><code>${name}</code></td><td>${short(catalog[name][i], 6)} <span class="unit">${unitText(unitOf)}</span></td></tr>`);
    return `<details><summary>All columns</summary><table class="numbers">${rows.join("")}</table></details>`;
  }

  function flagList(i) {
    const set = facts.flags.filter(flag => catalog.FLAGS[i] & flag.bit).sort((a, b) => a.remark - b.remark);
    return set.length ? `<ul class="flags">${set.map(flag => `<li${flag.remark ? "" : ' class="call"'}>${flag.text}</li>`).join("")}</ul>` : "";
  }

  function overview() {
    const n = catalog.n, flagged = catalog.calls.reduce((sum, call) => sum + (call ? 1 : 0), 0), groups = new Set();
    for (let i = 0; i < n; i++) if (catalog.CLUSTER[i] > 1) groups.add(catalog._group[i]);
    card.innerHTML = `<div class="head"><h2>${n} source${n === 1 ? "" : "s"}</h2></div><p class="place screen">${n ? "Click one in the map or in the table, or press →." : "No source above the threshold."}</p>
      <dl class="facts"><dt>In groups</dt><dd>${groups.size ? `${catalog.CLUSTER.reduce((sum, size) => sum + (size > 1 ? 1 : 0), 0)} sources in ${groups.size} group${groups.size === 1 ? "" : "s"}` : "none"}</dd><dt>To check</dt><dd>${flagged || "none"}</dd>
      <dt>Noise</dt><dd>${short(facts.noise.typical)} ${unit}</dd><dt>Threshold</dt><dd>${thresholdText}</dd>
      <dt>Beam</dt><dd>${short(facts.beam.major)}″ × ${short(facts.beam.minor)}″, ${facts.beam.pa.toFixed(0)}°</dd><dt>Pixel</dt><dd>${short(facts.pixel_arcsec)}″</dd></dl>`;
    const by = name => Array.from({ length: n }, (_, i) => i).sort((a, b) => (catalog[name][b] || 0) - (catalog[name][a] || 0)), bySnr = by("SNR");
    gallery("Brightest (flux)", by("FLUX").slice(0, 6)); if (n > 6) gallery("Highest S/N", bySnr.slice(0, 6)); gallery("To check", bySnr.filter(i => catalog.calls[i]).slice(0, 6)); gallery("Lowest S/N", bySnr.slice(6).slice(-6).reverse());
  }

  /* A row of small pictures that lead to their sources, each on its own scale. */
  function gallery(title, list) {
    if (!list.length) return;
    const part = document.createElement("div");
    part.className = "gallery"; part.innerHTML = `<h3>${title}</h3><div></div>`;
    for (const i of list) {
      const button = document.createElement("button"), canvas = document.createElement("canvas"), cut = cutouts(i, Math.round(2.6 * facts.beam.fwhm_pixels)), good = cut.data.filter(Number.isFinite).sort();
      if (!good.length) continue;
      paintValues(canvas, cut.side, cut.side, cut.data, { low: good[0], high: good[good.length - 1], stretch: "linear", colours: sky.paint.colours });
      button.append(canvas, `${catalog.HYPER_ID[i]}`); button.title = `Source ${catalog.HYPER_ID[i]}, S/N ${short(catalog.SNR[i], 3)}`;
      button.addEventListener("click", () => choose(i, { move: true }));
      part.lastElementChild.append(button);
    }
    card.append(part);
  }

  function show(i) {
    if (i < 0) { overview(); return; }
    const open = card.querySelector("details")?.open, id = catalog.HYPER_ID[i];
    card.innerHTML = `<div class="head"><h2>Source ${id}</h2>${facts.flags.filter(flag => catalog.FLAGS[i] & flag.bit && !flag.remark).map(flag => `<span class="tag call">${flag.name}</span>`).join("")}<span class="group"><button id="previous" title="Previous (←)" aria-label="Previous source">←</button><button id="next" title="Next (→)" aria-label="Next source">→</button></span></div>
      <p class="place">${skyText(catalog.RA[i], catalog.DEC[i])} · x ${catalog.X[i].toFixed(2)} y ${catalog.Y[i].toFixed(2)}</p>
      ${stampsHtml()}<p class="muted small" id="stamp-note" hidden>Hatched: no background was estimated there; the residual uses its median.</p><div id="profile"></div>${numbers(i)}${flagList(i)}${everything(i)}`;
    if (open) card.querySelector("details").open = true;
    $("previous").addEventListener("click", () => step(-1)); $("next").addEventListener("click", () => step(1));
    const stamps = stampsOf(i);
    drawStamps(i, stamps);
    $("stamp-note").hidden = stamps.background.every(Number.isFinite);
    $("profile").innerHTML = profile(i, stamps);
  }
  /* Cards of several sources, to print: one below another. */
  function cards(list) {
    const box = $("cards");
    box.innerHTML = list.map(i => `<div class="panel printed"><h3>Source ${catalog.HYPER_ID[i]} <span class="muted">${skyText(catalog.RA[i], catalog.DEC[i])}</span></h3><div>${stampsHtml(`-${i}`)}</div><div class="side"><div class="printed-profile">${profile(i, stampsOf(i))}</div>${numbers(i)}</div>${flagList(i)}</div>`).join("");
    for (const i of list) drawStamps(i, stampsOf(i), `-${i}`);
  }
  return { show, cards };
}
