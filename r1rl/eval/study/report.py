"""A study's report: report.html and report.md for people, report.json with the counts behind every figure, pictures."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jinja2

from r1rl.aha.detect.annotation import DETECTOR_VERSION
from r1rl.aha.figures.conclusion import change, number, onset_words
from r1rl.aha.figures.figures import FIGURES, Selection, sql
from r1rl.aha.figures.terminal import detector_scores
from r1rl.eval.study import picture
from r1rl.eval.study.measured import ArmFigures, Measured, dose_of
from r1rl.ground import whole_files
from r1rl.models.base.examine import Skills

_TEMPLATES: Final = Path(__file__).parent / "templates"
_PICTURES: Final = {"curves": "curves.svg", "dose": "dose.svg"}


def write(measured: Measured, folder: Path) -> list[Path]:
    """Write the report into a folder, each file whole or not at all; returns what was written."""
    drawn = {"curves": picture.curves(measured), "dose": picture.dose(measured)}
    made = content(measured)
    view = _view(measured, made, {name: svg for name, svg in drawn.items() if svg})
    files = {
        "report.json": json.dumps(made, indent=1, allow_nan=False) + "\n",
        "report.md": _render("report.md.j2", view, escape=False),
        "report.html": _render("report.html.j2", view, escape=True),
        **{_PICTURES[name]: svg for name, svg in drawn.items() if svg},
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        whole_files.write_text(folder / name, text, durable=False)
    return [folder / name for name in files]


def content(measured: Measured) -> dict[str, Any]:
    """Everything that the report says, as JSON values.

    A figure of a seed is `numerator / denominator` of its `counts`, that of an arm the mean over its seeds, and `sql`
    gives it anew from a run's annotations (`r1rl aha RUN --sql` prints the views it stands on).
    """
    study = measured.study
    return {
        "study": study.name,
        "recipe": str(study.recipe),
        "command": f"r1rl study {study.source} --out {study.out}",
        "detector_version": DETECTOR_VERSION,
        "seeds": list(study.seeds),
        "reference": study.reference,
        "conclusion": measured.words(),
        "emerged": list(measured.emerged),
        "dose": study.dose,
        "machine": _machine(measured),
        "questions": {
            key: {
                "label": FIGURES[key].label,
                "definition": FIGURES[key].definition,
                "unit": FIGURES[key].unit,
                "sql": sql(FIGURES[key], Selection()),
                "detector": FIGURES[key].detector,
                "detector_precision_recall": detector_scores().get(FIGURES[key].detector or ""),
            }
            for key in study.questions
        },
        "arms": {one.arm.name: _arm(measured, one) for one in measured.arms},
    }


def _arm(measured: Measured, one: ArmFigures) -> dict[str, Any]:
    study = measured.study
    found: dict[str, Any] = {
        "settings": dict(one.arm.settings),
        "base": None if one.arm.base is None else dict(one.arm.base),
        "dose": None if study.dose is None else dose_of(one, study.dose),
        "skills": None if one.skills is None else dict(one.skills),
        "seeds": list(one.seeds),
        "not_finished": list(one.missing),
        "runs": [str(run) for run in one.runs],
        "wall_seconds": [(whole_files.read_json(run / "result.json") or {}).get("wall_seconds") for run in one.runs],
    }
    if one.result is None or one.conclusion is None or one.counts is None:
        return found
    return found | {
        "command": f"r1rl aha {' '.join(map(str, one.runs))}",
        "emerged": one.conclusion.emerged,
        "emerged_by_seed": {str(seed): emerged for seed, emerged in one.alone.items()},
        "conclusion": [one.conclusion.figures, *one.conclusion.words],
        "steps": list(one.result.steps),
        "figures": {key: _figure(one, key) for key in study.questions},
    }


def _figure(one: ArmFigures, key: str) -> dict[str, Any]:
    assert one.result is not None
    assert one.counts is not None
    row = one.row(key)
    difference = (one.differences or {}).get(key)
    return {
        "series": [dataclasses.asdict(estimate) for estimate in row.series],
        "change": dataclasses.asdict(row.change),
        "p_adjusted": row.p,
        "onsets": {
            str(seed): None if onset is None else dataclasses.asdict(onset) for seed, onset in one.onsets(key).items()
        },
        "difference": None
        if difference is None
        else dataclasses.asdict(difference.estimate) | {"p_adjusted": difference.p, "seeds": list(difference.seeds)},
        "counts": {
            str(seed): [
                {"step": step, "numerator": float(sums[0]), "denominator": float(sums[1])}
                for step, sums in zip(counted.steps, counted.sums[key].sum(axis=0), strict=True)
            ]
            for seed, counted in one.counts.items()
        },
    }


def _machine(measured: Measured) -> dict[str, Any]:
    """What the first run was trained with."""
    run = next(run for one in measured.arms for run in one.runs)
    found = whole_files.read_json(run / "environment.json") or {}
    return {key: found.get(key) for key in ("versions", "cpu", "gpus", "git", "world_size")}


def _view(measured: Measured, made: Mapping[str, Any], pictures: Mapping[str, str]) -> dict[str, Any]:
    """What the templates show."""
    seconds = [one for arm in made["arms"].values() for one in arm["wall_seconds"] if one is not None]
    return {
        "made": made,
        "arms": [_arm_view(measured, one) for one in measured.shown],
        "questions": [_question_view(measured, key) for key in measured.study.questions],
        "pictures": {
            name: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode()
            for name, svg in pictures.items()
        },
        "files": _PICTURES,
        "runs": sum(len(one.runs) for one in measured.arms),
        "minutes": round(sum(seconds) / 60),
        "run_seconds": f"{min(seconds):.0f} to {max(seconds):.0f} s" if seconds else "",
        "evaluated": _evaluated(measured),
    }


def _evaluated(measured: Measured) -> str:
    one = measured.shown[0]
    assert one.result is not None
    assert one.counts is not None
    each = next(iter(one.counts.values()))
    return f"{one.result.prompts} held-out problems, {each.rollouts // max(1, len(each.prompts))} samples each"


def _arm_view(measured: Measured, one: ArmFigures) -> dict[str, Any]:
    assert one.conclusion is not None
    settings = [f"{key}: {_short(value)}" for key, value in one.arm.settings.items()]
    settings += [f"base {key}: {_short(value)}" for key, value in (one.arm.base or {}).items()]
    return {
        "name": one.arm.name,
        "is_reference": one.arm.name == measured.study.reference,
        "settings": ", ".join(settings) or "the recipe as it is",
        "emerged": {True: "yes", False: "no", None: "cannot be told"}[one.conclusion.emerged],
        "alone": f"{sum(emerged is True for emerged in one.alone.values())} of {len(one.alone)}",
        "words": one.conclusion.words[0],
        "onset": onset_words(one.row("wrong_to_right").onsets),
        "skills": Skills(**one.skills).text() if one.skills else "",
        "command": f"r1rl aha {' '.join(str(run) for run in one.runs)}",
    }


def _question_view(measured: Measured, key: str) -> dict[str, Any]:
    figure = FIGURES[key]
    rows = []
    for one in measured.shown:
        row, difference = one.row(key), (one.differences or {}).get(key)
        rows.append(
            {
                "arm": one.arm.name,
                "first": number(row.first.value, figure.unit),
                "last": number(row.last.value, figure.unit),
                "spread": _spread(one, key),
                "change": change(row.change, figure.unit),
                "onset": onset_words(row.onsets),
                "difference": "" if difference is None else change(difference.estimate, figure.unit),
                "p": "" if difference is None or difference.p is None else _p(difference.p),
                "clear": difference is not None and difference.clear,
            }
        )
    score = detector_scores().get(figure.detector or "")
    return {
        "key": key,
        "label": figure.label,
        "definition": figure.definition,
        "detector": f"{figure.detector}: precision / recall {score}" if score else "",
        "rows": rows,
    }


def _spread(one: ArmFigures, key: str) -> str:
    """Least to greatest over the seeds, at the last step."""
    assert one.counts is not None
    ends = [counted.sums[key][:, -1].sum(axis=0) for counted in one.counts.values()]
    values = sorted(float(end[0] / end[1]) for end in ends if end[1] > 0)
    if not values:
        return "–"
    low, high = (number(value, FIGURES[key].unit) for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _render(name: str, view: Mapping[str, Any], *, escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name).render(view)
