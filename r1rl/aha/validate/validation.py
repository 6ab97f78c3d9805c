"""Precision and recall of the detectors on hand-labelled rollouts of this project, measured here.

Beside them stand figures on synthetic traces, whose labels are exact because they are settled before the text is
written. These are stored: the traces' generator is test data of the source tree, and a test there measures them anew.

How what is found is matched with what is labelled (the guide says what the labels mean):

- *attempts*: overlapping spans, the same value, the same verdict (`right`), for Countdown the same status; one to one,
  in order. Restatements (`repeat`) are left out on both sides.
- *transitions*: the longest common subsequence of the two lists of a rollout.
- *goal tests*: overlapping spans and the same `says` and `truth`; several hits on one labelled span count once. A hit
  on a phrase labelled as reflective ("I made a mistake") is neither right nor wrong.
- *slips*: counts per rollout; what is found up to the labelled count is right.
- *markers*: a hit that overlaps a phrase labelled as reflective is right, any other is wrong, except that a hit inside
  a goal test ("that's not 22") is neither; hits outside the reasoning are not looked at.
- *hygiene flags*, *guess*: per rollout.

- *outcomes*: of strict markers that are labelled as reflective, what they led to, as hand and rule say.

Intervals are Wilson's, at 95 %, and take the spans of one rollout as independent, which they are not quite. On long
texts (`r1rl.aha.validate.long_texts`) whole texts are drawn again.
Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (JASA 22, 1927).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any, Final, TypeAlias

from r1rl.aha.detect import markers
from r1rl.aha.detect.annotation import DETECTOR_VERSION, annotate
from r1rl.aha.detect.text_kind import COUNTDOWN, KINDS
from r1rl.aha.validate.scores import Score, shown

GUIDE_VERSION: Final = 2
OUTCOMES: Final = ("effective", "confirmatory", "harmful", "idle")
HYGIENE: Final = ("truncated", "repetition_loop", "continues_after_answer", "code_only", "mixed_language")
MODELS: Final = ("tiny", "smollm2")
HELD_OUT: Final = "held out"
"""How the stratum of a rollout begins that was drawn and labelled after the detectors had been written."""

SYNTHETIC: Final = "synthetic"
TUNED: Final = ", tuned"
UNTOUCHED: Final = ", untouched"
"""How the corpora of long text end: the half that the detectors were mended on, and the one measured afterwards."""

CORPUS_OF_KIND: Final = {COUNTDOWN: "tiny", "short maths": "smollm2"} | {
    kind: kind + UNTOUCHED for kind in KINDS if kind.startswith("long ")
}
"""Kind of text -> the corpus whose figures stand for it; of other kinds nothing was labelled."""
_FOLDER: Final = "labels"


def labelled() -> list[dict[str, Any]]:
    """The hand-labelled rollouts that ship with the package; see GUIDE.md next to them."""
    lines = resources.files("r1rl.aha.validate").joinpath(_FOLDER, "rollouts.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def labelled_long() -> list[dict[str, Any]]:
    """The hand-labelled traces of long text, in order, without their texts; see `r1rl.aha.validate.long_texts`."""
    path = resources.files("r1rl.aha.validate").joinpath(_FOLDER, "long_texts.jsonl")
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def run(long: Sequence[Score] | None = None) -> dict[str, Any]:
    """The content of results.json: figures on the hand labels, measured now, and on synthetic traces, as stored.

    `long` are those on long texts, measured now; as stored without them. Stored figures of another version of the
    detectors are left out.
    """
    real, traces, shipped = labelled(), labelled_long(), stored()
    current = shipped["detector_version"] == DETECTOR_VERSION
    scores = [one for model in MODELS for one in score([row for row in real if row["model"] == model], model)]
    scores += score([row for row in real if row["stratum"].startswith(HELD_OUT)], HELD_OUT)
    known = [row for row in shipped["scores"] if current and row["corpus"].endswith((TUNED, UNTOUCHED))]
    return {
        "detector_version": DETECTOR_VERSION,
        "guide_version": GUIDE_VERSION,
        "synthetic": shipped["synthetic"] if current else None,
        "labelled": {"rollouts": len(real), "spans": sum(len(row["spans"]) for row in real)},
        "long_texts": {"traces": len(traces), "spans": sum(len(row["spans"]) for row in traces)},
        "scores": [
            *(row for row in shipped["scores"] if current and row["corpus"] == SYNTHETIC),
            *(one.as_dict() for one in [*score(real, "labelled"), *scores]),
            *(known if long is None else [one.as_dict() for one in long]),
        ],
    }


@cache
def stored() -> dict[str, Any]:
    """Figures of the detectors as shipped, or of an older version of them: compare `detector_version`."""
    path = resources.files("r1rl.aha.validate").joinpath(_FOLDER, "results.json")
    if not path.is_file():
        return {"detector_version": None, "scores": []}
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def shipped_score(detector: str, corpus: str = "labelled") -> dict[str, Any] | None:
    """`Score.as_dict` of a detector as shipped; None where nothing was measured, or only an older version of it."""
    results = stored()
    if results["detector_version"] == DETECTOR_VERSION:
        for row in results["scores"]:
            if row["detector"] == detector and row["corpus"] == corpus and row["texts"]:
                return dict(row)
    return None


def figure(detector: str, corpus: str = "labelled") -> str:
    """What to show beside a detector: "precision 0.97 (0.92 to 0.99), recall …", or that nothing was measured."""
    row = shipped_score(detector, corpus)
    if row is None or not row["tp"] + row["fp"] + row["fn"]:
        return "precision and recall not measured"
    return f"precision {shown(row, 'precision')}, recall {shown(row, 'recall')}"


def score(rows: Iterable[Mapping[str, Any]], corpus: str) -> list[Score]:
    """Every detector's hits on labelled rows, in a fixed order."""
    return score_annotated([(row, annotate(row)) for row in rows], corpus)


