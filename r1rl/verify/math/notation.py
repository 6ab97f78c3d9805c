r"""Typography to one spelling: what people and models write around and inside a value, as plain LaTeX.

`normalise` takes away what carries no meaning (Markdown, colours, sizes, dollars around a formula, a full stop) and
spells the rest in one way: `½` is `\frac{1}{2}`, `10³` is `10^{3}`, `1\,000\,000` and `1,000,000` are `1000000`,
`0.\overline{3}` is `\frac{3}{9}`, `2**n` is `2^n`. It never changes the value. Linear in the text but for a fixed
number of passes.
"""

import re
from fractions import Fraction
from typing import Final

from r1rl.verify.extraction import MATH_WRAPPERS, unwrap

DOLLAR: Final = "\u00a4"
"""Stands for the currency, so that "$" is left for formulas."""
OR: Final = "\u2228"
"""Stands for `or` and `and` between values."""


def words(text: str) -> list[str]:
    """The words of a table."""
    return text.split()


AND: Final = "\u2227"
"""Stands for `and`."""

_SUPERSCRIPTS: Final = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS: Final = str.maketrans("₀₁₂₃₄₅₆₇₈₉ₙ", "0123456789n")
_VULGAR: Final = {"½": (1, 2), "⅓": (1, 3), "⅔": (2, 3), "¼": (1, 4), "¾": (3, 4), "⅕": (1, 5), "⅖": (2, 5),
                  "⅗": (3, 5), "⅘": (4, 5), "⅙": (1, 6), "⅚": (5, 6), "⅛": (1, 8), "⅜": (3, 8), "⅝": (5, 8),
                  "⅞": (7, 8)}  # fmt: skip
_SIGNS: Final = str.maketrans(
    {
        "\u2012": "-", "\uff0d": "-", "\ufe63": "-", "\uff1d": "=", "、": ",", "≧": r"\ge ", "≦": r"\le ",
        "ϕ": r"\phi ", "⌊": r"\lfloor ", "⌋": r"\rfloor ",
        "\u2212": "-", "\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "×": r"\times ", "⋅": r"\cdot ",
        "·": r"\cdot ", "∗": "*", "∙": r"\cdot ", "•": r"\cdot ", "÷": "/", "⁄": "/", "∕": "/", "≤": r"\le ",
        "≥": r"\ge ", "⩽": r"\le ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "≡": r"\equiv ", "±": r"\pm ",
        "∓": r"\mp ", "∞": r"\infty ", "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ",
        "ℝ": r"\mathbb{R}", "ℤ": r"\mathbb{Z}", "√": r"\sqrt ", "∛": r"\sqrt[3]", "°": r"^\circ ",
        "º": r"^\circ ", "˚": r"^\circ ", "∶": ":", "∴": " ", "′": "'", "’": "'", "‘": "'",
        "“": '"', "”": '"', "€": r"\euro ", "£": r"\pounds ", "₹": r"\rupee ", "∠": r"\angle ",
        "\u00a0": " ", "\u2009": " ", "\u202f": " ", "⟨": r"\langle ", "⟩": r"\rangle ", "‖": r"\|",
        "≅": r"\approx ", "∣": "|", "；": ";", "，": ",", "：": ":", "（": "(", "）": ")", "。": ".",
        DOLLAR: " ", OR: " ", AND: " ",
    }
    | dict(zip("αβγδεζηθικλμνξπρστυφχψω", (f"\\{name} " for name in
        words(
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon "
    "phi chi psi omega"
)), strict=True))
    | dict(zip("ΓΔΘΛΞΠΣΦΨΩ", (f"\\{name} " for name in
        words(
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)), strict=True))
)  # fmt: skip

