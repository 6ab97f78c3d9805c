r"""One math answer against one gold answer, as the grader pool's judge: `compare` runs in a worker.

An answer that is gold to the letter is right, whatever it means. Else words are compared as words, and everything else
by its type (`values`). Gold that is neither words nor understood judges only the answer that is the same to the letter.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Final, NamedTuple

from r1rl.verify.math import evaluation
from r1rl.verify.math.comparison import is_name, same, same_family
from r1rl.verify.math.evaluation import UndefinedError
from r1rl.verify.math.formula import FUNCTIONS, GREEK, MAX_WORD, Node, UnreadableError, symbols
from r1rl.verify.math.notation import AND, OR, integer_parameter, normalise, words
from r1rl.verify.math.prose import CHANGED, without_prose, words_of
from r1rl.verify.math.reading import read
from r1rl.verify.math.units import NUMERALS
from r1rl.verify.math.values import Named, Quantity, Several, Value
from r1rl.verify.verdict import Verdict, clip, quote

MAX_WORDS: Final = 8
"""Gold of more words is prose, which no answer repeats."""
_WARM_UP: Final = ((r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt3}{3}"), ("x^2-1", "(x+1)(x-1)"), (r"5\text{ cm}", "5"))


def warm_up() -> None:
    """Import mpmath and fill its caches, before any item's clock starts."""
    for answer, gold in _WARM_UP:
        compare(answer, gold)


class Gold(NamedTuple):
    """A gold answer: to the letter, as words (None if it is none), and as a value (None where `problem` says why).

    `parameter` is the letter that may be any integer, "" if there is none.
    """

    letters: str
    words: str | None
    value: Value | None
    problem: str
    parameter: str


_OPTION: Final = re.compile(r"(?:\\(?:text|mathrm|textrm)\s*\{)?\s*\(([A-E])\)\s*\}?\s+(.*[0-9\\].*)")
_BLANKS: Final = re.compile(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])")


def letters(text: str) -> str:
    """What is compared to the letter: normalised, without blanks but those between letters or digits."""
    return _BLANKS.sub("", normalise(text))


@lru_cache(maxsize=1_024)  # the siblings of a group share theirs
def read_gold(gold: str) -> Gold:
    """How a gold answer is read."""
    text = normalise(re.sub(r"^\s*\[\s*(['\"])([^'\"]*)\1\s*\]\s*$", r"\2", gold))
    value, problem, parameter = None, "", integer_parameter(gold)
    choice = _OPTION.fullmatch(text)  # a contest's "(D) 12"
    try:
        value = _defined(read(without_prose(choice[2] if choice else text)))
        if isinstance(value, Named) and parameter:
            value = value.value  # all solutions of an unknown
    except (UnreadableError, RecursionError, UndefinedError) as error:
        problem = str(error) if not isinstance(error, RecursionError) else "it is nested too deeply"
    said = choice[1] if choice else words_of(gold) if _is_words(text, value) else None
    if said is not None and isinstance(value, Quantity) and value.node.name.startswith("word "):
        value = None
    return Gold(_BLANKS.sub("", text), said, value, problem, parameter)


def _defined(value: Value) -> Value:
    """The value, if it has one: 1/0 is no gold."""
    if isinstance(value, Quantity) and not symbols(value.node) - {"infty"} and value.node.kind == "quotient":
        try:
            evaluation.value_of(value.node)
        except UndefinedError as error:
            if "zero" in str(error):
                raise
    return value


_PLAIN_WORDS: Final = frozenset(words("yes no true false even odd east west north south none red blue green up down"))
_LETTERS_ONLY: Final = re.compile(r"(?=.*[^\W\d_]{2})[^\W\d_]+(?:(?: |, |'|\. ?|-)[^\W\d_]+)*")
_TEXT_ALONE: Final = re.compile(r"\\(?:text|textrm|mbox|mathrm|operatorname|textnormal)\s*\{([^{}]*)\}")


def _is_words(text: str, value: Value | None) -> bool:
    """Whether gold is words: `\\text{east}`, `no solution`, `yes`; `abc` is words and a product."""
    if len(text.split()) > MAX_WORDS:
        return False
    if alone := _TEXT_ALONE.fullmatch(text):
        return bool(alone[1].strip())
    plain = _TEXT_ALONE.sub(r"\1", text).replace("$", "")
    if not _LETTERS_ONLY.fullmatch(plain) or plain in GREEK or plain in FUNCTIONS:
        return value is None and not re.search(r"[0-9\\=<>+*/^_{}|]", plain) and bool(re.search(r"[^\W\d_]{2}", plain))
    if value is None or len(plain) > MAX_WORD or " " in plain or plain in _PLAIN_WORDS:
        return True
    return bool(re.fullmatch("[A-Z]|[A-Z][a-z]*[aeiou][a-z]*", plain))


