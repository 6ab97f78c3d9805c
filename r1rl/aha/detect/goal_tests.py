"""What the text after an attempt says about hitting the target: "no", "too high", "not 22", "target 22 got 22 yes".

Only words right after the attempt count, in at most `MAX_CHARS` characters and before the next expression; a question,
a condition ("if it equals 22") and a wish ("we need 22") say nothing.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final, NamedTuple

from r1rl.aha.detect.announced import NO_LETTER
from r1rl.aha.detect.equations import Value

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
_CLOSER: Final = r"(?:\s+(?:exactly|quite|equal to|the same as|equals?|at))*"
_NOT: Final = (
    r"(?:\b(?:is|does|do|did|are|was|will|would|can) ?n['o]t\b|\b(?:isn't|doesn't|don't|didn't|won't|wasn't)"
    r"|\bnot\b|\bcannot\b)"
)
_MAKES: Final = r"(?:make|makes|give|gives|equal|equals|reach|match|hit|get|be|yield|work out to|us)"


def _what(name: str) -> str:
    """The target, in words or as a number of the group `name`."""
    return (
        rf"(?:{_GOAL}(?:\s+(?:number|value|of))*(?:\s+{_NUMBER.format(name)})?"
        rf"|what we (?:want|need)|{_NUMBER.format(name + '2')})"
    )


_UNEQUAL: Final = (
    rf"(?P<unequal>(?:{_NOT}(?:\s+{_MAKES})*{_CLOSER}\s+"
    r"|(?:≠|!=|\\neq?\b|=/=|<>)\s*\$?\s*|differs from |instead of |rather than |short of |away from "
    rf"|\bbut (?:we|i) (?:need|want)(?:ed)? |\bbut {_GOAL} (?:is|was) "
    r"|\b(?:misses|missed|overshoots|undershoots|overshot|undershot) )"
    rf"{_what('u')})"
)
# "we need 22, not 15": the other way round
_RATHER: Final = rf"\b(?:need|want|needed|wanted) {_NUMBER.format('r')}, (?P<rather>not)\b"
_ORDER: Final = (
    r"(?P<order>(?:\b(?:less|more|greater|higher|lower|smaller|larger|bigger) than "
    rf"|\b(?:above|below|over|under|exceeds?|past) |[<>]\s*){_what('o')})"
)
_MISS: Final = (
    r"(?P<miss>\b(?:much |way |far |still |slightly |a bit |a little )?"
    r"too (?:high|low|big|small|large|much|little|far|many|few)\b"
    rf"|{_NOT}\s+(?:quite(?: (?:right|there|it|correct|enough))?|enough|right|correct|it|there|close|working|good"
    r"|helpful|work|valid|a solution|the solution|possible|allowed)\b"
    r"|\boff by\b|\bclose,? but\b|(?:\b(?:is|are|was|be|looks|seems)|'s)\s+(?:wrong|incorrect)\b"
    r"|(?:^|[.,;:!?\n(])\s*(?:wrong|incorrect|nope)(?=\s*(?:$|[.,;:!?\n)]))"
    r"|\bfails\b|\bfailed\b|[✗✘❌✖]|×(?=\s*(?:$|[^\s0-9(])))"
)
_EQUAL: Final = (
    r"(?P<equal>(?:(?:\b(?:is|equals?|matches|hits|reaches|makes|gives|get|got|gets|achieves|reached|hit|matched)"
    r"|\b(?:that|it|this|which)'s|=)"
    r"(?:\s+(?:exactly|indeed|also|us|to|precisely|just|equal to))*|\b(?:exactly|precisely|indeed|perfect),?)\s+"
    rf"{_what('e')})"
)
_HIT: Final = (
    r"(?P<hit>\b(?:that|this|it|which|indeed|also)?\s?works\b(?! out| with| backwards)|\bcorrect\b|\bcorrectly\b"
    r"|\bsuccess(?:ful)?\b|\bbingo\b|\bperfect\b|\bsolved\b|\bthat's it\b|[✓✔✅√☑])"
)
# "no", "yes", right at the start of a clause
_BARE: Final = (
    r"(?:^|(?<=[0-9)}$`*✓])|(?<=[.,;:!?\n(\]–—-])|(?<=\bso)|(?<=\bbut)|(?<=\band)|(?<=\boh)|(?<=\bhmm))\s*"
    r"(?P<bare>no|yes|yep|yeah|yay)\b(?!\s+(?:need|matter|problem|doubt|longer|way|more|other|one|idea|solution|number"
    r"|further|remainder))"
)
_SPOKEN: Final = re.compile(
    # where one of the others can begin at all: a quick look at most characters, those inside a word
    r"(?=\W|(?<!\w)|target|differs|instead|rather|short|away|no|yes|yep|yeah|yay)(?:"
    # the tiny base's form, whichever target it quotes
    r"target\s+-?[0-9/]{1,12}\s+got\s+-?[0-9./]{1,16}\s*[,:]?\s*(?P<reply>yes|no)\b"
    rf"|{_UNEQUAL}|{_RATHER}|{_ORDER}|{_MISS}|{_EQUAL}|{_HIT}|{_BARE})"
)
_TARGETS: Final = ("u", "u2", "o", "o2", "e", "e2", "r")
_UNSAID: Final = re.compile(
    r"\b(?:if|whether|need|needs|want|wants|to (?:get|make|reach|hit|be)|must|should|could|would|may|might|check|verify"
    r"|see|make sure|let|goal|target|trying)\b[^.!?;\n]*$"
)
_ASKED: Final = re.compile(r"[^.!\n;,]*?\?")
_SUPPOSED: Final = re.compile(r"\b(?:if|whether|why|make sure|as long as)\b[^.!?;\n]*$")
_LEFT: Final = re.compile(r"-?[0-9]{1,12}(?=\s{0,2}$)")
_OFFERED: Final = re.compile(r"\s{0,4}(?:,\s?)?target\s{1,4}-?[0-9]")


def said_after(folded: str, start: int, end: int, target: Value) -> tuple[list[Says], bool]:
    """What `folded[start:end]`, lower-case text between an attempt and what follows it, says about that attempt.

    The same verdict twice in a row is one. And whether the text puts the attempt forward, "target 22 got", though it
    may break off before the verdict. Bounded by MAX_CHARS.
    """
    window = folded[start : min(end, start + MAX_CHARS)]
    said: list[Says] = []
    for found in _SPOKEN.finditer(window):
        groups = found.groupdict()
        if groups["bare"] and found.start() > _BARE_CHARS:
            continue
        numbers = [groups[key] for key in _TARGETS if groups[key]][:1]
        if found[0][0] == "=" and (before := _LEFT.search(window[: found.start()])):
            numbers.append(before[0])  # "(7 = 22"
        says = groups["reply"] == "yes" or groups["bare"] not in (None, "no") or bool(groups["equal"] or groups["hit"])
        repeated = bool(said) and said[-1].says == says
        if repeated or _unsaid(window, found, says) or not all(_is(number, target) for number in numbers):
            continue
        at = found.end() - len(found[0].lstrip(" \t\n.,;:!?("))
        said.append(Says(start + at, start + found.end(), says, groups["reply"] is not None))
    return said, _OFFERED.match(window) is not None


def _is(number: str, target: Value) -> bool:
    return (int(number) if "." not in number else Fraction(number)) == target


def _unsaid(window: str, found: re.Match[str], says: bool) -> bool:
    """Whether this is asked, supposed or wished, not said."""
    if _ASKED.match(window, found.end(), found.end() + 40):
        return True
    before = window[: found.start()]
    return bool((_UNSAID if says else _SUPPOSED).search(before))


_WHO: Final = "(?:that|this|it|which|the answer)"
_SUBJECT: Final = "(?:that|this|it|the answer)"
_JUDGED: Final = re.compile(
    rf"(?=[✓✔✅✗✘❌]|{NO_LETTER}[acehioprstwy])"  # where one of the others can begin at all: a quick look
    rf"(?:(?P<hit>[✓✔✅]|{_WHO}(?:'s| is| seems| looks| must be)(?: indeed| also| definitely)? (?:correct|right)\b"
    rf"|(?:{_SUBJECT}|(?:it|everything|the (?:math|maths|numbers?|calculations?))(?: all)?) "
    r"(?:(?:all |still |also |seems? to )*(?:checks? out|works|makes sense|matches|adds? up|lines up|fits))\b"
    rf"|{_WHO}(?:'s| is| seems| looks|'re)(?: all| also| indeed)? "
    r"(?:consistent|the same (?:as before|answer|result|thing)|exactly (?:the|what))\b"
    r"|(?:that|this|which) (?:confirms|matches|agrees)\b|that also (?:gives|makes|comes)\b|which (?:works|checks out)\b"
    r"|(?:(?:gives?|get|got) (?:me |us )?)?(?:the )?same (?:answer|result)\b"
    r"|seems? (?:right|correct|consistent|solid)\b"
    r"|(?:^|(?<=[.!?:\n]\s))(?:perfect|consistent)(?=\s?[.,:!])"
    r"|i think (?:that's|this is|it's) (?:right|correct)\b"
    r"|(?:calculations?|answer) (?:is|are|looks?|seems?) (?:right|correct)"
    r"|(?:^|(?<=[.!?:\n]\s))(?:yes|right|correct|exactly)(?=\s?[.,:!]))"
    rf"|(?P<miss>[✗✘❌]|{_WHO}(?:'s| is| was| must be)(?: clearly| definitely)? "
    r"(?:wrong|incorrect|a mistake|not (?:quite )?(?:correct|right|possible|equal)"
    r"|(?:still |also |much |way )?(?:too (?:large|big|small|high|low|much|many|few)))\b"
    rf"|{_SUBJECT} (?:isn't|can't be|cannot be|wasn't)(?: quite)? (?:right|correct|it|possible)\b"
    r"|(?:that|this|it) (?:doesn't|does not|didn't|did not|won't) "
    r"(?:work|make sense|add up|match|seem right|look right|seem correct)\b"
    r"|(?:^|(?<=[.!?\n]\s))(?:wrong|incorrect)(?=\s?[.,!])))"
)
_JUDGED_CHARS: Final = 200
LONG_JUDGED_CHARS: Final = 400
_YES_GOES_ON: Final = re.compile(r"yes, (?!that|this|it\b)")


def judged_after(folded: str, start: int, end: int, chars: int = _JUDGED_CHARS) -> list[Says]:
    """What the text after a candidate in free text says about it: "that's correct", "that doesn't make sense".

    A bare "no" or "wait" says nothing here, nor does an admission ("I made a mistake"). The same verdict twice in a row
    is one. Bounded by `chars` characters.
    """
    window = folded[start : min(end, start + chars)]
    said: list[Says] = []
    for found in _JUDGED.finditer(window):
        says = found["hit"] is not None
        if chars > _JUDGED_CHARS and _YES_GOES_ON.match(window, found.start()):
            continue  # long texts answer their own questions: "Yes, because"
        if not _unsaid(window, found, says) and (not said or said[-1].says != says):
            said.append(Says(start + found.start(), start + found.end(), says))
    return said
