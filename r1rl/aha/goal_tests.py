"""What the text after an attempt says about hitting the target: "no", "too high", "not 22", "target 22 got 22 yes".

Only words right after the attempt count, in at most `MAX_CHARS` characters and before the next expression; a question,
a condition ("if it equals 22") and a wish ("we need 22") say nothing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from r1rl.aha.equations import Value

MAX_CHARS: Final = 160
_BARE_CHARS: Final = 60  # a bare "no" or "yes" stands at once


class Says(NamedTuple):
    """`text[start:end]` says that the attempt before it hits the target, or that it does not."""

    start: int
    end: int
    says: bool
    names_target_and_value: bool = False


_NUMBER: Final = r"(?P<{}>-?[0-9]{{1,12}}(?:\.[0-9]{{1,6}})?)(?![0-9]|[.,/][0-9]|\s*[*/+×÷])"
_GOAL: Final = r"(?:(?:the|our|my) )?(?:target|goal|desired (?:value|number|result)|required (?:value|number))\b"
_WHAT: Final = rf"(?:{_GOAL}(?:\s+(?:number|value|of))*(?:\s+{_NUMBER.format('%s')})?|what we (?:want|need)|{_NUMBER.format('%s2')})"
_CLOSER: Final = r"(?:\s+(?:exactly|quite|equal to|the same as|equals?|at))*"
_NOT: Final = r"(?:\b(?:is|does|do|did|are|was|will|would|can) ?n['o]t\b|\b(?:isn't|doesn't|don't|didn't|won't|wasn't)|\bnot\b|\bcannot\b)"


def _what(name: str) -> str:
    return _WHAT.replace("%s", name)


_SPOKEN: Final = re.compile(
    # the tiny base's form
    rf"target\s+(?P<t0>-?[0-9/]{{1,12}})\s+got\s+(?P<got>-?[0-9./]{{1,16}})\s*[,:]?\s*(?P<reply>yes|no)\b"
    # "is not 22", "doesn't equal the target", "!= 22", "not what we need"
    rf"|(?P<unequal>(?:{_NOT}(?:\s+(?:make|makes|give|gives|equal|equals|reach|match|hit|get|be|yield|work out to|us))*{_CLOSER}\s+"
    rf"|(?:≠|!=|\\neq?\b|=/=|<>)\s*\$?\s*|differs from |instead of |rather than |short of |away from )"
    rf"{_what('u')})"
    # "less than 22", "15 < 22", "above the target"
    rf"|(?P<order>(?:\b(?:less|more|greater|higher|lower|smaller|larger|bigger) than |\b(?:above|below|over|under|exceeds?|past) |[<>]\s*)"
    rf"{_what('o')})"
    # "too high", "not quite", "doesn't work", "off by 2"
    r"|(?P<miss>\b(?:much |way |far |still |slightly |a bit |a little )?too (?:high|low|big|small|large|much|little|far|many|few)\b"
    rf"|{_NOT}\s+(?:quite(?: (?:right|there|it|correct|enough))?|enough|right|correct|it|there|close|working|good|helpful|work|valid|a solution|the solution|possible|allowed)\b"
    r"|\boff by\b|\bclose,? but\b|\b(?:wrong|incorrect|nope)\b|\bfails\b|\bfailed\b|[✗✘❌✖×](?=\s*(?:$|[^\s0-9(])))"
    # "which is 22", "matches the target", "exactly 22"
    rf"|(?P<equal>(?:\b(?:is|equals?|matches|hits|reaches|makes|gives|get|got|gets|achieves|reached|hit|matched|=)(?:\s+(?:exactly|indeed|also|us|to|precisely|just|equal to))*|\b(?:exactly|precisely|indeed))\s+"
    rf"{_what('e')})"
    # "works", "correct", "✓"
    r"|(?P<hit>\b(?:that|this|it|which|indeed|also)?\s?works\b(?! out| with| backwards)|\bcorrect\b|\bcorrectly\b|\bsuccess(?:ful)?\b|\bbingo\b|\bperfect\b|\bsolved\b|\bthat's it\b|[✓✔✅√☑])"
    # "no", "yes", right at the start of a clause
    r"|(?:^|(?<=[0-9)}$`*✓])|(?<=[.,;:!?\n(\]–—-])|(?<=\bso)|(?<=\bbut)|(?<=\band)|(?<=\boh)|(?<=\bhmm))\s*"
    r"(?P<bare>no|yes|yep|yeah|yay)\b(?!\s+(?:need|matter|problem|doubt|longer|way|more|other|one|idea|solution|number|further|remainder))"
)
_UNSAID: Final = re.compile(
    r"\b(?:if|whether|need|needs|want|wants|to (?:get|make|reach|hit|be)|must|should|could|would|may|might|check|verify|see|make sure|let|goal|target|trying)\b[^.!?;\n]*$"
)
_GAP: Final = " \t,.;:$)*"


def says_after(folded: str, start: int, end: int, target: Value) -> list[Says]:
    """What `folded[start:end]`, lower-case text between an attempt and what follows it, says about that attempt.

    The same verdict twice in a row is one. Bounded by MAX_CHARS.
    """
    stop = min(end, start + MAX_CHARS)
    window = folded[start:stop]
    if not window.strip(_GAP):
        return []
    said: list[Says] = []
    for found in _SPOKEN.finditer(window):
        groups = found.groupdict()
        named = False
        if groups["reply"]:
            if not _is(groups["t0"], target):
                continue
            says, named = groups["reply"] == "yes", True
        elif groups["unequal"] or groups["order"] or groups["equal"]:
            says = bool(groups["equal"])
            number = next((groups[key] for key in ("u", "u2", "o", "o2", "e", "e2") if groups[key]), None)
            if number is not None and not _is(number, target):
                continue
            named = number is not None
        elif groups["bare"]:
            if found.start() > _BARE_CHARS:
                continue
            says = groups["bare"] != "no"
        else:
            says = bool(groups["hit"])
        if _unsaid(window, found, says):
            continue
        if not said or said[-1].says != says:
            at = start + found.start() + len(found[0]) - len(found[0].lstrip())
            said.append(Says(at, start + found.end(), says, named))
    return said


def _is(number: str, target: Value) -> bool:
    try:
        return Fraction(number) == target
    except (ValueError, ZeroDivisionError):
        return False


def _unsaid(window: str, found: re.Match[str], says: bool) -> bool:
    """Whether this is asked, supposed or wished, not said."""
    after = window[found.end() : found.end() + 40]
    clause = re.match(r"[^.!\n;,]*?\?", after)
    if clause is not None:
        return True
    if not says:
        return bool(re.search(r"\b(?:if|whether|why|make sure|as long as)\b[^.!?;\n]*$", window[: found.start()]))
    return bool(_UNSAID.search(window[: found.start()]))


_JUDGED: Final = re.compile(
    r"(?P<hit>\b(?:that|this|it|which|the answer)(?:'s| is| seems| looks| must be)(?: indeed| also| definitely)? (?:correct|right)\b"
    r"|\b(?:that|this|it|the answer) (?:checks out|works|makes sense|matches)\b|[✓✔✅])"
    r"|(?P<miss>\b(?:that|this|it|which|the answer)(?:'s| is| was| must be)(?: clearly| definitely)? (?:wrong|incorrect|a mistake|not (?:quite )?(?:correct|right|possible))\b"
    r"|\b(?:that|this|it|the answer) (?:isn't|can't be|cannot be|wasn't)(?: quite)? (?:right|correct|it|possible)\b"
    r"|\b(?:that|this|it) (?:doesn't|does not|didn't|did not|won't) (?:work|make sense|add up|match|seem right|look right|seem correct)\b"
    r"|\bi (?:made|have made) (?:a|an) (?:\w+ )?(?:mistake|error)\b|[✗✘❌])"
)
_JUDGED_CHARS: Final = 400


def judged_after(completion: str, start: int, end: int) -> list[Says]:
    """What the text after a candidate in free text says about it: "that's correct", "that doesn't make sense".

    A bare "no" or "wait" says nothing here. The same verdict twice in a row is one. Bounded by 400 characters.
    """
    window = completion[start : min(end, start + _JUDGED_CHARS)].lower().replace("’", "'")
    said: list[Says] = []
    for found in _JUDGED.finditer(window):
        says = found["hit"] is not None
        if not _unsaid(window, found, says) and (not said or said[-1].says != says):
            said.append(Says(start + found.start(), start + found.end(), says))
    return said
