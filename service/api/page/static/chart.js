// Draws the score of each day out of the table below it, which is what screen readers and printers get as well.
"use strict";
(() => {
  const DAY_SECONDS = 86400;
  const HEIGHT = 220;
  let plot = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const read = () => {
    const rows = [...document.querySelectorAll("#history tbody tr")];
    const byDay = new Map(rows.map((row) => [Date.parse(row.dataset.day) / 1000, row.dataset]));
    const days = [...byDay.keys()];
    const all = [];
    for (let day = days[0]; day <= days[days.length - 1]; day += DAY_SECONDS) all.push(day);
    const value = (day) => (byDay.get(day)?.score ? Number(byDay.get(day).score) : null);
    return { days: all, scores: all.map(value), marks: (name) => all.filter((day) => Number(byDay.get(day)?.[name] ?? 0) > 0) };
  };

  const across = (u, y, stroke) => {
    const at = u.valToPos(y, "y", true);
    line(u, stroke, u.bbox.left, at, u.bbox.left + u.bbox.width, at);
  };
  const line = (u, stroke, x1, y1, x2, y2) => {
    u.ctx.save();
    u.ctx.strokeStyle = stroke;
    u.ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.moveTo(x1, y1);
    u.ctx.lineTo(x2, y2);
    u.ctx.stroke();
    u.ctx.restore();
  };
  const marks = (u, place, found) => {
    across(u, Number(place.dataset.atRisk), colour("--at-risk"));
    across(u, Number(place.dataset.endangered), colour("--endangered"));
    for (const day of found.marks("modelChanged")) {
      const at = u.valToPos(day, "x", true);
      line(u, colour("--quiet"), at, u.bbox.top, at, u.bbox.top + u.bbox.height);
    }
    u.ctx.fillStyle = colour("--endangered");
    for (const day of found.marks("alerts")) {
      const score = found.scores[found.days.indexOf(day)];
      if (score === null) continue;
      u.ctx.beginPath();
      u.ctx.arc(u.valToPos(day, "x", true), u.valToPos(score, "y", true), 5 * devicePixelRatio, 0, 2 * Math.PI);
      u.ctx.fill();
    }
  };

  const draw = () => {
    const place = document.getElementById("chart");
    if (plot) plot.destroy();
    plot = null;
    if (!place) return;
    const found = read();
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    plot = new uPlot(
      {
        width: place.clientWidth,
        height: HEIGHT,
        legend: { show: false },
        cursor: { drag: { x: false, y: false } },
        tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "UTC"),
        scales: { x: { time: true }, y: { range: [0, 100] } },
        axes: [axis, { ...axis, size: 40 }],
        series: [{}, { label: "Score", stroke: colour("--accent"), width: 2, points: { show: found.days.length < 32 } }],
        hooks: { draw: [(u) => marks(u, place, found)] },
      },
      [found.days, found.scores],
      place,
    );
  };

  document.addEventListener("htmx:afterSwap", draw);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  addEventListener("beforeprint", draw);
  draw();
})();