def compare(answer: str, gold: str, final_value: str = "") -> Verdict:
    """`judged`, whatever it raises: a bug here, found by hostile text, must not stop a training."""
    try:
        return judged(answer, gold, final_value)
    except MemoryError:
        raise
    except Exception as error:
        return Verdict("unparseable", None, f"the reader raised {type(error).__name__}")


def judged(answer: str, gold: str, final_value: str = "") -> Verdict:
    """The verdict; `value` is the answer's value where it is a plain number, else its text.

    `final_value`, any text for yes: where gold is a number, an expression that only comes to it is wrong.
    """
    wanted = read_gold(gold)
    given = letters(answer)
    if given and given == wanted.letters:
        return Verdict("correct", clip(_shown(wanted.value, given)), "")
    texts = _texts(answer)
    if wanted.words is not None:
        said = [words_of(text) for text in (answer, *texts)]
        if wanted.words in said or any(_says(each, wanted.words) for each in said):
            return Verdict("correct", clip(wanted.words), "")
        if wanted.value is None:
            return Verdict("wrong", clip(said[0]), clip(f"text is not {quote(wanted.words)}"))
    if wanted.value == Several(()) and words_of(answer) in _NOTHING:
        return Verdict("correct", clip(given), "")
    if wanted.value is None:
        return Verdict("bad_gold", None, clip(f"gold: {wanted.problem}: {quote(gold, 60)}"))
    if _other_numbers(answer, gold):
        return Verdict("unparseable", None, "a parameter of another set of numbers")
    return _compare_values(answer, texts, gold, wanted, final_value=bool(final_value))


_TAKEN_BACK: Final = re.compile(rf"\b(?:{CHANGED}|possible|certainly|doubt)")
_NOTHING: Final = frozenset(
    {"no solution", "no real solution", "no such", "does not exist", "dne", "empty set", r"\emptyset", "none"}
)


def _says(said: str, words: str) -> bool:
    """Whether a sentence says the words: "yes, it is", "the day is tuesday"."""
    if words in _NOTHING:
        return said in _NOTHING
    if words in ("yes", "no"):
        rest = said.removeprefix(words)
        both = {"yes", "no"} <= set(re.findall("[a-z]+", said))
        return said.startswith((f"{words},", f"{words}.")) and not both and not _TAKEN_BACK.search(rest)
    found = re.fullmatch(r"(?:it|this|the(?: [a-z]+){1,3}) (?:is|wa|will be) (?:an? |the )?(.+)", said)
    return found is not None and found[1] == words


def _compare_values(answer: str, texts: Sequence[str], gold: str, wanted: Gold, *, final_value: bool) -> Verdict:
    """The verdict on the values that an answer's texts are, gold having one: the first that is gold's counts."""
    assert wanted.value is not None
    problem, plain = "", " ".join(answer.split())
    shown: str | None = None
    for text in texts:
        for single in (False, True):
            try:
                value = read(text, letters=single)
                if _joined_otherwise(text, wanted):
                    problem = problem or 'it says "and" for "or"'
                    continue
                if same(value, wanted.value) or (
                    wanted.parameter and same_family(value, wanted.value, wanted.parameter)
                ):
                    if final_value and _is_number(wanted.value) and not _is_number(value):
                        return Verdict("wrong", clip(plain), clip(f"not worked out: {quote(plain, 60)}"))
                    return Verdict("correct", clip(_shown(value, plain)), "")
            except UndefinedError as error:
                problem = problem or str(error)
                continue
            except (UnreadableError, RecursionError) as error:
                problem = problem or (str(error) if isinstance(error, UnreadableError) else "nested too deeply")
                continue
            shown = shown or _shown(value, plain)
    if shown is None:
        return Verdict("unparseable", None, clip(problem))
    return Verdict("wrong", clip(shown), clip(f"{shown[:80]} is not {' '.join(gold.split())[:80]}"))


