r"""Choice: is the answer the letter of the right option?

Read as B: `B`, `b`, `(b)`, `[B]`, `B.`, `B)`, `**B**`, `$B$`, `\boxed{B}`, `\text{B}`, `Option B`, "The correct answer
is B", `(b) text`, and `B. text` with `.`, `)`, `:`, `=` or a dash between. Where meta has the options' texts, the text
after the letter must be that option's.
Everything that names a second letter (`A or B`, `B, C`, `B. or C`) is unparseable: hedging is not answering. So is
other prose before the letter, and the text without its letter.
"""

import re
import unicodedata
from typing import Any

from r1rl.verify.exact import normalise
from r1rl.verify.extraction import unwrap
from r1rl.verify.verdict import Verdict, clip, quote

MAX_CHARS = 2_000
"""Longest answer, in characters."""

_WRAPPERS = (
    ("$", "$"),
    ("\\(", "\\)"),
    ("\\[", "\\]"),
    ("\\boxed{", "}"),
    ("`", "`"),
    ("*", "*"),
    ('"', '"'),
    ("'", "'"),
)
_MARKED = re.compile(r"\\(?:text|textbf|textit|mathrm|mathbf|boldsymbol|textrm|underline)\{([^{}]*)\}")
_NO_MEANING = re.compile(r"\*\*|__|```|[\u2713\u2714\u2705]\ufe0f?|\\(?=\s)")
_BULLET = re.compile(r"\A\s*(?:#{1,6}|[-*\u2022])\s+")
_ANNOUNCED = re.compile(
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)*(?:answer|option|choice)"
    r"(?:\s*(?:is\s*:?|:|=|-|\u2013)\s*|\s+)(?:(?:option|choice)\s+)?",
    re.IGNORECASE,
)
_SO = re.compile(r"(?:(?:so|thus|therefore|hence),?\s+)?(?:it(?:'s| is)\s+)?(?=\(?[A-Z]\b)", re.IGNORECASE)
_CONFIRMED = re.compile(r"(?:\s+is (?:the )?(?:correct|right)(?: answer| option| choice)?)?\s*[.!]?$", re.IGNORECASE)
_DENIED = re.compile(r"\b(?:not|wrong|false|incorrect)\b|n't\b", re.IGNORECASE)
_LETTER = re.compile(
    r"(?:\(\s*(?P<round>[a-z])\s*\)?|\[\s*(?P<square>[a-z])\s*\]?|(?P<bare>[a-z]))(?=$|[\s.):,'=\-\u2013\u2014])"
    r"(?P<joint>[\s.):,'=\-\u2013\u2014]*)(?P<rest>.*)",
    re.IGNORECASE | re.DOTALL | re.ASCII,
)
_SINGLE = re.compile(r"(?<![\w'\u2019])[A-Za-z](?![\w'\u2019])", re.ASCII)
_ARTICLE = re.compile(r"(?<!or )(?<!and )(?<!/)[aAI] (?=[A-Za-z]{2})(?!or\b|and\b)")


def _options(meta: Any) -> dict[str, str] | str:
    """Letter -> text ("" if unknown) of every option, or why meta's cannot be used."""
    choices = meta.get("choices") if isinstance(meta, dict) else None
    if choices is None:
        return {chr(ord("A") + index): "" for index in range(26)}
    if isinstance(choices, (list, tuple)):
        choices = {chr(ord("A") + index): text for index, text in enumerate(choices)}
    if not isinstance(choices, dict) or not 1 <= len(choices) <= 26:
        return "meta 'choices' is neither a list nor a mapping of 1 to 26 options"
    options = {str(letter).strip().upper(): text for letter, text in choices.items()}
    if len(options) < len(choices) or not all(re.fullmatch("[A-Z]", letter) for letter in options):
        return "meta 'choices' has other keys than single letters"
    if not all(isinstance(text, str) for text in options.values()):
        return "meta 'choices' holds something else than strings"
    if all(text.strip().upper() == letter for letter, text in options.items()):
        return dict.fromkeys(options, "")  # ["A", "B", "C"] names letters, no texts
    return options


def read(answer: str, options: dict[str, str]) -> tuple[str | None, str]:
    """The letter that the answer gives and "", or None and the reason. Linear, at most `MAX_CHARS`."""
    if len(answer) > MAX_CHARS:
        return None, f"too long: {len(answer)} characters, at most {MAX_CHARS}"
    text = _bare(answer)
    found = _LETTER.fullmatch(text)
    if not found:
        return None, f"not one letter: {quote(text)}" if text else "empty"
    letter = (found["round"] or found["square"] or found["bare"]).upper()
    if letter not in options:
        return None, f"{letter} is not among the options {min(options)} to {max(options)}"
    rest = found["rest"].strip(" \t\r\n*")
    if not rest:
        return letter, ""
    if options[letter]:
        said = {normalise(each).rstrip(".") for each in (rest, rest.removeprefix("(").removesuffix(")"))}
        same = normalise(options[letter]).rstrip(".") in said
        return (letter, "") if same else (None, f"the text after {letter} is not that of option {letter}")
    if _DENIED.search(rest):
        return None, f"takes {letter} back"
    if found["bare"] and not found["joint"].strip():
        return None, f"not one letter: {quote(text)}"
    if second := _SINGLE.search(_ARTICLE.sub(" ", rest)):
        return None, f"names {quote(second[0])} after {letter}"
    return letter, ""


def _bare(answer: str) -> str:
    """The answer without Markdown, LaTeX around words, full-width letters and what only announces it."""
    text = _NO_MEANING.sub(" ", unicodedata.normalize("NFKC", answer).replace("\u201c", '"').replace("\u201d", '"'))
    text = _BULLET.sub("", unwrap(text, _WRAPPERS), count=1)
    text = unwrap(_MARKED.sub(r"\1", text), _WRAPPERS)
    if announced := _ANNOUNCED.match(text) or _SO.match(text):
        text = text[announced.end() :]
    text = _CONFIRMED.sub("", text)
    return unwrap(text, _WRAPPERS)


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one answer against `gold`, a letter or the text of exactly one option; `value` is the letter.

    meta: {"choices": ["Paris", "Rome"]}, {"choices": {"A": "Paris", "B": "Rome"}}, or no choices: any letter. Never
    raises on any text.
    """
    options = _options(meta)
    if isinstance(options, str):
        return Verdict("bad_gold", None, options)
    if not isinstance(gold, str):
        return Verdict("bad_gold", None, "gold is not a string")
    wanted = read(gold, options)[0]
    if wanted is None:
        same = [letter for letter, text in options.items() if text and normalise(text) == normalise(gold[:MAX_CHARS])]
        if len(same) != 1:
            return Verdict("bad_gold", None, clip(f"gold: neither a letter nor the text of one option: {quote(gold)}"))
        wanted = same[0]
    if not isinstance(answer, str):
        return Verdict("unparseable", None, "no answer")
    given, reason = read(answer, options)
    if given is None:
        return Verdict("unparseable", None, clip(reason))
    return Verdict("correct", given, "") if given == wanted else Verdict("wrong", given, f"{given} is not {wanted}")


def check_gold(gold: str, meta: dict[str, Any]) -> Verdict:
    """`correct` if gold names one option; an option's text may be gold, though as an answer it lacks its letter."""
    verdict = verify("", gold, meta)
    return verdict if verdict.status == "bad_gold" else Verdict("correct", None, "")
