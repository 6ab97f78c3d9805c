"""The share of target-language words. The splitting needs no library; the telling apart needs py3langid."""

import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards
from rewards.language import _thoughts, _windows

ENGLISH = "Let me think. The sum of 3 and 5 is 8, so we multiply it by 7. Wait, that is not right, let me check again. "
GERMAN = "Wir m\u00fcssen zuerst die Summe berechnen und danach mit sieben multiplizieren. Das ist aber nicht richtig. "
CHINESE = "\u6211\u4eec\u9700\u8981\u8ba1\u7b97\u4e09\u52a0\u4e94\u7b49\u4e8e\u516b\u3002"
RUSSIAN = "\u0421\u043d\u0430\u0447\u0430\u043b\u0430 \u043d\u0443\u0436\u043d\u043e \u043d\u0430\u0439\u0442\u0438. "


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param("3*5+7=22", [], id="arithmetic"),
        pytest.param("x + y = z", [], id="variables"),
        pytest.param("so x is odd", ["so", "is", "odd"], id="variables among words"),
        pytest.param(r"\frac{1}{2} \sqrt x", [], id="LaTeX commands"),
        pytest.param("so $a + bc$ and `code here`", ["so", "and"], id="formulas and code"),
        pytest.param("a <b>bold</b> word", ["bold", "word"], id="tags"),
        pytest.param("don't isn\u2019t", ["don't", "isn\u2019t"], id="apostrophes"),
        pytest.param("\u516b\u52a0", ["\u516b", "\u52a0"], id="a Chinese character is a word"),
        pytest.param("\u03b1 + \u03b2", [], id="Greek variables"),
        pytest.param("m\u00fcssen", ["m\u00fcssen"], id="umlaut"),
    ],
)
def test_what_is_a_word(text, words):
    assert [word for window in _windows(text) for word in window] == words


@pytest.mark.parametrize(
    ("text", "thoughts"),
    [
        pytest.param("<think>a</think><answer>b</answer>", "a", id="both pairs"),
        pytest.param("a</think><answer>b</answer>", "a", id="prefill not passed"),
        pytest.param("<think>a", "a", id="cut off"),
        pytest.param("a <answer>b</answer>", "a ", id="no thought tags"),
        pytest.param("a", "a", id="no tags"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_only_the_thoughts_are_judged(text, thoughts):
    assert _thoughts(text) == thoughts


class TestWithTheLibrary:
    @pytest.fixture(autouse=True)
    def library(self):
        pytest.importorskip("py3langid")

    @pytest.mark.parametrize(
        ("language", "text", "low", "high"),
        [
            pytest.param("en", ENGLISH, 1, 1, id="English is English"),
            pytest.param("de", ENGLISH, 0, 0, id="English is not German"),
            pytest.param("en", GERMAN, 0, 0, id="German is not English, though in the same script"),
            pytest.param("de", GERMAN, 1, 1, id="German is German"),
            pytest.param("zh", CHINESE, 1, 1, id="Chinese is Chinese"),
            pytest.param("en", CHINESE, 0, 0, id="Chinese is not English"),
            pytest.param("ja", CHINESE * 3, 0, 0, id="Chinese is not Japanese, though in a shared script"),
            pytest.param("ru", RUSSIAN, 1, 1, id="Russian is Russian"),
            pytest.param("en", RUSSIAN, 0, 0, id="Russian is not English, however short"),
            pytest.param("en", ENGLISH + CHINESE, 0.5, 0.75, id="English and Chinese mixed, by words"),
            pytest.param("zh", ENGLISH + CHINESE, 0.25, 0.5, id="the same, for Chinese"),
            pytest.param("en", ENGLISH + GERMAN, 0.4, 0.8, id="English and German mixed, by sentences"),
            pytest.param("en", "so 3 * 5 = 15 , no . try 3 + 5", 1, 1, id="terse arithmetic with English words"),
            pytest.param("en", "ok", 1, 1, id="too few words to be told apart"),
            pytest.param("en", "3*5+7=22", 0, 0, id="no words at all"),
            pytest.param("en", "", 0, 0, id="nothing"),
        ],
    )
    def test_the_share(self, language, text, low, high):
        value = rewards.get("language", language=language)([f"<think>{text}</think><answer>{GERMAN}</answer>"])[0]
        assert low <= value <= high

    def test_it_is_a_share_of_words(self):
        text = "Let me think about this " + "\u516b" * 5  # five words, five characters
        assert rewards.get("language")([text]) == [0.5]

    def test_the_prefill_does_not_change_the_thoughts(self):
        rest = f"{ENGLISH}</think><answer>12</answer>"
        assert rewards.get("language")([rest], prefill=["<think>"]) == rewards.get("language")([rest]) == [1.0]

    def test_an_unknown_language_names_the_known(self):
        with pytest.raises(ValueError, match=r"language='xx': allowed: .*, de, .*, en, .*try 'en'"):
            rewards.get("language", language="xx")(["a"])

    @given(st.text(max_size=80))
    def test_any_text_gives_a_share(self, text):
        assert 0 <= rewards.get("language")([text])[0] <= 1

    def test_megabytes_are_bounded(self):
        started = time.monotonic()
        for text in (
            ENGLISH * 10_000,
            CHINESE * 50_000,
            "a" * 1_000_000,
            "a'" * 500_000,
            "$" * 1_000_000,
            "\\" * 10**6,
        ):
            rewards.get("language")([text])
        assert time.monotonic() - started < 10.0


@pytest.mark.parametrize("language", ["", "english", "EN", 3, None])
def test_the_code_is_checked_at_once(language):
    with pytest.raises(ValueError, match=r"language=.*: (need an ISO 639-1 code|expected a text)"):
        rewards.get("language", language=language)


def test_without_the_library_the_error_names_the_extra(monkeypatch):
    from rewards import language

    language._identifier.cache_clear()
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    with pytest.raises(ImportError, match=r"pip install 'r1rl\[language\]'"):
        rewards.get("language")(["a"])
