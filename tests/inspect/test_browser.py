"""The report in a real browser: charts are drawn, and no script of a completion runs."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from r1rl.inspect.curves import charts
from r1rl.inspect.report import write_report
from r1rl.inspect.run_data import load

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]


def dom(page: Path, profile: Path) -> str:
    """The page's DOM after its scripts have run."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
    ]  # fmt: skip
    # Headless Chromium was seen to hang once in dozens of starts on a busy machine; a page that hangs fails thrice.
    for attempt in (1, 2, 3):
        command += [f"--user-data-dir={profile}-{attempt}", "--dump-dom", page.resolve().as_uri()]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        except subprocess.TimeoutExpired:
            del command[-3:]
    raise AssertionError("chromium hung three times")


def test_the_charts_are_drawn(drawn_run: Path, tmp_path: Path) -> None:
    found = dom(write_report(drawn_run), tmp_path / "profile")
    keys = [chart.key for chart in charts(load(drawn_run))]
    assert len(keys) == 12
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
