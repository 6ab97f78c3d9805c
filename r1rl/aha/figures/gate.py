"""No figure of a kind of text on which its detector was not measured: which are shown, and what is said of the others.

A figure is shown where its detector was measured on the kinds of all but a tenth of the rollouts. Beside it stand the
precision and recall on the commonest kind. Figures without a detector, such as accuracy, are always shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from r1rl.aha.detect.text_kind import COUNTDOWN
from r1rl.aha.validate import validation

if TYPE_CHECKING:
    from r1rl.aha.figures.figures import Figure

_TENTHS: Final = 10
_ENOUGH: Final = 10


def main_kind(kinds: Mapping[str, int]) -> str:
    """The commonest kind, "" where there is none."""
    return max(kinds, key=lambda kind: kinds[kind], default="")


def measured(figures: Iterable[Figure], kinds: Mapping[str, int]) -> tuple[list[Figure], list[str]]:
    """The figures to show for rollouts of these kinds of text, and a sentence for each detector of the others.

    Of 100 rollouts of short puzzles no detector is measured: the accuracy is left, and "attempts, retried: ...".
    """
    total = sum(kinds.values())
    missing: dict[str, list[str]] = {}
    shown: list[Figure] = []
    hidden: dict[tuple[str, ...], list[str]] = {}
    for figure in figures:
        if figure.detector is not None and total:
            if figure.detector not in missing:
                missing[figure.detector] = [kind for kind in kinds if not is_measured(figure.detector, kind)]
            lacking = missing[figure.detector]
            if _TENTHS * sum(kinds[kind] for kind in lacking) > total:
                hidden.setdefault(tuple(lacking), []).append(figure.label)
                continue
        shown.append(figure)
    return shown, [_sentence(kinds, lacking, labels, total) for lacking, labels in hidden.items()]


def is_measured(detector: str, kind: str) -> bool:
    """Whether the shipped figures of a detector cover this kind: at least 10 texts, or 10 labels in fewer.

    Countdown is read exactly, so its figures stand even where nothing was labelled (backtracking).
    """
    if kind == COUNTDOWN:
        return True
    corpus = validation.CORPUS_OF_KIND.get(kind)
    score = None if corpus is None else validation.shipped_score(detector, corpus)
    return score is not None and (score["texts"] >= _ENOUGH or score["tp"] + score["fn"] >= _ENOUGH)


def _sentence(kinds: Mapping[str, int], lacking: Iterable[str], labels: Iterable[str], total: int) -> str:
    told = ", ".join(f"{kind} ({100 * kinds[kind] / total:.0f} % of the rollouts)" for kind in lacking)
    return f"not shown, as the detector was not measured on {told}: {', '.join(labels)}"
