"use strict";
(() => {
  const $ = (selector) => document.querySelector(selector);
  const $$ = (selector) => [...document.querySelectorAll(selector)];
  const said = $("#said");
  let saying = 0;

  function say(text) {
    said.textContent = text;
    clearTimeout(saying);
    saying = setTimeout(() => { said.textContent = ""; }, 2200);
  }

  // Light and dark
  function theme() {
    const dark = document.documentElement.dataset.theme
      ? document.documentElement.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("r1rl-theme", document.documentElement.dataset.theme); } catch { /* not kept */ }
    if (window.readerCharts) window.readerCharts.redraw();
  }
  $("#theme").addEventListener("click", theme);

  const help = $("#help");
  $("#help-button").addEventListener("click", () => help.showModal());

  // A list's rows: one is marked, Enter opens it.
  const rows = $$("#rollouts tbody tr");
  let here = -1;
  function mark(number) {
    if (!rows.length) return;
    if (here >= 0) rows[here].classList.remove("here");
    here = Math.max(0, Math.min(rows.length - 1, number));
    rows[here].classList.add("here");
    rows[here].querySelector(".open").focus({ preventScroll: true });
    rows[here].scrollIntoView({ block: "nearest" });
  }
  for (const row of rows) {
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) row.querySelector(".open").click();
    });
  }

  for (const prompt of $$("pre.prompt")) prompt.scrollTop = prompt.scrollHeight;  // the question comes last

  function go(selector) {
    const link = $(selector);
    if (link) location.assign(link.href);
    return Boolean(link);
  }

  async function copy() {
    const link = $("#permalink");
    const address = link && link.getAttribute("href") ? link.href : location.href;
    try { await navigator.clipboard.writeText(address); say("Permalink copied"); } catch { say(address); }
  }
  const permalink = $("#permalink");
  if (permalink) {
    if (!permalink.getAttribute("href")) permalink.href = location.href;
    permalink.addEventListener("click", (event) => { if (!event.metaKey && !event.ctrlKey) { event.preventDefault(); copy(); } });
  }

  const PLACES = { o: "/", r: "/rollouts", p: "/prompts", f: "/flow", a: "/gallery" };
  let waitsForPlace = false;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const typing = event.target.closest("input:not([type=checkbox], [type=range]), select, textarea");
    if (typing) { if (event.key === "Escape") event.target.blur(); return; }
    if (waitsForPlace) {
      waitsForPlace = false;
      if (PLACES[event.key]) { location.assign(PLACES[event.key]); return; }
    }
    const keys = {
      "?": () => help.showModal(),
      "/": () => { const search = $("#search"); search ? (search.closest("details")?.setAttribute("open", ""), search.focus(), search.select()) : location.assign("/rollouts#search"); },
      j: () => go("[data-key=j]") || mark(here + 1),
      k: () => go("[data-key=k]") || mark(here - 1),
      h: () => frames.length ? frame(at - 1) : go("[data-key=h]") || say("No step before this one here"),
      l: () => frames.length ? frame(at + 1) : go("[data-key=l]") || say("No step after this one here"),
      n: () => go("[rel=next]"),
      p: () => go("[rel=prev]"),
      s: () => go("[data-key=s]"),
      u: () => go("[data-key=u]"),
      c: copy,
      t: theme,
      g: () => { waitsForPlace = true; setTimeout(() => { waitsForPlace = false; }, 1200); },
      " ": frames.length ? toggle : null,
    };
    if (!keys[event.key]) return;
    if (event.key === " " && event.target.closest("button, summary, a")) return;
    event.preventDefault();
    keys[event.key]();
  });
  if (location.hash === "#search" && $("#search")) $("#search").focus();

  // The form's permalink holds what was filled in, and nothing else.
  const form = $("#filter");
  if (form) {
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const query = new URLSearchParams([...new FormData(form)].filter(([name, value]) => value && !(name === "sort" && value === "newest")));
      location.assign(`/rollouts?${query}`);
    });
    if (matchMedia("(max-width: 820px)").matches) $("#filters").removeAttribute("open");
  }

  // One prompt across steps, played like a film.
  const columns = $("#columns");
  const frames = columns ? $$("#columns .column") : [];
  let at = 0, playing = 0;
  function frame(number) {
    if (!columns.classList.contains("film")) {
      columns.classList.add("film");
      $("#film").hidden = $("#side").hidden = false;
    }
    frames[at].classList.remove("frame");
    at = Math.max(0, Math.min(frames.length - 1, number));
    frames[at].classList.add("frame");
    $("#frame").value = at;
    $("#frame-step").textContent = frames[at].dataset.step;
  }
  function stop() {
    clearInterval(playing);
    playing = 0;
    $("#play").textContent = "▶ Play";
    $("#play").setAttribute("aria-pressed", "false");
  }
  function toggle() {
    if (playing) { stop(); return; }
    frame(at >= frames.length - 1 ? 0 : at);
    $("#play").textContent = "❚❚ Stop";
    $("#play").setAttribute("aria-pressed", "true");
    playing = setInterval(() => { at >= frames.length - 1 ? stop() : frame(at + 1); }, 1100);
  }
  if (columns) {
    $("#play").addEventListener("click", toggle);
    $("#frame").addEventListener("input", (event) => { stop(); frame(Number(event.target.value)); });
    $("#side").addEventListener("click", () => {
      stop();
      columns.classList.remove("film");
      $("#film").hidden = $("#side").hidden = true;
    });
    $("#diff").addEventListener("change", (event) => columns.classList.toggle("diff", event.target.checked));
    if (frames.length < 2) $("#play").disabled = true;
  }

  // A run that is training: figures change where they stand; lists wait until they are asked to.
  const live = $("#live");
  let version = Number(document.body.dataset.version), rollouts = null;
  async function look() {
    let found;
    try { found = await (await fetch("/live")).json(); } catch { setTimeout(look, 10_000); return; }
    if ($("[data-waiting]")) {
      if (found.ready) { location.reload(); return; }
      const [done, of] = found.done;
      if (of) { $("progress").max = of; $("progress").value = done; }
      setTimeout(look, 400);
      return;
    }
    live.hidden = !found.running.length && !found.busy;
    if (found.busy && !found.running.length) live.textContent = "measuring";
    else if (found.running.length) live.textContent = found.running.length === 1 ? "running" : `${found.running.length} running`;
    const more = rollouts === null ? 0 : found.rollouts - rollouts;
    if (found.version !== version) {
      const parts = $$("[data-live]");
      const waits = more === 0 && !parts.length;  // measured since; the rollouts are the same
      if (waits) version = found.version;
      else if (parts.length) {
        version = found.version;
        rollouts = found.rollouts;
        const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
        for (const part of parts) {
          const opened = [...part.querySelectorAll("details")].map((one) => one.open);
          const fresh = page.getElementById(part.id);
          if (!fresh) continue;
          part.replaceChildren(...fresh.childNodes);
          part.querySelectorAll("details").forEach((one, i) => { if (i in opened) one.open = opened[i]; });
        }
        const charts = $("[data-grows]"), more_charts = page.querySelector("[data-grows]");
        if (charts && more_charts && charts.dataset.grows !== more_charts.dataset.grows) {
          charts.replaceWith(more_charts);
          if (window.readerCharts) window.readerCharts.found();
        }
        if (window.readerCharts) window.readerCharts.load();
        document.body.dataset.version = version;
      } else {
        live.hidden = false;
        live.textContent = more > 0 ? `${more.toLocaleString("en")} new rollouts` : "the runs have changed";
        const button = document.createElement("button");
        button.textContent = "Show";
        button.addEventListener("click", () => location.reload());
        live.append(button);
      }
    }
    if (rollouts === null) rollouts = found.rollouts;
    setTimeout(look, found.busy ? 1_000 : found.running.length ? 3_000 : 8_000);
  }
  look();
})();
