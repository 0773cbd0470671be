// Draws how many accounts, and how much revenue, were in each band day after day. A band can be left out, which is kept
// while the page is open: where most accounts are healthy, those at risk are seen better alone.
"use strict";
(() => {
  const { colour, seconds, daysBetween, draw, keepDrawn } = plotting;
  const LOOKS = {
    endangered: { stroke: "--endangered", width: 2.5 },
    at_risk: { stroke: "--at-risk", width: 2.5, dash: [8, 4] },
    healthy: { stroke: "--healthy", width: 1.5 },
    unknown: { stroke: "--unknown", width: 1.5, dash: [2, 3] },
  };
  const leftOut = new Set();

  const drawAll = () => {
    for (const box of document.querySelectorAll("#bands-legend input")) box.checked = !leftOut.has(box.dataset.band);
    const known = [...document.querySelectorAll("#days tbody tr")].map((row) => row.dataset.day).reverse();
    for (const place of document.querySelectorAll(".canvas.bands")) {
      const values = JSON.parse(place.dataset.values);
      const days = daysBetween(known[0], known[known.length - 1]);
      const places = new Map(known.map((day, index) => [seconds(day), index]));
      const bands = Object.keys(LOOKS).filter((band) => !leftOut.has(band));
      const series = bands.map((band) => ({ ...LOOKS[band], label: band, stroke: colour(LOOKS[band].stroke), points: { show: known.length < 32 } }));
      draw(place, [days, ...bands.map((band) => days.map((day) => values[band][places.get(day)] ?? null))], {
        scales: { x: { time: true }, y: { range: (_, least, most) => [0, Math.max(1, most * 1.05)] } },
        series: [{}, ...series],
      });
    }
  };

  document.addEventListener("change", (event) => {
    const band = event.target.closest("#bands-legend input")?.dataset.band;
    if (!band) return;
    if (event.target.checked) leftOut.delete(band);
    else leftOut.add(band);
    again();
  });
  const again = keepDrawn(drawAll);
})();