def _joined_otherwise(answer: str, wanted: Gold) -> bool:
    """Whether the one says "and" and the other "or" of things that are no numbers: "A and B"."""
    if not isinstance(wanted.value, Several) or not any(
        isinstance(each, Quantity) and symbols(each.node) for each in wanted.value.items
    ):
        return False
    return {AND, OR} <= {sign for sign in (AND, OR) if sign in answer + wanted.letters}


def _other_numbers(answer: str, gold: str) -> bool:
    """Whether a parameter is any integer in the one and a natural number in the other."""
    ours, theirs = (set(re.findall(r"\\math(?:bb|bf)\s*\{?\s*([ZN])", text)) for text in (answer, gold))
    return bool(ours and theirs and ours != theirs)


def _is_number(value: Value) -> bool:
    """Whether a value is written as a number: with its sign, as a ratio, mixed, or times a power of ten."""
    if isinstance(value, Named):
        value = value.value
    if not isinstance(value, Quantity):
        return False
    node = value.node
    if node.kind == "product" and node.args[1].kind == "power" and node.args[1].args[0].value == 10:
        node = node.args[0]
    return _written(node) is not None


_LEADS_ON: Final = re.compile(r"[A-Za-z]{3}.*[.:,;]\s*\**$|=|^\s*\\[\[\]]\s*$|^\*\*.*\*\*$|^[^A-Za-z]+$")
_TURNS_AWAY: Final = re.compile(rf"\b{CHANGED}|n't\b|[-=+*/<>]\s*$|\\(?:cdot|times)\s*$", re.IGNORECASE)
"""A line before the last one works towards it; it does not take it back, and does not end in the middle."""


def _agrees(line: str, last: str) -> bool:
    """Whether a line tells no other value than the last one."""
    try:
        values = [read(NUMERALS.get(text.casefold(), text)) for text in (line.rstrip(" .:,;"), last)]
        told = values[0].value if isinstance(values[0], Named) and is_name(values[0]) else values[0]
        if not isinstance(told, Quantity) or symbols(told.node):
            return True
        return same(values[1], told) or same(told, values[1])
    except (UnreadableError, UndefinedError, RecursionError):
        return True


_DISPLAYED: Final = re.compile(r"\\\[.*?\\\]|\$\$.*?\$\$|\\begin\{([a-z]+)\}.*?\\end\{\1\}", re.DOTALL)


def _texts(answer: str) -> list[str]:
    """The answer without prose, and where it has several lines of which the others are prose, its last line."""
    found = [without_prose(normalise(answer))]
    displayed = _DISPLAYED.sub(lambda block: " ".join(block[0].split()), answer)
    lines = [line for line in displayed.splitlines() if line.strip()]
    if len(lines) > 1 and all(_LEADS_ON.search(line) and not _TURNS_AWAY.search(line) for line in lines[:-1]):
        last = without_prose(normalise(lines[-1]))
        if all(_agrees(without_prose(normalise(line)), last) for line in lines[:-1]):
            found.append(last)
    found += [alone[1].strip() for text in found if (alone := _TEXT_ALONE.fullmatch(text))]
    return [NUMERALS.get(text.casefold(), text) for text in found]


def _shown(value: Value | None, text: str) -> str:
    if isinstance(value, Named) and (value.node is None or value.node.kind == "symbol"):
        value = value.value
    if isinstance(value, Quantity) and not symbols(value.node):
        try:
            number = evaluation.value_of(value.node)
        except UndefinedError:
            return text
        if isinstance(number, Fraction) and max(map(int.bit_length, number.as_integer_ratio())) < 2_000:
            return str(number)
    return text


def plain_number(text: str) -> Fraction | None:
    """The exact value of a number as it is written, its unit aside; None of a formula that only comes to one."""
    try:
        value = read(without_prose(normalise(text)))
    except (UnreadableError, UndefinedError, RecursionError):
        return None
    return _written(value.node) if isinstance(value, Quantity) else None


def _written(node: Node) -> Fraction | None:
    """The value of a number, a ratio of numbers or a mixed number, with its sign."""
    if node.kind == "number":
        return node.value
    if len(node.args) != 2:
        return None
    left, right = (_written(each) for each in node.args)
    if left is None or right is None:
        return None
    plain = all(each.kind == "number" for each in node.args)
    if node.kind == "quotient":
        return left / right if right and (plain or node.args[1].kind == "number") else None
    if node.kind == "product":
        return -right if left == -1 else None
    mixed = node.kind == "sum" and node.args[0].kind == "number" and node.args[1].kind == "quotient"
    return left + right if mixed else None
