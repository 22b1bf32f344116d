// The theme (system, light or dark): set before the first paint and remembered; the event `gm-theme` redraws the charts.
// A classic script: a module would run after the paint.
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const remembered = () => {
    try {
      return localStorage.getItem("gm-theme") || "system";
    } catch {
      return "system"; // storage may be forbidden
    }
  };

  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
    root.dispatchEvent(new Event("gm-theme"));
  };

  apply(remembered());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(remembered()));
  document.addEventListener("DOMContentLoaded", () => {
    const select = document.getElementById("theme");
    if (!select) return;
    select.value = remembered();
    select.hidden = false;
    select.addEventListener("change", () => {
      try {
        localStorage.setItem("gm-theme", select.value);
      } catch {
        // it then holds for this page only
      }
      apply(select.value);
    });
  });
})();
