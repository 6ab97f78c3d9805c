"""The reader in a real browser, on a run that was really trained: every view, by mouse and by keyboard."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from r1rl.inspect.reader.filters import Filters
from r1rl.store.store import write_shard

sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install 'r1rl[dev]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: pip install 'r1rl[dev]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.processes,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium, chromium-browser or google-chrome on the PATH"),
]
VIEWS = ("/", "/rollouts?kind=eval", "/prompts", "/flow", "/gallery")
SECONDS = 120_000


class Served:
    """A reader in a process of its own."""

    def __init__(self, *words: str) -> None:
        command = [sys.executable, "-m", "r1rl.cli", "inspect", *words, "--serve", "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("reader: http://127.0.0.1:"), line
        self.address = line.split()[1].rstrip("/")

    def ready(self) -> str:
        """Wait until everything is measured."""
        for _ in range(3_000):
            with urlopen(f"{self.address}/live", timeout=60) as answer:
                found = json.load(answer)
            if found["ready"] and not found["busy"]:
                return self.address
            time.sleep(0.2)
        raise AssertionError("not ready")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that is trained here, and a copy of it under another name and seed."""
    folder = tmp_path_factory.mktemp("runs")
    words = ["--max_steps", "4", "--eval_steps", "2", "--heldout_size", "12", "--prompts_per_step", "2"]
    subprocess.run(
        [sys.executable, "-m", "r1rl.cli", "train", "tiny/countdown", "--name", "seed0", "--runs_dir", folder, *words,
         "--num_generations", "4", "--report_to", "none"],
        check=True, capture_output=True, timeout=600,
    )  # fmt: skip
    other = folder / "seed1"
    shutil.copytree(folder / "seed0", other)
    (other / "recipe.yaml").write_text((folder / "seed0" / "recipe.yaml").read_text().replace("seed: 0", "seed: 1"))
    return folder / "seed0", other


@pytest.fixture(scope="module")
def address(runs: tuple[Path, Path]) -> Iterator[str]:
    served = Served(*map(str, runs), "--control", "seed1")
    yield served.ready()
    served.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-dev-shm-usage"]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags, timeout=2 * SECONDS)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address; anything that a page complains of fails the test, but for plotly's inline styles."""
    contexts, problems = [], []

    def opened(address: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 900}, "offline": False} | options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: outside(request.url, address))
        page.goto(address)
        return page

    def outside(url: str, address: str) -> None:
        if not url.startswith((address.split("/")[0] + "//" + address.split("/")[2], "data:", "blob:", "file:")):
            problems.append(f"asked for {url}")

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


