from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from plotly.offline import get_plotlyjs

from r1rl import inspect
from r1rl.aha.figures.terminal import detector_scores
from r1rl.aha.validate import validation
from r1rl.inspect.curves import charts, events
from r1rl.inspect.report import render, write_report
from r1rl.inspect.run_data import load
from r1rl.inspect.summary import summarise
from r1rl.store.store import write_shard

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Collects a page's elements, text outside scripts and styles, and script contents."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif not self.open or self.open[-1] != "style":
            self.text += data


def script(page: Page, name: str) -> Any:
    return json.loads(next(text for attributes, text in page.scripts if attributes.get("id") == name))


def words(text: str) -> str:
    return " ".join(text.split())


def test_it_is_written_into_the_run_s_folder_or_where_asked(run_dir: Path, tmp_path: Path) -> None:
    assert write_report(run_dir) == run_dir / "report.html"
    assert write_report(run_dir, tmp_path / "elsewhere.html").read_text() == (run_dir / "report.html").read_text()
    assert not [p.name for p in run_dir.iterdir() if p.name.startswith(".")]


def test_detectors_stand_with_precision_and_recall(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = words(Page(render(load(run_dir))).text)
    for detector, figures in (("markers: strict", 2), ("attempts", 3), ("transitions", 3)):
        told = validation.figure(detector)
        assert "not measured" not in told
        assert text.count(told) == 1, "with its intervals once"
        assert text.count(detector_scores()[detector]) == figures, "in short beside each figure"
    monkeypatch.setattr(validation, "stored", lambda: {"detector_version": None, "scores": []})
    text = words(Page(render(load(run_dir))).text)
    assert text.count("precision and recall not measured") == 3
    assert text.count("unvalidated") == 8


def test_it_holds_the_summary(run_dir: Path) -> None:
    page = Page(render(load(run_dir)))
    assert not page.open
    assert script(page, "summary") == summarise(run_dir)
    text = words(page.text)
    for figure in ("25.0 % 75.0 %", "37.5 % 87.5 %"):
        assert figure.replace(" ", "") in text.replace(" ", "")
    assert "12 of 24 rollouts: a wrong attempt directly followed by a right one" in text
    assert "drawn from all 24 rollouts, whatever they are" in text


def test_nothing_outside_the_file_is_asked_for(run_dir: Path) -> None:
    text = render(load(run_dir)).replace(get_plotlyjs(), "")
    assert "://" not in text
    page = Page(render(load(run_dir)))
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "img", "object", "embed", "base"}
    links = [a[k] for _, a in page.elements for k in ("src", "href", "action", "srcset") if k in a]
    assert set(links) == {"#events", "#detectors"}


def test_the_policy_admits_the_page_s_own_scripts_alone(run_dir: Path) -> None:
    page = Page(render(load(run_dir)))
    policy = next(a["content"] for tag, a in page.elements if "http-equiv" in a) or ""
    code = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}" for c in code}
    assert set(re.findall(r"'(sha256-[^']+)'", policy)) == hashes
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy.split("style-src")[0]


def test_one_copy_of_plotly_and_little_else(run_dir: Path) -> None:
    assert len(render(load(run_dir)).encode()) < len(get_plotlyjs().encode()) + 200_000


def test_the_same_run_gives_the_same_page(run_dir: Path) -> None:
    assert render(load(run_dir)) == render(load(run_dir))


def test_hostile_text_stays_text(hostile_run: Path, hostile_texts: dict[str, str]) -> None:
    rendered = render(load(hostile_run))
    assert not set(rendered.replace(get_plotlyjs(), "")) & set("\x00\x07\x1b\u202e\u2028\r")
    page = Page(rendered)  # asserts that elements nest
    assert not page.open
    assert len(page.scripts) == 4
    assert "img" not in {tag for tag, _ in page.elements}
    assert not [a for _, a in page.elements if any(name.startswith("on") for name in a)]
    for name in ("script", "closing tag", "attribute", "template", "rich markup"):
        assert hostile_texts[name] in page.text, name
    for escaped in ("before\\u202eafter", "before\\x00after", "\\x1b[31mred", "before\\u2028after"):
        assert escaped in page.text
    assert "49" not in words(page.text[page.text.index("{{ 7") : page.text.index("{{ 7") + 20])


