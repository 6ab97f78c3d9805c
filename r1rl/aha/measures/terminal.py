"""The decomposition and the measures for readers: as rows of the table of figures, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Final

from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.figures import Figure
from r1rl.aha.figures.suite import Result, Row
from r1rl.aha.figures.terminal import figures_json
from r1rl.aha.measures.decomposition import FACTORS, TOTAL, Decomposition, Part
from r1rl.aha.measures.suite import MEASURES, SHORT

_GAIN: Final = TOTAL.section
_SHORT: Final = "what reflections do (all of it: --measures)"
_FACTOR: Final = {figure.key: figure for figure in (TOTAL, *FACTORS)}


def rows(decomposition: Decomposition | None, measured: Result, *, short: bool = True) -> list[Row]:
    """What stands at the end of the table: where the gain comes from, and the measures, or the main ones."""
    found = [] if decomposition is None else gain(decomposition)
    if not short:
        return [*found, *measured.rows.values()]
    chosen = [measured.rows[key] for key in SHORT]
    return [*found, *(replace(row, figure=replace(row.figure, section=_SHORT)) for row in chosen)]


def gain(decomposition: Decomposition) -> list[Row]:
    """A row a part: its factor at the first and the last step, and its term of the change; then the whole change."""
    errors = any(part.with_detector is not None for part in decomposition.parts)
    section = f"{_GAIN}, in points of accuracy" + (", detector's errors taken out" if errors else "")
    found = [
        _row(decomposition, part.factor, part.label, section, part.with_detector or part.change, part.p)
        for part in decomposition.parts
    ]
    return [*found, _row(decomposition, TOTAL.key, "all together: right answers", section, decomposition.total[-1])]


def _row(
    decomposition: Decomposition, key: str, label: str, section: str, change: Estimate, p: float | None = None
) -> Row:
    values = decomposition.factors[key]
    figure: Figure = replace(_FACTOR[key], label=label, section=section)
    return Row(figure, (Estimate(values[0]), Estimate(values[-1])), change, p)


def gain_json(decomposition: Decomposition | None) -> dict[str, Any] | None:
    """The decomposition as JSON values; null where nothing can be compared."""
    if decomposition is None:
        return None
    return {
        "steps": list(decomposition.steps),
        "total": [asdict(one) for one in decomposition.total],
        "parts": {part.key: _part_json(part) for part in decomposition.parts},
        "factors": {
            key: {"label": _FACTOR[key].label, "definition": _FACTOR[key].definition, "series": list(series)}
            for key, series in decomposition.factors.items()
        },
    }


def _part_json(part: Part) -> dict[str, Any]:
    return {
        "label": part.label,
        "factor": part.factor,
        "series": [asdict(one) for one in part.series],
        "p_adjusted": part.p,
        "with_detector_errors": None if part.with_detector is None else asdict(part.with_detector),
    }


def measures_json(measured: Result, keys: Sequence[str] = ()) -> dict[str, Any]:
    """The measures' figures by measure, each with its source; with `keys` those figures alone."""
    return {
        measure.name: {
            "source": measure.source,
            "figures": figures_json(
                [measured.rows[figure.key] for figure in measure.figures if not keys or figure.key in keys]
            ),
        }
        for measure in MEASURES
    }
