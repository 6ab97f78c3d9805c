"""The share of the thoughts' words that are in the target language: R1's language consistency."""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from rewards.completions import TextReward

MAX_CHARS = 200_000
"""Characters of one completion's thoughts that are looked at."""
WINDOW_WORDS = 8
"""Fewest words whose language is asked for; shorter sentences are judged together with the next."""
MAX_WINDOW_WORDS = 64

# The first word of a letter's Unicode name is its script. Languages not listed are written in Latin letters alone.
_LANGUAGES_BY_SCRIPT = {
    "ARABIC": "ar fa ku ps ug ur",
    "ARMENIAN": "hy",
    "BENGALI": "as bn",
    "CJK": "ja zh",
    "CYRILLIC": "ba be bg kk ky mk mn ru sr tg tt uk",
    "DEVANAGARI": "hi mr ne sa",
    "ETHIOPIC": "am",
    "GEORGIAN": "ka",
    "GREEK": "el",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "HANGUL": "ko",
    "HEBREW": "he",
    "HIRAGANA": "ja",
    "KANNADA": "kn",
    "KATAKANA": "ja",
    "KATAKANA-HIRAGANA": "ja",
    "KHMER": "km",
    "LAO": "lo",
    "LATIN": "ku sr",
    "MALAYALAM": "ml",
    "MYANMAR": "my",
    "ORIYA": "or",
    "SINHALA": "si",
    "TAMIL": "ta",
    "TELUGU": "te",
    "THAI": "th",
    "TIBETAN": "dz",
}
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}
_NOT_PROSE = re.compile(r"\\[A-Za-z]{1,40}|</?[a-z]{1,20}>|`[^`\n]{0,200}`|\$[^$\n]{0,200}\$")
_PIECE = re.compile(r"[^\W\d_][^\W\d_\u0300-\u036f]*(?:['\u2019][^\W\d_]+)*|[.!?;:\n\u3002\uff01\uff1f\uff1b]")


@functools.cache
def _identifier() -> Any:
    """py3langid's model, normalised to probabilities; process-wide, as it holds some 100 MB."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ImportError("reward='language' needs py3langid; try: pip install 'r1rl[language]'") from error
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # Leaves out "no language" and small kin such as Nigerian Pidgin, which terse English is easily taken for.
    identifier.set_languages([label for label in identifier.labels if len(label) == 2])
    return identifier


@functools.cache
def _scripts(language: str) -> frozenset[str]:
    """The scripts that a language is written in."""
    found = frozenset(script for script, codes in _LANGUAGES_BY_SCRIPT.items() if language in codes.split())
    return found or frozenset({"LATIN"})


@functools.lru_cache(maxsize=4096)
def _script(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0]


def _thoughts(text: str) -> str:
    """What stands before </think>, behind <think> if it is there; without the tags, the text before <answer>."""
    before = text.partition("</think>")[0] if "</think>" in text else text.partition("<answer>")[0]
    return (before.partition("<think>")[2] or before)[:MAX_CHARS]


def _windows(text: str) -> Iterator[list[str]]:
    """Words in windows of whole sentences, at least `WINDOW_WORDS` each where the text has as many.

    A word is a run of letters, or one letter of a script that sets no blanks. Single letters of other scripts are
    variables, and LaTeX commands, formulas between dollars, code and tags are no words.
    """
    window: list[str] = []
    for piece in _PIECE.finditer(_NOT_PROSE.sub(" ", text)):
        word = piece[0]
        if not word[0].isalpha():
            if len(window) >= WINDOW_WORDS:
                yield window
                window = []
        elif _script(word[0]) in _UNSPACED:
            window += word
        elif len(word) > 1:
            window.append(word)
        if len(window) >= MAX_WINDOW_WORDS:
            yield window
            window = []
    if window:
        yield window


class Language(TextReward):
    """The share of target-language words in the thoughts: R1's reward for language consistency.

    Equation: r = target-language words / words, in what <think> holds; 0 if it holds no word. Range [0, 1].
    Source: DeepSeek-R1, arXiv 2501.12948v1 section 2.3.2, which does not say how a word's language is told. Here a
    word of another script than the target's is foreign; the words of the target's script are target-language unless
    py3langid finds another language of that script likelier than not for their window of sentences. A single foreign
    word in the same script is therefore missed. R1-Zero does without this reward: give it weight 0 to measure.

    py3langid (BSD-3, kept up, needs numpy alone, some 110 languages in a 5 MB model inside the package) rather than
    lingua, no better on sentences and 1 GB of memory in each process, or langdetect, not kept up and random.

    Args:
        language: ISO 639-1 code of the target, such as en or zh.
    """

    def __init__(self, language: str = "en") -> None:
        if not re.fullmatch("[a-z]{2}", language):
            raise ValueError(f"language={language!r}: need an ISO 639-1 code; try 'en' or 'zh'")
        self.language = language
        self.scripts = _scripts(language)

    def of(self, text: str) -> float:
        """The share for one text, tags included.

        Raises `ImportError` without py3langid, `ValueError` for a language that it does not know.
        """
        known = _identifier().labels
        if self.language not in known:
            raise ValueError(f"language={self.language!r}: allowed: {', '.join(sorted(known))}; try 'en'")
        words = right = 0
        for window in _windows(_thoughts(text)):
            words += len(window)
            mine = [word for word in window if _script(word[0]) in self.scripts]
            if mine and self._is_target(mine):
                right += len(mine)
        return right / words if words else 0.0

    def _is_target(self, words: list[str]) -> bool:
        unspaced = _script(words[0][0]) in _UNSPACED
        found, probability = _identifier().classify(("" if unspaced else " ").join(words))
        rival = found != self.language and bool(self.scripts & _scripts(found))
        return not (rival and probability > 0.5 and len(words) >= WINDOW_WORDS // 2)
