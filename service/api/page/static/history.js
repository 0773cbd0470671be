// Draws the score of each day, and what happened on it, out of the table below.
"use strict";
(() => {
  const { colour, seconds, daysBetween, draw, keepDrawn } = plotting;
  const SIGN = 5; // half of what a sign measures

  const read = () => {
    const rows = [...document.querySelectorAll("#history tbody tr")];
    const byDay = new Map(rows.map((row) => [seconds(row.dataset.day), row.dataset]));
    const days = daysBetween(rows[0].dataset.day, rows[rows.length - 1].dataset.day);
    // A score stands until the next; a row without one is a day on which it became unknown.
    let score = null;
    const scores = days.map((day) => {
      const row = byDay.get(day);
      if (row) score = row.score ? Number(row.score) : null;
      return score;
    });
    return { days, scores, marks: (name) => days.filter((day) => Number(byDay.get(day)?.[name] ?? 0) > 0) };
  };

  const line = (u, stroke, dash, x1, y1, x2, y2) => {
    u.ctx.save();
    u.ctx.strokeStyle = stroke;
    u.ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    u.ctx.lineWidth = devicePixelRatio;
    u.ctx.beginPath();
    u.ctx.moveTo(x1, y1);
    u.ctx.lineTo(x2, y2);
    u.ctx.stroke();
    u.ctx.restore();
  };
  const threshold = (u, score, stroke, dash) => {
    const at = u.valToPos(score, "y", true);
    line(u, stroke, dash, u.bbox.left, at, u.bbox.left + u.bbox.width, at);
  };
  const upright = (u, day, stroke) => {
    const at = u.valToPos(day, "x", true);
    line(u, stroke, [], at, u.bbox.top, at, u.bbox.top + u.bbox.height);
  };

  const signs = (u, place, found) => {
    threshold(u, Number(place.dataset.atRisk), colour("--at-risk"), [6, 4]);
    threshold(u, Number(place.dataset.endangered), colour("--endangered"), [2, 3]);
    for (const day of found.marks("models")) upright(u, day, colour("--quiet"));
    const size = SIGN * devicePixelRatio;
    const x = (day) => u.valToPos(day, "x", true);
    // A square at the top is seen beside the dot of the alert that the same hand brought about.
    u.ctx.fillStyle = colour("--text");
    for (const day of found.marks("overrides")) u.ctx.fillRect(x(day) - size, u.bbox.top, 2 * size, 2 * size);
    u.ctx.fillStyle = colour("--endangered");
    for (const day of found.marks("alerts")) {
      const score = found.scores[found.days.indexOf(day)] ?? 0;
      u.ctx.beginPath();
      u.ctx.arc(x(day), u.valToPos(score, "y", true), size, 0, 2 * Math.PI);
      u.ctx.fill();
    }
  };

  keepDrawn(() => {
    const place = document.getElementById("chart");
    if (!place) return;
    const found = read();
    draw(place, [found.days, found.scores], {
      scales: { x: { time: true }, y: { range: [0, 100] } },
      series: [{}, { label: "Score", stroke: colour("--accent"), width: 2, points: { show: found.days.length < 32 } }],
      hooks: { draw: [(u) => signs(u, place, found)] },
    });
  });
})();