def score_annotated(
    rows: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]], corpus: str, *, clustered: bool = False
) -> list[Score]:
    """`score` of rows that are annotated already."""
    counts: dict[str, list[_Counts]] = {name: [] for name in detectors()}
    for row, found in rows:
        for name, one in _judge(row, found):
            counts[name].append(one)
    scores = []
    for name, each in counts.items():
        tp, fp, fn = (sum(one[place] for one in each) for place in range(3))
        scores.append(Score(name, corpus, tp, fp, fn, len(each), tuple(each) if clustered else ()))
    return scores


def detectors() -> list[str]:
    """Names of everything that is measured, in the order of the table."""
    names = ["attempts", *(f"attempts: {status}" for status in ("complete", "partial", "illegal"))]
    names += ["transitions", "goal tests", "slips", "guess", *(f"outcomes: {outcome}" for outcome in OUTCOMES)]
    return [*names, *(f"markers: {name}" for name in markers.LEXICONS), *(f"hygiene: {flag}" for flag in HYGIENE)]


_Counts: TypeAlias = tuple[int, int, int]
_Span: TypeAlias = Mapping[str, Any]


def _judge(row: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[tuple[str, _Counts]]:
    spans = row["spans"]
    phrases = [span for span in spans if span["type"] == "marker" and span["reflective"]]
    tests = [span for span in spans if span["type"] == "goal_test"]
    if found["attempts"] is not None:
        yield from _judge_attempts(row, found, tests, phrases)
    slips = row["counts"]["slips"] if "counts" in row else sum(span["type"] == "slip" for span in spans)
    yield "slips", _subsequence(["slip"] * slips, ["slip"] * (found["slips"] or 0))
    if row["guess"] is not None:
        yield "guess", _flag(row["guess"], bool(found["guess"]))
    for name in markers.LEXICONS:
        yield f"markers: {name}", _markers(row, name, tests)
    if found["attempts"] is not None and any("outcome" in phrase for phrase in phrases):
        for outcome in OUTCOMES:
            yield f"outcomes: {outcome}", _outcome(phrases, found["markers"], outcome)
    for flag in HYGIENE:
        yield f"hygiene: {flag}", _flag(flag in row["hygiene"], bool(found[flag]))


def _judge_attempts(
    row: Mapping[str, Any], found: Mapping[str, Any], tests: Sequence[_Span], phrases: Sequence[_Span]
) -> Iterator[tuple[str, _Counts]]:
    attempts = [span for span in row["spans"] if span["type"] == "attempt" and not span["repeat"]]
    seen = [attempt for attempt in found["attempts"] or () if not attempt["repeat"]]
    yield "attempts", _matched(attempts, seen)
    if row["verifier"] == "countdown":
        for status in ("complete", "partial", "illegal"):
            planted, hits = ([one for one in side if one["status"] == status] for side in (attempts, seen))
            yield f"attempts: {status}", _matched(planted, hits)
    yield "transitions", _subsequence(row["transitions"], found["transitions"] or ())
    yield "goal tests", _said(tests, found["goal_tests"] or (), _same_test, phrases)


def _outcome(phrases: Sequence[_Span], hits: Sequence[_Span], outcome: str) -> _Counts:
    """Of the phrases that a marker hits: those that led to `outcome`, as the label and as the first hit's says."""
    counts = [0, 0, 0]
    for phrase in phrases:
        hit = next((marker for marker in hits if _overlap(phrase, marker)), None)
        if hit is not None:
            found, planted = hit["label"] == outcome, phrase["outcome"] == outcome
            counts[0] += found and planted
            counts[1] += found and not planted
            counts[2] += planted and not found
    return counts[0], counts[1], counts[2]


def _overlap(a: _Span, b: _Span) -> bool:
    return bool(a["start"] < b["end"] and b["start"] < a["end"])


def _same_attempt(label: _Span, hit: _Span) -> bool:
    same = label["value"] == hit["value"] and label["right"] == hit["right"]
    return same and ("status" not in label or label["status"] == hit["status"]) and _overlap(label, hit)


def _same_test(label: _Span, hit: _Span) -> bool:
    return _overlap(label, hit) and label["says"] == hit["says"] and label["truth"] == hit["truth"]


def _matched(labels: Sequence[_Span], hits: Sequence[_Span]) -> _Counts:
    """Attempts, one to one; first come, first served, both being in text order."""
    left = list(hits)
    for label in labels:
        match = next((hit for hit in left if _same_attempt(label, hit)), None)
        if match is not None:
            left.remove(match)
    right = len(hits) - len(left)
    return right, len(left), len(labels) - right


def _subsequence(labels: Sequence[str], hits: Sequence[str]) -> _Counts:
    best = [0] * (len(hits) + 1)
    for label in labels:
        previous = list(best)
        for place, hit in enumerate(hits):
            best[place + 1] = previous[place] + 1 if label == hit else max(best[place], previous[place + 1])
    return best[-1], len(hits) - best[-1], len(labels) - best[-1]


def _said(
    labels: Sequence[_Span], hits: Iterable[_Span], same: Callable[[_Span, _Span], bool], neither: Sequence[_Span]
) -> _Counts:
    """Several hits on one label count once; a hit on no label but on a span of `neither` is neither right nor wrong."""
    got: set[int] = set()
    wrong = 0
    for hit in hits:
        agreeing = {place for place, label in enumerate(labels) if same(label, hit)}
        got |= agreeing
        wrong += not agreeing and not any(_overlap(other, hit) for other in neither)
    return len(got), wrong, len(labels) - len(got)


def _markers(row: Mapping[str, Any], lexicon: str, tests: Sequence[_Span]) -> _Counts:
    phrases = [span for span in row["spans"] if span["type"] == "marker" and span["reflective"]]
    found = markers.find(row["completion"][: _reasoning_end(row["completion"])], lexicon)
    return _said(phrases, [marker._asdict() for marker in found], _overlap, tests)


def _reasoning_end(completion: str) -> int:
    closed = completion.find("</think>")
    answer = completion.find("<answer>")
    return min((place for place in (closed, answer) if place >= 0), default=len(completion))


def _flag(label: bool, hit: bool) -> _Counts:
    return int(label and hit), int(hit and not label), int(label and not hit)


def lines(results: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of the terminal table, detectors without a label in a corpus left out."""
    return [
        {
            "detector": row["detector"],
            "corpus": row["corpus"],
            "labels": str(row["tp"] + row["fn"]),
            "precision (95 %)": shown(row, "precision"),
            "recall (95 %)": shown(row, "recall"),
        }
        for row in results["scores"]
        if row["tp"] + row["fp"] + row["fn"]
    ]
