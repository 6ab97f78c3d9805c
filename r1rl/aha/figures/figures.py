"""Every reported figure: a ratio of two sums over rollouts, each a SQL expression on the annotations' columns.

This is their one definition: the training log, held-out metrics, `r1rl inspect` and `r1rl aha` are computed from it,
and `r1rl aha RUN --sql` prints it. As both sums run over rollouts, they can be kept apart by prompt, and a bootstrap
can draw prompts.

Where a rollout says nothing about a figure (no detector for its task, no miss to retry after), its denominator is
null or zero; "not looked for" is never "not there". An example: of three rollouts whose attempts go wrong → right,
right, and wrong, `retry_after_miss` sums 1 + 0 + 0 over 1 + 0 + 1, so it is 1/2.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from r1rl.aha.detect.annotation import FIRST_TOKENS
from r1rl.aha.figures.annotations import annotate_part, connection, missing
from r1rl.aha.figures.bootstrap import Array
from r1rl.aha.figures.gate import measured
from r1rl.ground.errors import nearest
from r1rl.store.schema import SAMPLED_SQL

if TYPE_CHECKING:
    import duckdb

Unit = Literal["share", "gap", "count", "tokens", "per_1k", "reward", "nats"]
LEXICONS: Final = ("strict", "r1-nature", "oat", "orz", "simplerl")


@dataclass(frozen=True, slots=True)
class Figure:
    """A ratio of sums.

    Args:
        key: its name in JSON, SQL and metrics.
        label: its name for readers.
        numerator, denominator: what one rollout adds, in DuckDB's SQL.
        definition: the same in words.
        unit: a share or a gap (difference of shares) is shown in points, all others as a number.
        detector: whose precision and recall belong beside it, a name that `validation` knows; None for no detector.
        source: what the sums run over, a key of SOURCES.
        section: the part of the table it stands in.
    """

    key: str
    label: str
    numerator: str
    denominator: str
    definition: str
    unit: Unit = "share"
    detector: str | None = None
    source: str = "rollouts"
    section: str = ""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rollouts of a run are measured: the held-out ones that were sampled, if nothing else is said.

    Args:
        kind: `eval` or `train`, as in the store.
        greedy: the held-out rollouts of temperature 0 instead of the sampled ones.
        clean_only: without those that a hygiene flag is on.
    """

    kind: str = "eval"
    greedy: bool = False
    clean_only: bool = False

    @property
    def compared(self) -> bool:
        """Whether steps can be compared: held-out prompts are the same at every step, those trained on are not."""
        return self.kind == "eval"

    @property
    def words(self) -> str:
        """`held-out rollouts, sampled`, for readers."""
        if self.kind == "train":
            return "training rollouts"
        return f"held-out rollouts, {'greedy' if self.greedy else 'sampled'}"

    @property
    def where(self) -> str:
        """The same as a condition on the view `annotations`."""
        conditions = [f"kind = '{self.kind}'"]
        if self.kind == "eval":
            conditions.append("temperature = 0" if self.greedy else SAMPLED_SQL)
        if self.clean_only:
            conditions.append("clean")
        return " AND ".join(conditions)


# A figure's rollouts, as SQL; {where} selects them.
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
        # Half octaves: the longest of a stratum has at most 1.42 times the tokens of its shortest, or the characters
        # where an imported rollout does not tell its tokens.
        "prompt and length": _STRATUM % ", floor(2 * log2(greatest(coalesce(n_tokens, n_chars), 1)))",
    }
)


def _share(key: str, label: str, condition: str, definition: str, *, given: str | None = None) -> Figure:
    """The share of rollouts for which a condition holds, of those for which it is known, or of those `given`."""
    holds, of = f"({condition})::INT", f"(({condition}) IS NOT NULL)::INT"
    if given is not None:
        holds, of = f"({given} AND {condition})::INT", f"({given})::INT"
    return Figure(key, label, holds, of, definition)


def _mean(key: str, label: str, column: str, definition: str, *, unit: Unit = "count") -> Figure:
    """The mean of a column over the rollouts in which it is known."""
    return Figure(key, label, column, f"({column} IS NOT NULL)::INT", f"{definition} / rollouts", unit)


