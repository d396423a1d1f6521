"use strict";
const figures = JSON.parse(document.getElementById("figures").textContent);
const config = {
  displaylogo: false,
  responsive: true,
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  toImageButtonOptions: { format: "svg" },
};
const places = [...document.querySelectorAll("[data-figure]")];
Promise.all(
  places.map((place) => {
    const figure = figures[place.dataset.figure];
    place.textContent = "";
    return Plotly.newPlot(place, figure.data, figure.layout, config);
  })
).then(() => document.documentElement.setAttribute("data-drawn", String(places.length)));
window.addEventListener("beforeprint", () => places.forEach((place) => Plotly.Plots.resize(place)));
