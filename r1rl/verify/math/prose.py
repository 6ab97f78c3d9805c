r"""The words around a value, and values that are words: "The answer is 12.", "Yes, it is."."""

import re
from typing import Final

from r1rl.verify.math.notation import normalise

_TEXT_COMMANDS: Final = r"text|textrm|mbox|mathrm|operatorname\*?|textnormal|hbox|rm|mathop|texttt|mathtt"
_WORD_COMMAND: Final = re.compile(rf"\\(?:{_TEXT_COMMANDS})\s*\{{([^{{}}]*)\}}")
CHANGED: Final = (
    r"(?:not|wrong|incorrect|false|opposite|negative|other|never|no|n't|square|squared|cube|root|reciprocal|inverse"
    r"|double|twice|triple|half|bound|bounds|logarithm|numerator|denominator|except|but|cannot|unless|if|less|more|minus|guess"
    r"|perhaps|maybe|options?|unequal|different)\b"
)
"""Words that make what follows another value than the answer, or no answer."""
_QUANTITY: Final = (
    "answer|result|solution|total|sum|difference|product|quotient|remainder|area|perimeter|volume|length|width|height"
    "|depth|radius|diameter|circumference|distance|probability|value|number|count|cost|price|profit|time|speed|rate|age"
    "|weight|mass|amount|average|mean|median|mode|range|domain|minimum|maximum|slope|angle|degree|ratio|percentage"
    "|percent|interval|set|roots|solutions|vertex|center|centre|point|coordinates|equation|expression|output|ways|possibilities"
)
_CUE: Final = re.compile(
    r"""
    (?P<so> (?:so|thus|therefore|hence|then|and\ so|finally|that\ is|i\.e\.
             |we\ (?:get|have|find|obtain)(?:\ that)?)\b[,:]?\s* )?
    (?P<core>
        (?:(?:the|my|our|a|an)\s+)?
        (?:(?:final|correct|required|desired|exact|total|simplified|numerical)\s+)*
        (?:answers?|ans|results?|solutions?|roots|values?)\b\.?\s* (?:is\b|are\b|equals\b|=|:)?
      | (?:it|this|that|which)\s+(?:is|equals|gives)\b
      | there\ (?:are|is)\b
      | equals\b
      | (?:i|we|she|he|they|you|it)\ (?:gets?|got|finds?|ha(?:s|ve)|obtains?|needs?)\b
      | (?:the|our)                                                       # "the number of ways is"
        (?:\s+(?!CHANGED)[a-z\-]+){1,5}?
        \s+(?:is|are|equals|=|:)(?=[\s:])
      | (?:QUANTITY)(?:\s+(?!CHANGED)[a-z]{1,12}){0,3}\s*[=:](?!=)        # "distance =", "Total:"
    )?
    (?P<then> \s* (?:(?:should|must|would|will)\ be|equal\ to|therefore|thus|then|exactly|simply|now
                   |approximately|about|roughly)\b )*
    [:\s]*
    """.replace("CHANGED", CHANGED).replace("QUANTITY", _QUANTITY),
    re.IGNORECASE | re.VERBOSE,
)
"""What only announces a value."""
_REASON: Final = re.compile(
    r",?\s+(?:(?:because|since|as required$|as desired$)\b"
    r"(?!.*(?:n't\b|\b(?:not|wrong|but|instead|or|nothing|false|could|might|may|maybe|also|guess|answer)\b))"
    r"|(?:is|as) (?:the|our|my) (?:final )?answer\b(?!\s*\S)|\(final answer\)).*",
    re.IGNORECASE | re.DOTALL,
)
_EQUALS: Final = re.compile(
    r"^([^A-Za-z\\]*(?:\\?[A-Za-z]{1,2}(?![A-Za-z])[^A-Za-z\\]*)+?)\s+(?:is equal to|equals|is)\s+(?=[-+\\0-9(\u00a4])"
)


def without_prose(text: str) -> str:
    """Without the words that announce a value, "The answer is", and a reason after it. `text` is normalised."""
    text = _REASON.sub("", text)
    for _ in range(2):  # "Final answer: The final answer is 5"
        if (first := re.match(r"\\(?:text|textrm|mbox)\s*\{([^{}]*)\}", text)) and _announces(first[1] + " "):
            text = first[1] + " " + text[first.end() :]
        text = text[_announces(text) :]
    return _EQUALS.sub(r"\1=", text).strip()


def _announces(text: str) -> int:
    """How many characters at the start only announce what follows."""
    found = _CUE.match(text)
    return found.end() if found and (found["so"] or found["core"] or found["then"]) else 0


_MONTHS: Final = re.compile(
    r"\b(jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)(?:uary|ruary|ch|il|e|y|ust|ember|tember|ober)?\b\.?"
)


def words_of(text: str) -> str:
    r"""A text as it is compared: without commands, quotes, case and doubled space; `(C)` and `Option C` as `C`.

    A single letter keeps its case.
    """
    text = normalise(text)
    for _ in range(3):
        text = _WORD_COMMAND.sub(r" \1 ", text)
    text = " ".join(text.replace('"', " ").replace("~", " ").split()).strip(" .!")
    text = re.sub(r"^(?:option|choice|answer)[ :]+(?=\(?[A-Za-z]\)?$)", "", text, flags=re.IGNORECASE)
    text = re.sub(r"\(\s*([A-Za-z])\s*\)", r"\1", text)
    if len(text) > 1:
        text = re.sub(r"^(?:there (?:is|are) )?(?:an? |the )?(?=[a-z]{2})", "", text, flags=re.IGNORECASE)
        text = _MONTHS.sub(r"\1", re.sub(r"[^\W\d_]{2,}", lambda word: word[0].casefold(), text))
        text = re.sub(r"\b([ap])\s*\.?\s*m\b\.?", r"\1m", text)
        text = re.sub(r"\b(solution|root|value|number|answer|point|line)s\b", r"\1", text)
    return text