def test_attempts_markers_and_transitions_are_shown(run_dir: Path) -> None:
    page = Page(render(load(run_dir)))
    classes = [(a.get("class") or "", a.get("title") or "") for tag, a in page.elements if tag == "span"]
    attempts = [title for names, title in classes if names.startswith("attempt") and title]
    assert any("right; 9 * 2 = 18 , 18 + 4 = 22; claimed 22; true value 22" in title for title in attempts)
    assert any("wrong" in title and "claimed 7; true value 7" in title for title in attempts)
    assert any(names.startswith("marker") and title == "marker: interrupt, effective" for names, title in classes)
    assert any(title == "wrong → right" for _, title in classes)


def test_a_random_rollout_stands_beside_itself_at_step_0(run_dir: Path) -> None:
    text = words(Page(render(load(run_dir))).text)
    assert text.count("the same at step 0") == 4


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("reward", ["reward", "accuracy", "format"]),
        ("accuracy", ["held out, sampled", "held out, greedy"]),
        ("length", ["training", "held out, sampled"]),
        ("retry_after_miss", ["training", "held out, sampled"]),
        ("wrong_to_right", ["training", "held out, sampled"]),
        ("marker_strict_rate", ["training", "held out, sampled"]),
        (
            "gain",
            [
                "an attempt is made",
                "first attempts hit",
                "misses are retried",
                "retries hit",
                "hits are kept",
                "right without a hit",
            ],
        ),
        ("entropy", ["Entropy, nats per token"]),
        ("grad_norm", ["Gradient norm"]),
        ("learning_rate", ["Learning rate"]),
    ],
)
def test_charts_hold_their_traces(run_dir: Path, key: str, names: list[str]) -> None:
    chart = next(c for c in charts(load(run_dir)) if c.key == key)
    assert [trace["name"] for trace in chart.data] == names


