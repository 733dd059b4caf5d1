/* The table: only the rows in sight are in the page, so that its length does not matter. */
const PRINTED = 1000;
function makeTable({ catalog, onChoose, onFilter }) {
  const box = $("table-box"), head = box.querySelector("thead tr"), body = box.querySelector("tbody");
  const known = new Map(facts.columns.filter(column => column.place !== undefined).map(column => [column.name, column]));
  const errors = { FLUX: "FLUX_ERR", FLUX_PEAK: "FLUX_PEAK_ERR", FLUX_GAUSS: "FLUX_GAUSS_ERR", FWHM_1: "FWHM_1_ERR", FWHM_2: "FWHM_2_ERR", PA: "PA_ERR", X: "X_ERR", Y: "Y_ERR", FWHM_GEOM: "FWHM_GEOM_ERR", DECONV_FWHM_1: "DECONV_FWHM_1_ERR", DECONV_FWHM_2: "DECONV_FWHM_2_ERR" };
  const ALL = ["HYPER_ID", "RA", "DEC", "SNR", "FLUX", "FLUX_PEAK", "FWHM_1", "FWHM_2", "PA", "CLUSTER", "FLAGS"];
  /* What goes first where the table is wider than the page; columns that somebody chose all stay, and the table scrolls. */
  const GIVEN_UP = [["CLUSTER"], ["PA"], ["FWHM_1", "FWHM_2"], ["FLUX_PEAK"], ["RA", "DEC"], ["FLAGS"]];
  let shown = ALL, chosenColumns = null;
  let sorted = { name: "HYPER_ID", sign: 1 }, order = [], rowHeight = 31, chosen = -1, printing = false, words = null;

  const tags = i => facts.flags.filter(flag => catalog.FLAGS[i] & flag.bit).sort((a, b) => a.remark - b.remark).map(flag => `<span class="tag${flag.remark ? "" : " call"}">${flag.name}</span>`).join("");
  function cell(name, i) {
    if (name === "RA") return sexagesimal(catalog.RA[i], 24, Math.min(skyDecimals + 1, 7));
    if (name === "DEC") return sexagesimal(catalog.DEC[i], 360, skyDecimals);
    if (name === "FLAGS") return tags(i);
    if (known.get(name).kind === "<i4") return catalog[name][i];
    if (errors[name]) { const [value, error] = withError(catalog[name][i], catalog[errors[name]][i]); return value + (error ? ` <span class="err">± ${error}</span>` : ""); }
    return short(catalog[name][i], name === "SNR" ? 3 : 5);
  }
  const titles = { HYPER_ID: "ID", CLUSTER: "In group", FLAGS: "Flags", FLUX_PEAK: "Peak", FLUX: "Flux", SNR: "S/N", RA: "RA", DEC: "Dec", FWHM_1: "FWHM 1", FWHM_2: "FWHM 2" };

  /* Show the columns that fit, so that none is cut. */
  function fitColumns() {
    if (chosenColumns || printing) { shown = chosenColumns || ALL; drawHead(); draw(); return; }
    for (let given = 0; given <= GIVEN_UP.length; given++) {
      shown = ALL.filter(name => !GIVEN_UP.slice(0, given).flat().includes(name)); drawHead(); draw();
      if (box.scrollWidth <= box.clientWidth + 1) break;
    }
    $("columns-note").textContent = shown.length < ALL.length ? ` ${shown.length} of ${known.size}` : "";
    for (const input of $("columns").querySelectorAll("input")) input.checked = shown.includes(input.value);
  }
  function drawHead() {
    head.innerHTML = shown.map(name => { const column = known.get(name); return `<th scope="col" data-name="${name}" title="${name}: ${column.text}"${name === "FLAGS" ? ' class="words"' : ""}${sorted.name === name ? ` aria-sort="${sorted.sign > 0 ? "ascending" : "descending"}"` : ""}>${titles[name] || name}<small>${name === "RA" ? "h m s" : name === "DEC" ? "° ′ ″" : unitText(column.unit)}</small></th>`; }).join("");
  }
  function draw() {
    const first = printing ? 0 : Math.max(0, Math.floor((box.scrollTop - 48) / rowHeight) - 6), last = printing ? Math.min(order.length, PRINTED) : Math.min(order.length, first + Math.ceil(box.clientHeight / rowHeight) + 14);
    const rows = [`<tr class="space"><td colspan="${shown.length}" style="height:${first * rowHeight}px"></td></tr>`];
    for (let k = first; k < last; k++) { const i = order[k]; rows.push(`<tr data-row="${i}"${i === chosen ? ' class="chosen"' : ""}>${shown.map(name => `<td${name === "FLAGS" ? ' class="words"' : ""}>${cell(name, i)}</td>`).join("")}</tr>`); }
    rows.push(`<tr class="space"><td colspan="${shown.length}" style="height:${printing ? 0 : (order.length - last) * rowHeight}px"></td></tr>`);
    body.innerHTML = rows.join("");
    const one = body.querySelector("tr[data-row]");
    if (one && one.offsetHeight && Math.abs(one.offsetHeight - rowHeight) > .5 && !printing) { rowHeight = one.offsetHeight; sized(); draw(); }
  }

  /* `SNR > 10`, `!blended`, `"size at bound"`, `12`: all must hold. Returns null if it cannot be read. */
  function condition(text) {
    const parts = [], pattern = /\s*(?:(\w+)\s*(<=|>=|!=|=|<|>)\s*([-+\d.eE]+)|(!?)"([^"]*)"|(!?)([^\s"<>=!]+))/y;
    let at = 0;
    while (text.slice(at).trim()) {
      pattern.lastIndex = at;
      const match = pattern.exec(text);
      if (!match) return null;
      at = pattern.lastIndex;
      if (match[1]) {
        const name = match[1].toUpperCase() === "ID" ? "HYPER_ID" : match[1].toUpperCase(), number = Number(match[3]), values = catalog[name];
        if (!known.has(name) || !Number.isFinite(number)) return null;
        const compare = { "<": a => a < number, ">": a => a > number, "<=": a => a <= number, ">=": a => a >= number, "=": a => a === number, "!=": a => a !== number }[match[2]];
        parts.push(i => compare(values[i]));
      } else {
        const not = Boolean(match[4] || match[6]), word = (match[5] ?? match[7]).toLowerCase().replaceAll("_", " ");
        if (/^\d+$/.test(word)) parts.push(i => (catalog.HYPER_ID[i] === Number(word)) !== not);
        else {
          const bits = facts.flags.filter(flag => flag.name.includes(word) || flag.text.toLowerCase().includes(word)).reduce((sum, flag) => sum | flag.bit, 0);
          parts.push(word === "flagged" ? i => Boolean(catalog.calls[i]) !== not : i => Boolean(catalog.FLAGS[i] & bits) !== not);
        }
      }
    }
    return i => parts.every(part => part(i));
  }

  /* As many whole rows as there are, up to a dozen. */
  function sized() { box.style.height = `${head.offsetHeight + rowHeight * Math.min(Math.max(order.length, 1), 12) + box.offsetHeight - box.clientHeight}px`; }

  function arrange() {
    const test = condition($("search").value);
    $("search").classList.toggle("wrong", !test);
    if (test) words = test;
    order = [];
    for (let i = 0; i < catalog.n; i++) if (!words || words(i)) order.push(i);
    const values = catalog[sorted.name], sign = sorted.sign;
    order.sort((a, b) => { const u = values[a], v = values[b]; if (u !== u || v !== v) return (u !== u) - (v !== v) || a - b; return sign * (u - v) || a - b; });
    sized();
    $("count").textContent = order.length === catalog.n ? `${catalog.n}` : `${order.length} of ${catalog.n}`;
    const visible = order.length === catalog.n ? null : new Uint8Array(catalog.n);
    if (visible) for (const i of order) visible[i] = 1;
    drawHead(); draw(); onFilter(visible);
  }

  head.addEventListener("click", event => {
    const name = event.target.closest("th")?.dataset.name;
    if (!name) return;
    const column = known.get(name);
    $("column-help").innerHTML = `<b>${name}</b> ${column.text}${column.unit ? ` (${unitText(column.unit)})` : ""}.`;
    sorted = { name, sign: sorted.name === name ? -sorted.sign : ["SNR", "FLUX", "FLUX_PEAK", "CLUSTER", "FLAGS"].includes(name) ? -1 : 1 };
    arrange();
  });
  body.addEventListener("click", event => { const row = event.target.closest("tr[data-row]"); if (row) onChoose(Number(row.dataset.row), { move: true }); });
  let due = false;
  box.addEventListener("scroll", () => { if (!due) { due = true; requestAnimationFrame(() => { due = false; draw(); }); } });
  $("search").addEventListener("input", arrange);
  let wide = 0;
  new ResizeObserver(() => { if (box.clientWidth !== wide) { wide = box.clientWidth; fitColumns(); sized(); } else draw(); }).observe(box);
  window.addEventListener("beforeprint", () => { printing = true; shown = chosenColumns || ALL; drawHead(); $("print-note").textContent = order.length > PRINTED ? `The first ${PRINTED} of ${order.length} sources in this order; the catalogue lists all of them.` : ""; draw(); }); window.addEventListener("afterprint", () => { printing = false; fitColumns(); });
  const picker = $("columns");
  picker.innerHTML = [...known.values()].sort((a, b) => a.place - b.place).map(({ name, text }) => `<label title="${text}"><input type="checkbox" value="${name}"${shown.includes(name) ? " checked" : ""}> ${name}<small>${text}</small></label>`).join("");
  picker.addEventListener("change", () => { const wanted = [...picker.querySelectorAll(":checked")].map(input => input.value); shown = [...shown.filter(name => wanted.includes(name) && name !== "FLAGS"), ...wanted.filter(name => !shown.includes(name) && name !== "FLAGS"), ...wanted.filter(name => name === "FLAGS")]; chosenColumns = shown; $("columns-note").textContent = ""; drawHead(); draw(); });
  document.addEventListener("click", event => { const open = document.querySelector(".picker[open]"); if (open && !open.contains(event.target)) open.open = false; });

  arrange();
  return {
    choose(i) {
      chosen = i;
      const place = order.indexOf(i);
      if (place >= 0) { const top = place * rowHeight, room = box.clientHeight - 48; if (top < box.scrollTop || top + rowHeight > box.scrollTop + room) box.scrollTop = Math.max(0, top - room / 2); }
      draw();
    },
    step(i, by) { if (!order.length) return -1; const place = order.indexOf(i); return order[place < 0 ? (by > 0 ? 0 : order.length - 1) : Math.min(Math.max(place + by, 0), order.length - 1)]; },
    order: () => order,
    search(text) { $("search").value = text; arrange(); $("sources").scrollIntoView({ block: "start" }); },
  };
}
