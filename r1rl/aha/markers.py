"""L1: words that often go with reflection, found with their spans.

A marker is a word, not an act: most reflections in published studies only confirm. Compare a rate with the same
prompts at step 0, and read it next to the attempts (`r1rl.aha.attempts`), which say whether anything changed.
Precision and recall of these lists are not measured yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Marker:
    """A hit: `text == source[start:end]`, in characters; `kind` is the class of the pattern that hit."""

    start: int
    end: int
    text: str
    kind: str


_SPACE: Final = r"\s+"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression over lower-case text with straight apostrophes; word bounds are added to it.

    A blank in it stands for any white space.
    `opens_clause`: only after punctuation, a line break, a number, or a word such as "but" or "no", so that
    "Wait, that" is a hit and "you have to wait, then" is not.
    """

    kind: str
    expression: str
    opens_clause: bool = False


@dataclass(frozen=True)
class Lexicon:
    """A named, versioned list; its version goes up whenever a text may get other hits. First pattern wins a tie."""

    name: str
    version: int
    source: str
    patterns: tuple[Pattern, ...]

    def compile(self) -> re.Pattern[str]:
        """All patterns as one alternation; group `p<i>` is pattern i, no group is set inside tag markup."""
        parts = [f"(?P<p{i}>{pattern.expression.replace(' ', _SPACE)})" for i, pattern in enumerate(self.patterns)]
        # A tag is consumed first, so <wait> or <retry reason="wait"> holds no hit. "-" next to a word counts as a
        # bound only before it: "no -wait" is a hit, "wait-list" is not.
        return re.compile(rf"</?[a-z][^<>\n]{{0,64}}>|(?<![\w'])(?:{'|'.join(parts)})(?![\w']|-\w)")


_PRONOUN: Final = r"(?:that|this|it)"
_SELF: Final = (
    r"(?:let me|let's|let us|i'll|i'd better|i(?: will| should| must| need to| have to| want to| am going to))"
)
_ADVERB: Final = r"(?:\s+(?:just|quickly|now|also|first|carefully|at least|please))?"
_AFTER_WAIT: Final = (
    r"(?=\s*(?:$|[.,;:!?…\-–—*)<\n](?!\s*(?:and|or)\b))|\s+(?:no|but|actually|maybe|perhaps|that|this|it|is|i|"
    r"i'm|i'll|we|let|there|what|why|if|so|the|a (?:minute|moment|second|sec))\b)"
)

_STRICT: Final = (
    Pattern("interrupt", r"wait(?:\s+(?:a minute|a moment|a second|a sec))?" + _AFTER_WAIT, opens_clause=True),
    Pattern("interrupt", r"hold on" + _AFTER_WAIT, opens_clause=True),
    Pattern("hesitate", r"h+m+"),
    Pattern("aha", r"aha", opens_clause=True),
    Pattern(
        "verify",
        _SELF + _ADVERB + r"\s+(?:double[-\s]?check|re-?check|check|verify|re-?verify|re-?examine|re-?evaluate|"
        r"re-?consider|re-?assess|re-?think|re-?calculate|re-?compute|re-?do|re-?read)",
    ),
    Pattern("verify", r"double[-\s]?check(?:ing)?|re-?check(?:ing)?|re-?examin(?:e|ing)|re-?verify(?:ing)?"),
    Pattern("verify", r"(?:check|verify|checking|verifying) (?:again|once more)"),
    Pattern("retry", r"(?:try|trying|start|starting) (?:again|over)|let me retry"),
    Pattern(
        "retry",
        r"(?:try|trying) (?:another|a different|some other|a new) "
        r"(?:approach|way|combination|method|order|idea|expression|one|strategy|route)",
    ),
    Pattern(
        "reject",
        _PRONOUN + r"(?:\s+is|'s|s)?(?:\s+not|n't)(?:\s+quite)? (?:right|correct|it|the target|going to work)",
        opens_clause=True,
    ),
    Pattern("reject", _PRONOUN + r"(?:\s+is|'s) (?:wrong|incorrect|a mistake)", opens_clause=True),
    Pattern("reject", _PRONOUN + r" (?:does not|doesn't|did not|didn't|won't|will not) work", opens_clause=True),
    Pattern(
        "error",
        r"(?:(?:i|we)(?:'ve| have)? (?:made|see|spot|found)|there(?:'s| is| must be)) (?:a|an|the|my) "
        r"(?:\w{1,20} )?(?:mistake|error)",
    ),
    Pattern("error", r"(?:mistake|error) (?:that )?i(?:'ve| have)? made|my mistake"),
    Pattern("error", r"i (?:was wrong|miscalculated)"),
)


