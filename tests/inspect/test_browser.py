"""The report in a real browser: charts are drawn, and no script of a completion runs."""

from __future__ import annotations

import http.server
import json
import queue
import re
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from r1rl.inspect.curves import charts
from r1rl.inspect.report import write_report
from r1rl.inspect.run_data import load
from r1rl.store.store import write_shard

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def dom(page: Path, profile: Path) -> str:
    """The page's DOM after its scripts have run."""
    assert CHROMIUM is not None
    # Headless Chromium was seen to hang once in dozens of starts on a busy machine; a page that hangs fails thrice.
    for attempt in (1, 2, 3):
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}-{attempt}", "--dump-dom", page.resolve().as_uri()]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=60 * attempt, check=True).stdout
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("chromium hung three times")


def test_the_charts_are_drawn(drawn_run: Path, tmp_path: Path) -> None:
    found = dom(write_report(drawn_run), tmp_path / "profile")
    keys = [chart.key for chart in charts(load(drawn_run))]
    assert len(keys) == 13
    for key in keys:
        drawn = re.search(rf'id="{key}" class="[^"]*js-plotly-plot', found) or re.search(
            rf'class="[^"]*js-plotly-plot[^"]*" id="{key}"', found
        )
        assert drawn, key
    assert found.count('class="main-svg"') >= len(keys)
    assert found.count("js-line") >= len(keys)


def test_no_script_of_a_completion_runs(hostile_run: Path, tmp_path: Path) -> None:
    found = dom(write_report(hostile_run), tmp_path / "profile")
    assert "<title>hostile · r1rl</title>" in found  # every hostile script would rename the page
    assert "js-plotly-plot" in found
    assert "onerror" in found  # as text it is there


def test_the_policy_stops_a_script_that_got_in(run_dir: Path, tmp_path: Path) -> None:
    page = write_report(run_dir)
    smuggled = "<script>document.title='OWNED'</script><img src=x onerror=\"document.title='OWNED'\"></main>"
    page.write_text(page.read_text().replace("</main>", smuggled))
    assert "<title>toy · r1rl</title>" in dom(page, tmp_path / "profile")


PHONE = 420
_MEASURE = """<!doctype html><iframe src="/page" width="{width}" height="2000"></iframe><script>
const frame = document.querySelector("iframe");
const settled = async () => {{
  for (let i = 0; i < 20; i++) await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn, 20)));
}};
frame.addEventListener("load", async () => {{
  const page = frame.contentDocument, right = (one) => one.getBoundingClientRect().right - 0.5;
  page.querySelectorAll("details").forEach((one) => one.open = true);
  await settled();
  frame.width = {phone};
  await settled();
  fetch("/told", {{ method: "POST", body: JSON.stringify({{
    width: page.defaultView.innerWidth,
    scroll_width: page.scrollingElement.scrollWidth,
    wide: [...page.querySelectorAll("body *")].filter((one) => right(one) > {phone})
      .map((one) => one.tagName + " " + one.getAttribute("class")),
    charts: page.querySelectorAll(".js-plotly-plot").length,
    cut: [...page.querySelectorAll(".chart text")].filter((one) => right(one) > right(one.closest(".chart")))
      .map((one) => one.textContent),
    marks: [...page.querySelectorAll(".attempt.closes")].map((one) =>
      [one.classList.contains("right"), page.defaultView.getComputedStyle(one, "::after").content]),
    badges: [...page.querySelectorAll(".badge")].map((one) => one.innerText),
    warning: page.querySelector(".warning")?.innerText,
  }}) }});
}});
</script>"""


def on_a_phone(page: Path, folder: Path, from_width: int = PHONE) -> dict[str, Any]:
    """What a window of 420 px shows of the page with everything opened, after it was `from_width` wide.

    A frame, as Chromium's own window is never narrower than 500 px. A server, as `--dump-dom` draws no frames, without
    which nothing follows its new size.
    """
    told: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            outer = _MEASURE.format(width=from_width, phone=PHONE).encode()
            self._answer(page.read_bytes() if self.path == "/page" else outer)

        def do_POST(self) -> None:
            told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    assert CHROMIUM is not None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for attempt in (1, 2, 3):  # see `dom`
                # With a port to be debugged at, headless Chromium stays until it is stopped.
                command = [CHROMIUM, *FLAGS, f"--user-data-dir={folder / f'phone-{attempt}'}"]
                command += ["--remote-debugging-port=0", f"http://127.0.0.1:{server.server_port}/"]
                with subprocess.Popen(command, stderr=subprocess.DEVNULL) as browser:
                    try:
                        return told.get(timeout=60 * attempt)
                    except queue.Empty:
                        browser.kill()
                    finally:
                        browser.terminate()
            raise AssertionError("chromium hung three times")
        finally:
            server.shutdown()


@pytest.mark.parametrize("from_width", [pytest.param(PHONE, id="opened"), pytest.param(1200, id="made narrower")])
@pytest.mark.parametrize("run", ["drawn_run", "hostile_run", "worded_run"])
def test_nothing_is_wider_than_a_phone(
    run: str, from_width: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    found = on_a_phone(write_report(request.getfixturevalue(run)), tmp_path, from_width)
    assert found["width"] == PHONE
    assert found["charts"]
    assert found["scroll_width"] <= PHONE
    assert found["wide"] == []
    assert found["cut"] == [], "words of charts"


@pytest.fixture
def worded_run(run_dir: Path) -> Path:
    """A run with long words wherever a user can put them: rewards' names, model, events."""
    word = "my_rewards.py:" + "as_short_as_it_gets_" * 6
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line |= {f"rewards/{word}{i}/mean": 0.5 for i in range(3)}
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (run_dir / "recipe.yaml").write_text(f"model_name_or_path: {word}/{word}\ntask: countdown\n{word}: {word}\n")
    with (run_dir / "events.jsonl").open("a") as stream:
        stream.write(json.dumps({"time": 3.0, "step": 9, "event": word, "detail": word}) + "\n")
    return run_dir


def test_right_and_wrong_are_marked_and_not_by_colour_alone(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]], tmp_path: Path
) -> None:
    rows = make_sampled(20)
    rows[0] |= {"verdict": "unparseable", "verdict_reason": "no <answer>", "finish_reason": "length"}
    for row in rows[:3]:
        row["finish_reason"] = "length"
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    found = on_a_phone(write_report(run_dir), tmp_path)
    assert {(right, mark) for right, mark in found["marks"]} == {(True, '"✓"'), (False, '"✗"')}
    assert {badge[:2] for badge in found["badges"]} == {"✓ ", "✗ "}
    assert "12 % of held-out rollouts at step 20" in found["warning"]
