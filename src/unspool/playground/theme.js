// Before anything is drawn: the theme that was chosen in this browser, if one was.
(() => {
  try {
    const chosen = localStorage.getItem("unspool.theme");
    if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
  } catch {
    // A browser that keeps nothing follows the system.
  }
})();
