"""One offline HTML file that shows what a run did.

Completions are hostile input: everything is escaped by Jinja, invisible characters are made visible, and a
content security policy admits only this file's own two scripts, by hash, and no address outside it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from r1rl.aha.figures.bootstrap import RESAMPLES
from r1rl.aha.figures.suite import TRAINING_INTERVALS
from r1rl.ground import whole_files
from r1rl.inspect.curves import charts, events
from r1rl.inspect.reader.spans import ribbon, shortened
from r1rl.inspect.run_data import Rollout, RunData, flat, hidden, load
from r1rl.inspect.samples import choose, choose_randomly, ending, middle, shown, visible
from r1rl.inspect.summary import DETECTORS, cells, duration, reach, summarise, table_rows
from r1rl.run import budget

LONGEST_COMPLETION = 6000
LONGEST_PROMPT = 600
_HERE = Path(__file__).parent


def write_report(run: Path | str | RunData, path: Path | None = None) -> Path:
    """Write the report of a run to `path` (default: report.html in its folder), whole or not at all.

    Raises:
        ValueError: as `run_data.load`.
    """
    data = run if isinstance(run, RunData) else load(run)
    target = path or data.path / "report.html"
    whole_files.write_text(target, render(data), durable=False)
    return target


def render(data: RunData) -> str:
    """The report's HTML; the same run folder gives the same text."""
    from plotly.offline import get_plotlyjs

    summary = summarise(data)
    drawn_charts = charts(data)
    listed = events(data)
    plotly_js = get_plotlyjs()
    report_js = (_HERE / "static" / "report.js").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    randomly = choose_randomly(data)
    return environment.get_template("report.html.j2").render(
        policy=_policy(plotly_js, report_js),
        css=Markup((_HERE / "static" / "report.css").read_text(encoding="utf-8")),
        plotly_js=Markup(plotly_js),
        report_js=Markup(report_js),
        summary_json=_script_json(summary),
        charts_json=_script_json([asdict(chart) for chart in drawn_charts]),
        summary=summary,
        facts=_facts(data, summary),
        table=[cells(row) for row in table_rows(data)],
        measured_of=data.measured.selection.words,
        intervals=TRAINING_INTERVALS,
        resamples=RESAMPLES,
        training_only=data.training_only,
        compared=data.compared,
        detectors=[(detector, reach(data, detector)) for detector in DETECTORS],
        charts=drawn_charts,
        events=listed,
        has_lines=any(event.number is not None for event in listed),
        chosen=[(drawn, [_view(r) for r in drawn.rollouts]) for drawn in choose(data, per_kind=2)],
        random=randomly,
        random_views=[(_view(r), _before(data, r)) for r in randomly.rollouts],
        details=[(n, rows) for n, rows in _details(data) if rows],
    )


def _policy(*scripts: str) -> str:
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def _script_json(value: Any) -> Markup:
    """JSON that can stand inside a <script> element: nothing in it closes the element or opens a comment."""
    text = json.dumps(value, allow_nan=False)  # ASCII, so U+2028 is an escape already
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def _facts(data: RunData, summary: dict[str, Any]) -> list[tuple[str, str]]:
    row = data.last_rollouts[0].row
    samples = len(data.last_rollouts) / max(1, summary["heldout_prompts"])
    heldout = None if data.training_only else f"{summary['heldout_prompts']:,} × {samples:g} samples"
    wall = summary["wall_seconds"]
    facts = [
        ("model", summary["model"]),
        ("task", summary["task"]),
        ("prompt template", row["template"]),
        ("seed", summary["seed"]),
        ("updates", f"{summary['steps']:,}"),
        ("training rollouts", f"{summary['rollouts']:,}"),
        ("held-out prompts", heldout),
        ("temperature" if data.training_only else "held-out temperature", _told(row["temperature"], "g")),
        ("length cap", _told(row["cap"], ",", " tokens")),
        ("wall time", None if wall is None else duration(wall)),
        ("spent", budget.shown(data.path, data.recipe.get("price"))),
        ("r1rl", (data.environment.get("versions") or {}).get("r1rl")),
    ]
    return [(name, visible(str(value))) for name, value in facts if value not in (None, "")]


def _told(value: float | None, form: str, unit: str = "") -> str | None:
    return None if value is None else f"{value:{form}}{unit}"


def _before(data: RunData, rollout: Rollout) -> dict[str, Any] | None:
    """The same prompt and sample number at the first evaluated step."""
    first = data.steps[0]
    if rollout.step == first or data.training_only:
        return None
    key = (rollout.prompt_id, rollout.row["sample_idx"])
    return next((_view(r) for r in data.rollouts[first] if (r.prompt_id, r.row["sample_idx"]) == key), None)


def _view(rollout: Rollout) -> dict[str, Any]:
    """What the template shows of a rollout. Text comes as stretches, see `samples.shown`."""
    row = rollout.row
    return {
        "verdict": (rollout.outcome or "not judged").replace("_", " "),
        "badge": "right" if rollout.correct else "wrong" if rollout.judged else "unjudged",
        "reason": visible(middle(row["verdict_reason"] or "", 200)),
        "gold": visible(middle(row["gold"], 200)),
        "prompt_id": visible(row["prompt_id"]),
        "sample_idx": row["sample_idx"],
        "step": rollout.step,
        "n_tokens": row["n_tokens"],
        "finish_reason": row["finish_reason"],
        "reward": row["reward"],
        "prompt": list(shown(ending(row["prompt"], LONGEST_PROMPT))),
        "stretches": shortened(rollout, LONGEST_COMPLETION),
        "ribbon": ribbon(rollout),
    }


def _details(data: RunData) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    yield "Recipe", list(_rows(data.recipe))
    yield "Environment", list(_rows(data.environment))


def _rows(mapping: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in flat(mapping):
        yield key, "(hidden)" if hidden(key, value) else visible(middle(str(value), 400))