def test_charts_share_one_axis_and_its_events(run_dir: Path) -> None:
    found = charts(load(run_dir))
    assert len({tuple(c.layout["xaxis"]["range"]) for c in found}) == 1
    for chart in found:
        lines = [shape["x0"] for shape in chart.layout["shapes"] if shape["type"] == "line"]
        assert lines == [8]  # the start of the run changes no curve
        assert [a["text"] for a in chart.layout["annotations"]] == ["length cap"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([1.5e-4] * 3, [0, 3e-4], id="constant"),
        pytest.param([0.0, 0.0], [0, 1], id="nothing"),
        pytest.param([-2.0], [-4, 0], id="one value, negative"),
        pytest.param([1e-4, 2e-4], None, id="what varies has an axis of its own"),
    ],
)
def test_a_constant_curve_has_an_axis_that_shows_its_value(
    run_dir: Path, values: list[float], expected: list[float] | None
) -> None:
    lines = [json.dumps({"step": i + 1, "learning_rate": value}) for i, value in enumerate(values)]
    (run_dir / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    chart = next(c for c in charts(load(run_dir)) if c.key == "learning_rate")
    assert chart.layout["yaxis"].get("range") == expected


def test_an_interval_at_every_step_and_the_band_of_step_0(run_dir: Path) -> None:
    chart = next(c for c in charts(load(run_dir)) if c.key == "accuracy")
    trace, band = chart.data[0], chart.layout["shapes"][0]
    assert (trace["x"], trace["y"]) == ([0, 10, 20], [3 / 8, 5 / 8, 7 / 8])
    assert band["y0"] == pytest.approx(trace["y"][0] - trace["error_y"]["arrayminus"][0])
    assert band["y1"] == pytest.approx(trace["y"][0] + trace["error_y"]["array"][0])
    assert band["y0"] < 3 / 8 < band["y1"]


def test_plotly_accepts_every_chart(run_dir: Path) -> None:
    def coloured(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: coloured(v) for k, v in value.items()}
        if isinstance(value, list):
            return [coloured(v) for v in value]
        return "red" if isinstance(value, str) and value.startswith("--") else value

    for chart in charts(load(run_dir)):
        go.Figure({"data": coloured(chart.data), "layout": coloured(chart.layout)})  # raises for an unknown key


def test_events_are_listed_and_those_that_matter_numbered(run_dir: Path) -> None:
    assert [(e.number, e.step, e.name, e.detail) for e in events(load(run_dir))] == [
        (None, 0, "start", ""),
        (1, 8, "length_cap", "cap: 160"),
    ]


def test_an_alarm_at_every_step_does_not_hide_the_curves(run_dir: Path) -> None:
    with (run_dir / "events.jsonl").open("a") as stream:
        stream.writelines(f'{{"step": {step}, "event": "nothing_earned"}}\n' for step in range(9, 20))
    listed = events(load(run_dir))
    assert len(listed) == 13
    assert [e.number for e in listed if e.number is not None] == [1, 2, 3, 4, 5, 6]


def test_a_secret_of_the_recipe_is_not_passed_on(run_dir: Path) -> None:
    assert "hf_hidden" not in render(load(run_dir))


@pytest.mark.parametrize("name", ["metrics.jsonl", "events.jsonl", "environment.json", "result.json", "recipe.yaml"])
def test_a_run_that_lacks_a_file_still_has_a_report(run_dir: Path, name: str) -> None:
    (run_dir / name).unlink()
    assert not Page(render(load(run_dir))).open


def test_a_run_of_one_evaluation_has_a_report(run_dir: Path) -> None:
    for step in (10, 20):
        for shard in (run_dir / "rollouts").glob(f"*-{step:06d}-*"):
            shard.unlink()
    html = render(load(run_dir))
    text = words(Page(html).text)
    assert "One evaluation so far (step 0)" in text
    assert "the same at step" not in text
    assert "Before and after" not in text
    head = html.partition('<table id="figures">')[2].partition("</thead>")[0]
    headings = [re.sub("<[^>]*>", "", cell) for cell in re.findall("<th[ >].*?</th>", head)]
    assert headings == ["", "step 0", "detector P / R"], "one column of figures, and none of changes"
    assert "reward, training steps" not in text


@pytest.mark.parametrize(
    ("verdict", "reason", "finish_reason", "mark", "badge"),
    [
        pytest.param("unparseable", "no <answer>", "length", "✗ ", "truncated", id="cut at the cap"),
        pytest.param("unparseable", "no <answer>", "eos", "✗ ", "no answer", id="ended without an answer"),
        pytest.param(
            "unparseable", "not an expression", "eos", "✗ ", "unparseable", id="an answer that cannot be read"
        ),
        pytest.param("bad_gold", "no gold", "eos", "", "bad gold", id="not judged"),
        pytest.param("correct", "", "length", "✓ ", "correct", id="right, though cut"),
    ],
)
def test_a_card_says_what_the_summary_counts(
    run_dir: Path,
    make_sampled: Callable[[int], list[dict[str, Any]]],
    verdict: str,
    reason: str,
    finish_reason: str,
    mark: str,
    badge: str,
) -> None:
    rows = make_sampled(20)
    for row in rows:
        row |= {"verdict": verdict, "verdict_reason": reason, "finish_reason": finish_reason}
    write_shard(run_dir, rows, kind="eval", step=20, rank=0)
    page = render(load(run_dir))
    assert summarise(run_dir)["outcomes"]["last"][badge.replace(" ", "_")] == 1
    shown = re.findall(r'<span class="badge \w+">([^<]+)</span>\s*(?:<span>[^<]*</span>\s*)*?<span>step 20<', page)
    assert shown
    assert set(shown) == {mark + badge}


def test_a_task_without_attempt_detector_is_said_to_be_unmeasured(
    run_dir: Path, make_sampled: Callable[[int], list[dict[str, Any]]]
) -> None:
    for step in (0, 10, 20):
        rows = [row | {"task": "file", "verifier": "code", "meta": "{}"} for row in make_sampled(step)]
        write_shard(run_dir, rows, kind="eval", step=step, rank=0)
    page = Page(render(load(run_dir)))
    assert "Not measured: this task has no attempt detector" in page.text
    assert "21 of 24 rollouts: the answer is correct" in words(page.text)
    assert not [a for _, a in page.elements if (a.get("title") or "").startswith("attempt ")]


def test_inspect_as_json_prints_one_object_and_nothing_else(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect.run(run_dir, as_json=True, html=False)
    captured = capsys.readouterr()
    assert json.loads(captured.out) == summarise(run_dir)
    assert captured.err == ""
    assert not (run_dir / "report.html").exists()


def test_inspect_prints_where_the_report_is(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect.run(run_dir)
    assert capsys.readouterr().out.rstrip().endswith(f"report: {run_dir / 'report.html'}")
    assert (run_dir / "report.html").exists()
