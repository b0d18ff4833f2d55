"use strict";
// Draws the figures of the page from their JSON, in light or dark, and switches between them.
const {figures, texts, dark} = JSON.parse(document.getElementById("figures").textContent);
const night = matchMedia("(prefers-color-scheme: dark)");
const narrow = matchMedia("(max-width: 700px)");

function recoloured(value) {
  if (typeof value === "string") return night.matches && value in dark ? dark[value] : value;
  if (Array.isArray(value)) return value.map(recoloured);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recoloured(v)]));
}

function draw(element) {
  const {data, layout} = recoloured(figures[element.dataset.figure]);
  for (const trace of data) {
    if (trace.told) trace.text = trace.told.map(place => texts[place]);
    delete trace.told;
  }
  layout.paper_bgcolor = recoloured("white");
  layout.autosize = true;
  if (narrow.matches) {
    layout.font = {...layout.font, size: 11};
    if (layout.polar) layout.margin = {l: 62, r: 62, t: 30, b: 30};
    if (!layout.polar && !layout.ternary && layout.yaxis) {
      layout.margin = {l: 52, r: 8, t: 12, b: 48};
      layout.xaxis.title.standoff = 6;
      const ticks = layout.yaxis.ticktext;  // names of effects
      if (ticks) layout.yaxis.ticktext = ticks.map(text => text.replace(" against ", "<br>against "));
    }
    layout.legend = {...layout.legend, orientation: "h", x: 0, y: -0.16, yanchor: "top",
      font: {size: 10}, tracegroupgap: 2};
    if (layout.ternary) {
      layout.margin = {l: 70, r: 70, t: 70, b: 90};
      for (const name of ["aaxis", "baxis", "caxis"]) layout.ternary[name].title.font = {size: 10};
      layout.legend = {...layout.legend, y: 1.22};
      layout.coloraxis.colorbar = {...layout.coloraxis.colorbar, orientation: "h", y: -0.2,
        yanchor: "top", len: 1, thickness: 12};
    }
  }
  Plotly.react(element, data, layout, {displaylogo: false, responsive: true,
    displayModeBar: narrow.matches ? false : "hover"});
}

const plots = [...document.querySelectorAll(".plot[data-figure]")];
const drawAll = () => plots.forEach(draw);
drawAll();
night.addEventListener("change", drawAll);
narrow.addEventListener("change", drawAll);

for (const group of document.querySelectorAll(".switch")) {
  group.addEventListener("click", event => {
    const chosen = event.target.closest("button");
    if (!chosen) return;
    for (const button of group.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button === chosen));
      const table = document.getElementById(button.dataset.table);
      if (table) table.hidden = button !== chosen;
    }
    const plot = document.getElementById(group.dataset.plot);
    plot.dataset.figure = chosen.dataset.figure;
    draw(plot);
  });
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.dataset.label = button.textContent;
  button.addEventListener("click", async () => {
    const text = button.dataset.command, label = button.dataset.label;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {  // no clipboard without a safe origin
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      button.textContent = document.execCommand("copy") ? "copied" : "select it";
      field.remove();
    }
    setTimeout(() => { button.textContent = label; }, 1500);
  });
}