_SAME_COMMAND: Final = {
    "nicefrac": "frac", "sfrac": "frac",
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge",
    "neq": "ne", "lt": "<", "gt": ">", "surd": "sqrt", "lbrace": "{", "rbrace": "}", "lvert": "|", "rvert": "|",
    "vert": "|", "mid": "|", "lVert": "|", "rVert": "|", "varnothing": "emptyset", "degree": "^\\circ", "colon": ":",
    "imath": "i", "thickapprox": "approx", "dbinom": "binom", "tbinom": "binom", "mathrm{i}": "i", "Bbb": "mathbb",
    "mathbf{R}": "mathbb{R}", "bullet": "cdot", "ast": "cdot", "star": "cdot", "dots": "ldots", "cdots": "ldots",
    "dotsc": "ldots", "hdots": "ldots", "dotsb": "ldots", "div": "/", "lbrack": "[", "rbrack": "]", "lparen": "(",
    "rparen": ")", "cr": "\\\\", "textdollar": DOLLAR, "sim": "approx", "simeq": "approx",
    "bigcup": "cup", "bigcap": "cap", "exponentialE": "e", "bmod": "mod", "pmod": "mod", "textasciitilde": " ",
}  # fmt: skip
_LAYOUT: Final = frozenset(
    words(
        "left right big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle "
        "scriptstyle large Large LARGE huge Huge small normalsize tiny bf rm it sf tt cal limits nolimits "
        "mathstrut strut therefore because thinspace medspace thickspace enspace hfill notag nonumber newline boldmath"
    )
)
_BOLD: Final = words(
    "boldsymbol mathbf bm textbf textit emph underline uline boxed fbox bold mathit mathsf textsf mathnormal "
    "ensuremath textsl textup pmb"
)
_COMMAND: Final = re.compile(r"\\([A-Za-z]+)\*?")
_LONE_BOX: Final = re.compile(r"\\(?:boxed|fbox)\s*([0-9A-Za-z])")
_COLOUR: Final = re.compile(r"\\(?:text)?colou?r\s*(?:\[[^\]]*\])?\{[^{}]*\}")
_ALIGNED: Final = re.compile(
    r"\\begin\{(align\*?|aligned|gathered|split|equation\*?|gather\*?)\}(.*?)\\end\{\1\}", re.DOTALL
)
_BRACED: Final = re.compile(rf"\\(?:{'|'.join(sorted(_BOLD))})\s*\{{")
_SPACING: Final = re.compile(r"(?<!\\)\\(?:[,;:!> ]|(?:hspace|vspace|hskip|phantom|label|tag)\s*\{[^{}]*\})|~")
_AND_OR: Final = re.compile(
    r"\\(?:text|mbox|textrm|mathrm)\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|(?<=[\s,;])(?:and|or)(?=\s)"
)
_SCALES: Final = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALE: Final = re.compile(rf"(?<=[0-9])\s*(\\text\s*\{{)?\s*({'|'.join(_SCALES)})\b")
_GROUPS: Final = re.compile(r"(?<![0-9.,_^{])(?<![0-9][ ,])([1-9][0-9]{0,2})((?:,[0-9]{3})+)(?![0-9]|,[0-9])")
_SPACED_GROUPS: Final = re.compile(
    r"([-+\s\u00a4]*)([1-9][0-9]{0,2}(?:[ _][0-9]{3})+)((?:\.[0-9]+)?(?:[^0-9].*)?)", re.DOTALL
)
_PERIOD: Final = re.compile(
    r"(?<![0-9.])([0-9]*)\.([0-9]{0,20})(?:\\(?:overline|bar|dot)\s*(?:\{([0-9]{1,20})\}|([0-9]))"
    r"|(?<=\.)\(([0-9]{1,20})\))"
    r"(?![0-9])"
)
_DOTTED: Final = re.compile(r"(?<![0-9.])([0-9]*)\.([0-9]{1,40})\s*(?:\.\.\.|\\ldots|\u2026)")
_NUMERATOR: Final = r"\\frac\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))\s*(?:\{\s*([0-9]+)\s*\}|([0-9]))"
_MIXED: Final = re.compile(rf"(?<![0-9A-Za-z.}}^_)\]])([0-9]+)\s*{_NUMERATOR}(?![0-9])")
_PLAIN_MIXED: Final = re.compile(r"(?<![0-9A-Za-z.}^_)\]/])([0-9]+)[ ]([0-9]+)\s*/\s*([0-9]+)(?![0-9.^])")
_TIMES_TEN: Final = re.compile(r"(?<=[0-9])\s*[xX]\s*(?=10\s*\^)")
_INTEGER_PARAMETER: Final = re.compile(
    r"(?:,\s*\(?|\(|(?<=\s)(?=\\text|where |for |with ))\s*(?:\\text\s*\{\s*)?(?:where |for |with )?"
    r"(?:some |any |all )?"
    r"(?P<integer>integers?\s*)?(?:\}\s*)?\$?(?P<letter>[a-zA-Z])\$?\s*"
    r"(?(integer)|(?:\\in\s*(?:\\math(?:bb|bf)\s*\{?\s*[ZN]\s*\}?|[ZN]\b)(?:\^\+|_\+)?"
    r"|(?:\\text\s*\{\s*)?\s*(?:is|are) an(?:y)? integers?\s*\}?))\s*\)?\s*$"
)
_CONDITION: Final = re.compile(r"^([^,(]*(?:\([^()]*\)[^,(]*)*?)\s*[,(]\s*\(?\s*[A-Za-z]\s*\\ne\s*-?[0-9]+\s*\)?$")


def normalise(text: str) -> str:
    """`text` in one spelling, see the module. Applying it twice changes nothing."""
    for step in (_typed_as_latex, _without_marks, _without_layout, _with_one_name, _without_remarks, _numbers_whole):
        text = step(text)
    return " ".join(text.split())


