"""Every reported figure: a ratio of two sums over rollouts, each a SQL expression on the annotations' columns.

This is their one definition: the table is computed from it, and `r1rl aha RUN --sql` prints it. As both sums run over
rollouts, they can be kept apart by prompt, and a bootstrap can draw prompts.

Where a rollout says nothing about a figure (no detector for its task, no miss to retry after), its denominator is
null or zero; "not looked for" is never "not there".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import numpy as np

from r1rl.aha.detect.annotation import FIRST_TOKENS
from r1rl.aha.figures.annotations import connection
from r1rl.aha.figures.bootstrap import Array
from r1rl.ground.errors import nearest

Unit = Literal["share", "gap", "count", "tokens", "per_1k"]
LEXICONS: Final = ("strict", "r1-nature", "oat", "orz", "simplerl")


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio of sums.

    Args:
        key: its name in JSON, SQL and metrics.
        label: its name for readers.
        section: the part of the table it stands in.
        numerator, denominator: what one rollout adds, in DuckDB's SQL.
        definition: the same in words.
        unit: a share or a gap (difference of shares) is shown in points, a count or tokens as a number.
        detector: whose precision and recall belong beside it, a name that `validation` knows; None for no detector.
        source: what the sums run over, a key of SOURCES.
    """

    key: str
    label: str
    section: str
    numerator: str
    denominator: str
    definition: str
    unit: Unit = "share"
    detector: str | None = None
    source: str = "rollouts"


# A figure's rollouts, as SQL; {where} selects the kind.
_ROLLOUTS: Final = "annotations WHERE {where}"

# The chance of an independent redraw: the first attempts of the prompt's other rollouts at this step. Leaving the own
# one out makes it unbiased: a rollout that retries has missed.
_REDRAW: Final = (
    "(SELECT *, (sum(first_right::INT) OVER g - coalesce(first_right::INT, 0)) / "
    "nullif(count(first_right) OVER g - (first_right IS NOT NULL)::INT, 0) AS redraw "
    "FROM annotations WHERE {where} WINDOW g AS (PARTITION BY run, step, prompt_id, temperature))"
)

# Judged rollouts with (n1) and without (n0) a strict marker in the same stratum.
_STRATUM: Final = (
    "(SELECT *, sum((marker_strict > 0)::INT) OVER g AS n1, sum((marker_strict = 0)::INT) OVER g AS n0 "
    "FROM annotations WHERE {where} AND correct IS NOT NULL WINDOW g AS (PARTITION BY run, step, prompt_id, "
    "temperature%s))"
)
SOURCES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "rollouts": _ROLLOUTS,
        "redraw": _REDRAW,
        "prompt": _STRATUM % "",
        # Half octaves: the longest of a stratum has at most 1.42 times the tokens of its shortest.
        "prompt and length": _STRATUM % ", floor(2 * log2(greatest(n_tokens, 1)))",
    }
)

_TRANSITIONS: Final = {
    "right_right": "right → right",
    "right_wrong": "right → wrong",
    "wrong_right": "wrong → right",
    "wrong_same": "wrong → same",
    "wrong_different": "wrong → other wrong",
}
_LABELS: Final = {
    "effective": "wrong → right",
    "confirmatory": "right → right",
    "harmful": "right → wrong",
    "idle": "no attempt that changes anything",
}
_HYGIENE: Final = {
    "truncated": "cut off at the cap",
    "repetition_loop": "ends in a loop",
    "continues_after_answer": "goes on after the answer",
    "code_only": "code only",
    "mixed_language": "mixed languages",
}
_FROM_WRONG: Final = "len([t for t in transitions if t[:6] = 'wrong_'])"
_WRONG_RIGHT: Final = "len([t for t in transitions if t = 'wrong_right'])"
_KNOWN: Final = "(n_attempts IS NOT NULL)::INT"
_RATE: Final = "CASE WHEN marker_strict > 0 THEN {0} * n0 / (n0 + n1) ELSE {1} END"


def _tests(condition: str) -> str:
    return f"len([g for g in goal_tests if {condition}])"


