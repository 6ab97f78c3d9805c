"""What stored samples say of a target: pass@k, maj@k, CoT-pass@k and rates; and how targets differ on one question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from r1rl.aha.figures import bootstrap
from r1rl.aha.figures.annotations import compute, connection
from r1rl.aha.figures.bootstrap import Estimate
from r1rl.eval import estimates, voting
from r1rl.eval.estimates import Difference, Votes
from r1rl.eval.voting import Answered
from r1rl.store import store

_COLUMNS: Final = [
    "prompt_id", "sample_idx", "completion", "prefill", "gold", "meta", "verifier", "verdict", "finish_reason",
    "n_tokens",
]  # fmt: skip
TRUNCATED_FROM: Final = 0.05
"""From this share of truncated samples on, readers are told: a longer cap would have scored more."""


@dataclass(frozen=True)
class Question:
    """A question's samples: which are right, in order, as votes, and which are right by reasoning that holds."""

    right: tuple[bool, ...]
    votes: Votes
    sound: tuple[bool, ...] | None


@dataclass(frozen=True)
class Score:
    """What is said of one target, or of one kind of questions.

    Args:
        label: the target's.
        questions: with all their samples; `incomplete` others lack some and do not count.
        samples: per question.
        ks: the k of the curves.
        pass_at, maj_at, cot_pass_at: an estimate for each k; the last None where reasoning is not checked.
        avg: the mean over all samples, which is avg@samples and pass@1.
        truncated, answered: shares of samples that were cut off, and that have an answer where it was asked for.
        tokens: mean tokens of a sample, None where an endpoint does not tell.
        asked: what an endpoint was asked for and what failed, by reason.
        kinds: by column and kind, pass@1 and the number of questions.
        by_question: the questions, for comparing targets.
    """

    label: str
    questions: int
    incomplete: int
    samples: int
    ks: list[int]
    pass_at: list[Estimate]
    maj_at: list[Estimate]
    cot_pass_at: list[Estimate] | None
    avg: Estimate
    truncated: float | None
    answered: float | None
    tokens: float | None
    asked: dict[str, Any]
    kinds: dict[str, dict[str, tuple[int, Estimate]]] = field(default_factory=dict)
    by_question: dict[str, Question] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Comparison:
    """The second target less the first, at every k, on the questions that both have; p at all k are Holm's."""

    first: str
    second: str
    ks: list[int]
    pass_at: list[Difference]
    adjusted: list[float | None]


def score(
    path: Path,
    step: int,
    *,
    label: str,
    ids: Sequence[str],
    samples: int,
    extraction: str,
    ks: Sequence[int],
    kinds: Mapping[str, Mapping[str, str]],
    asked: dict[str, Any],
    seed: int = 0,
    workers: int = 1,
) -> Score:
    """Read one target's samples of the questions `ids` and say what there is to be said."""
    by_id: dict[str, dict[int, dict[str, Any]]] = {name: {} for name in ids}
    if (path / "rollouts").is_dir():
        for row in store.read(path, kind="eval", steps=[step], columns=_COLUMNS).to_pylist():
            if row["prompt_id"] in by_id and row["sample_idx"] < samples:
                by_id[row["prompt_id"]][row["sample_idx"]] = row
    whole = {name: [rows[i] for i in range(samples)] for name, rows in by_id.items() if len(rows) == samples}
    questions = _questions(path, step, whole, extraction, workers)
    rows = [row for its in whole.values() for row in its]
    tokens = [row["n_tokens"] for row in rows]
    curve = [k for k in ks if k <= samples]
    sound = all(question.sound is not None for question in questions.values()) and bool(questions)
    return Score(
        label=label,
        questions=len(whole),
        incomplete=len(by_id) - len(whole),
        samples=samples,
        ks=curve,
        pass_at=[estimates.mean(pass_values(questions.values(), k), seed=seed) for k in curve],
        maj_at=[
            estimates.mean([estimates.maj_at_k(q.votes, k, seed=seed) for q in questions.values()], seed=seed)
            for k in curve
        ],
        cot_pass_at=[estimates.mean(_sound_values(questions.values(), k), seed=seed) for k in curve] if sound else None,
        avg=estimates.mean([estimates.avg_at_k(q.right, samples) for q in questions.values()], seed=seed),
        truncated=_share(row["finish_reason"] == "length" for row in rows),
        answered=_share(voting.answer_of(row, extraction) is not None for row in rows),
        tokens=None if None in tokens or not tokens else sum(tokens) / len(tokens),
        asked=asked,
        kinds={column: _by_kind(questions, of, seed) for column, of in kinds.items()},
        by_question=questions,
    )