def _of_list(key: str, label: str, column: str, condition: str, definition: str, *, given: str = "true") -> Figure:
    """Of the elements x of a list for which `given` holds, the share for which a condition holds as well."""
    count = f"len([x for x in {column} if {{}}])"
    return Figure(key, label, count.format(f"{given} AND {condition}"), count.format(given), definition)


def _lexicon(name: str) -> list[Figure]:
    """How many rollouts have a marker of a lexicon, and how many markers there are."""
    column = f"marker_{name.replace('-', '_')}"
    of = "" if name == "strict" else f" ({name})"
    found = [
        _share(f"{column}_rate", f"with a marker{of}", f"{column} > 0",
               f"rollouts with a marker of the lexicon {name} in the reasoning / rollouts"),
        Figure(f"{column}_per_1k", f"markers per 1,000 tokens{of}", f"1000 * {column}",
               f"CASE WHEN {column} IS NOT NULL THEN n_tokens END", f"markers ({name}) / 1,000 tokens", "per_1k"),
    ]  # fmt: skip
    return [replace(figure, detector=f"markers: {name}") for figure in found]


def _gap(key: str, label: str, source: str) -> Figure:
    """Accuracy of rollouts with a strict marker minus that of rollouts without, among those alike in `source`."""
    term = "CASE WHEN marker_strict > 0 THEN {} * n0 / (n0 + n1) ELSE {} END"
    definition = (
        f"accuracy with a strict marker minus accuracy without, within {source} "
        "(Mantel-Haenszel risk difference; Greenland and Robins 1985)"
    )
    above = term.format("correct::INT", "-correct::INT * n1 / (n0 + n1)")
    return Figure(key, label, above, term.format("1", "0"), definition, "gap", source=source)


def _standardised(key: str, label: str, *, reflects: bool) -> Figure:
    """Accuracy of rollouts with or without a strict marker, weighted as `reflection_gap_matched` weighs them."""
    weight = "n0 / (n0 + n1)" if reflects else "n1 / (n0 + n1)"
    mine = f"CASE WHEN marker_strict {'>' if reflects else '='} 0 THEN {{}} * {weight} ELSE 0 END"
    what = f"accuracy {'with' if reflects else 'without'} a strict marker, among rollouts of one prompt alike in length"
    return Figure(key, label, mine.format("correct::INT"), mine.format("1"),
                  f"{what} (Mantel-Haenszel weights; the difference of the two is reflection_gap_matched)",
                  detector="markers: strict", source="prompt and length", section="markers")  # fmt: skip


_WRONG_RIGHT: Final = "len([t for t in transitions if t = 'wrong_right'])"
_FROM_WRONG: Final = "len([t for t in transitions if t[:6] = 'wrong_'])"