def _markers(lexicon: str) -> list[Figure]:
    column = f"marker_{lexicon.replace('-', '_')}"
    detector = f"markers: {lexicon}"
    name = "" if lexicon == "strict" else f" ({lexicon})"
    shown = "markers"
    return [
        Figure(f"{column}_rate", f"with a marker{name}", shown, f"({column} > 0)::INT", f"({column} IS NOT NULL)::INT",
               f"rollouts with a marker of the lexicon {lexicon} in the reasoning / rollouts", detector=detector),
        Figure(f"{column}_per_1k", f"markers per 1,000 tokens{name}", shown, f"1000 * {column}",
               f"CASE WHEN {column} IS NOT NULL THEN n_tokens END", f"markers ({lexicon}) / 1,000 tokens", "per_1k",
               detector),
    ]  # fmt: skip


def _all() -> list[Figure]:
    found = [
        Figure("accuracy", "right answers", "task", "correct::INT", "(correct IS NOT NULL)::INT",
               "rollouts that the verifier calls correct / judged rollouts"),
        Figure("tokens", "tokens", "task", "n_tokens", "(n_tokens IS NOT NULL)::INT", "tokens / rollouts", "tokens"),
        Figure("attempts", "attempts", "attempts", "n_attempts", _KNOWN, "attempts, repeats left out / rollouts",
               "count", "attempts"),
        Figure("retried", "retried", "attempts", "(n_attempts > 1)::INT", _KNOWN,
               "rollouts with more than one attempt / rollouts", detector="attempts"),
        Figure("retry_after_miss", "retried after a miss", "attempts", "(NOT first_right AND n_attempts > 1)::INT",
               "(NOT first_right)::INT", "of the rollouts whose first attempt is wrong, those with another",
               detector="attempts"),
        Figure("retry_after_hit", "retried after a hit", "attempts", "(first_right AND n_attempts > 1)::INT",
               "first_right::INT", "of the rollouts whose first attempt is right, those with another",
               detector="attempts"),
        Figure("first_accuracy", "first attempt right", "attempts", "first_right::INT",
               "(first_right IS NOT NULL)::INT", "first attempts that hit / rollouts with an attempt",
               detector="attempts"),
        Figure("final_accuracy", "final attempt right", "attempts", "final_right::INT",
               "(final_right IS NOT NULL)::INT", "last attempts that hit / rollouts with an attempt",
               detector="attempts"),
        Figure("wrong_to_right", "went wrong → right", "attempts", "list_contains(transitions, 'wrong_right')::INT",
               _KNOWN, "rollouts in which a right attempt follows a wrong one / rollouts", detector="transitions"),
        Figure("right_to_wrong", "went right → wrong", "attempts", "list_contains(transitions, 'right_wrong')::INT",
               _KNOWN, "rollouts in which a wrong attempt follows a right one / rollouts", detector="transitions"),
        Figure("retry_hits", "retries that hit", "attempts", _WRONG_RIGHT, _FROM_WRONG,
               "attempts right after a wrong one that are right / attempts right after a wrong one",
               detector="transitions"),
        Figure("retry_lift", "retry lift over a redraw", "attempts", f"{_WRONG_RIGHT} - {_FROM_WRONG} * redraw",
               f"CASE WHEN redraw IS NOT NULL THEN {_FROM_WRONG} END",
               "retries that hit, minus the first attempts of the same prompt's other rollouts that hit", "gap",
               "transitions", "redraw"),
    ]  # fmt: skip
    found += [
        Figure(f"transition_{key}", label, "transitions", f"len([t for t in transitions if t = '{key}'])",
               "len(transitions)", f"transitions {label} / transitions", detector="transitions")
        for key, label in _TRANSITIONS.items()
    ]  # fmt: skip
    found += [
        Figure("tested", "attempts with a goal test", "self-verification",
               "len(list_distinct([g.attempt for g in goal_tests]))", "CASE WHEN goal_tests IS NOT NULL THEN "
               "len(attempts) END", "attempts with a goal test / attempts, repeats too", detector="goal tests"),
        Figure("verify_precision", "precision of “hits”", "self-verification", _tests("g.says AND g.truth"),
               _tests("g.says"), "of the goal tests that say the attempt hits, those that are true",
               detector="goal tests"),
        Figure("verify_recall", "recall of “hits”", "self-verification", _tests("g.says AND g.truth"),
               _tests("g.truth"), "of the goal tests of attempts that hit, those that say so", detector="goal tests"),
        Figure("yes_after_miss", "says “hits” after a miss", "self-verification", _tests("g.says AND NOT g.truth"),
               _tests("NOT g.truth"), "of the goal tests of attempts that miss, those that say they hit",
               detector="goal tests"),
        Figure("slips", "arithmetic slips", "self-verification", "slips", "checked_steps",
               "steps whose claimed value is wrong / steps with a claimed value", detector="slips"),
        Figure("guesses", "answer never evaluated", "self-verification", "guess::INT", "(guess IS NOT NULL)::INT",
               "rollouts whose answer is not among what the reasoning evaluated / rollouts", detector="guess"),
        Figure("restarts", "restarts", "search", "restarts", _KNOWN, "attempts begun anew / rollouts", "count",
               "backtracking"),
        Figure("resumes", "resumes", "search", "resumes", _KNOWN, "attempts that go on from an earlier partial result "
               "/ rollouts", "count", "backtracking"),
        Figure("duplicate_retries", "duplicate retries", "search", "duplicate_retries", _KNOWN,
               "attempts equal to an earlier one up to order / rollouts", "count", "backtracking"),
        Figure("abandon_dead", "left a dead state", "search", "dead_left", "dead_seen",
               "of the partial states from which the target cannot be reached, those left", detector="backtracking"),
        Figure("abandon_live", "left a live state", "search", "live_left", "live_seen",
               "of the partial states from which it can, those left", detector="backtracking"),
    ]  # fmt: skip
    for lexicon in LEXICONS:
        found += _markers(lexicon)
    found += [
        Figure("marker_first_n", f"with a marker in the first {FIRST_TOKENS} tokens", "markers",
               "(marker_strict_first_n > 0)::INT", "(marker_strict_first_n IS NOT NULL)::INT",
               f"rollouts with a strict marker in the first {FIRST_TOKENS} tokens / rollouts",
               detector="markers: strict"),
    ]  # fmt: skip
    found += [
        Figure(f"marker_{key}", f"markers {key}", "markers", f"len([m for m in markers if m.label = '{key}'])",
               "len(markers)", f"strict markers followed by {what} / strict markers", detector="markers: strict")
        for key, what in _LABELS.items()
    ]  # fmt: skip
    for key, source, label in (
        ("reflection_gap", "prompt", "right with marker − without, same prompt"),
        ("reflection_gap_matched", "prompt and length", "the same, same length too"),
    ):
        found.append(
            Figure(key, label, "markers", _RATE.format("correct::INT", "-correct::INT * n1 / (n0 + n1)"),
                   _RATE.format("1", "0"), f"accuracy with a strict marker minus accuracy without, within {source} "
                   "(Mantel-Haenszel risk difference; Greenland and Robins 1985)", "gap", "markers: strict", source)
        )  # fmt: skip
    found += [
        Figure(key, label, "hygiene", f"{key}::INT", f"({key} IS NOT NULL)::INT", f"rollouts: {label} / rollouts",
               detector=f"hygiene: {key}")
        for key, label in _HYGIENE.items()
    ]  # fmt: skip
    found.append(
        Figure("unclean", "any of these", "hygiene", "(NOT clean)::INT", "(clean IS NOT NULL)::INT",
               "rollouts with any hygiene flag / rollouts")
    )  # fmt: skip
    return found


