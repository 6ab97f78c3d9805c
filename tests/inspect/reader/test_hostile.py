"""A run whose every text is an attack: pages show the texts, and hold no element, attribute or address made of one."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hostile_texts import corpus
from rich.console import Console
from starlette.testclient import TestClient

from r1rl.inspect.follow import follow
from r1rl.inspect.reader.app import application
from r1rl.inspect.reader.spans import PART_CHARACTERS
from r1rl.inspect.reader.state import State
from r1rl.inspect.report import write_report
from r1rl.inspect.run_data import load
from r1rl.inspect.samples import visible
from r1rl.inspect.terminal import print_summary

VOID = {"meta", "link", "input", "img", "br", "hr"}
MINE = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "link",
        "script",
        "body",
        "a",
        "header",
        "nav",
        "span",
        "button",
        "main",
        "dialog",
    ),
    *(
        "h1",
        "h2",
        "h3",
        "dl",
        "dt",
        "dd",
        "kbd",
        "form",
        "div",
        "details",
        "summary",
        "label",
        "input",
        "select",
        "option",
    ),
    *("fieldset", "legend", "p", "section", "b", "svg", "title", "rect", "table", "thead", "tbody", "tr", "th", "td"),
    *(
        "small",
        "i",
        "article",
        "aside",
        "pre",
        "ol",
        "li",
        "figure",
        "figcaption",
        "code",
        "ins",
        "del",
        "output",
        "hr",
    ),
    *("progress", "style", "noscript", "strong", "mark", "ul"),
}


class Page(HTMLParser):
    """Elements, attributes and texts of a page, as a browser reads them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.completion = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "pre" and dict(attrs).get("id") == "completion":
            self.inside.append("completion")

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self.inside.clear()

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.completion += data


@pytest.fixture(scope="module")
def client(harm: Path) -> Iterator[TestClient]:
    state = State([harm])
    state.refresh()
    yield TestClient(application(state, follow=False), base_url="http://127.0.0.1")
    state.index.close()


def assert_nothing_runs(text: str, where: str) -> Page:
    """The page holds the reader's own elements alone, no attribute that runs, and no address but its own."""
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag in MINE, f"{where}: <{tag}>"
        for name, value in attributes.items():
            assert not name.startswith("on"), f"{where}: {name}={value}"
            assert name not in ("style", "srcdoc", "formaction"), f"{where}: {name}={value}"
            if name in ("href", "src", "action"):
                assert re.match(r"(/(?!/)|#|$)", value or ""), f"{where}: {name}={value}"
        if tag == "script":
            assert (attributes.get("src") or "").startswith("/static/"), where
        if tag in ("meta", "link"):
            assert attributes.get("http-equiv") is None, where
    controls = {char for char in text if ord(char) < 32 and char not in "\n\t"} | (
        set(text) & set("\x7f\x9b\u202e\u2066\u200b\ufeff")
    )
    assert not controls, f"{where}: {controls!r}"
    return page


def test_the_corpus_is_large() -> None:
    assert len(corpus()) > 100


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/rollouts",
        "/rollouts?kind=eval&page=2",
        "/rollouts?regex=OWNED",
        "/prompts",
        "/flow",
        "/gallery",
        "/rollout?at=<b>",
    ],
)
def test_pages_run_nothing(client: TestClient, path: str) -> None:
    assert_nothing_runs(client.get(path).text, path)


def test_every_completion_is_shown_to_the_letter_and_runs_nothing(client: TestClient, harm: Path) -> None:
    for i, text in enumerate(corpus()):
        answer = client.get(f"/rollout?at=harm:eval-20-0:{i}&shade=1")
        assert answer.status_code == 200
        page = assert_nothing_runs(answer.text, text)
        assert page.completion.removeprefix("\n").replace("✓", "").replace("✗", "").startswith(visible(text)), text


@pytest.mark.parametrize("name", ["text", "regex", "reason", "run", "step", "verdict", "at"])
def test_what_is_asked_for_runs_nothing(client: TestClient, name: str) -> None:
    for text in corpus()[::25]:
        for page in ("/rollouts", "/rollout"):
            assert_nothing_runs(client.get(f"{page}?{name}={quote(text)}").text, f"{page} {name}={text}")


def test_prompts_across_steps_run_nothing(client: TestClient) -> None:
    for i, text in enumerate(corpus()[::7]):
        name = f"countdown:2-4-9>22#{7 * i}{text}"
        answer = client.get(f"/prompt?run=harm&prompt={quote(name)}")
        assert answer.status_code == 200
        assert_nothing_runs(answer.text, text)


def test_a_long_line_comes_in_parts(client: TestClient) -> None:
    first = client.get("/rollout?at=harm:eval-20-0:0")
    assert len(first.text) < 30 * PART_CHARACTERS
    assert "part 1 of 51" in first.text
    last = client.get("/rollout?at=harm:eval-20-0:0&part=51")
    assert corpus()[0] in Page(last.text).completion
    assert client.get("/rollout?at=harm:eval-20-0:0&part=9999").text.count("part 51 of 51") == 1


def test_charts_and_exports_are_data(client: TestClient) -> None:
    charts = client.get("/charts.json")
    assert charts.headers["content-type"] == "application/json"
    events = json.loads(charts.text)["events"]
    assert events
    assert all(visible(event["name"]) == event["name"] for event in events)
    lines = client.get("/export.jsonl?step=20").text.splitlines()
    assert [json.loads(line)["completion"].startswith(text) for line, text in zip(lines, corpus(), strict=False)]
    assert len(lines) == len(corpus())
    assert all(line.isascii() for line in lines)


def test_the_report_runs_nothing(harm: Path, tmp_path: Path) -> None:
    text = write_report(harm, tmp_path / "report.html").read_text()
    body = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text.partition("<body>")[2], flags=re.DOTALL)
    for tag, attributes in Page(body).elements:
        assert tag in MINE, tag
        assert not [name for name in attributes if name.startswith("on")]


def test_the_terminal_obeys_nothing(harm: Path, make_run: Callable[..., Any]) -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=120, force_terminal=True, color_system="standard")
    print_summary(load(harm), console)
    follow(harm, console, every=0)
    left = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue())  # rich's own colours
    assert not {char for char in left if ord(char) < 32 and char != "\n"} | (
        set(left) & set("\x7f\x9b\u202e\u2066\ufeff")
    )
    assert "\x1b]" not in stream.getvalue()
