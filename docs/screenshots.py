"""`python docs/screenshots.py RUN [RUN …]`: the pictures of the reader in docs/reader/, from real runs.

The first runs are laid over each other on the overview; each view is taken of the first run, and the rollout and the
gallery of the last one too, which may be of another model.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent / "reader"
LARGEST = 150_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def main(runs: list[str]) -> None:
    """Start a reader, and take every picture."""
    FOLDER.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "r1rl.cli", "inspect", *runs, "--serve", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = server.stdout.readline().split()[1].rstrip("/")
    try:
        while not _ready(address):
            time.sleep(0.5)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            names = [Path(run).resolve().name for run in runs]
            _views(lambda **options: browser.new_page(**options), address, names[0], names[-1])
            browser.close()
    finally:
        server.terminate()
        server.wait()


def _ready(address: str) -> bool:
    with urlopen(f"{address}/live", timeout=60) as answer:
        found = json.load(answer)
    return bool(found["ready"] and not found["busy"])


def _views(opened: Any, address: str, first: str, last: str) -> None:
    page = opened(viewport={"width": 1360, "height": 900}, device_scale_factor=1)
    _take(page, f"{address}/", "overview")
    page.mouse.wheel(0, 900)
    _take(page, None, "overview-charts")
    right = f"run={first}&kind=eval&sampling=sampled&move=wrong_right"
    _take(page, f"{address}/rollouts?{right}&sort=-attempts", "rollouts")
    page.locator("#rollouts .open").first.click()
    _take(page, page.url + "&shade=1", "rollout")
    _take(page, f"{address}/flow?run={first}", "flow")
    _take(page, f"{address}/gallery?run={first}", "gallery")
    page.goto(f"{address}/prompts?run={first}")
    page.locator("#rollouts .open").first.click()
    _take(page, page.url, "prompt")
    if last != first:
        _take(page, f"{address}/gallery?run={last}", "gallery-language-model")
        page.goto(f"{address}/rollouts?run={last}&kind=eval&sort=-tokens")
        page.locator("#rollouts .open").first.click()
        _take(page, page.url + "&shade=1", "rollout-language-model")
    dark = opened(viewport={"width": 1360, "height": 900}, color_scheme="dark")
    _take(dark, f"{address}/rollouts?{right}", "rollouts-dark")
    phone = opened(viewport={"width": 390, "height": 780}, device_scale_factor=1.5)
    _take(phone, f"{address}/rollouts?{right}", "phone")


def _take(page: Page, address: str | None, name: str) -> None:
    if address is not None:
        page.goto(address)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1_500)  # charts
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    for quality in (90, 80, 70, 60):
        kept = io.BytesIO()
        picture.save(kept, "webp", quality=quality, method=6)
        if kept.tell() <= LARGEST:
            break
    (FOLDER / f"{name}.webp").write_bytes(kept.getvalue())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: python docs/screenshots.py RUN [RUN ...]")
    main(sys.argv[1:])
