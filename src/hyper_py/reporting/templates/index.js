/* The index: cards of the maps, sorted and searched. */
(() => {
  const box = document.getElementById("maps"), cards = [...box.children], sort = document.getElementById("sort"), find = document.getElementById("find");
  const number = (card, name) => card.dataset[name] === "" ? -Infinity : Number(card.dataset[name]);
  function arrange() {
    const by = sort.value, up = by === "order";
    const order = by === "name" ? (a, b) => a.dataset.name.localeCompare(b.dataset.name, "en", { numeric: true }) : (a, b) => (up ? 1 : -1) * (number(a, by) - number(b, by)) || number(a, "order") - number(b, "order");
    box.append(...[...cards].sort(order));
    const word = find.value.toLowerCase(), shown = cards.filter(card => card.dataset.name.toLowerCase().includes(word));
    for (const card of cards) card.hidden = !shown.includes(card);
    document.getElementById("found").textContent = word ? `${shown.length} of ${cards.length}` : "";
  }
  sort.addEventListener("change", arrange); find.addEventListener("input", arrange);
  document.body.dataset.ready = "true";
})();
