"""What the figures allow to be said, in words.

Emergence of self-correction is claimed only where all of this holds against step 0, on the same prompts:

- more rollouts go from a wrong to a right attempt, after the correction for the number of figures, and among clean
  rollouts too;
- because retrying after a miss rose, or retries hit more often;
- it has an onset: a sustained rise;
- a retry hits more often than an independent redraw of the same prompt's first attempt, and this lift did not fall:
  more retries that are worse than at step 0 are drift.

Words such as "wait" never make a claim. "It was there at step 0" and "no emergence" are results like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from r1rl.aha.detect.text_kind import CODE, PROSE
from r1rl.aha.figures.bootstrap import Estimate
from r1rl.aha.figures.figures import Unit
from r1rl.aha.figures.onset import Onset
from r1rl.aha.figures.suite import Result, Row

_FORMATS: Final = {"gap": "+.2f", "count": ".2f", "reward": ".3f", "nats": ".3f"}
PRESENT: Final = 0.01
"""A share from here on counts as "there" at step 0."""


@dataclass(frozen=True, slots=True)
class Conclusion:
    """`emerged`: see this module; None: cannot be told. `figures` is one line, `words` are some sentences."""

    emerged: bool | None
    figures: str
    words: tuple[str, ...]


def conclude(result: Result) -> Conclusion:
    """What a result allows to be said."""
    rows = result.rows
    line = figures_line(result)
    if not result.selection.compared:
        return Conclusion(None, line, (
            "Training rollouts: the prompts change with the step, so nothing is compared with step 0.",))  # fmt: skip
    if len(result.steps) < 2:
        return Conclusion(
            None, line, (f"One evaluation so far (step {result.steps[0]}): nothing to compare it with yet.",)
        )
    if rows["wrong_to_right"].last.value is None:
        kind = rows["wrong_to_right"].text_kind
        none = kind in ("", CODE) or kind.endswith(PROSE) or not result.hidden
        why = "this task has no attempt detector" if none else f"attempts are not measured on {kind}"
        head = f"Not measured: {why}, so nothing can be said about self-correction."
        return Conclusion(None, line, (head, *_markers(rows["marker_strict_rate"]), _limits(result)))
    if rows["wrong_to_right"].change.low is None:
        return Conclusion(None, line, ("Too few prompts for an interval: nothing can be said about a change.",))
    emerged, head = _correction(result)
    markers = [] if emerged else _markers(rows["marker_strict_rate"])
    return Conclusion(emerged, line, (head, *markers, _limits(result)))


def figures_line(result: Result) -> str:
    """ "retries: from 11 % to 63 % of rollouts, onset at step 40 (20-60); wrong→right lift +0.21 (0.17 to 0.25) …"."""
    rows = result.rows
    retried = rows["retried"]
    if retried.last.value is None:
        return "retries: not measured"
    if not result.compared:
        parts = [f"retries: {percent(retried.last.value)} of rollouts"]
    else:
        parts = [
            f"retries: from {percent(retried.first.value)} to {percent(retried.last.value)} of rollouts, "
            f"{onset_words(retried.onsets)}"
        ]
    lift = rows["retry_lift"].last
    if lift.value is not None:
        parts.append(f"wrong→right lift {lift.value:+.2f}{_interval(lift)} over an independent redraw")
    precision, recall = (rows[key].last.value for key in ("verify_precision", "verify_recall"))
    if precision is not None or recall is not None:
        shown = [f"{name} {value:.2f}" for name, value in (("precision", precision), ("recall", recall))
                 if value is not None]  # fmt: skip
        parts.append(f"verification {', '.join(shown)}")
    return "; ".join(parts)


def onset_words(onsets: tuple[Onset | None, ...]) -> str:
    """ "onset at step 40 (20–60)", "no onset", or of several runs "onset in 2 of 3 runs, at step 20 to 40"."""
    found = sorted(one.step for one in onsets if one is not None)
    if not found:
        return "no onset"
    if len(onsets) == 1:
        one = onsets[0]
        assert one is not None
        return f"onset at step {one.step} ({one.after}–{one.high})"
    where = f"step {found[0]}" if found[0] == found[-1] else f"steps {found[0]} to {found[-1]}"
    return f"onset in {len(found)} of {len(onsets)} runs, at {where}"


def _correction(result: Result) -> tuple[bool, str]:
    rows = result.rows
    corrected, retry, lift = rows["wrong_to_right"], rows["retry_after_miss"], rows["retry_lift"]
    start = f"at step {result.steps[0]}"
    moved = f"{percent(corrected.first.value)} → {percent(corrected.last.value)} of rollouts go from wrong to right"
    there = (corrected.first.value or 0) >= PRESENT
    present = f" It was there {start}: {percent(corrected.first.value)} of rollouts went from wrong to right."
    if corrected.rose:
        if not (retry.rose or lift.rose or rows["retry_hits"].rose):
            return False, f"No emergence: {moved}, but neither retrying after a miss nor its success rose clearly."
        if not lift.last.above_zero:
            return False, (
                f"No emergence of self-correction: {moved}, but a retry hits no more often than an independent redraw "
                f"would (lift {_gap(lift.last)}): more draws, not correction."
            )
        if lift.change.below_zero:
            return False, (
                f"No emergence of self-correction: {moved}, but the lift of a retry over an independent redraw fell "
                f"({_gap(lift.first)} → {_gap(lift.last)}): more retries, and worse ones."
            )
        if not corrected.clean_change.above_zero:
            return (
                False,
                f"No emergence: {moved}, but not among clean rollouts: what rose is loops or text after the end.",
            )
        if corrected.onset is None and retry.onset is None:
            return (
                False,
                f"No emergence yet: {moved}, but no two evaluations in a row are above step 0, so it is not sustained.",
            )
        onset = corrected.onset or retry.onset
        assert onset is not None
        again = "" if onset.lasting else " It did not hold at every evaluation since."
        if there:
            return True, f"Self-correction was there {start} and grew: {moved}.{again}"
        return True, f"Self-correction emerged: {moved}.{again}"
    if corrected.onset is not None and not corrected.onset.lasting:
        peak = result.steps.index(corrected.onset.peak)
        return False, (
            f"It came and went: wrong to right rose from step {corrected.onset.step} to "
            f"{percent(corrected.series[peak].value)} at step {corrected.onset.peak}, and no rise is left at the "
            "last evaluation." + (present if there else "")
        )
    if corrected.fell:
        return False, f"No emergence: self-correction was there {start} and fell, {moved}."
    if there:
        return False, f"No emergence: {moved}, no clear change.{present}"
    return False, f"No emergence: {moved}, no clear change from {start[3:]}."


def _markers(row: Row) -> list[str]:
    if not row.rose:
        return []
    moved = f"{percent(row.first.value)} → {percent(row.last.value)} of rollouts"
    return [f"Markers rose ({moved}): words alone are not self-verification."]


def _limits(result: Result) -> str:
    if len(result.runs) > 1:
        return (
            f"{len(result.runs)} runs: intervals are for new seeds and new prompts ({result.prompts} seen); "
            "p-values are adjusted for the number of figures."
        )
    return (
        f"One run: 95 % intervals are over its {result.prompts} prompts; whether another seed does the same, or this "
        "one drifted, only more runs can tell. p-values are adjusted for the number of figures."
    )


def percent(value: float | None) -> str:
    """`0.256` -> `26 %`, `0.006` -> `0.6 %`; None -> `–`."""
    if value is None:
        return "–"
    return f"{100 * value:.0f} %" if value == 0 or abs(value) >= 0.0995 else f"{100 * value:.1f} %"


def number(value: float | None, unit: Unit) -> str:
    """A figure's value for readers."""
    if value is None:
        return "–"
    if unit == "share":
        return f"{100 * value:.1f} %"
    return f"{value:{_FORMATS.get(unit, '.1f')}}"


def change(estimate: Estimate, unit: Unit) -> str:
    """A difference for readers with its interval; of shares in points."""
    if estimate.value is None:
        return "–"
    scale, digits = (100, 1) if unit == "share" else (1, {"gap": 2, "count": 2, "reward": 3, "nats": 3}.get(unit, 1))
    shown = f"{scale * estimate.value:+.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return shown
    return f"{shown} ({scale * estimate.low:+.{digits}f} … {scale * estimate.high:+.{digits}f})"


def _interval(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f" ({estimate.low:.2f} to {estimate.high:.2f})"


def _gap(estimate: Estimate) -> str:
    return "unknown" if estimate.value is None else f"{estimate.value:+.2f}{_interval(estimate)}"
