/* Light or dark: as the system says, until someone chooses. */
const theme = (() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const listeners = [];
  let chosen = null;
  try { chosen = localStorage.getItem("hyper-py-theme"); } catch { /* no storage for this file */ }
  let onPaper = false;
  const current = () => onPaper ? "light" : chosen || (system.matches ? "dark" : "light");
  const apply = () => {
    document.documentElement.dataset.theme = current();
    document.getElementById("theme-button").textContent = current() === "dark" ? "Light" : "Dark";
    listeners.forEach(listener => listener());
  };
  const toggle = () => {
    chosen = current() === "dark" ? "light" : "dark";
    try { localStorage.setItem("hyper-py-theme", chosen); } catch { /* as above */ }
    apply();
  };
  document.getElementById("theme-button").addEventListener("click", toggle);
  system.addEventListener("change", apply);
  apply();
  return { toggle, onChange: listener => listeners.push(listener), print(on) { onPaper = on; apply(); } };
})();