# Section of the table and detector -> figures; where a figure names a detector of its own, that holds.
# fmt: off
_TABLE: Final[Sequence[tuple[str, str | None, Sequence[Figure]]]] = (
    ("task", None, (
        _share("accuracy", "right answers", "correct", "rollouts that the verifier calls correct / judged rollouts"),
        _mean("tokens", "tokens", "n_tokens", "tokens", unit="tokens"),
    )),
    ("attempts", "attempts", (
        _mean("attempts", "attempts", "n_attempts", "attempts, repeats left out"),
        _share("retried", "retried", "n_attempts > 1", "rollouts with more than one attempt / rollouts"),
        _share("retry_after_miss", "retried after a miss", "n_attempts > 1", given="NOT first_right",
               definition="of the rollouts whose first attempt is wrong, those with another"),
        _share("retry_after_hit", "retried after a hit", "n_attempts > 1", given="first_right",
               definition="of the rollouts whose first attempt is right, those with another"),
        _share("first_accuracy", "first attempt right", "first_right",
               "first attempts that hit / rollouts with an attempt"),
        _share("final_accuracy", "final attempt right", "final_right",
               "last attempts that hit / rollouts with an attempt"),
    )),
    ("attempts", "transitions", (
        _share("wrong_to_right", "went wrong → right", "list_contains(transitions, 'wrong_right')",
               "rollouts in which a right attempt follows a wrong one / rollouts"),
        _share("right_to_wrong", "went right → wrong", "list_contains(transitions, 'right_wrong')",
               "rollouts in which a wrong attempt follows a right one / rollouts"),
        Figure("retry_hits", "retries that hit", _WRONG_RIGHT, _FROM_WRONG,
               "attempts right after a wrong one that are right / attempts right after a wrong one"),
        Figure("retry_lift", "retry lift over a redraw", f"{_WRONG_RIGHT} - {_FROM_WRONG} * redraw",
               f"CASE WHEN redraw IS NOT NULL THEN {_FROM_WRONG} END",
               "retries that hit, minus the first attempts of the same prompt's other rollouts that hit",
               unit="gap", source="redraw"),
    )),
    ("transitions", "transitions", tuple(
        _of_list(f"transition_{name}", label, "transitions", f"x = '{name}'", f"transitions {label} / transitions")
        for name, label in (
            ("right_right", "right → right"),
            ("right_wrong", "right → wrong"),
            ("wrong_right", "wrong → right"),
            ("wrong_same", "wrong → same"),
            ("wrong_different", "wrong → other wrong"),
        )
    )),
    ("self-verification", "goal tests", (
        Figure("tested", "attempts with a goal test", "len(list_distinct([g.attempt for g in goal_tests]))",
               "CASE WHEN goal_tests IS NOT NULL THEN len(attempts) END",
               "attempts with a goal test / attempts, repeats too"),
        _of_list("verify_precision", "precision of “hits”", "goal_tests", "x.truth", given="x.says",
                 definition="of the goal tests that say the attempt hits, those that are true"),
        _of_list("verify_recall", "recall of “hits”", "goal_tests", "x.says", given="x.truth",
                 definition="of the goal tests of attempts that hit, those that say so"),
        _of_list("yes_after_miss", "says “hits” after a miss", "goal_tests", "x.says", given="NOT x.truth",
                 definition="of the goal tests of attempts that miss, those that say they hit"),
    )),
    ("self-verification", "slips", (
        Figure("slips", "arithmetic slips", "slips", "checked_steps",
               "steps whose claimed value is wrong / steps with a claimed value"),
    )),
    ("self-verification", "guess", (
        _share("guesses", "answer never evaluated", "guess",
               "rollouts whose answer is not among what the reasoning evaluated / rollouts"),
    )),
    ("search", "backtracking", (
        _mean("restarts", "restarts", "restarts", "attempts begun anew"),
        _mean("resumes", "resumes", "resumes", "attempts that go on from an earlier partial result"),
        _mean("duplicate_retries", "duplicate retries", "duplicate_retries",
              "attempts equal to an earlier one up to order"),
        Figure("abandon_dead", "left a dead state", "dead_left", "dead_seen",
               "of the partial states from which the target cannot be reached, those left"),
        Figure("abandon_live", "left a live state", "live_left", "live_seen",
               "of the partial states from which it can, those left"),
    )),
    ("markers", "markers: strict", (
        *(figure for name in LEXICONS for figure in _lexicon(name)),
        _share("marker_first_n", f"with a marker in the first {FIRST_TOKENS} tokens", "marker_strict_first_n > 0",
               f"rollouts with a strict marker in the first {FIRST_TOKENS} tokens / rollouts"),
        *(
            _of_list(f"marker_{label}", f"markers {label}", "markers", f"x.label = '{label}'",
                     f"strict markers followed by {what} / strict markers")
            for label, what in (
                ("effective", "wrong → right"),
                ("confirmatory", "right → right"),
                ("harmful", "right → wrong"),
                ("idle", "no attempt that changes anything"),
            )
        ),
        _gap("reflection_gap", "right with marker − without, same prompt", "prompt"),
        _gap("reflection_gap_matched", "the same, same length too", "prompt and length"),
    )),
    *(
        ("hygiene", f"hygiene: {flag}", (_share(flag, label, condition or flag, f"rollouts: {label} / rollouts"),))
        for flag, label, condition in (
            # Not known of imported rollouts that do not tell why they ended.
            ("truncated", "cut off at the cap", "CASE WHEN finish_reason IS NOT NULL THEN truncated END"),
            ("repetition_loop", "ends in a loop", ""),
            ("continues_after_answer", "goes on after the answer", ""),
            ("code_only", "code only", ""),
            ("mixed_language", "mixed languages", ""),
        )
    ),
    ("hygiene", None, (_share("unclean", "any of these", "NOT clean", "rollouts with any hygiene flag / rollouts"),)),
)
# fmt: on