FIGURES: Final[Mapping[str, Figure]] = MappingProxyType({figure.key: figure for figure in _all()})
MAIN: Final = ("accuracy", "retried", "retry_after_miss", "wrong_to_right", "retry_lift", "verify_precision",
               "verify_recall", "marker_strict_rate")  # fmt: skip
"""Shown besides without the rollouts that a hygiene flag is on."""


def chosen(lexicon: str | None = None) -> list[Figure]:
    """The figures of the table: the strict lexicon in full, the peers' by rate, or one `lexicon` in full.

    Raises ValueError for an unknown lexicon.
    """
    if lexicon not in (None, "all", *LEXICONS):
        raise ValueError(f"lexicon={lexicon!r}: need one of {', '.join(LEXICONS)}, all")
    dropped = set()
    for name in LEXICONS:
        column = f"marker_{name.replace('-', '_')}"
        if lexicon not in (None, "all", name):
            dropped |= {f"{column}_rate", f"{column}_per_1k"}
        elif lexicon is None and name != "strict":
            dropped.add(f"{column}_per_1k")
    return [figure for figure in FIGURES.values() if figure.key not in dropped]


def check(keys: Sequence[str], among: Sequence[Figure]) -> None:
    """Raise ValueError for a key that no figure has."""
    known = [figure.key for figure in among]
    for key in keys:
        if key not in known:
            raise ValueError(f"figure={key!r}: no figure of the table{nearest(key, known)} (--sql lists all)")