def until(page: Any, expression: str) -> None:
    """Wait until it holds on a page that takes keys. Playwright's own waiting evaluates a string inside the page, which
    its policy forbids."""
    for _ in range(SECONDS // 100):
        try:
            if page.evaluate(f"document.readyState === 'complete' && ({expression})"):
                return
        except sync_api.Error as error:  # the page is just being left
            if "navigation" not in str(error):
                raise
        page.wait_for_timeout(100)
    raise AssertionError(f"{expression} at {page.url}")


def drawn(page: Any) -> None:
    """Wait until the charts in view are there."""
    until(page, "document.body.dataset.charts > 0 && document.querySelector('.js-plotly-plot .main-svg') !== null")


def test_the_overview_draws_every_figure_and_their_tables(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/")
    drawn(page)
    assert page.locator(".conclusion").count() == 3, "two runs, and both together"
    assert page.locator(".control").inner_text() == "control"
    chart = page.locator("[data-chart=accuracy]")
    chart.locator("summary").click()
    table = chart.locator(".data table")
    assert table.locator("thead th").all_inner_texts()[:3] == ["step", "seed0", "seed1 (control)"]
    assert [row.split("\t")[0] for row in table.locator("tbody tr").all_inner_texts()] == ["0", "2", "4"]
    with page.expect_download() as download:
        chart.get_by_text("Save SVG").click()
    assert Path(download.value.path()).read_text().startswith("<svg")
    sections = page.locator("details.more").count()
    page.locator("details.more summary").first.click()
    until(page, "document.querySelectorAll('details.more .js-plotly-plot').length > 0")
    assert sections >= 6


def test_a_filter_and_its_permalink_show_the_same_rollouts(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/rollouts")
    page.fill("#search", "target")
    page.select_option("select[name=kind]", "eval")
    page.check("input[name=verdict][value=wrong]")
    page.get_by_role("button", name="Show", exact=True).click()
    page.wait_for_url("**/rollouts?*")
    rows = page.locator("#rollouts tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.place)")
    count = page.locator(".count b").inner_text()
    assert rows
    again = open_page(page.locator("#permalink").evaluate("link => link.href"))
    assert again.locator("#rollouts tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.place)") == rows
    assert again.locator(".count b").inner_text() == count
    assert again.locator("#search").input_value() == "target"
    assert again.locator("input[value=wrong]").is_checked()
    assert Filters.read([("text", "target"), ("kind", "eval"), ("verdict", "wrong")]).query() in again.url


def test_everything_is_reached_by_keyboard(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/rollouts?run=seed0&kind=eval&sampling=sampled&step=2")
    press = page.keyboard.press
    for key, marked in (("j", 0), ("j", 1), ("j", 2), ("k", 1)):
        press(key)
        assert page.locator("#rollouts tbody tr").nth(marked).get_attribute("class") == "here"
    place = page.locator("tr.here").get_attribute("data-place")
    press("Enter")
    page.wait_for_url("**/rollout?*")
    assert f"at={place}" in page.url.replace("%3A", ":")
    press("j")
    until(page, "document.querySelector('.crumbs')?.textContent.includes('3 of')")
    press("l")
    until(page, "document.querySelector('h1')?.textContent.includes('step 4')")
    press("h")
    until(page, "document.querySelector('h1')?.textContent.includes('step 2')")
    press("s")
    until(page, "document.querySelector('pre.shaded .p0') !== null")
    press("u")
    page.wait_for_url("**/rollouts?*")
    press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.keyboard.type("wait")
    press("Enter")
    page.wait_for_url("**text=wait*")
    press("?")
    assert page.locator("#help").is_visible()
    press("Escape")
    press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.keyboard.type("ga")
    page.wait_for_url("**/gallery")


def test_a_prompt_is_compared_across_steps_and_played(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/prompts?run=seed0")
    page.locator("#rollouts .open").first.click()
    until(page, "document.querySelector('.column') !== null")
    assert page.locator(".column h2 a").all_inner_texts() == ["step 0", "step 2", "step 4"]
    changed = page.locator(".column ins, .column del").count() + page.get_by_text("Word for word as before").count()
    assert changed
    page.get_by_role("button", name="Play").click()
    until(page, "document.querySelector('#frame-step').textContent === '4'")
    until(page, "document.querySelector('#play').getAttribute('aria-pressed') === 'false'")
    assert page.locator(".column:visible").count() == 1
    page.keyboard.press("h")
    assert page.locator("#frame-step").inner_text() == "2"
    page.get_by_text("Side by side").click()
    assert page.locator(".column:visible").count() == 3


def test_flow_and_gallery_lead_to_the_rollouts_that_they_count(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/flow?run=seed0")
    drawn(page)
    page.goto(f"{address}/gallery?run=seed0")
    link = page.locator("h2 small a").nth(1)
    count = link.inner_text().split()[0]
    link.click()
    page.wait_for_selector("#rollouts, .empty")
    assert page.locator(".count b").inner_text() == count


HEAR = """() => {
  const said = document.querySelector("#said");
  window.heard = [];
  new MutationObserver(() => window.heard.push(said.textContent)).observe(said, { childList: true });
}"""


def test_a_newcomer_finds_the_first_correction_and_its_history(browser: Any, address: str) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(SECONDS)
    begun = time.monotonic()
    page.goto(f"{address}/")
    page.get_by_role("link", name="Gallery", exact=True).click()
    page.locator("section", has_text="first wrong → right").get_by_text("read it").first.click()
    page.get_by_role("link", name="across steps").click()
    until(page, "document.querySelector('.column') !== null")
    page.evaluate(HEAR)  # what is said goes away after two seconds
    page.keyboard.press("c")
    until(page, "window.heard.includes('Permalink copied')")
    took = time.monotonic() - begun
    link = page.evaluate("navigator.clipboard.readText()")
    steps = page.locator(".column h2").all_inner_texts()
    page.goto(link)
    assert page.locator(".column h2").all_inner_texts() == steps
    print(f"{took:.1f} s")
    context.close()


def test_a_click_on_a_curve_leads_to_its_rollouts(open_page: Callable[..., Any], address: str) -> None:
    page = open_page(f"{address}/?run=seed0")
    drawn(page)
    point = page.locator("[data-chart=retried] .scatterlayer .point").last
    page.locator("[data-chart=retried]").scroll_into_view_if_needed()
    for pause in (300, 3_000, 10_000):  # until a busy browser has drawn all, and taken note of where the mouse is
        box = point.bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + 3)
        page.wait_for_timeout(pause)
        page.mouse.click(box["x"] + 3, box["y"] + 3)
        with contextlib.suppress(sync_api.TimeoutError):
            page.wait_for_url("**/rollouts?*", timeout=30_000, wait_until="commit")
            break
    page.wait_for_url("**/rollouts?*flag=retried&step=4")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Callable[..., Any], address: str, scheme: str) -> None:
    page = open_page(f"{address}/rollouts?run=seed0", color_scheme=scheme)
    one = page.locator("#rollouts .open").first.get_attribute("href")
    prompt = page.locator("#rollouts .id a").first.get_attribute("href")
    found = []
    pages = (*VIEWS, one, prompt, f"{one}&shade=1", "/rollouts?step=x")
    for path in pages if scheme == "light" else ("/", "/rollouts", prompt, f"{one}&shade=1"):
        page.goto(f"{address}{path}")
        page.wait_for_load_state("networkidle")
        answer = axe.Axe().run(page).response
        found += [
            (path, one["id"], one["nodes"][0]["html"][:120], one["nodes"][0]["failureSummary"][-160:])
            for one in answer["violations"]
            if one["impact"] in ("serious", "critical")
        ]
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize("path", [*VIEWS, "one", "prompt"])
def test_nothing_is_wider_than_a_phone(open_page: Callable[..., Any], address: str, path: str) -> None:
    page = open_page(f"{address}/rollouts?run=seed0&kind=eval", viewport={"width": 390, "height": 800})
    if path in ("one", "prompt"):
        path = page.locator("#rollouts .open, #rollouts .id a").nth(int(path == "prompt")).get_attribute("href")
    page.goto(f"{address}{path}")
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390


def test_a_run_that_is_training_grows_under_the_readers_eyes(
    open_page: Callable[..., Any], tmp_path: Path, make_run: Callable[..., Path], make_sampled: Callable[..., Any]
) -> None:
    run = make_run(tmp_path / "live")
    last = make_sampled(20)
    for path in (run / "rollouts").glob("eval-000020-*"):
        path.unlink()
    served = Served(str(run))
    try:
        page = open_page(f"{served.ready()}/")
        drawn(page)
        page.evaluate("window.same = true")
        steps = "() => JSON.stringify(document.querySelector('[data-chart=accuracy] .plot').data.at(-1).x)"
        assert json.loads(page.evaluate(steps))[-1] == 10
        other = open_page(f"{served.address}/rollouts")
        other.wait_for_load_state("networkidle")  # it knows how many rollouts there are
        before = other.locator(".count b").inner_text()
        write_shard(run, last, kind="eval", step=20, rank=0)
        until(page, f"({steps})().endsWith('20]')")
        assert page.evaluate("window.same"), "the page was not loaded anew"
        other.get_by_text(f"{len(last)} new rollouts").wait_for()
        assert other.locator(".count b").inner_text() == before, "nothing moves by itself"
        other.get_by_role("button", name="Show", exact=True).first.click()
        until(other, f"document.querySelector('.count b').textContent !== '{before}'")
    finally:
        served.stop()


def test_no_script_of_a_completion_runs(open_page: Callable[..., Any], harm: Path) -> None:
    from r1rl.inspect.report import write_report

    served = Served(str(harm))
    try:
        address = served.ready()
        page = open_page(address)
        drawn(page)
        one = [f"/rollout?at=harm:eval-20-0:{i}&shade=1" for i in (0, 1, 3, 9, 27, 44, 60, 90)]
        for path in ("/", "/rollouts?kind=eval", "/rollouts?regex=OWNED&page=2", "/prompts", "/flow", "/gallery", *one):
            page.goto(f"{address}{path}")
            page.wait_for_load_state("networkidle")
            for name in ("mouseover", "focus", "error", "load"):
                page.evaluate(
                    "(name) => document.querySelectorAll('pre *, td *, .prompt *, .ribbon *')"
                    ".forEach((one) => one.dispatchEvent(new Event(name)))",
                    name,
                )
            assert page.evaluate("window.OWNED === undefined && document.querySelector('#click') === null"), path
        report = open_page(write_report(harm, harm / "report.html").as_uri())
        report.wait_for_selector(".js-plotly-plot .main-svg")
        assert report.evaluate("window.OWNED === undefined")
    finally:
        served.stop()


def test_the_report_opens_from_disk_without_a_network(
    open_page: Callable[..., Any], runs: tuple[Path, Path], tmp_path: Path
) -> None:
    from r1rl.inspect.report import write_report

    path = write_report(runs[0], tmp_path / "report.html")
    assert path.stat().st_size < 6_000_000
    page = open_page(path.as_uri(), offline=True)
    page.wait_for_selector(".js-plotly-plot .main-svg")
