"""R1-Zero's format, `<think>...</think>` then `<answer>...</answer>`: strictly, softly, or by counting tags."""

from collections.abc import Sequence
from typing import Any

from rewards.completions import Completion, TextReward, with_prefill

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def soft_failure(text: str) -> str:
    """Why the four tags of `text` do not stand once each, in order, around some content; "" if they do.

    Tags are case-sensitive, as the prompt writes them. Linear in the text.
    """
    for tag in TAGS:
        count = text.count(tag)
        if count == 0:
            return f"no {tag}"
        if count > 1:
            return f"{tag} {count} times"
    starts = [text.index(tag) for tag in TAGS]
    for index in range(1, len(TAGS)):
        if starts[index] < starts[index - 1]:
            return f"{TAGS[index]} before {TAGS[index - 1]}"
    for index in (0, 2):
        if not text[starts[index] + len(TAGS[index]) : starts[index + 1]].strip():
            return f"nothing inside {TAGS[index]}"
    return ""


def failure(text: str) -> str:
    """Why `text` (prefill and completion) breaks the strict format, "" if it keeps it.

    Each tag once, in order, nothing outside the two pairs except white space. Both pairs need content: paying
    for an empty <think> would pay for not thinking. Tags are case-sensitive, as the prompt writes them. Linear.
    """
    if reason := soft_failure(text):
        return reason
    before, _, rest = text.partition("<think>")
    between, _, rest = rest.partition("</think>")[2].partition("<answer>")
    after = rest.partition("</answer>")[2]
    if before.strip():
        return "text before <think>"
    if between.strip():
        return "text between </think> and <answer>"
    return "text after </answer>" if after.strip() else ""


class FormatSoft(TextReward):
    """1 if the four tags stand once each, in order, around some content, whatever text is outside them; else 0.

    Equation: r = [<think>, </think>, <answer>, </answer> once each, in this order]. Range {0, 1}.
    Source: the soft format reward of open-r1 and its forerunner, willccb's `soft_format_reward_func`. Their regular
    expression `<think>.*?</think>\\s*<answer>.*?</answer>` also takes duplicated and nested tags, and it is tried
    without DOTALL, so that a line break in the thought fails it; neither is so here.
    """

    tags = TAGS
    failure = staticmethod(soft_failure)

    def of(self, text: str) -> float:
        """The reward of one text."""
        return 0.0 if self.failure(text) else 1.0

    def reasons(
        self, completions: Sequence[Completion], *, prefill: Sequence[str | None] | None = None, **columns: Any
    ) -> list[str]:
        """Why each completion, behind the `prefill` its prompt opened, breaks the format; "" if it keeps it."""
        return [self.failure(text) for text in with_prefill(completions, prefill, reward=self)]


class Format(FormatSoft):
    """1 if the completion is one <think> pair, one <answer> pair and otherwise white space; else 0.

    Equation: r = [prefill + completion keeps the format]. Range {0, 1}. The tags are those of R1-Zero's template,
    arXiv 2501.12948v1 table 1; the paper does not state its rule, the exact one here is ours.
    """

    failure = staticmethod(failure)


class TagCount(TextReward):
    """A quarter for each of the four tags that stands exactly once and behind the tags counted before it.

    Equation: r = |{counted tags}| / 4. Range {0, 1/4, 1/2, 3/4, 1}. Tags of a duplicated kind count nothing, and tags
    in another order only as far as they ascend. Source: `tag_count_reward` of open-r1, which also asks for line breaks
    around the tags and takes any order.
    """

    tags = TAGS

    def of(self, text: str) -> float:
        """The reward of one text. Linear."""
        reached, counted = -1, 0
        for tag in TAGS:
            start = text.find(tag)
            if start > reached and text.count(tag) == 1:
                reached, counted = start, counted + 1
        return counted / len(TAGS)