def _words(*words: str) -> tuple[Pattern, ...]:
    return tuple(Pattern(word, word) for word in words)


# Longer alternatives come first where one list item begins another.
LEXICONS: Final[Mapping[str, Lexicon]] = MappingProxyType(
    {
        lexicon.name: lexicon
        for lexicon in (
            Lexicon("strict", 1, "r1rl: phrases that seldom occur outside self-correction", _STRICT),
            Lexicon(
                "r1-nature",
                1,
                "DeepSeek-R1, arXiv 2501.12948v2, appendix: ten reflective words",
                _words(
                    *("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
                ),
            ),
            Lexicon(
                "oat",
                1,
                "oat-zero (Dr. GRPO) keyword list",
                _words(
                    *("recheck", "rethink", "reassess", "reevaluate", "re-evaluate", "reevaluation", "re-examine"),
                    *("reexamine", "reconsider", "reanalyze", "double-check", "check again", "think again"),
                    *("verify again", "go over the steps"),
                ),
            ),
            Lexicon(
                "simplerl",
                1,
                "SimpleRL-Zoo keyword list",
                _words("recheck", "rethink", "try again", "wait", "alternatively", "retry", "however"),
            ),
        )
    }
)
_COMPILED: Final = {name: lexicon.compile() for name, lexicon in LEXICONS.items()}

# Words that leave the next word at the start of a clause.
_OPENERS: Final = frozenset(
    {"but", "oh", "no", "nope", "so", "and", "hmm", "hm", "ok", "okay", "actually", "ah", "well", "wait", "yes"}
    | {"think", "guess", "see", "because", "unfortunately", "sorry"}
)
_CONTEXT: Final = 40


def find(text: str, lexicon: str = "strict") -> list[Marker]:
    """Markers in `text`, left to right, none overlapping; case-folded and word-bounded, never inside tag markup.

    Linear in the length of the text. Raises ValueError for an unknown lexicon.
    """
    if lexicon not in LEXICONS:
        raise ValueError(f"lexicon={lexicon!r}: need one of {', '.join(LEXICONS)}")
    patterns = LEXICONS[lexicon].patterns
    folded = _fold(text)
    found = []
    for match in _COMPILED[lexicon].finditer(folded):
        if match.lastgroup is None:
            continue
        pattern = patterns[int(match.lastgroup[1:])]
        start, end = match.span()
        if not pattern.opens_clause or _opens_clause(folded, start):
            found.append(Marker(start, end, text[start:end], pattern.kind))
    return found


def _fold(text: str) -> str:
    # Spans must fit the original text, so characters whose lower case is longer ("İ") stay as they are.
    folded = text.lower()
    if len(folded) != len(text):
        folded = "".join(low if len(low := char.lower()) == 1 else char for char in text)
    return folded.replace("’", "'")


def _opens_clause(folded: str, start: int) -> bool:
    before = folded[max(0, start - _CONTEXT) : start].rstrip(" \t\"'*_(")
    if not before or not before[-1].isalpha():
        return True
    word = re.search(r"[^\W\d]+$", before)
    return word is not None and word[0] in _OPENERS
