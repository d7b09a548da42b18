/** The button that goes round: as the system says, light, dark. */

import { say } from "./dom.js";

const KEPT = "unspool.theme";
const ORDER = ["system", "light", "dark"];

export function themeButton(button, words) {
  let theme = document.documentElement.dataset.theme ?? "system";
  const apply = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.dataset.shows = theme;
    button.title = theme === "system" ? "Theme: as the system" : `Theme: ${theme}`;
    say(words, button.title);
  };
  button.addEventListener("click", () => {
    theme = ORDER[(ORDER.indexOf(theme) + 1) % ORDER.length];
    try {
      if (theme === "system") localStorage.removeItem(KEPT);
      else localStorage.setItem(KEPT, theme);
    } catch {
      // It lasts until the page is closed, then.
    }
    apply();
  });
  apply();
}
