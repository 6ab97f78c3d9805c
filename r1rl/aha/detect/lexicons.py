"""The marker lexicons: named, versioned, each with its source; `r1rl.aha.detect.markers` applies them.

A marker is a word, not an act: most reflections in published studies only confirm. The published lists are applied
word-bounded and case-folded, which their authors' code is not always: as written, Open-Reasoner-Zero's misses "Wait,"
where nobody lowers the text first, and hits "await,".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Pattern:
    """A regular expression over lower-case text with straight apostrophes; word bounds are added to it.

    A blank in it stands for any white space.
    `opens_clause`: only after punctuation, a line break, a number, or a word such as "but" or "no", so that
    "Wait, that" is a hit and "you have to wait, then" is not.
    """

    kind: str
    expression: str
    opens_clause: bool = False

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        return _bounded(self.expression)


def _bounded(expression: str) -> re.Pattern[str]:
    # "-" next to a word counts as a bound only before it: "no -wait" is a hit, "wait-list" is not.
    return re.compile(rf"(?<![\w'])(?:{expression})(?![\w']|-\w)".replace(" ", r"\s+"))


@dataclass(frozen=True)
class Lexicon:
    """A named, versioned list; its version goes up whenever a text may get other hits. First pattern wins a tie."""

    name: str
    version: int
    source: str
    patterns: tuple[Pattern, ...]

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """Matches where one of the patterns does."""
        return _bounded("|".join(pattern.expression for pattern in self.patterns))


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
    Pattern("interrupt", r"on second thought|scratch that"),
    # "Hmm, let me think" opens a thought; "hmm, that seems off" comes back to one.
    Pattern(
        "hesitate",
        r"h+m+(?=[\s,.…!?—–-]{1,4}(?:but|wait|no|maybe|perhaps|not|is|did|does|am|actually|something|that|this|it"
        r"|so is|i(?:'m| am) not|i (?:think|might|may) (?:i|have)|i should|doesn't|isn't|seems?)\b"
        r"(?! (?:is|'s) (?:interesting|useful|given)))|h+m+(?=\s*(?:$|<|\n?(?:but|wait|no)\b))",
    ),
    Pattern("aha", r"aha", opens_clause=True),
    Pattern(
        "verify",
        _SELF + _ADVERB + r"\s+(?:double[-\s]?check|re-?check|check|verify|re-?verify|re-?examine|re-?evaluate|"
        r"re-?consider|re-?assess|re-?think|think again|re-?calculate|re-?compute|re-?do|re-?read)",
    ),
    Pattern(
        "verify",
        _SELF + _ADVERB + r"\s+(?:confirm|recap|make sure|be sure"
        r"|(?:do|go|look|read|count|list|compute|calculate|add|subtract|multiply|divide|run|walk|work|write|try|think)\b"
        r"[^.!?\n]{0,60}?\b(?:again|once more|one more time|to (?:verify|check|confirm|be sure|make sure|see if)))",
    ),
    Pattern(
        "verify",
        r"just to (?:be (?:sure|safe|thorough|certain)|make sure|double[-\s]?check|check|confirm|verify)"
        r"|to (?:double[-\s]?check|be thorough|verify|confirm)(?=[,:])"
        r"|another (?:check|way to (?:check|verify|confirm))"
        r"|(?:but|and|so) (?:let me|let's) (?:make sure|confirm)",
    ),
    Pattern("verify", r"double[-\s]?check(?:ing)?|re-?check(?:ing)?|re-?examin(?:e|ing)|re-?verify(?:ing)?"),
    Pattern("verify", r"(?:check|verify|checking|verifying) (?:again|once more)"),
    Pattern("retry", r"(?:try|trying|start|starting) (?:again|over)|let me retry"),
    Pattern(
        "retry",
        r"(?:try|trying) (?:another|a different|some other|a new) "
        r"(?:approach|way|combination|method|order|idea|expression|one|strategy|route)",
    ),
    Pattern("rethink", r"(?<!or,\s)(?<!or\s)alternatively", opens_clause=True),
    Pattern(
        "rethink",
        r"(?:another|a different|some other) (?:way|approach|method|angle|route|thought|idea|possibility)"
        r"(?= (?:to (?:think|look|see|approach|do|view|solve|consider)|is\b|would|could|might|of (?:thinking|looking)"
        r"|about|without)|\s?[:,.?])"
        r"|(?:think of|think about|look at|do|approach|solve|see) (?:it|this|that) (?:in )?another way",
    ),
    Pattern(
        "doubt", r"is (?:that|this|it) (?:really |even |actually )?(?:right|correct|possible|true|it|valid)(?=\s?\?)"
    ),
    Pattern(
        "doubt", r"(?:is|are) there (?:any|another|some)(?: other)? (?:chance|possibility|mistake|error|way|case)s?"
    ),
    Pattern(
        "doubt",
        r"(?:maybe|perhaps|unless) i(?:'m| am|'ve| have)? (?:just )?(?:made|mis\w{3,20}|missed|missing|over\w{3,20}"
        r"|wrong|confus\w{1,4}|need (?:another|to (?:find|try|consider) another)|should (?:check|re\w{3,20}|double))",
    ),
    Pattern(
        "doubt",
        r"i (?:might|may|could) (?:have |be )(?:made|mis\w{3,20}|missed|missing|over\w{3,20}|wrong|confus\w{1,4})"
        r"|(?:did|have|am) i (?:make|made|miss|missed|missing|misread|forget|forgot)",
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
    Pattern("error", r"(?:mistake|error) (?:that )?i(?:'ve| have)? made|my mistake|w?h?oops"),
    Pattern("error", r"i (?:was wrong|miscalculated)"),
)


def _words(*words: str) -> tuple[Pattern, ...]:
    return tuple(Pattern(word, word) for word in words)


LEXICONS: Final[Mapping[str, Lexicon]] = MappingProxyType(
    {
        lexicon.name: lexicon
        for lexicon in (
            Lexicon("strict", 4, "r1rl: phrases that seldom occur outside self-correction", _STRICT),
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
                "orz",
                1,
                "Open-Reasoner-Zero, orz/ppo/utils.py, check_reflection_pattern: a comma or blank must follow some",
                (
                    *(Pattern(word, rf"{word}(?=,)") for word in ("wait", "alternatively", "however")),
                    *(Pattern(word, rf"{word}(?=[,\s])") for word in ("recheck", "retry", "rethink")),
                    *_words("try again", "let's check", "let's verify"),
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