def _questions(
    path: Path, step: int, whole: Mapping[str, list[dict[str, Any]]], extraction: str, workers: int
) -> dict[str, Question]:
    if not whole:
        return {}
    said = {
        name: [Answered(voting.answer_of(row, extraction), row["verdict"] == "correct") for row in rows]
        for name, rows in whole.items()
    }
    judges = {name: rows[0]["verifier"] for name, rows in whole.items()}
    votes: dict[str, Votes] = {}
    for verifier in dict.fromkeys(judges.values()):
        its = {name: rows[0] for name, rows in whole.items() if judges[name] == verifier}
        found = voting.group(verifier, [(said[name], row["gold"], row["meta"]) for name, row in its.items()])
        votes |= dict(zip(its, found, strict=True))
    sound = _sound(path, step, workers) if set(judges.values()) == {"countdown"} else None
    return {
        name: Question(
            tuple(answered.right for answered in said[name]),
            votes[name],
            None if sound is None else tuple(sound.get((name, i), False) for i in range(len(said[name]))),
        )
        for name in whole
    }


def _sound(path: Path, step: int, workers: int) -> dict[tuple[str, int], bool]:
    """Whether a sample is right and its reasoning reaches the answer: no slip on the way, and no guess."""
    compute(path, kind="eval", workers=workers)
    with connection(path, kind="eval", steps=[step]) as database:
        found = database.sql(
            "SELECT prompt_id, sample_idx, coalesce(correct AND slips = 0 AND NOT guess, false) FROM annotations"
        ).fetchall()
    return {(prompt_id, sample): bool(holds) for prompt_id, sample, holds in found}


def pass_values(questions: Any, k: int) -> list[float]:
    """Each question's pass@k."""
    return [estimates.pass_at_k(len(q.right), sum(q.right), k) for q in questions]


def _sound_values(questions: Any, k: int) -> list[float]:
    return [estimates.pass_at_k(len(q.sound), sum(q.sound), k) for q in questions]


def _by_kind(questions: Mapping[str, Question], of: Mapping[str, str], seed: int) -> dict[str, tuple[int, Estimate]]:
    found: dict[str, list[float]] = {}
    for name, question in questions.items():
        found.setdefault(of[name], []).append(estimates.avg_at_k(question.right, len(question.right)))
    return {kind: (len(values), estimates.mean(values, seed=seed)) for kind, values in sorted(found.items())}


def _share(flags: Any) -> float | None:
    found = list(flags)
    return sum(found) / len(found) if found else None


def compare(first: Score, second: Score, *, seed: int = 0) -> Comparison:
    """Two targets on the questions that both answered in full."""
    common = [name for name in first.by_question if name in second.by_question]
    ks = [k for k in first.ks if k in second.ks]
    found = [
        estimates.paired(
            pass_values([first.by_question[name] for name in common], k),
            pass_values([second.by_question[name] for name in common], k),
            seed=seed,
        )
        for k in ks
    ]
    adjusted = bootstrap.holm({str(k): difference.p for k, difference in zip(ks, found, strict=True)})
    return Comparison(first.label, second.label, ks, found, [adjusted[str(k)] for k in ks])


def as_json(score: Score) -> dict[str, Any]:
    """One object with stable keys; a curve is a list of {k, value, low, high}."""
    found = asdict(score)
    del found["by_question"], found["ks"]
    for name in ("pass_at", "maj_at", "cot_pass_at"):
        if found[name] is not None:
            found[name] = [{"k": k} | each for k, each in zip(score.ks, found[name], strict=True)]
    found["kinds"] = {
        column: {kind: {"questions": n, "pass_at_1": asdict(e)} for kind, (n, e) in of.items()}
        for column, of in score.kinds.items()
    }
    return found
