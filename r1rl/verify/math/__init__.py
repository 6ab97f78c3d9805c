r"""Math answers: numbers with units, formulas, lists, intervals, matrices, equations, times and words.

Plain numbers are compared here as fractions. All else is read and compared by `judge.compare` in a worker process that
can be killed, though every step of it is bounded. Model text is never given to `eval` nor to a parser that evaluates.

Policy, where graders differ:
- The whole answer must be the value. `x = 12`, `**12**`, "The answer is 12" are 12; "12 or 13" is two values; an
  equation that does not hold says nothing. (`extraction: last-number` reads a number out of any text.)
- A known unit may follow where gold has none, and be left out where gold has one. Two units must measure the same:
  `5 m` is `500 cm`, not `5 km`. So may the plural of what is counted: "12 apples". Other words change the number.
- `50%` equals both 50 and 0.5; `90^\circ` equals 90, and \frac{\pi}{2}.
- Letters keep their case, and letters are letters: `6m` is six times m, `6 \text{ m}` six metres.
- Words are compared as words, case aside. The base of gold must be given: 40 is another number than `40_9`.
- A comma list is in any order; a point, an interval and a matrix are not. `x = 1 or x = 2` is the list 1, 2.
- Two plain decimals are compared exactly (0.33 is not 0.333). A decimal of at least six digits stands for the number
  that it is the rounding of: 0.333333 is 1/3, and 0.3333 is not.
- Equal to the letter is equal, also where gold is not understood; any other answer is then `bad_gold`, and the gold
  check leaves such a row out.
"""

import re
import unicodedata
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final, NamedTuple

from r1rl.verify.pool import GraderPool
from r1rl.verify.verdict import Verdict, clip, quote

MAX_CHARS: Final = 400
MAX_GOLD_CHARS: Final = 1_000
MAX_DEPTH: Final = 20
"""Limits: characters of an answer and of gold, nested brackets."""
_KNOWN_DIGITS: Final = frozenset("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞")
_PLAIN: Final = re.compile(
    r"\s*\$?\s*([-\u2212]?)\s*\$?((?:[1-9][0-9]{0,2}(?:,[0-9]{3})+|[0-9]{1,300})(?:\.[0-9]{1,300})?)\.?\s*\$?\s*"
)


def rejection(text: str, max_chars: int = MAX_CHARS) -> str:
    """Why `text` is not looked at, "" if it is. Linear in `max_chars`."""
    if len(text) > max_chars:
        return f"too long: {len(text)} characters, at most {max_chars}"
    depth = 0
    plain = text.isascii() and text.isprintable()
    for char in text:
        category = "" if plain else unicodedata.category(char)
        if category in ("Cc", "Cf", "Cs", "Co", "Cn") and char not in "\t\r\n":
            return f"control character {quote(char)}"
        if category in ("Nd", "Nl", "No") and not char.isascii() and char not in _KNOWN_DIGITS:
            return f"digit {quote(char)} is not ASCII"
        depth += (char in "([{") - (char in ")]}")
        if depth > MAX_DEPTH:
            return f"brackets nested deeper than {MAX_DEPTH}"
    return "" if text.strip() else "empty"


@lru_cache(maxsize=16_384)  # siblings share their gold
def _plain(text: str) -> Fraction | None:
    """The value of a plain integer or decimal, as most answers are."""
    found = _PLAIN.fullmatch(text)
    if found is None:
        return None
    value = Fraction(found[2].replace(",", ""))
    return -value if found[1] else value


def plain_number(text: str) -> Fraction | None:
    """The exact value of a number, its unit aside: `-1,234.5`, `$12`, `12 apples`, `\\frac{3}{4}`; None of others."""
    if (value := _plain(text)) is not None:
        return value
    if rejection(text) or not re.search(r"[0-9]", text):
        return None
    from r1rl.verify.math import judge

    return judge.plain_number(text)


class Question(NamedTuple):
    """A question for the process; `final_value` is "" or "yes"."""

    answer: str
    gold: str
    final_value: str = ""


def judge_here(answer: str, gold: str, final_value: str = "") -> Verdict | Question:
    """The verdict where no reading is needed, else the question for the process.

    A refused answer still asks about its gold: a row with unusable gold is `bad_gold` for every sibling of its group.
    """
    if not isinstance(gold, str):
        return Verdict("bad_gold", None, "gold is not a string")
    wanted = _plain(gold) if len(gold) <= MAX_CHARS else None
    if wanted is None and (reason := rejection(gold, MAX_GOLD_CHARS)):
        return Verdict("bad_gold", None, clip(f"gold: {reason}"))
    reason = "no answer"
    if isinstance(answer, str):
        reason = rejection(answer, MAX_GOLD_CHARS if answer.strip() == gold.strip() else MAX_CHARS)
    if reason:
        return Verdict("unparseable", None, clip(reason)) if wanted is not None else Question("", gold)
    if wanted is not None and (given := _plain(answer)) is not None:
        value = clip(str(given))
        return (
            Verdict("correct", value, "")
            if given == wanted
            else Verdict("wrong", value, clip(f"value {value} is not {wanted}"))
        )
    return Question(answer, gold, final_value)


_pool = GraderPool("r1rl.verify.math.judge:compare", name="math")


def verify_many(items: list[tuple[str, str, dict[str, Any]]]) -> list[Verdict]:
    """Verdicts of (answer, gold, meta) triples, in order. meta: {"final_value": true}, see `verify`.

    Raises `RuntimeError` when no worker can be started. The pool keeps the time, see `pool_batch`.
    """
    judged = [
        judge_here(answer, gold, "yes" if meta.get("final_value") is True else "") for answer, gold, meta in items
    ]
    answers = iter(_pool.verify_many([tuple(ask) for ask in judged if isinstance(ask, Question)]))
    verdicts = []
    for (answer, _, _), ask in zip(items, judged, strict=True):
        verdict = next(answers) if isinstance(ask, Question) else ask
        if isinstance(ask, Question) and not ask.answer and verdict.status != "bad_gold":
            reason = rejection(answer) if isinstance(answer, str) else "no answer"
            verdict = Verdict("unparseable", None, clip(reason))
        verdicts.append(verdict)
    return verdicts


def check_gold(gold: str, meta: dict[str, Any]) -> Verdict:
    """`correct` where gold is words or a value, `bad_gold` where only the same text would be paid."""
    (verdict,) = verify_many([("", gold, meta)])
    if verdict.status != "bad_gold":
        return Verdict("correct", None, "")
    return Verdict("bad_gold", None, clip(f"{verdict.reason}; the verifier exact compares it as text"))


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one math answer against `gold`; `value` is its value or text. Never raises on any text.

    meta: with {"final_value": true} and a number as gold, the answer must be worked out: `65 - 4` is not 61.
    """
    return verify_many([(answer, gold, meta)])[0]