def _replaced(text: str, table: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, by in table:
        text = pattern.sub(by, text)
    return text


def _typed_as_latex(text: str) -> str:
    """Unicode signs, raised and lowered digits and fractions as the commands that set them."""
    text = re.sub(r"[ \t]{2,}", " ", text.translate(_SIGNS))
    text = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: "^{" + run[0].translate(_SUPERSCRIPTS) + "}", text)
    text = re.sub("[₀₁₂₃₄₅₆₇₈₉ₙ]+", lambda run: "_{" + run[0].translate(_SUBSCRIPTS) + "}", text)
    for char, (top, bottom) in _VULGAR.items():
        if char in text:
            text = re.sub(rf"(?<=[0-9])\s*{char}", rf" \\frac{{{top}}}{{{bottom}}}", text)
            text = text.replace(char, rf"\frac{{{top}}}{{{bottom}}}")
    return text


_ESCAPED: Final = (
    (re.compile(r"(?<!\\)\\[()\[\]]"), " "),  # of formulas inside a sentence
    (re.compile(r"^#{1,6}\s+|</?(?:b|strong|i|em)>"), ""),
    (re.compile(r"^\s*(?:=>|->|\u2192|\u21d2|\u27f9|\\(?:Rightarrow|rightarrow|implies|to)(?![A-Za-z]))"), ""),
    (re.compile(r"\{\s*\\rm\s+([^{}]*)\}|\\rm\s*\{([^{}]*)\}"), r"\\mathrm{\1\2}"),
    (re.compile(r"\{([,:])\}"), r"\1"),
    (re.compile(r"\\([%#_])"), r"\1"),
    (re.compile(r"(?:\\text\s*\{\s*)\\\$(?:\s*\})|\\\$"), DOLLAR),
    (re.compile(r",\s*\\!\s*(?=[0-9]{3}(?![0-9]))"), ","),
    (re.compile(r"\\q?quad(?![A-Za-z])"), " , "),
    (re.compile(r"\\+\s*$"), " "),
)
_COMMANDS_APART: Final = (
    (re.compile(r"\{\s*(\w+)\s*\\choose\s*(\w+)\s*\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"\+/-"), r"\\pm "),
    (re.compile(r"\\(?:text|mathrm)\s*\{\s*mod\s*\}"), r"\\mod "),
    (re.compile(r"\\not\s*="), r"\\ne "),
    (_LONE_BOX, r" \1"),
)


def _without_layout(text: str) -> str:
    """Without escapes, spaces, colours, alignment, bold type and sizes."""
    text = _dollars(_SPACING.sub(_space, _replaced(text, _ESCAPED)))
    text = _ALIGNED.sub(lambda found: found[2].replace("&", " "), _COLOUR.sub(" ", text))
    return unwrap(_unbraced(_replaced(text, _COMMANDS_APART)), (("{", "}"),), whole=is_whole)


def _with_one_name(text: str) -> str:
    """Commands of one meaning under one name, `**` as `^`."""
    return _COMMAND.sub(_command, text).replace("**", "^").replace("\\\\ ", "\\\\")


def _without_remarks(text: str) -> str:
    """Without the range of a parameter, and with signs for `and`, `or` and "million"."""
    text = without_parameter(text)
    if (condition := _CONDITION.match(text)) and "\\ne " not in condition[1] and condition[1].strip():
        text = condition[1]  # "1/(x+1), x != -1"
    text = _AND_OR.sub(lambda found: f" {OR if 'or' in found[0] else AND} ", text)
    text = _SCALE.sub(lambda found: rf" \times 10^{{{_SCALES[found[2]]}}} {found[1] or ''}", text)
    return re.sub(r"\\text\s*\{\s*\}", " ", text)


def _numbers_whole(text: str) -> str:
    """Grouped digits, mixed numbers and decimals that repeat as one number."""
    if spaced := _SPACED_GROUPS.fullmatch(text.strip()):
        text = spaced[1] + re.sub("[ _]", "", spaced[2]) + spaced[3]
    text = _DOTTED.sub(_repeating, _PERIOD.sub(_periodic, _outside_brackets(text)))
    text = _PLAIN_MIXED.sub(_plain_mixed, _MIXED.sub(_mixed, text))
    return _TIMES_TEN.sub(r"\\times ", text)


def without_parameter(text: str) -> str:
    r"""Without the remark that a letter is any integer: `k\pi, k\in\mathbb{Z}`."""
    return text if re.search(r"[<>]|\\[lg]e(?![a-z])", text) else _INTEGER_PARAMETER.sub("", text) or text


def integer_parameter(text: str) -> str:
    """The letter that a text says is any integer, "" if there is none."""
    found = _INTEGER_PARAMETER.search(" ".join(text.translate(_SIGNS).split()).rstrip(" .$"))
    return found["letter"] if found else ""


_MARKS: Final = (
    *MATH_WRAPPERS,
    ("**", "**"),
    ("__", "__"),
    ("'", "'"),
    ("```", "```"),
    ("`", "`"),
    ('"', '"'),
    ("*", "*"),
)


def _without_marks(text: str) -> str:
    """Without Markdown, quotes, formula signs and a full stop around the whole."""
    text = re.sub(r"[✓✔✅☑]\ufe0f?", " ", text)
    text = re.sub(r"(?<![^\s(])\*\*([^*\n]{1,80})\*\*(?![^\s).,:;])", r"\1", text)  # bold words, not 2**3
    return unwrap(text, _MARKS, _without_full_stop, is_whole)


def _without_full_stop(text: str) -> str:
    text = text.strip()
    if text.endswith((".", ";", ",")) and not text.endswith(("..", "\\,", "\\;")):
        text = text[:-1].strip() or text
    return text


def is_whole(opening: str, inside: str) -> bool:
    r"""Whether what opens before `inside` closes after it, unlike in `\boxed{1}+\boxed{2}` and `$1$ or $2$`."""
    if opening in ("\\boxed{", "{"):
        depth = 0
        for char in re.sub(r"\\[{}]", "  ", inside):
            depth += (char == "{") - (char == "}")
            if depth < 0:
                return False
        return depth == 0
    return opening not in inside and not (opening == "$" and inside.endswith("\\"))


def _space(found: re.Match[str]) -> str:
    return "" if found[0] == "\\!" else " "


def _dollars(text: str) -> str:
    """Dollars as a currency next to a number where one stands alone, else as the signs of formulas."""
    count = text.count("$")
    if count % 2 == 0:
        return text.replace("$", " ")
    if count == 1:
        text = re.sub(r"\$\s*(?=-?[0-9.])|(?<=[0-9])\s*\$", DOLLAR, text)
    return text.replace("$", " ")


def _unbraced(text: str) -> str:
    r"""Without `\mathbf{}`, `\underline{}` and their like; the content stays."""
    for _ in range(6):
        found = _BRACED.search(text)
        if not found:
            return text
        depth, at = 1, found.end()
        while at < len(text) and depth:
            if text[at] == "\\":
                at += 2
                continue
            depth += (text[at] == "{") - (text[at] == "}")
            at += 1
        if depth:
            return text
        inside = text[found.end() : at - 1]
        text = f"{text[: found.start()]} {inside} {text[at:]}"
    return text


def _command(found: re.Match[str]) -> str:
    name = found[1]
    if name in _LAYOUT:
        return " "
    same = _SAME_COMMAND.get(name)
    if same is None:
        return found[0]
    if name in ("lbrace", "rbrace"):
        return "\\" + same
    if same[0].isalpha() and len(same) > 1:
        return "\\" + same
    return same + " "


def _outside_brackets(text: str) -> str:
    """Digits grouped by commas, outside of brackets, as plain numbers: in "(1,200)" the comma parts two numbers."""

    def joined(found: re.Match[str]) -> str:
        before = text[: found.start()]
        if sum(map(before.count, ("(", "[", "\\{"))) > sum(map(before.count, (")", "]", "\\}"))):
            return found[0]
        return found[0].replace(",", "")

    return _GROUPS.sub(joined, text)


def _periodic(found: re.Match[str]) -> str:
    whole, fixed, *periods = found.groups(default="")
    return _fraction(whole, fixed, "".join(periods))


def _repeating(found: re.Match[str]) -> str:
    """ "0.333..." ends in a block that repeats; one digit at least three times, longer ones twice."""
    whole, digits = found.groups(default="")
    for size in range(1, len(digits) // 2 + 1):
        block = digits[-size:]
        times = 3 if size == 1 else 2
        if digits.endswith(block * times):
            return _fraction(whole, digits[:-size], block)
    return found[0]


def _fraction(whole: str, fixed: str, period: str) -> str:
    scale = 10 ** len(fixed)
    value = Fraction(int((whole or "0") + fixed or "0"), scale) + Fraction(int(period), scale * (10 ** len(period) - 1))
    return rf"\frac{{{value.numerator}}}{{{value.denominator}}}"


def _mixed(found: re.Match[str]) -> str:
    whole, a, b, c, d = found.groups(default="")
    top, bottom = a or b, c or d
    return rf"({whole}+\frac{{{top}}}{{{bottom}}})" if 0 < int(top) < int(bottom) else found[0]


def _plain_mixed(found: re.Match[str]) -> str:
    whole, top, bottom = found.groups()
    return rf"({whole}+\frac{{{top}}}{{{bottom}}})" if 0 < int(top) < int(bottom) else found[0]
