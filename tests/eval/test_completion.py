"""Whether a model goes on with a question's very words, told from models that do and do not."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from r1rl.eval import completion
from r1rl.rollout.engine import Completion
from r1rl.tasks import Row

QUESTIONS = (
    "Ann has 12 red marbles and 5 blue marbles in a box",
    "A train covers 90 miles in 3 hours at the same speed",
)


class ByHeart:
    """A model whose tokens are words, and that knows some questions."""

    def __init__(self, known: tuple[str, ...]) -> None:
        self.words = sorted({word for text in (*QUESTIONS, "and so on it went") for word in text.split()})
        self.known = [self.ids(text) for text in known]
        self.model = None
        self.tokenizer = lambda text: {"input_ids": self.ids(text)}
        self.engine = SimpleNamespace(generate=self.generate, text=lambda ids: " ".join(self.words[i] for i in ids))

    def ids(self, text: str) -> list[int]:
        return [self.words.index(word) for word in text.split()]

    def generate(self, _, prompts, keys, sampling, report) -> None:
        assert sampling.temperature == 0
        for index, prompt in enumerate(prompts):
            rest = [text[len(prompt) :] for text in self.known if text[: len(prompt)] == prompt]
            end = self.ids("and so on it went")
            report(index, Completion((rest[0] if rest else []) + end, [], "length"))


@pytest.mark.parametrize(
    ("known", "exact"),
    [
        pytest.param(QUESTIONS, [True, True], id="knows both, whatever it says behind them"),
        pytest.param(QUESTIONS[:1], [True, False], id="knows one"),
        pytest.param((), [False, False], id="knows none"),
    ],
)
def test_what_is_known_by_heart(known, exact) -> None:
    rows = [Row(f"q{n}", text, "1", {}) for n, text in enumerate(QUESTIONS)]
    found = completion.complete(ByHeart(known), rows)
    assert [each.exact for each in found] == exact
    assert [each.rouge_l == 1.0 for each in found] == exact
    assert all(each.rouge_l < 0.5 for each, known in zip(found, exact, strict=True) if not known)


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [("abcde", "ace", 3), ("abc", "xyz", 0), ("", "a", 0), ("aab", "aba", 2), ("abcbdab", "bdcaba", 4)],
)
def test_longest_common_sequence(first: str, second: str, length: int) -> None:
    assert completion._longest_common(first, second) == length


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0])
def test_a_share_that_leaves_nothing(share: float) -> None:
    with pytest.raises(ValueError, match="need more than 0, less than 1"):
        completion.complete(ByHeart(()), [Row("q", QUESTIONS[0], "1", {})], share)


def test_short_questions_are_left_out() -> None:
    assert completion.complete(ByHeart(()), [Row("q", "Ann has 12", "1", {})]) == []
