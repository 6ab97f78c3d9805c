"""math-verify as the grader pool's judge: `compare` runs in a worker's main thread."""

from functools import lru_cache
from typing import Any

from r1rl.verify.verdict import Verdict, clip

_WARM_UP = [
    (r"\frac{1}{2}", "0.5"),
    (r"3\sqrt{13}", r"\sqrt{117}"),
    (r"x^5 - x^4 + x - 1", r"(x^4+1)(x-1)"),
    (r"\left[ \frac{\pi^2}{8}, 5 \pi^2 \right)", r"x \in [2,7)"),
    (r"\left(\frac{3}{2}, -\sqrt{3}\right)", r"(1.5, \frac{\pi}{2})"),
    (r"\{1, 2+i\}", "1, 2+i"),
    (r"90^\circ", r"\frac{\pi}{2}"),
    (r"\begin{pmatrix} -1/3 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1/3 \\ \sqrt{2} \end{pmatrix}"),
    (r"y = 2x + 3", "2x - y + 3 = 0"),
    (r"6^{1/2}", r"x^{-2} \cdot \frac{a_1}{3} \div 5!"),
    (r"|x| \leq 4", r"50\%"),
    (r"p - q", r"\sin x + \log_2 5 + 3!"),
]
"""Each takes sympy to parts that it builds at first use, some in 0.3 s; a worker forked later has them."""


def warm_up() -> None:
    """Import math-verify and sympy's lazy parts. Its log is off: it writes whole answers."""
    import logging

    for answer, gold in _WARM_UP:
        compare(answer, gold)
    logging.disable(logging.CRITICAL)


def _read(text: str) -> list[Any]:
    from math_verify import LatexExtractionConfig, parse

    config = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
    found: list[Any] = parse(
        f"\\boxed{{{text}}}", extraction_config=config, fallback_mode="no_fallback", parsing_timeout=None
    )
    return found


_read_gold = lru_cache(maxsize=256)(_read)  # the siblings of a group share theirs


def _shown(value: Any) -> str:
    try:
        return clip(str(value))
    except ValueError:  # Python writes no integer of more than 4300 digits
        return "a number too long to write"


def compare(answer: str, gold: str) -> Verdict:
    r"""Parse both as the content of one `\boxed{}`, so that no part of the text can be picked as the answer.

    Tracks math-verify 0.9: time-outs off (`None`), the pool keeps the clock; `parse` returns [] where it fails.
    """
    from math_verify import verify
    from math_verify.errors import TimeoutException
    from sympy import nan, zoo

    try:
        wanted = _read_gold(gold)
        if not wanted or wanted[0] in (nan, zoo):  # 1/0 parses
            return Verdict("bad_gold", None, "gold: math-verify cannot read it")
        given = _read(answer)
        if not given:
            return Verdict("unparseable", None, "math-verify cannot read it")
        same = verify(wanted, given, timeout_seconds=None)
    except TimeoutException:  # a BaseException; off here, unless a later version sets one of its own
        return Verdict("timeout", None, "math-verify's own time-out")
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a bug of the parser, found by hostile text, must not stop a training
        return Verdict("unparseable", None, f"math-verify raised {type(error).__name__}")
    value = _shown(given[0])
    reason = "" if same else clip(f"{value[:80]} is not {_shown(wanted[0])[:80]}")
    return Verdict("correct" if same else "wrong", value, reason)
