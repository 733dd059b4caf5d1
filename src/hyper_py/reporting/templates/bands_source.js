/* One source in all bands: cutouts, numbers, spectrum. */
const element = (tag, attributes = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children);
  return node;
};
const SVG = "http://www.w3.org/2000/svg";
function drawn(tag, attributes = {}, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

const KINDS = [["clean", "map − background"], ["model", "model"], ["residual", "residual, σ"]];
const largestBeam = Math.max(...bands.map(band => band.beam.major));
const cutSides = [.5, 1, 2, 4].map(f => { const side = 3.2 * f * largestBeam, unit = side > 100 ? 30 : side > 20 ? 10 : 10 ** Math.floor(Math.log10(side)); return Math.max(1, Math.round(side / unit)) * unit; });
const cutState = { side: cutSides[1] };

/* Level under a source beyond the background layer, which many fits do not need; and the scatter around it. */
const levelAt = (b, i) => bands[b].has_background || inBand("background", b, i) === null ? 0 : inBand("background", b, i) - bands[b].level;
function scatterAt(b, i) {
  const { nx, ny, values, bin } = grid(b, "residual"), [x, y] = toPixel(b, sources.east[i], sources.north[i]).map(v => (v + .5) / bin), half = cutState.side / 2 / bands[b].pixel_arcsec / bin, some = [];
  for (let j = Math.max(0, Math.floor(y - half)); j < Math.min(ny, y + half); j++) for (let k = Math.max(0, Math.floor(x - half)); k < Math.min(nx, x + half); k++) { const v = values[j * nx + k]; if (v === v) some.push(Math.abs(v * bands[b].rms - levelAt(b, i))); }
  some.sort((a, c) => a - c);
  return some.length ? 1.4826 * some[some.length >> 1] : bands[b].rms;
}

function drawCuts(i) {
  const where = { east: sources.east[i], north: sources.north[i] };
  for (const { canvas, b, kind } of cutCanvases) {
    const scale = cutState.side / (canvas.clientWidth || 120), place = { ...where, scale };
    let paint = { low: -SIGMAS, high: SIGMAS, table: DIVERGING };
    if (kind !== "residual") {
      const scatter = scatterAt(b, i), peak = Math.max(inBand("peak", b, i) || 0, 6 * scatter);
      paint = { low: -Math.min(2 * scatter, peak / 4), high: 1.05 * peak, table: colourTable({ stretch: shades.stretch === "log" ? "asinh" : shades.stretch, colours: shades.colours }) };
    }
    const shift = kind === "model" ? 0 : levelAt(b, i) / (kind === "residual" ? bands[b].rms : 1);
    const { context, width, height } = paintSky(canvas, b, kind, place, paint, shift);
    for (let k = 0; k < count; k++) {
      if (!inBand("seen", b, k) || Math.hypot(sources.east[k] - where.east, sources.north[k] - where.north) > cutState.side) continue;
      if (kind === "clean" || k === i) {
        if (!outline(context, b, k, place, width, height)) continue;
        context.strokeStyle = k === i ? (kind === "residual" ? "#111" : "#ffd54a") : "rgb(92 214 240 / .7)"; context.lineWidth = k === i ? 1.6 : 1; context.stroke();
      } else if (kind === "model") {
        const [x, y] = onScreen(place, width, height, sources.east[k], sources.north[k]);
        context.fillStyle = "rgb(92 214 240 / .8)"; context.fillRect(x - 1.5, y - 1.5, 3, 3);
      }
    }
    if (kind === "clean") drawBeam(context, b, place, height);
    if (kind === "clean" && b === byWavelength[bands.length - 1]) drawBar(context, place, width, height);
  }
}
let cutCanvases = [];

function cutouts(i) {
  const box = element("div", { className: "cuts" });
  box.style.gridTemplateColumns = `20px repeat(${bands.length}, minmax(0, 1fr))`;
  cutCanvases = [];
  box.append(element("span"), ...byWavelength.map(b => element("div", { className: "band", textContent: bands[b].name })));
  for (const [kind, text] of KINDS) {
    box.append(element("div", { className: "what", textContent: text }));
    for (const b of byWavelength) { const canvas = element("canvas"); canvas.setAttribute("aria-label", `${text}, ${bands[b].name}`); box.append(canvas); cutCanvases.push({ canvas, b, kind }); }
  }
  box.append(element("span"));
  for (const b of byWavelength) {
    const flux = inBand("flux", b, i), error = inBand("error", b, i), strong = detected(b, i);
    const cell = element("div", { className: strong ? "flux" : "flux limit" });
    if (!inBand("seen", b, i)) cell.append("not covered");
    else { const [value, err] = withError(flux, error); cell.append(`${value} ± ${err}`, element("small", { textContent: strong ? `S/N ${short(flux / error, 3)}` : `below ${short(inBand("limit", b, i), 3)}` })); }
    box.append(cell);
  }
  const scale = element("canvas"), choice = element("select", { ariaLabel: "Side of the cutouts" });
  for (const side of cutSides) choice.append(element("option", { value: side, textContent: `${trim(side, 3)}″`, selected: side === cutState.side }));
  choice.addEventListener("change", () => { cutState.side = +choice.value; drawCuts(i); });
  const low = element("div", { className: "cut-scale" }, `${facts.flux_unit} · residual −${SIGMAS}σ`, scale, `+${SIGMAS}σ of noise and background`, element("span", { className: "grow" }), "side ", choice);
  requestAnimationFrame(() => { const { context, width, height } = fitCanvas(scale); for (let x = 0; x < width; x++) { const c = DIVERGING[Math.round(x / (width - 1) * 4095)]; context.fillStyle = `rgb(${c & 255},${c >> 8 & 255},${c >> 16 & 255})`; context.fillRect(x, 0, 1.5, height); } });
  return element("div", {}, box, low);
}

/* Axes of a spectrum: wavelength and flux, both logarithmic. */
function spectrumFrame(low, high, width = 470, height = 330) {
  const wavelengths = bands.map(band => band.wavelength), w0 = Math.min(...wavelengths) / 1.25, w1 = Math.max(...wavelengths) * 1.25;
  const left = 64, right = 12, top = 12, bottom = 44, svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const x = w => left + Math.log(w / w0) / Math.log(w1 / w0) * (width - left - right), y = f => height - bottom - Math.log(Math.max(f, low * 1e-3) / low) / Math.log(high / low) * (height - top - bottom);
  for (let p = Math.ceil(Math.log10(low) - 1e-9); p <= Math.log10(high) + 1e-9; p++) {
    svg.append(drawn("line", { class: "grid", x1: left, x2: width - right, y1: y(10 ** p), y2: y(10 ** p) }), drawn("text", { x: left - 7, y: y(10 ** p) + 4, "text-anchor": "end" }, p >= -3 && p < 6 ? String(+(10 ** p).toPrecision(2)) : `1e${p}`));
    for (const m of [2, 3, 4, 5, 6, 7, 8, 9]) { const v = m * 10 ** p; if (v > low && v < high) svg.append(drawn("line", { class: "axis", x1: left, x2: left + 4, y1: y(v), y2: y(v) })); }
  }
  const named = [...new Set(wavelengths)].sort((a, b) => a - b);
  let edge = -1e9;
  for (const w of named) {
    svg.append(drawn("line", { class: "axis", x1: x(w), x2: x(w), y1: height - bottom, y2: height - bottom + 5 }));
    if (x(w) - edge > 34) { svg.append(drawn("text", { x: x(w), y: height - bottom + 18, "text-anchor": "middle" }, trim(w, 3))); edge = x(w); }
  }
  svg.append(drawn("rect", { class: "axis", x: left, y: top, width: width - left - right, height: height - top - bottom }));
  svg.append(drawn("text", { x: (left + width - right) / 2, y: height - 8, "text-anchor": "middle" }, "wavelength, µm"), drawn("text", { x: 14, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 14 ${(top + height - bottom) / 2})` }, `flux, ${facts.flux_unit}`));
  return { svg, x, y, w0, w1, floor: height - bottom };
}
const greyBody = (w, temperature, beta) => { const c = 14387.768775; return (250 / w) ** (3 + beta) * Math.expm1(c / (250 * temperature)) / Math.expm1(c / (w * temperature)); };

function lineOf(i, x, y, low) {
  const points = byWavelength.filter(b => inBand("seen", b, i) && inBand("flux", b, i) > low * .2).map(b => `${x(bands[b].wavelength).toFixed(1)},${y(inBand("flux", b, i)).toFixed(1)}`);
  return points.length > 1 ? points.join(" ") : null;
}

function spectrum(i) {
  const tops = [], bottoms = [];
  for (const b of byWavelength) {
    if (!inBand("seen", b, i)) continue;
    const flux = inBand("flux", b, i), error = inBand("error", b, i), limit = inBand("limit", b, i);
    tops.push(detected(b, i) ? flux + error : limit); bottoms.push(detected(b, i) ? Math.max(flux - error, flux / 3) : limit / 2.5);
  }
  const grey = sources.grey, hasGrey = grey && grey.temperature[i] !== null;
  if (!tops.length) return element("p", { className: "muted", textContent: "No band covers this source." });
  const low = 10 ** (Math.floor(Math.log10(Math.min(...bottoms)) * 3 - .3) / 3), high = 10 ** (Math.ceil(Math.log10(Math.max(...tops)) * 3 + .3) / 3);
  const { svg, x, y, w0, w1, floor } = spectrumFrame(low, Math.max(high, low * 10));
  const clip = `clip-${i}`, frame = drawn("clipPath", { id: clip });
  frame.append(drawn("rect", { x: 56, y: 12, width: 402, height: floor - 12 })); svg.append(frame);
  const inside = drawn("g", { "clip-path": `url(#${clip})` }); svg.append(inside);
  const other = sources.neighbour[i] - 1;
  if (other >= 0) { const points = lineOf(other, x, y, low); if (points) inside.append(drawn("polyline", { class: "other", points })); }
  if (hasGrey) {
    const points = [];
    for (let k = 0; k <= 90; k++) { const w = w0 * (w1 / w0) ** (k / 90); points.push(`${x(w).toFixed(1)},${y(grey.amplitude[i] * greyBody(w, grey.temperature[i], grey.beta[i])).toFixed(1)}`); }
    inside.append(drawn("polyline", { class: "grey", points: points.join(" ") }));
  }
  for (const b of byWavelength) {
    if (!inBand("seen", b, i)) continue;
    const flux = inBand("flux", b, i), error = inBand("error", b, i), px = x(bands[b].wavelength);
    if (detected(b, i)) inside.append(drawn("line", { class: "bars", x1: px, x2: px, y1: y(flux + error), y2: y(Math.max(flux - error, low * .01)) }), drawn("circle", { class: "point", cx: px, cy: y(flux), r: 4 }));
    else {
      const py = y(inBand("limit", b, i));
      inside.append(drawn("path", { class: "limit", d: `M${px - 7} ${py}h14M${px} ${py}v22m-4 -6l4 6l4 -6` }));
      if (flux > low) inside.append(drawn("circle", { class: "limit", cx: px, cy: y(flux), r: 2.6 }), drawn("line", { class: "limit", x1: px, x2: px, y1: y(flux + error), y2: y(Math.max(flux - error, low * .01)), "stroke-opacity": .5 }));
    }
  }
  const words = ["Points: fluxes above 3σ, with 1σ errors; arrows: 3σ upper limits, with the measured flux below them"];
  if (hasGrey) words.push("line: grey body");
  if (other >= 0) words.push(`dashed: neighbour ${sources.neighbour[i]}`);
  return element("figure", { style: "margin:0" }, svg, element("figcaption", { textContent: `${words.join("; ")}.` }));
}

function numbers(i) {
  const rows = element("tbody"), add = (...cells) => rows.append(element("tr", {}, ...cells.map((text, k) => element("td", { textContent: text, className: k ? "" : "words" }))));
  byWavelength.forEach((b, k) => {
    if (!inBand("seen", b, i)) { add(bands[b].name, "not covered", "", "", "", ""); return; }
    const [value, error] = withError(inBand("flux", b, i), inBand("error", b, i)), pair = sources.pairs.findIndex(([first]) => first === b);
    const alpha = pair >= 0 && sources.alpha[pair][i] !== null ? withError(sources.alpha[pair][i], sources.alpha_error[pair][i]).join(" ± ") : "–";
    add(bands[b].name, `${value} ± ${error}`, short(inBand("flux", b, i) / inBand("error", b, i), 3), alpha, short(inBand("correlation", b, i), 2), short(inBand("misfit", b, i), 2));
  });
  const head = ["Band", `Flux, ${facts.flux_unit}`, "S/N", "α to the next", "Correlation", "Shape, σ"];
  return element("table", { className: "list plain numbers-of" }, element("thead", {}, element("tr", {}, ...head.map((text, k) => element("th", { textContent: text, className: k ? "" : "words" })))), rows);
}

function showCard(i) {
  const card = $("card");
  if (i < 0) { card.replaceChildren(element("p", { className: "muted", textContent: count ? "Click a source in a map or in the table." : "No source was found." })); cutCanvases = []; return; }
  const size = !sources.unresolved[i] ? `intrinsic FWHM ${withError(sources.deconv_fwhm_1[i], sources.deconv_fwhm_1_err[i]).join(" ± ")}″ × ${sources.deconv_fwhm_2[i] > 0 ? short(sources.deconv_fwhm_2[i], 3) : "0"}″` : `unresolved, below ${short(sources.deconv_ulim[i], 3)}″`;
  const parts = [skyText(sources.ra[i], sources.dec[i]), `± ${short(Math.max(sources.ra_err[i], sources.dec_err[i]), 2)}″`, size, sources.snr[i] === null ? "position given" : `significance ${short(sources.snr[i], 3)}`];
  if (sources.cluster[i] > 1) parts.push(`fitted with ${sources.cluster[i] - 1} other${sources.cluster[i] > 2 ? "s" : ""}`);
  const grey = sources.grey;
  if (grey && grey.temperature[i] !== null) parts.push(`T = ${withError(grey.temperature[i], grey.temperature_err[i]).join(" ± ")} K, β = ${short(grey.beta[i], 3)}`);
  const back = element("button", { textContent: "←", title: "Previous source" }), next = element("button", { textContent: "→", title: "Next source" }), near = element("button", { textContent: "Zoom", title: "Zoom to the source (z)" });
  back.addEventListener("click", () => stepBy(-1)); next.addEventListener("click", () => stepBy(1)); near.addEventListener("click", zoomToChosen);
  const head = element("div", { className: "head" }, element("h2", { textContent: `Source ${sources.hyper_id[i]}` }), element("span", { className: "muted", textContent: parts.join(" · ") }), element("span", { className: "group" }, back, next, near));
  const flags = element("ul", { className: "flags" });
  for (const { bit, text, remark } of facts.flags) if (sources.flags[i] & bit) flags.append(element("li", { textContent: text, className: remark ? "" : "call" }));
  const right = element("div", {}, spectrum(i), numbers(i), flags);
  card.replaceChildren(element("div", { className: "source-card" }, head, cutouts(i), right));
  requestAnimationFrame(() => drawCuts(i));
}
