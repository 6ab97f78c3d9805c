r"""The committed answer of a completion, by one of four policies.

| policy | the answer is | for |
|---|---|---|
| `answer-tag` | what stands in the one `<answer>...</answer>` pair | R1-Zero's template; the default |
| `boxed` | what stands in the last `\boxed{...}` | chat and Qwen-math prompts |
| `boxed-in-answer` | the one `\boxed{...}` inside the one `<answer>` pair | R1's template with boxed answers |
| `last-number` | the last number of the text | base models without any format; GSM8K's old custom |

Only the first and the third leave a policy nothing to hedge with. `boxed` and `last-number` look behind the last
`</think>` alone, and find nothing where a `<think>` was not closed: what is thought is no answer. `boxed` never looks
before the last box, even where that is cut off. `last-number` pays for naming a number last, whatever the text says
about it.

Every policy is linear in the text and returns at most `MAX_ANSWER_CHARS` characters.
"""

import re
from collections.abc import Callable

OPEN, CLOSE = "<answer>", "</answer>"
OPEN_THOUGHTS, CLOSE_THOUGHTS = "<think>", "</think>"
BOX = "\\boxed"
MAX_ANSWER_CHARS = 10_000
"""A longer content is no answer; verifiers have tighter limits of their own."""
MAX_NUMBER_CHARS = 200
"""Longest number that `last-number` reads."""
MATH_WRAPPERS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("\\boxed{", "}"))
"""What stands before and after a formula."""

Policy = Callable[[str], tuple[str | None, str]]
"""`policy(text) -> (answer, "")` or `(None, reason)`; the answer is stripped and not empty."""

_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)  # an escaped brace is a sign, not a group
_BARE_BOX = re.compile(r"[ \t]*([-+]?[0-9][0-9.,/]{0,50}(?<![.,/])|(?<=[ \t])[A-Za-z])(?![A-Za-z0-9{])")
_UNSIGNED = r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?"
_NUMBER = re.compile(rf"(?:(?<![0-9A-Za-z)\]}}])[-\u2212])?{_UNSIGNED}(?:/{_UNSIGNED})?")


def extract(text: str) -> tuple[str | None, str]:
    """Policy `answer-tag`: the stripped content of the only answer pair.

    Strict on purpose: with two pairs a policy could hedge, with a lenient close it could ramble on, and tags
    are case-sensitive because the prompt gives them in lower case.
    """
    for tag in (OPEN, CLOSE):
        count = text.count(tag)
        if count == 0:
            return None, f"no {tag}"
        if count > 1:
            return None, f"{tag} {count} times"
    start, end = text.index(OPEN) + len(OPEN), text.index(CLOSE)
    if end < start:
        return None, f"{CLOSE} before {OPEN}"
    if end - start > MAX_ANSWER_CHARS:
        return None, f"answer too long: {end - start} characters, at most {MAX_ANSWER_CHARS}"
    content = text[start:end].strip()
    if not content:
        return None, "answer is empty"
    return content, ""


def _behind_thoughts(text: str) -> int | None:
    """Where the last thinking ends, 0 without any, None where it is not closed."""
    closed = text.rfind(CLOSE_THOUGHTS)
    if text.find(OPEN_THOUGHTS, max(closed, 0)) >= 0:
        return None
    return 0 if closed < 0 else closed + len(CLOSE_THOUGHTS)


def boxed(text: str) -> tuple[str | None, str]:
    r"""Policy `boxed`: the content of the last `\boxed{...}`, its braces balanced, `\{` and `\}` not counted.

    Of nested boxes the inner one is the last. `\boxed 5` is read too.
    """
    said = _behind_thoughts(text)
    if said is None:
        return None, f"no {CLOSE_THOUGHTS}"
    at = text.rfind(BOX, said)
    if at < 0:
        return None, f"no {BOX}"
    start = at + len(BOX)
    if bare := _BARE_BOX.match(text, start):
        return bare[1], ""
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    if not text.startswith("{", start):
        return None, f"{BOX} without {{"
    start += 1
    depth = 1
    for brace in _BRACE.finditer(text, start, start + MAX_ANSWER_CHARS + 1):
        depth += (brace[0] == "{") - (brace[0] == "}")
        if depth == 0:
            content = text[start : brace.start()].strip()
            return (content, "") if content else (None, "answer is empty")
    if len(text) - start > MAX_ANSWER_CHARS:
        return None, f"{BOX} is not closed within {MAX_ANSWER_CHARS} characters"
    return None, f"{BOX} is not closed"


def boxed_in_answer(text: str) -> tuple[str | None, str]:
    r"""Policy `boxed-in-answer`: the only `\boxed{...}` of the only answer pair; boxes elsewhere do not matter."""
    content, reason = extract(text)
    if content is None:
        return None, reason
    count = content.count(BOX)
    if count > 1:
        return None, f"{BOX} {count} times in {OPEN}"
    answer, reason = boxed(content)
    return (answer, "") if answer is not None else (None, f"{reason} in {OPEN}")


def last_number(text: str) -> tuple[str | None, str]:
    """Policy `last-number`: the number that holds the text's last ASCII digit: `-1,234.5`, `3/4`, `1e5`.

    A minus sign counts as such unless it follows a letter, a digit or a closing bracket.
    """
    said = _behind_thoughts(text)
    if said is None:
        return None, f"no {CLOSE_THOUGHTS}"
    end = max(text.rfind(digit, said) for digit in "0123456789") + 1
    if end == 0:
        return None, "no number"
    start = max(said, end - MAX_NUMBER_CHARS - 2)  # room for what decides about a sign
    *_, found = _NUMBER.finditer(text[start:end])
    if len(found[0]) > MAX_NUMBER_CHARS:
        return None, f"number longer than {MAX_NUMBER_CHARS} characters"
    return found[0].replace("\u2212", "-"), ""


_POLICIES: dict[str, Policy] = {
    "answer-tag": extract,
    "boxed": boxed,
    "boxed-in-answer": boxed_in_answer,
    "last-number": last_number,
}


def unwrap(
    text: str,
    wrappers: tuple[tuple[str, str], ...],
    tidy: Callable[[str], str] = str.strip,
    whole: Callable[[str, str], bool] = lambda opening, inside: True,
) -> str:
    r"""`text` without the wrappers around the whole of it: `$\boxed{12}$` is 12.

    At most four layers are taken away ("$ \boxed{...} $" needs three steps; never loop over hostile text). `tidy` is
    applied before each; a wrapper is one only if `whole(opening, inside)` says so, and if it holds something.
    """
    for _ in range(4):
        text = tidy(text)
        for opening, closing in wrappers:
            inside = text[len(opening) : len(text) - len(closing)]
            if inside and text.startswith(opening) and text.endswith(closing) and whole(opening, inside):
                text = inside
                break
        else:
            break
    return text


def names() -> list[str]:
    """The policies, the default first."""
    return list(_POLICIES)


def get(name: str) -> Policy:
    """The policy called `name`. Raises `ValueError` for an unknown name."""
    if name not in _POLICIES:
        raise ValueError(f"extraction={name!r}: unknown; allowed: {', '.join(_POLICIES)}; try 'answer-tag'")
    return _POLICIES[name]


def answer_tag(text: str) -> str | None:
    """The stripped content of the only `<answer>...</answer>` pair, None without exactly one that has any."""
    return extract(text)[0]
