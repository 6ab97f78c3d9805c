"use strict";
// Draws the charts of a page from /charts.json, each when it comes into view; the same values fill the table behind it.
(() => {
  const config = { responsive: true, displaylogo: false, displayModeBar: false };
  const known = new Map();
  const drawn = new Set();
  const several = document.querySelectorAll(".runs > .run").length > 1;  // their colours stand above the charts
  let events = [];
  let zoomed = null;
  let busy = false;

  const style = () => getComputedStyle(document.documentElement);
  const colour = (css, number) => css.getPropertyValue(number < 0 ? "--ink" : `--c${number % 8}`).trim();
  const faded = (value, alpha) => value + Math.round(alpha * 255).toString(16).padStart(2, "0");
  const full = (value) => (/^#[0-9a-f]{3}$/i.test(value) ? "#" + [...value.slice(1)].map((c) => c + c).join("") : value);
  const plain = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

  function words(value, format) {
    if (value === null || value === undefined) return "–";
    if (format === "share") return `${(100 * value).toFixed(1)} %`;
    if (format === "points") return (value > 0 ? "+" : "") + value.toFixed(2);
    if (format === "integer") return value.toFixed(1);
    return Math.abs(value) >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)));
  }

  // Where seeds are put together, their mean has the interval and the onset, and each of them a thin line.
  const leads = (chart) => { const means = chart.series.filter((one) => one.colour < 0); return means.length ? means : chart.series; };

  function traces(chart, css) {
    const found = [], leading = leads(chart);
    for (const one of chart.series) {
      const line = full(colour(css, one.colour));
      const has = one.low && one.low.some((v) => v !== null);
      if (has && !chart.stacked && leading.includes(one)) {
        const at = one.x.map((_, i) => i).filter((i) => one.low[i] !== null);
        found.push({
          type: "scatter", mode: "lines", hoverinfo: "skip", showlegend: false, legendgroup: one.name,
          x: [...at.map((i) => one.x[i]), ...at.map((i) => one.x[i]).reverse()],
          y: [...at.map((i) => one.high[i]), ...at.map((i) => one.low[i]).reverse()],
          fill: "toself", fillcolor: faded(line, 0.16), line: { width: 0 },
        });
      }
      const faint = one.style === "faint";
      const measured = one.style === "measured" || one.style === "dashed";
      found.push({
        type: "scatter", name: plain(one.name), legendgroup: one.name, x: one.x, y: one.y, customdata: one.x.map((_, i) =>
          words(one.y[i], chart.format) + (one.low && one.low[i] !== null ? ` (${words(one.low[i], chart.format)} to ${words(one.high[i], chart.format)})` : "")),
        hovertemplate: "%{customdata}", meta: one.query || null, cliponaxis: false, showlegend: !faint,
        mode: one.x.length === 1 ? "markers" : measured && one.x.length <= 60 ? "lines+markers" : "lines",
        line: { color: faint ? faded(line, 0.4) : line, width: faint ? 1 : measured && leading.includes(one) ? 2 : 1.3, dash: one.style === "dashed" ? "dot" : "solid" },
        marker: { size: leading.includes(one) ? 5 : 3.5, color: line },
        ...(chart.stacked ? { stackgroup: "all", fillcolor: faded(line, 0.55), mode: "lines", line: { width: 0.5, color: line } } : {}),
      });
    }
    return found;
  }

  function layout(chart, css) {
    const get = (name) => css.getPropertyValue(name).trim();
    const shapes = [], annotations = [];
    const measured = leads(chart).filter((one) => one.band);
    if (!chart.stacked) {
      for (const one of measured.length <= 2 ? measured : measured.slice(-1)) {
        shapes.push({ type: "rect", xref: "paper", x0: 0, x1: 1, y0: one.band[0], y1: one.band[1], layer: "below",
          fillcolor: faded(full(colour(css, one.colour)), 0.09), line: { width: 0 } });
      }
      const began = leads(chart).filter((one) => one.onset);
      began.forEach((one, i) => {
        const line = full(colour(css, one.colour));
        const [step, after, high] = one.onset;
        shapes.push({ type: "rect", yref: "paper", y0: 0, y1: 1, x0: after, x1: high, layer: "below", fillcolor: faded(line, 0.07), line: { width: 0 } });
        shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: step, x1: step, layer: "below", line: { width: 1, color: faded(line, 0.7) } });
        if (i === 0 || began.length <= 3) {
          annotations.push({ x: step, y: 1 - 0.11 * i, yref: "paper", yanchor: "top", xanchor: "left", xshift: 3, showarrow: false,
            text: `onset ${step}`, font: { size: 10, color: line } });
        }
      });
    }
    for (const event of events) {
      shapes.push({ type: "line", yref: "paper", y0: 0, y1: 1, x0: event.step, x1: event.step, line: { width: 1, dash: "dot", color: get("--event") } });
      annotations.push({ x: event.step, y: 1, yref: "paper", yanchor: "bottom", showarrow: false, text: String(event.number), font: { size: 10, color: get("--event") } });
    }
    const values = chart.series.flatMap((one) => [...one.y, ...(one.low || []), ...(one.high || [])]).filter((v) => v !== null);
    const low = Math.min(...values), high = Math.max(...values);
    const axis = { gridcolor: get("--line"), zerolinecolor: get("--line"), automargin: true, tickfont: { size: 10.5 } };
    const names = new Set(chart.series.filter((one) => one.style !== "faint").map((one) => one.name));
    const y = { ...axis, fixedrange: true, exponentformat: "e", nticks: 5 };
    if (chart.format === "share") Object.assign(y, { tickformat: high < 0.1 ? ".1%" : ".0%", range: chart.stacked ? [0, 1] : [0, Math.max(0.02, Math.min(1.02, high * 1.08))] });
    else if (low === high) y.range = low ? [Math.min(0, 2 * low), Math.max(0, 2 * low)] : [0, 1];
    else if (low >= 0) y.rangemode = "tozero";
    return {
      margin: { l: 42, r: 8, t: events.length ? 16 : 6, b: 26 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: "system-ui, sans-serif", size: 11, color: get("--soft") }, hovermode: "x unified", dragmode: "zoom",
      hoverlabel: { bgcolor: get("--card"), bordercolor: get("--line"), font: { color: get("--ink"), size: 11.5 } },
      showlegend: names.size > 1 && (!several || chart.key === "accuracy" || chart.key === "reward"), legend: { orientation: "h", x: 0, y: -0.14, yanchor: "top", font: { size: 10.5 } },
      shapes, annotations, xaxis: { ...axis, range: zoomed || range(), hoverformat: "d", nticks: 7, zeroline: false }, yaxis: y,
    };
  }

  function range() {
    let last = 1;
    for (const chart of known.values()) for (const one of chart.series) for (const x of one.x) if (x > last) last = x;
    const margin = Math.max(0.4, 0.02 * last);
    return [-margin, last + margin];
  }

  function draw(figure) {
    const chart = known.get(figure.dataset.chart);
    if (!chart) return;
    const css = style(), plot = figure.querySelector(".plot");
    const first = !drawn.has(figure);
    drawn.add(figure);
    Plotly.react(plot, traces(chart, css), layout(chart, css), config);
    if (first) {
      plot.on("plotly_click", (event) => {
        const point = event.points.find((one) => one.data.meta);
        if (point) location.assign(`/rollouts?${point.data.meta}&step=${point.x}`);
      });
      plot.on("plotly_relayout", (change) => {
        if (busy || !("xaxis.range[0]" in change || "xaxis.autorange" in change)) return;
        busy = true;
        zoomed = "xaxis.autorange" in change ? null : [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        Promise.all([...drawn].map((one) => Plotly.relayout(one.querySelector(".plot"), { "xaxis.range": (zoomed || range()).slice() })))
          .finally(() => { busy = false; });
      });
    }
    if (figure.querySelector(".data").open) fill(figure);
  }

  function fill(figure) {
    const chart = known.get(figure.dataset.chart);
    const place = figure.querySelector(".data .scroll");
    if (!chart) return;
    const table = document.createElement("table");
    const cell = (row, tag, text) => { const one = document.createElement(tag); one.textContent = text; row.append(one); return one; };
    const head = table.createTHead().insertRow();
    cell(head, "th", "step").scope = "col";
    for (const one of chart.series) cell(head, "th", one.name).scope = "col";
    const steps = [...new Set(chart.series.flatMap((one) => one.x))].sort((a, b) => a - b);
    const at = chart.series.map((one) => new Map(one.x.map((x, i) => [x, i])));
    const body = table.createTBody();
    for (const step of steps) {
      const row = body.insertRow();
      cell(row, "th", step).scope = "row";
      chart.series.forEach((one, s) => {
        const i = at[s].get(step);
        let text = i === undefined ? "" : words(one.y[i], chart.format);
        if (i !== undefined && one.low && one.low[i] !== null) text += ` (${words(one.low[i], chart.format)} – ${words(one.high[i], chart.format)})`;
        cell(row, "td", text);
      });
    }
    place.replaceChildren(table);
  }

  function save(figure, format) {
    const chart = known.get(figure.dataset.chart);
    const box = figure.querySelector(".plot").getBoundingClientRect();
    const card = style().getPropertyValue("--card").trim();
    Plotly.toImage({ data: traces(chart, style()), layout: { ...layout(chart, style()), paper_bgcolor: card } },
      { format, width: Math.max(640, Math.round(box.width)), height: Math.max(360, Math.round(box.height)), scale: format === "png" ? 2 : 1 })
      .then((address) => {
        const link = document.createElement("a");
        link.href = address;
        link.download = `${figure.dataset.chart}.${format}`;
        link.click();
      });
  }

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) { seen.unobserve(entry.target); draw(entry.target); }
    }
  }, { rootMargin: "200px" });

  function address() {
    const query = new URLSearchParams(location.search);
    if (document.querySelector("[data-view=flow]")) query.set("view", "flow");
    return `/charts.json?${query}`;
  }

  async function load() {
    const answer = await fetch(address());
    if (!answer.ok) return;
    const found = await answer.json();
    known.clear();
    for (const chart of found.charts) known.set(chart.key, chart);
    events = found.events;
    for (const figure of document.querySelectorAll(".chart")) drawn.has(figure) ? draw(figure) : seen.observe(figure);
    document.body.dataset.charts = known.size;
  }

  const redraw = () => { for (const figure of drawn) draw(figure); };
  function found() {
    for (const figure of [...drawn]) if (!figure.isConnected) drawn.delete(figure);
    for (const figure of document.querySelectorAll(".chart")) {
      figure.querySelector(".data").addEventListener("toggle", () => fill(figure));
      for (const button of figure.querySelectorAll(".save")) button.addEventListener("click", () => save(figure, button.dataset.format));
    }
  }
  window.readerCharts = { load, redraw, found };
  found();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  load();
})();
