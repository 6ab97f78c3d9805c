"""Exact: is the answer the gold string, but for case, white space and Unicode's compatible spellings?

Both sides are brought to one form: NFKC (a full-width letter or a ligature becomes the plain ones), case folded, every
run of white space one blank, none at the ends. Punctuation counts: `yes.` is not `yes`. NFKC also lowers superscripts
(`x\u00b2` equals `x2`): for formulas take the verifier `math`.
"""

import unicodedata
from typing import Any

from r1rl.verify.verdict import Verdict, clip, quote

MAX_CHARS = 10_000
"""Longest answer and longest gold, in characters."""


def normalise(text: str) -> str:
    """The form that is compared. Applying it twice changes nothing; at most 18 times as long as `text`."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(folded.split())


def verify(answer: str, gold: str, meta: dict[str, Any]) -> Verdict:
    """Judge one answer against `gold`; `meta` is not used, `value` is the answer's normal form. Never raises."""
    wanted = normalise(gold) if isinstance(gold, str) and len(gold) <= MAX_CHARS else ""
    if not wanted:
        return Verdict("bad_gold", None, f"gold: need a string of 1 to {MAX_CHARS} characters that is not blank")
    if not isinstance(answer, str):
        return Verdict("unparseable", None, "no answer")
    if len(answer) > MAX_CHARS:
        return Verdict("unparseable", None, f"too long: {len(answer)} characters, at most {MAX_CHARS}")
    given = normalise(answer)
    if not given:
        return Verdict("unparseable", None, "empty")
    if given == wanted:
        return Verdict("correct", clip(given), "")
    return Verdict("wrong", clip(given), clip(f"text is not {quote(wanted)}"))
