"""Words of reflection ("wait", "let me check"), counted. A metric: give it weight 0."""

from collections.abc import Sequence
from typing import Any, Literal

from r1rl.aha.detect import markers
from rewards.completions import Completion, lengths, text_of

Measure = Literal["present", "count", "density"]


class Reflection:
    """How much the completion reflects, by marker words. A metric, meant for weight 0: paid, it breeds empty "wait"s.

    Equation, with m the markers that `r1rl.aha.detect.markers.find` sees:
        present: 1 if m > 0 else 0. Range {0, 1}; the mean is the share of completions with a marker
        count: m. Range 0 and up
        density: 1000 m / |y|, per thousand tokens of `completion_ids`, 0 for none. Range 0 and up
    Length and count grow together in R1-Zero, so read density next to count. Source: the words of DeepSeek-R1,
    arXiv 2501.12948v2 (lexicon `r1-nature`), or stricter phrases of ours (`strict`).

    Args:
        measure: present, count or density.
        lexicon: a name of `r1rl.aha.detect.markers.LEXICONS`.
    """

    def __init__(self, measure: Measure = "present", lexicon: str = "strict") -> None:
        markers.find("", lexicon)  # a wrong name raises at once
        self.measure, self.lexicon = measure, lexicon

    def __call__(
        self, completions: Sequence[Completion], *, completion_ids: Any = None, **columns: Any
    ) -> list[float | None]:
        """One value per completion, never None. `density` raises `ValueError` without `completion_ids`."""
        counts = [len(markers.find(text_of(completion), self.lexicon)) for completion in completions]
        if self.measure == "present":
            return [float(count > 0) for count in counts]
        if self.measure == "count":
            return [float(count) for count in counts]
        tokens = lengths(completion_ids, completions, reward=self)
        return [1000 * count / max(1, length) for count, length in zip(counts, tokens, strict=True)]
