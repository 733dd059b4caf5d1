/* The page of a cube: moment map and channels, spectra of the sources, position and velocity. */
async function showCube() {
  const loaded = { planes: await loadLayer("planes"), moment: await loadLayer("moment") }, n = facts.n_channels, bin = facts.binning;
  const nx = loaded.moment.nx, ny = loaded.moment.ny, size = nx * ny, [fullY, fullX] = facts.shape, sources = facts.sources;
  const plane = k => ({ nx, ny, values: loaded.planes.values.subarray(k * size, (k + 1) * size) });
  const axis = facts.spectral, isHz = axis.unit === "Hz", values = axis.values.map((value, k) => value === null ? null : isHz ? value / 1e9 : value), hasAxis = values.filter(value => value !== null).length > 1;
  const plain = text => String(text ?? "").replace(/[<>&"]/g, ""), axisUnit = isHz ? "GHz" : plain(axis.unit).replace(/ /g, ""), axisName = { FREQUENCY: "frequency", VELOCITY: "velocity", WAVELENGTH: "wavelength" }[axis.name] || plain(axis.name).toLowerCase();
  const at = k => hasAxis && values[k] !== null ? values[k] : k + 1, channelText = k => `channel ${k + 1} of ${n}${hasAxis && values[k] !== null ? ` · ${+values[k].toPrecision(7)} ${axisUnit}` : ""}`, axisLabel = hasAxis ? `${axisName} (${axisUnit})` : "channel";
  const state = { channel: 0, moment: true, source: sources.length ? 0 : -1, timer: 0 };
  const canvas = $("map"), overlay = $("overlay"), picture = document.createElement("canvas"), view = { x: (fullX - 1) / 2, y: (fullY - 1) / 2, scale: 1, width: 1, height: 1 };
  const axes = { left: parseInt(getComputedStyle(canvas).left), bottom: canvas.parentElement.clientHeight - canvas.offsetTop - canvas.clientHeight };
  const toMap = (sx, sy) => [view.x + (sx - view.width / 2) / view.scale, view.y - (sy - view.height / 2) / view.scale], toScreen = (x, y) => [view.width / 2 + (x - view.x) * view.scale, view.height / 2 - (y - view.y) * view.scale];
  const sorted = list => Float32Array.from(list).filter(value => value === value).sort(), share = (list, part) => list[Math.min(list.length - 1, Math.max(0, Math.round(part * (list.length - 1))))] ?? 0;
  function cuts(list, floor) { const all = sorted(list), middle = share(all, .5), scatter = (middle - share(all, .16)) || floor || 1; return { low: middle - 1.5 * scatter, high: Math.max(share(all, .998), middle + 8 * scatter), stretch: "asinh", colours: "inferno" }; }
  const paints = { moment: cuts(loaded.moment.values, 0) };
  const stride = Math.max(1, Math.floor(loaded.planes.values.length / 400000)), sample = []; for (let i = 0; i < loaded.planes.values.length; i += stride) sample.push(loaded.planes.values[i]);
  paints.channel = cuts(sample, facts.noise.typical);
  const brightest = Math.max(...sources.map(one => one.peak), 0);
  paints.channel.high = Math.max(paints.channel.high, Math.min(.6 * brightest, paints.channel.low + 60 * facts.noise.typical));
  const rowIn = (one, k) => one.rows.find(row => row[0] === k);

  function draw() {
    if (!paper.ratio) canvas.parentElement.style.maxHeight = `${Math.max(300, Math.ceil(canvas.clientWidth * fullY / fullX) + axes.bottom)}px`;
    const { context, width, height } = fitCanvas(canvas), paint = state.moment ? paints.moment : paints.channel, layer = state.moment ? loaded.moment : plane(state.channel);
    Object.assign(view, { width, height, scale: Math.min(width / fullX, height / fullY) });
    paintValues(picture, nx, ny, layer.values, paint);
    context.fillStyle = themeColour("--sky"); context.fillRect(0, 0, width, height);
    const [left, top] = toScreen(-.5, ny * bin - .5);
    context.imageSmoothingEnabled = view.scale * bin < 3; context.drawImage(picture, left, top, nx * bin * view.scale, ny * bin * view.scale);
    const over = fitCanvas(overlay).context, families = skyGrid(view, toMap);
    clear(over, width, height);
    if ($("show-grid").checked) drawGridLines(over, families, "rgb(255 255 255 / .3)");
    drawAxes($("axes"), families, axes.left, axes.bottom);
    if ($("show-sources").checked) sources.forEach((one, k) => {
      const [x, y] = toScreen(one.x, one.y), here = state.moment || rowIn(one, state.channel), chosen = k === state.source;
      over.beginPath(); over.arc(x, y, Math.max(.75 * facts.beam.fwhm_pixels * view.scale, 5), 0, 2 * Math.PI);
      over.strokeStyle = chosen ? "#fff" : here ? "#5fe0fb" : "rgb(255 255 255 / .3)"; over.lineWidth = chosen ? 2.6 : here ? 1.6 : 1; over.stroke();
      if (chosen || sources.length <= 40) { over.font = "600 11px Inter, system-ui, sans-serif"; over.lineWidth = 3; over.strokeStyle = "rgb(0 0 0 / .6)"; over.fillStyle = "#fff"; const d = .6 * facts.beam.fwhm_pixels * view.scale + 3; over.strokeText(k + 1, x + d, y - d); over.fillText(k + 1, x + d, y - d); }
    });
    const [major, minor, angle] = facts.beam.pixels; over.beginPath(); over.ellipse(24, height - 24, Math.max(major / 2 * view.scale, 1.5), Math.max(minor / 2 * view.scale, 1.5), -angle, 0, 2 * Math.PI); over.fillStyle = "#fff"; over.fill();
    drawScale($("scale"), paint, state.moment ? facts.moment_unit : facts.unit);
    $("channel").value = state.channel + 1; $("channel-text").textContent = state.moment ? `channels ${facts.moment_channels[0] + 1} to ${facts.moment_channels[1] + 1}` : channelText(state.channel);
    $("show-moment").setAttribute("aria-pressed", state.moment); $("show-channel").setAttribute("aria-pressed", !state.moment);
  }

  function drawSpectrum() {
    const one = sources[state.source];
    if (!one) { $("source-title").textContent = "No sources"; return; }
    $("source-title").textContent = `Source ${state.source + 1}`;
    $("source-place").textContent = `${skyText(one.ra, one.dec)} · x ${one.x.toFixed(1)} y ${one.y.toFixed(1)} · measured in ${new Set(one.rows.map(row => row[0])).size} of ${n} channels`;
    const px = Math.min(nx - 1, Math.max(0, Math.floor((one.x + .5) / bin))), py = Math.min(ny - 1, Math.max(0, Math.floor((one.y + .5) / bin))), line = [];
    for (let k = 0; k < n; k++) { const value = loaded.planes.values[k * size + py * nx + px]; if (value === value) line.push([at(k), value]); }
    const rows = one.rows.filter(row => row[1] !== null), ends = rows.flatMap(([, peak, error]) => [peak - (error || 0), peak + (error || 0)]), all = [...ends, ...line.map(([, v]) => v), 0];
    const low = Math.min(...all), high = Math.max(...all), x = [Math.min(at(0), at(n - 1)), Math.max(at(0), at(n - 1))], half = (x[1] - x[0]) / Math.max(n - 1, 1) / 2;
    const steps = []; [...line].sort((a, b) => a[0] - b[0]).forEach(([a, v]) => steps.push([a - half, v], [a + half, v]));
    const box = $("spectrum");
    box.innerHTML = plot({ width: Math.max(300, box.clientWidth), height: 240, left: 60, x: [x[0] - half, x[1] + half], y: [low - .05 * (high - low), high + .22 * (high - low)], xLabel: axisLabel, yLabel: facts.unit,
      draw: ({ sx, sy, line: path }) => `<line class="axis" x1="${sx(x[0] - half)}" x2="${sx(x[1] + half)}" y1="${sy(0)}" y2="${sy(0)}"/><line class="second" x1="${sx(at(state.channel))}" x2="${sx(at(state.channel))}" y1="${sy.top + 20}" y2="${sy.bottom}"/>` + path(steps, "faint")
        + rows.map(([k, peak, error]) => `${error ? `<line class="error" x1="${sx(at(k))}" x2="${sx(at(k))}" y1="${sy(peak - error)}" y2="${sy(peak + error)}"/>` : ""}<circle class="dot" cx="${sx(at(k))}" cy="${sy(peak)}" r="3"/>`).join("")
        + `<g transform="translate(66 18)"><circle class="dot" cx="0" cy="-4" r="3"/><line class="error" x1="0" x2="0" y1="-10" y2="2"/><text x="8">fitted peak</text><line class="faint" x1="84" x2="104" y1="-4" y2="-4"/><text x="110">cube at this position</text><line class="second" x1="236" x2="256" y1="-4" y2="-4"/><text x="262">this channel</text></g>` });
    box.onclick = event => { const frame = box.querySelector("svg").getBoundingClientRect(), width = Math.max(300, box.clientWidth), u = ((event.clientX - frame.left) / frame.width * width - 60) / (width - 72), wanted = x[0] - half + u * (x[1] - x[0] + 2 * half); let best = 0; for (let k = 1; k < n; k++) if (Math.abs(at(k) - wanted) < Math.abs(at(best) - wanted)) best = k; setChannel(best); };
    drawPosition(one, py);
  }

  /* Mean over a beam along y of a cut along x through the source, channel by channel. */
  function drawPosition(one, py) {
    const reach = Math.max(0, Math.round(facts.beam.fwhm_pixels / bin / 2)), pv = new Float32Array(nx * n).fill(NaN);
    for (let k = 0; k < n; k++) for (let x = 0; x < nx; x++) { let sum = 0, count = 0; for (let y = Math.max(0, py - reach); y <= Math.min(ny - 1, py + reach); y++) { const value = loaded.planes.values[k * size + y * nx + x]; if (value === value) { sum += value; count++; } } if (count) pv[k * nx + x] = sum / count; }
    const small = paintValues(document.createElement("canvas"), nx, n, pv, paints.channel), { context, width, height } = fitCanvas($("pv"));
    context.fillStyle = themeColour("--sky"); context.fillRect(0, 0, width, height); context.imageSmoothingEnabled = false; context.drawImage(small, 0, 0, width, height);
    const x = (one.x + .5) / fullX * width, y = height - (state.channel + .5) / n * height;
    context.strokeStyle = "rgb(255 255 255 / .7)"; context.setLineDash([3, 3]); context.beginPath(); context.moveTo(x, 0); context.lineTo(x, height); context.moveTo(0, y); context.lineTo(width, y); context.stroke(); context.setLineDash([]);
    $("pv-note").textContent = `Horizontal: x through the source, ${fullX} pixels. Vertical: ${hasAxis ? `${axisName} from ${+at(0).toPrecision(6)} to ${+at(n - 1).toPrecision(6)} ${axisUnit}` : `channels 1 to ${n}`}. Averaged over one beam in y.`;
  }

  function setChannel(k) { state.channel = Math.min(Math.max(k, 0), n - 1); state.moment = false; draw(); drawSpectrum(); }
  function choose(k) {
    if (!sources.length) return;
    state.source = (k + sources.length) % sources.length;
    const rows = sources[state.source].rows.filter(row => row[1] !== null);
    if (rows.length) state.channel = rows.reduce((a, b) => b[1] > a[1] ? b : a)[0];
    draw(); drawSpectrum();
    document.querySelectorAll("#table tbody tr").forEach((row, i) => row.classList.toggle("chosen", i === state.source));
    document.body.dataset.chosen = state.source + 1;
  }

  const sum = (one, place) => one.rows.reduce((total, row) => total + (row[place] || 0), 0), rss = (one, place) => Math.sqrt(one.rows.reduce((total, row) => total + (row[place] || 0) ** 2, 0));
  $("table").querySelector("thead tr").innerHTML = [["Source", ""], ["RA", "h m s"], ["Dec", "° ′ ″"], ["Channels", "measured"], [`At the peak`, hasAxis ? axisUnit : "channel"], ["Peak", facts.unit], ["Sum of fluxes", facts.flux_unit], ["To check", "rows"]].map(([name, unit]) => `<th>${name}<small>${unit}</small></th>`).join("");
  $("table").querySelector("tbody").innerHTML = sources.map((one, k) => { const rows = one.rows.filter(row => row[1] !== null), best = rows.length ? rows.reduce((a, b) => b[1] > a[1] ? b : a) : null, [peak, error] = best ? withError(best[1], best[2] ?? NaN) : ["–", ""], [total, totalError] = withError(sum(one, 3), rss(one, 4)); return `<tr data-row="${k}"><td>${k + 1}</td><td>${sexagesimal(one.ra, 24, Math.min(skyDecimals + 1, 7))}</td><td>${sexagesimal(one.dec, 360, skyDecimals)}</td><td>${new Set(one.rows.map(row => row[0])).size}</td><td>${best ? +at(best[0]).toPrecision(6) : "–"}</td><td>${peak}${error ? ` <span class="err">± ${error}</span>` : ""}</td><td>${total}${totalError ? ` <span class="err">± ${totalError}</span>` : ""}</td><td>${one.n_calling || ""}</td></tr>`; }).join("");
  $("table-box").style.height = "auto"; $("table-box").style.maxHeight = "420px";
  $("table").addEventListener("click", event => { const row = event.target.closest("tr[data-row]"); if (row) choose(Number(row.dataset.row)); });

  const bars = (id, title, list, unit, note) => { const box = $(id), good = list.map(value => value ?? 0), most = Math.max(...good) || 1, low = 0; box.innerHTML = `<h3>${title}</h3>` + plot({ width: Math.max(280, box.clientWidth - 34), height: 170, left: 60, x: [.5, n + .5], y: [low, most * 1.05], xLabel: "channel", yLabel: unit, draw: ({ sx, sy }) => good.map((value, k) => `<rect class="fill hit" data-k="${k}" x="${sx(k + .55)}" width="${Math.max(sx(k + 1.45) - sx(k + .55), .8)}" y="${sy(value)}" height="${Math.max(sy.bottom - sy(value), 0)}"><title>${channelText(k)}: ${short(value, 3)}</title></rect>`).join("") }) + `<figcaption>${note}</figcaption>`; box.querySelectorAll("rect").forEach(bar => bar.addEventListener("click", () => setChannel(Number(bar.dataset.k)))); };
  bars("chart-noise", "Noise", facts.channel_noise, facts.unit, "rms of each channel. Click a bar to show its channel."); bars("chart-rows", "Rows", facts.n_rows, "rows", "Rows of the catalogue in each channel.");

  $("channel").addEventListener("input", event => setChannel(Number(event.target.value) - 1));
  $("show-moment").addEventListener("click", () => { state.moment = true; draw(); }); $("show-channel").addEventListener("click", () => { state.moment = false; draw(); });
  $("previous").addEventListener("click", () => choose(state.source - 1)); $("next").addEventListener("click", () => choose(state.source + 1));
  for (const id of ["show-sources", "show-grid"]) $(id).addEventListener("change", draw);
  $("play").addEventListener("click", () => { if (state.timer) { clearInterval(state.timer); state.timer = 0; } else state.timer = setInterval(() => setChannel((state.channel + 1) % n), 350); $("play").textContent = state.timer ? "❚❚" : "▶"; });
  canvas.addEventListener("pointerdown", event => { const box = canvas.getBoundingClientRect(), [x, y] = toMap(event.clientX - box.left, event.clientY - box.top); let best = -1, least = 1.2 * facts.beam.fwhm_pixels + 6 / view.scale; sources.forEach((one, k) => { const d = Math.hypot(one.x - x, one.y - y); if (d < least) { least = d; best = k; } }); if (best >= 0) choose(best); });
  canvas.addEventListener("pointermove", event => { const box = canvas.getBoundingClientRect(), [x, y] = toMap(event.clientX - box.left, event.clientY - box.top), i = Math.floor((x + .5) / bin), j = Math.floor((y + .5) / bin); if (i < 0 || j < 0 || i >= nx || j >= ny) { $("readout").textContent = ""; return; } const value = (state.moment ? loaded.moment : plane(state.channel)).values[j * nx + i]; $("readout").textContent = `${skyText(...skyAt(x, y))}   x ${x.toFixed(1)}  y ${y.toFixed(1)}   ${Number.isFinite(value) ? `${short(value)} ${state.moment ? facts.moment_unit : facts.unit}` : "blank"}`; });
  canvas.addEventListener("pointerleave", () => { $("readout").textContent = ""; });
  document.addEventListener("keydown", event => { if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|TEXTAREA)$/.test(event.target.tagName)) return; const actions = { ArrowRight: () => setChannel(state.channel + 1), ArrowLeft: () => setChannel(state.channel - 1), j: () => choose(state.source + 1), k: () => choose(state.source - 1), m: () => { state.moment = !state.moment; draw(); }, t: theme.toggle }; if (actions[event.key]) { event.preventDefault(); actions[event.key](); } });
  theme.onChange(() => { draw(); drawSpectrum(); });
  new ResizeObserver(() => { if (paper.ratio) return; draw(); drawSpectrum(); }).observe(canvas);
  /* On paper the map has its own shape. */
  function onPaper(on) {
    const box = canvas.parentElement, wide = PAPER_WIDTH - axes.left, tall = Math.min(Math.round(wide * fullY / fullX), PAPER_HEIGHT);
    paper.ratio = on ? 3 : 0; theme.print(on);
    box.style.maxHeight = "none";
    box.style.width = on ? `${Math.round(tall * fullX / fullY) + axes.left}px` : ""; box.style.height = on ? `${tall + axes.bottom}px` : "";
    draw(); drawSpectrum();
  }
  window.addEventListener("beforeprint", () => onPaper(true)); window.addEventListener("afterprint", () => onPaper(false));
  draw(); if (sources.length) choose(0); else drawSpectrum(); state.moment = true; draw();
  document.body.dataset.ready = "true"; window.hyperCube = { state, loaded, choose, setChannel, paints };
}
showCube();
