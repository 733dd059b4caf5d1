/* Sky coordinates: the frame of the map, and lines of equal longitude and latitude with their labels. */
const isGalactic = facts.frame === "galactic";
/* From ICRS to galactic, as astropy has it. */
const TO_GALACTIC = [[-0.0548756577125916, -0.8734370519556159, -0.4838350736167155], [0.4941094371927268, -0.4448297212232952, 0.7469821839866676], [-0.8676661375596576, -0.1980763372730006, 0.4559838136873016]];
const frameNames = isGalactic ? ["Galactic longitude", "Galactic latitude"] : ["RA (ICRS)", "Dec (ICRS)"];

/* Longitude and latitude in the frame of the map, degrees. */
function frameAt(x, y) {
  const v = vectorAt(x, y);
  return lonLat(isGalactic ? TO_GALACTIC.map(row => row[0] * v[0] + row[1] * v[1] + row[2] * v[2]) : v);
}

/* Steps that read well: of hours or degrees in sexagesimal parts, of degrees in decimals. */
const SEXAGESIMAL = [...[-4, -3, -2, -1].flatMap(e => [1, 2, 5].map(m => m * 10 ** e)), 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 36000, 72000, 108000];
const decimalsOf = step => Math.max(0, -Math.floor(Math.log10(step) + 1e-9));

/* Ticks of one coordinate: values in degrees, and the text of each. */
function sphereTicks(low, high, count, isLongitude) {
  if (isGalactic) {
    const step = niceStep(high - low, count), texts = decimalsOf(step);
    return ticks(low, high, count).map(value => [value, `${((value + (isLongitude ? 360 : 0)) % (isLongitude ? 360 : 1e9)).toFixed(texts)}°`]);
  }
  const unit = isLongitude ? 240 : 3600, rough = (high - low) * unit / count, step = SEXAGESIMAL.find(one => one >= rough) || 108000, found = [];
  for (let k = Math.ceil(low * unit / step - 1e-9); k * step <= high * unit + step * 1e-9; k++) {
    const value = k * step / unit, text = isLongitude ? sexagesimal((value + 360) % 360, 24, decimalsOf(step)) : sexagesimal(value, 360, decimalsOf(step));
    found.push([value, step >= 60 ? text.slice(0, -3) : text]);
  }
  return found;
}

/* Lines and labels for a view of the map: what is drawn on it, and what is written beside it. `frame` gives longitude and latitude, `spacing` pixels between ticks. */
function skyGrid(view, toMap, { frame = frameAt, spacing = [130, 90] } = {}) {
  const across = 40, down = Math.max(8, Math.round(40 * view.height / Math.max(view.width, 1))), lon = [], lat = [];
  const [lon0] = frame(view.x, view.y);
  for (let j = 0; j <= down; j++) for (let i = 0; i <= across; i++) {
    const [a, b] = frame(...toMap(i / across * view.width, j / down * view.height));
    lon.push(((a - lon0 + 540) % 360) - 180 + lon0); lat.push(b);
  }
  const families = [];
  for (const [values, isLongitude] of [[lon, true], [lat, false]]) {
    const good = values.filter(Number.isFinite);
    if (!good.length) continue;
    const low = good.reduce((a, b) => Math.min(a, b)), high = good.reduce((a, b) => Math.max(a, b));
    if (!(high > low) || high - low > 300) continue;
    const count = isLongitude ? Math.max(2, view.width / spacing[0]) : Math.max(2, view.height / spacing[1]);
    families.push({ isLongitude, levels: sphereTicks(low, high, count, isLongitude).map(([level, text]) => ({ text, ...contour(values, across, down, level, view) })) });
  }
  return families;
}

/* Segments of a line of equal value through a mesh, and where it meets the lower and the left side. */
function contour(values, across, down, level, view) {
  const segments = [], sx = view.width / across, sy = view.height / down, at = (i, j) => values[j * (across + 1) + i] - level;
  let below = null, left = null;
  const between = (a, b) => a / (a - b), crosses = (a, b) => (a < 0) !== (b < 0) && a === a && b === b;
  for (let j = 0; j < down; j++) for (let i = 0; i < across; i++) {
    const a = at(i, j), b = at(i + 1, j), c = at(i + 1, j + 1), d = at(i, j + 1), ends = [];
    if (crosses(a, b)) ends.push([(i + between(a, b)) * sx, j * sy]);
    if (crosses(b, c)) ends.push([(i + 1) * sx, (j + between(b, c)) * sy]);
    if (crosses(d, c)) { const x = (i + between(d, c)) * sx; ends.push([x, (j + 1) * sy]); if (j === down - 1) below ??= x; }
    if (crosses(a, d)) { const y = (j + between(a, d)) * sy; ends.push([i * sx, y]); if (i === 0) left ??= y; }
    if (ends.length === 2) segments.push(ends);
  }
  return { segments, below, left };
}

function drawGridLines(context, families, style) {
  context.beginPath();
  for (const { levels } of families) for (const { segments } of levels) for (const [[x0, y0], [x1, y1]] of segments) { context.moveTo(x0, y0); context.lineTo(x1, y1); }
  context.strokeStyle = style; context.lineWidth = .8; context.stroke();
}

/* Ticks and names of the coordinates along the lower and the left side of the map, on its own canvas. */
function drawAxes(canvas, families, left, bottom) {
  const { context, width, height } = fitCanvas(canvas), base = height - bottom;
  clear(context, width, height);
  context.font = "11.5px Inter, system-ui, sans-serif"; context.fillStyle = context.strokeStyle = themeColour("--soft"); context.lineWidth = 1;
  let edge = -1e9, last = 1e9;
  for (const { isLongitude, levels } of families) for (const { text, below, left: y } of [...levels].sort((a, b) => isLongitude ? a.below - b.below : b.left - a.left)) {
    if (isLongitude && below !== null) {
      const half = context.measureText(text).width / 2, x = Math.min(Math.max(left + below, half), width - half);
      context.fillRect(left + below - .5, base, 1, 4);
      if (x - half < edge + 10) continue;
      context.textAlign = "center"; context.textBaseline = "top"; context.fillText(text, x, base + 6); edge = x + half;
    } else if (!isLongitude && y !== null) {
      context.fillRect(left - 4, y - .5, 4, 1);
      if (y > last - 16 || y < 5 || y > base - 4) continue;
      context.textAlign = "right"; context.textBaseline = "middle"; context.fillText(text, left - 7, y); last = y;
    }
  }
  context.fillStyle = themeColour("--ink"); context.textAlign = "center"; context.textBaseline = "bottom";
  context.fillText(frameNames[0], (left + width) / 2, height);
  context.save(); context.translate(1, base / 2); context.rotate(-Math.PI / 2); context.textBaseline = "top"; context.fillText(frameNames[1], 0, 0); context.restore();
}