def sql(figure: Figure, kind: str, *, clean_only: bool = False) -> str:
    """One line of SQL that gives the figure at each step, from the view `annotations`."""
    return (
        f"SELECT step, {_ratio(figure)} AS {figure.key} FROM "
        f"{SOURCES[figure.source].format(where=_where(kind, clean_only))} GROUP BY step ORDER BY step"
    )


@dataclass(frozen=True)
class Counts:
    """Sums by prompt: `sums[figure]` is [prompts, steps, 2], numerator and denominator."""

    steps: list[int]
    prompts: list[str]
    rollouts: int  # at each step
    sums: dict[str, Array]
    left_out: list[int]  # steps at which rollouts are missing: of a run that is still writing them


def counts(run_dir: Path | str, kind: str, wanted: Sequence[Figure], *, clean_only: bool = False) -> Counts:
    """The sums of one run over rollouts of `kind`. Raises ValueError where there are none."""
    where = _where(kind, clean_only)
    with connection(run_dir, kind=kind) as database:
        sizes = database.execute(
            "SELECT step, count(DISTINCT (prompt_id, sample_idx, temperature)) FROM annotations WHERE kind = ? "
            "GROUP BY step ORDER BY step",
            [kind],
        ).fetchall()
        # Several ranks write one shard each. Training steps see other prompts each time, and are whole in the store.
        whole = max(size for _, size in sizes)
        steps = [step for step, size in sizes if size == whole or kind == "train"]
        rows = [
            row[0]
            for row in database.execute(
                "SELECT DISTINCT prompt_id FROM annotations WHERE kind = ? ORDER BY 1", [kind]
            ).fetchall()
        ]
        at = {prompt: i for i, prompt in enumerate(rows)}
        place = {step: i for i, step in enumerate(steps)}
        found: dict[str, Array] = {}
        for source, text in SOURCES.items():
            mine = [figure for figure in wanted if figure.source == source]
            if not mine:
                continue
            columns = ", ".join(
                f"coalesce(sum(({part})::DOUBLE), 0)" for f in mine for part in (f.numerator, f.denominator)
            )
            answer = database.execute(
                f"SELECT prompt_id, step, {columns} FROM {text.format(where=where)} GROUP BY prompt_id, step"
            ).fetchnumpy()
            names = list(answer)
            keep = np.isin(answer["step"], steps)
            prompts = np.array([at[name] for name in answer["prompt_id"][keep]], dtype=int)
            when = np.array([place[step] for step in answer["step"][keep].tolist()], dtype=int)
            for i, figure in enumerate(mine):
                sums = np.zeros((len(rows), len(steps), 2))
                for side in (0, 1):
                    values = np.ma.filled(answer[names[2 + 2 * i + side]], 0.0)[keep]
                    sums[prompts, when, side] = values
                found[figure.key] = sums
    left_out = [step for step, _ in sizes if step not in place]
    return Counts(steps, rows, whole, {figure.key: found[figure.key] for figure in wanted}, left_out)


def of_step(run_dir: Path | str, kind: str, step: int, keys: Sequence[str]) -> dict[str, float]:
    """Figures of one step's annotated rollouts, those that are not defined left out. Raises ValueError for none."""
    found: dict[str, float] = {}
    where = f"{_where(kind, clean_only=False)} AND step = {int(step)}"
    with connection(run_dir, kind=kind, steps=[step], threads=1) as database:
        # One statement a source: most of the time of a small one goes into its planning.
        for source, text in SOURCES.items():
            mine = [FIGURES[key] for key in keys if FIGURES[key].source == source]
            if not mine:
                continue
            columns = ", ".join(_ratio(figure) for figure in mine)
            values = database.execute(f"SELECT {columns} FROM {text.format(where=where)}").fetchone()
            assert values is not None
            found |= {figure.key: value for figure, value in zip(mine, values, strict=True) if value is not None}
    return {key: found[key] for key in keys if key in found}


def _ratio(figure: Figure) -> str:
    return f"sum(({figure.numerator})::DOUBLE) / nullif(sum(({figure.denominator})::DOUBLE), 0)"


def _where(kind: str, clean_only: bool) -> str:
    return f"kind = '{kind}'" + (" AND clean" if clean_only else "")
