/* What the page holds: facts as JSON, arrays as base64 of deflated bytes. */
const $ = id => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);

async function inflate(name) {
  const binary = atob($("blob-" + name).textContent);
  const packed = new Uint8Array(binary.length);
  for (let i = 0; i < packed.length; i++) packed[i] = binary.charCodeAt(i);
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/* A layer is {nx, ny, values}: low bytes, then high bytes, of differences along x; code 0 is blank. */
async function loadLayer(name) {
  const { shape: [ny, nx], offset, step } = facts.layers[name];
  const bytes = await inflate(name), n = nx * ny, values = new Float32Array(n);
  for (let y = 0, i = 0; y < ny; y++)
    for (let x = 0, code = 0; x < nx; x++, i++) {
      code = (code + bytes[i] + 256 * bytes[n + i]) & 65535;
      values[i] = code ? offset + step * code : NaN;
    }
  return { nx, ny, values };
}

/* The catalogue: one typed array a column, by its name; n is the number of sources. */
async function loadCatalog() {
  const bytes = await inflate("catalog");
  const kinds = { "<f8": Float64Array, "<f4": Float32Array, "<i4": Int32Array };
  const width = facts.columns.reduce((sum, column) => sum + kinds[column.kind].BYTES_PER_ELEMENT, 0);
  const catalog = { n: bytes.length / width };
  let place = 0;
  for (const { name, kind } of facts.columns) {
    catalog[name] = new kinds[kind](bytes.buffer, place, catalog.n);
    place += catalog[name].byteLength;
  }
  return catalog;
}

/* What a peak has to reach, in words. */
const thresholdText = facts.method === "matched" ? `${facts.threshold} × noise of the filtered map` : `${facts.threshold} × rms = ${(facts.threshold * facts.noise.typical).toPrecision(4)} ${facts.unit}`;

const unitText = unit => unit.replace("mJy / beam", "mJy/beam").replace("Jy / beam", "Jy/beam").replace("arcsec", "″").replace("deg", "°").replace("pix", "px");

/* A number with three or four digits that matter. */
function short(value, digits = 4) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(digits - 2).replace("e+", "e");
  const decimals = size === 0 ? 0 : Math.max(0, digits - 1 - Math.floor(Math.log10(size)));
  return value.toFixed(Math.min(decimals, 7));
}

/* Value and error to two digits of the error. */
function withError(value, error) {
  if (!Number.isFinite(value)) return ["–", ""];
  if (!(error > 1e-6 * Math.abs(value)) || !Number.isFinite(error)) return [short(value), ""];
  const decimals = Math.min(8, Math.max(0, 1 - Math.floor(Math.log10(error))));
  return [value.toFixed(decimals), error.toFixed(decimals)];
}

function sexagesimal(degrees, perTurn, decimals) {
  const sign = degrees < 0 ? "−" : perTurn === 24 ? "" : "+";
  const unit = 60 ** 2 * 10 ** decimals;
  let rest = Math.round(Math.abs(degrees) * (perTurn === 24 ? 24 / 360 : 1) * unit);
  if (perTurn === 24) rest %= 24 * unit;
  const seconds = (rest % (60 * 10 ** decimals)) / 10 ** decimals;
  const minutes = Math.floor(rest / (60 * 10 ** decimals)) % 60, whole = Math.floor(rest / unit);
  const two = value => String(value).padStart(2, "0");
  return `${sign}${two(whole)}:${two(minutes)}:${seconds.toFixed(decimals).padStart(decimals ? decimals + 3 : 2, "0")}`;
}

const skyDecimals = Math.max(0, Math.min(6, Math.ceil(1 - Math.log10(facts.pixel_arcsec))));
const skyText = (ra, dec) => `${sexagesimal(ra, 24, Math.min(skyDecimals + 1, 7))}  ${sexagesimal(dec, 360, skyDecimals)}`;

/* Unit vector (ICRS) at a pixel, from those on a grid over the map. */
function vectorAt(x, y) {
  const nodes = Math.round(Math.sqrt(facts.sky.length / 3)), [ny, nx] = facts.shape;
  const u = x / Math.max(nx - 1, 1) * (nodes - 1), v = y / Math.max(ny - 1, 1) * (nodes - 1), within = w => Math.min(Math.max(Math.floor(w), 0), nodes - 2);
  const i = within(u), j = within(v), a = u - i, b = v - j; // beside the map extrapolated, for its axes
  return [0, 1, 2].map(k => {
    const at = (di, dj) => facts.sky[((j + dj) * nodes + i + di) * 3 + k] ?? NaN;
    return (1 - b) * ((1 - a) * at(0, 0) + a * at(1, 0)) + b * ((1 - a) * at(0, 1) + a * at(1, 1));
  });
}
const lonLat = v => [(Math.atan2(v[1], v[0]) * 180 / Math.PI + 360) % 360, Math.atan2(v[2], Math.hypot(v[0], v[1])) * 180 / Math.PI];
/* RA and Dec at a pixel, degrees. */
const skyAt = (x, y) => lonLat(vectorAt(x, y));
