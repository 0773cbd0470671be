// What all plots share: colours of the page, axes, and that they are drawn anew when the page, its width or its look
// changes. A plot shows what a table below it says; screen readers and printers get that as well.
"use strict";
const plotting = (() => {
  const HEIGHT = 220;
  const DAY_SECONDS = 86400;
  let plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const seconds = (day) => Date.parse(day) / 1000;

  // Every day from the first to the last, also those that nothing is known of.
  const daysBetween = (first, last) => {
    const all = [];
    for (let day = seconds(first); day <= seconds(last); day += DAY_SECONDS) all.push(day);
    return all;
  };

  const draw = (place, data, options) => {
    const axis = { stroke: colour("--text"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
    const short = new Intl.NumberFormat("en", { notation: "compact" });
    const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
    plots.push(
      new uPlot(
        {
          width: place.clientWidth,
          height: HEIGHT,
          legend: { show: false },
          cursor: { drag: { x: false, y: false } },
          tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"),
          axes: [{ ...axis, space: 64, incrs: [1, 2, 5, 7, 14, 30].map((days) => days * DAY_SECONDS), values: (_, days) => days.map((day) => date.format(day * 1000)) }, { ...axis, size: 48, values: (_, values) => values.map((value) => short.format(value)) }],
          ...options,
        },
        data,
        place,
      ),
    );
  };

  const keepDrawn = (drawAll) => {
    const again = () => {
      for (const plot of plots) plot.destroy();
      plots = [];
      drawAll();
    };
    document.addEventListener("htmx:afterSwap", again);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    addEventListener("resize", again);
    addEventListener("beforeprint", again);
    again();
    return again;
  };

  return { colour, seconds, daysBetween, draw, keepDrawn };
})();