FIGURES: Final[Mapping[str, Figure]] = MappingProxyType(
    {
        figure.key: replace(figure, section=section, detector=figure.detector or detector)
        for section, detector, found in _TABLE
        for figure in found
    }
)
MAIN: Final = ("accuracy", "retried", "retry_after_miss", "wrong_to_right", "retry_lift", "verify_precision",
               "verify_recall", "marker_strict_rate")  # fmt: skip
"""Shown besides without the rollouts that a hygiene flag is on."""
MATCHED: Final = (
    _standardised("accuracy_reflecting", "right, with a marker", reflects=True),
    _standardised("accuracy_plain", "right, without", reflects=False),
)
"""Both sides of `reflection_gap_matched`, for a chart; no figures of the table, as their difference is one."""
LOGGED: Final = ("marker_strict_rate", "marker_strict_per_1k", "attempts", "retried", "retry_after_miss",
                 "wrong_to_right", "right_to_wrong", "first_accuracy", "final_accuracy", "retry_lift",
                 "verify_precision", "verify_recall", "slips", "guesses", "unclean")  # fmt: skip
"""Logged in training as `aha/<key>`, and of held-out rollouts as `heldout/aha/<key>`."""


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


def sql(figure: Figure, selection: Selection) -> str:
    """One line of SQL that gives the figure at each step, from the view `annotations`."""
    rollouts = SOURCES[figure.source].format(where=selection.where)
    return f"SELECT step, {_ratio(figure)} AS {figure.key} FROM {rollouts} GROUP BY step ORDER BY step"


def by_step(
    run_dir: Path | str, selection: Selection, wanted: Sequence[Figure], *, steps: Collection[int] | None = None
) -> dict[int, dict[str, float]]:
    """Figures of annotated rollouts at each step, or at some steps; those that are not defined are left out.

    Raises ValueError where there are no annotations.
    """
    found: dict[int, dict[str, float]] = {}
    threads = None if steps is None else 1  # a single step is measured beside a training run
    with connection(run_dir, kind=selection.kind, steps=steps, threads=threads) as database:
        for mine, rollouts in _by_source(wanted, selection):
            columns = ", ".join(map(_ratio, mine))
            for step, *values in database.execute(f"SELECT step, {columns} FROM {rollouts} GROUP BY step").fetchall():
                if steps is None or step in steps:
                    pairs = zip(mine, values, strict=True)
                    found.setdefault(step, {}).update({f.key: value for f, value in pairs if value is not None})
    return dict(sorted(found.items()))


def kinds(run_dir: Path | str, selection: Selection, *, steps: Collection[int] | None = None) -> dict[str, int]:
    """The kinds of text (`r1rl.aha.detect.text_kind`) of the selected rollouts and how many there are of each."""
    with connection(run_dir, kind=selection.kind, steps=steps, threads=None if steps is None else 1) as database:
        found = database.execute(
            f"SELECT text_kind, count(*) FROM annotations WHERE {selection.where} GROUP BY 1 ORDER BY 2 DESC, 1"
        ).fetchall()
    return {str(kind): int(count) for kind, count in found if kind is not None}


