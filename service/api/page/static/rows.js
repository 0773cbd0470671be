// A list under the reader's hands: rows glide to their new places, what changed lights up, and the keys j, k, Enter
// and, where there is a search, / work.
"use strict";
(() => {
  const GLIDE_MS = 400;
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const rows = () => [...document.querySelectorAll("#rows > tr")];
  const here = () => document.getElementById("live").dataset.here;
  let before = new Map();
  let wasHere = "";

  document.addEventListener("htmx:beforeSwap", () => {
    wasHere = here();
    before = new Map(rows().map((row) => [row.id, { top: row.getBoundingClientRect().top, seq: row.dataset.seq }]));
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (here() !== wasHere) return; // another list, not news
    // Not before: as it settles, htmx gives rows that were there the classes that the server sent.
    for (const row of rows()) if (before.get(row.id)?.seq !== row.dataset.seq) row.classList.add("changed");
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (here() !== wasHere) return;
    for (const row of rows()) {
      const old = before.get(row.id);
      const way = old ? old.top - row.getBoundingClientRect().top : 0;
      if (way && !still.matches) row.animate([{ transform: `translateY(${way}px)` }, { transform: "none" }], { duration: GLIDE_MS, easing: "ease-out" });
    }
  });

  // A reader who dictates or uses other keys can turn these off; the choice is kept in this browser.
  const shortcuts = document.getElementById("shortcuts");
  shortcuts.checked = localStorage.getItem("shortcuts") !== "off";
  shortcuts.addEventListener("change", () => localStorage.setItem("shortcuts", shortcuts.checked ? "on" : "off"));

  const step = (by) => {
    const links = rows().map((row) => row.querySelector("th a"));
    const here = links.findIndex((link) => link.closest("tr").contains(document.activeElement));
    const next = links[Math.min(links.length - 1, Math.max(0, here + by))];
    if (next) next.focus();
  };
  document.addEventListener("keydown", (event) => {
    const search = document.getElementById("search");
    if (event.key === "Escape" && event.target === search) return search.blur();
    if (!shortcuts.checked || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (event.key === "/" && search) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });
})();
