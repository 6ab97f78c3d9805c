"use strict";
// Before the page is painted, so that it does not flash.
(() => {
  let kept = null;
  try { kept = localStorage.getItem("r1rl-theme"); } catch { /* no storage, no choice */ }
  if (kept === "light" || kept === "dark") document.documentElement.dataset.theme = kept;
})();