def of_step(run_dir: Path | str, kind: str, step: int, keys: Sequence[str]) -> dict[str, float]:
    """Figures of one step, its rollouts annotated first where they are not; those of `gate.measured`.

    Raises ValueError for no rollouts.
    """
    for part in missing(run_dir, kind=kind, steps=[step]):
        annotate_part(part)
    wanted, _ = measured([FIGURES[key] for key in keys], kinds(run_dir, Selection(kind), steps=[step]))
    found = by_step(run_dir, Selection(kind), wanted, steps=[step]).get(step, {})
    return {key: found[key] for key in keys if key in found}


@dataclass(frozen=True)
class Counts:
    """Sums by prompt: `sums[figure]` is [prompts, steps, 2], numerator and denominator.

    Of 2 prompts with 4 samples each at steps 0 and 10, `sums["retried"][1, 0]` is (3, 4) where 3 of the 4 samples of
    the second prompt at step 0 make another attempt.
    """

    steps: list[int]
    prompts: list[str]
    rollouts: int  # at each step
    sums: dict[str, Array]
    left_out: list[int]  # steps at which rollouts are missing: of a run that is still writing them


def counts(
    run_dir: Path | str, selection: Selection, wanted: Sequence[Figure], *, steps: Collection[int] | None = None
) -> Counts:
    """The sums of one run over its selected rollouts, at every step or some. Raises ValueError where there are none."""
    with connection(run_dir, kind=selection.kind, steps=steps) as database:
        every = replace(selection, clean_only=False).where  # whether a step is whole does not depend on hygiene
        sizes = dict(
            database.execute(
                "SELECT step, count(DISTINCT (prompt_id, sample_idx, temperature)) FROM annotations "
                f"WHERE {every} GROUP BY step ORDER BY step"
            ).fetchall()
        )
        if not sizes:
            other = "leave --greedy out" if selection.greedy else "try --greedy, or --kind train"
            raise ValueError(f"run={str(run_dir)!r}: no {selection.words}; {other}")
        whole = max(sizes.values())
        # Several ranks write one shard each. Training steps see other prompts each time, and are whole in the store.
        kept = [
            step
            for step, size in sizes.items()
            if (steps is None or step in steps) and (size == whole or not selection.compared)
        ]
        names = database.execute(f"SELECT DISTINCT prompt_id FROM annotations WHERE {every} ORDER BY 1").fetchall()
        prompts = [name for (name,) in names]
        sums: dict[str, Array] = {}
        for mine, rollouts in _by_source(wanted, selection):
            sums |= _sums(database, mine, rollouts, prompts, kept)
    left_out = [step for step in sizes if step not in kept] if selection.compared else []
    return Counts(kept, prompts, whole, {figure.key: sums[figure.key] for figure in wanted}, left_out)


def _sums(
    database: duckdb.DuckDBPyConnection, mine: Sequence[Figure], rollouts: str, prompts: list[str], steps: list[int]
) -> dict[str, Array]:
    """`Counts.sums` of figures over one source."""
    parts = [part for figure in mine for part in (figure.numerator, figure.denominator)]
    columns = ", ".join(f"coalesce(sum(({part})::DOUBLE), 0)" for part in parts)
    answer = database.execute(f"SELECT prompt_id, step, {columns} FROM {rollouts} GROUP BY prompt_id, step").fetchall()
    row_of, column_of = ({name: i for i, name in enumerate(names)} for names in (prompts, steps))
    found = np.zeros((len(mine), len(prompts), len(steps), 2))
    for prompt, step, *values in answer:
        if step in column_of:
            found[:, row_of[prompt], column_of[step]] = np.reshape(values, (len(mine), 2))
    return {figure.key: sums for figure, sums in zip(mine, found, strict=True)}


def _by_source(wanted: Sequence[Figure], selection: Selection) -> Iterator[tuple[list[Figure], str]]:
    """The figures of each source and its rollouts: one statement a source, as planning one takes most of its time."""
    for source, text in SOURCES.items():
        if mine := [figure for figure in wanted if figure.source == source]:
            yield mine, text.format(where=selection.where)


def _ratio(figure: Figure) -> str:
    return f"sum(({figure.numerator})::DOUBLE) / nullif(sum(({figure.denominator})::DOUBLE), 0)"
