"use strict";
(function () {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  let busy = false;

  // A colour is the name of a CSS variable, so that charts follow the theme.
  function resolve(value, style) {
    if (typeof value === "string") return value.startsWith("--") ? style.getPropertyValue(value).trim() : value;
    if (Array.isArray(value)) return value.map((v) => resolve(v, style));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v, style)]));
    }
    return value;
  }

  function layout(chart) {
    const axis = { gridcolor: "--grid", linecolor: "--grid", zerolinecolor: "--grid", automargin: true };
    return Object.assign({}, chart.layout, {
      height: chart.small ? 170 : 300,
      margin: { l: 44, r: 10, t: 18, b: 30 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 11, color: "--soft" },
      hovermode: "x unified",
      hoverlabel: { bgcolor: "--card", bordercolor: "--grid", font: { color: "--ink" } },
      dragmode: "zoom",
      legend: { orientation: "h", x: 0, y: -0.14, yanchor: "top", bgcolor: "rgba(0,0,0,0)" },
      xaxis: Object.assign({}, axis, { hoverformat: "d" }, chart.layout.xaxis),
      yaxis: Object.assign({ fixedrange: true, exponentformat: "e" }, axis, chart.layout.yaxis),
    });
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    for (const chart of charts) {
      Plotly.react(chart.key, resolve(chart.data, style), resolve(layout(chart), style), config);
    }
  }

  draw();
  for (const chart of charts) {
    document.getElementById(chart.key).on("plotly_relayout", (change) => {
      if (busy || !("xaxis.range[0]" in change || "xaxis.autorange" in change)) return;
      busy = true;
      const range = "xaxis.autorange" in change
        ? chart.layout.xaxis.range
        : [change["xaxis.range[0]"], change["xaxis.range[1]"]];
      Promise.all(charts.map((c) => Plotly.relayout(c.key, { "xaxis.range": range.slice() })))
        .finally(() => { busy = false; });
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
