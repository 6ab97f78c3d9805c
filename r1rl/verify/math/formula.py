r"""A formula of school mathematics, in LaTeX or plain text, as a tree. Nothing is evaluated here.

`x^2-2y` becomes `sum(power(x, 2), product(-1, 2, y))`. Letters keep their case, letters side by side are a product
(`abc`, `mgh`), a subscript or a prime is part of the name (`x_1`, `f'`), and what is not understood is refused: the
tree never leaves a part of the text out.
"""

import re
from fractions import Fraction
from typing import Final, NamedTuple, NoReturn

from r1rl.verify.math import units
from r1rl.verify.math.notation import words

MAX_TOKENS: Final = 600
MAX_WORD: Final = 5
"""Longest run of letters that is read as a product."""


class UnreadableError(ValueError):
    """The text is not understood; the message says why, in a short phrase."""


class Node(NamedTuple):
    r"""`kind` is one of
    `number` (`value`), `symbol` (`name`), `sum`, `product`, `power`, `quotient`, `call` (`name`; `f`, `\sin`, `abs`),
    `degrees`, or `series` (`name` is `sum` or `prod`; the arguments are index, first, last and body).
    """

    kind: str
    args: "tuple[Node, ...]" = ()
    name: str = ""
    value: Fraction = Fraction(0)


def number(value: int | Fraction) -> Node:
    return Node("number", value=Fraction(value))


GREEK: Final = frozenset(
    words(
        "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho "
        "sigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi "
        "Omega ell hbar aleph odot oplus nabla Re Im"
    )
)
FUNCTIONS: Final = {
    **{name: name for name in words(
    "sin cos tan cot sec csc sinh cosh tanh ln exp abs floor ceil gcd lcm max min sgn"
)},
    **{f"arc{name}": f"arc{name}" for name in ["sin", "cos", "tan", "cot", "sec", "csc"]},
    **{f"a{name}": f"arc{name}" for name in ["sin", "cos", "tan"]},
    "log": "log", "lg": "log", "tg": "tan", "ctg": "cot", "cosec": "csc", "arctg": "arctan", "sign": "sgn",
    "sqrt": "sqrt", "binom": "binom",
}  # fmt: skip
_WORDS: Final = {"infinity": "infty", "inf": "infty", "oo": "infty", "infty": "infty", "pi": "pi"}
_NO_ATOM: Final = frozenset(words("cdot times rfloor rceil end ne in le ge mod cup cap setminus approx equiv"))
_NAMES: Final = "sin|cos|tan|ln|log|sqrt|pi|exp|[A-Za-z]"
_GLUED: Final = re.compile(
    r"(?!sin$|cos$|tan$|log$|pi$|exp$|ln$|sqrt$)(?:[A-Za-z]?(?:sin|cos|tan|ln|log|sqrt|pi))+[A-Za-z]?"
)
"""Functions and letters without a blank between: `xcos`, `sinxcosx`."""
_PROSE: Final = frozenset(
    words("not nor the but yes never wrong false none nan maybe half other bound less more twice")
)
"""Short words that are no product of letters."""
_SEVERAL: Final = frozenset({"gcd", "lcm", "max", "min", "binom"})
_APPLIED: Final = frozenset("fgF")
_DECORATED: Final = frozenset(
    words(
        "overline bar vec hat widehat tilde widetilde dot ddot mathbb mathcal mathfrak mathscr overrightarrow "
        "underbrace"
    )
)
_TOKEN: Final = re.compile(
    r"(?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4}(?![0-9.A-Za-z]))?)"
    r"|\\(?:text|textrm|mbox|mathrm|operatorname\*?|textnormal|hbox|mathop|texttt|mathtt)\s*\{(?P<word>[^{}]*)\}"
    r"|\\(?P<command>[A-Za-z]+)|(?P<escaped>\\.)|(?P<letters>[A-Za-z]+)|(?P<space>\s+)|(?P<sign>.)",
    re.DOTALL,
)
_CLOSING: Final = {"(": ")", "[": "]", "{": "}"}


class _Token(NamedTuple):
    kind: str
    text: str
    spaced: bool = False


_TWO_WORDS: Final = re.compile(r"(?<![\\A-Za-z])([A-Za-z]{2,})\s+([A-Za-z]{2,})(?![A-Za-z])")


def _tokens(text: str) -> list[_Token]:
    for one, other in _TWO_WORDS.findall(text):
        if not {one, other} & {*FUNCTIONS, *_WORDS, *GREEK}:
            raise UnreadableError(f"the words {f'{one} {other}'[:30]!r}")
    found: list[_Token] = []
    spaced = False
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup or ""
        if kind == "space":
            spaced = True
            continue
        found += [_Token(piece_kind, piece, spaced) for piece_kind, piece in _pieces(kind, match[kind])]
        spaced = False
        if len(found) > MAX_TOKENS:
            raise UnreadableError(f"more than {MAX_TOKENS} signs")
    return found


def _pieces(kind: str, text: str) -> list[tuple[str, str]]:
    if kind == "letters":
        if text in FUNCTIONS or text in _WORDS or text in GREEK:
            return [("command", text)]
        if _GLUED.fullmatch(text):
            return [piece for part in re.findall(_NAMES, text) for piece in _pieces(kind, part)]
        if len(text) > MAX_WORD or text.casefold() in _PROSE:
            raise UnreadableError(f"the word {text[:20]!r}")
        return [("letter", letter) for letter in text]
    if kind == "word":
        word = " ".join(text.replace("~", " ").split())
        if word in FUNCTIONS or word in _WORDS:
            return [("command", word)]
        if len(word) == 1 and word.isalpha():
            return [("letter", word)]
        return [("word", word)]
    return [(kind, text)]


def parse(text: str) -> Node:
    """The tree of `text`, which is normalised. Raises `UnreadableError`."""
    parser = _Parser(_tokens(text))
    tree = parser.sum()
    if parser.at < len(parser.tokens):
        parser.fail(f"unexpected {parser.tokens[parser.at].text!r}")
    return tree


class _Parser:
    """A recursive descent: sum, product, power, atom."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.bars = 0  # of |x| that are open

    def fail(self, why: str) -> NoReturn:
        raise UnreadableError(why)

    def peek(self) -> _Token:
        return self.tokens[self.at] if self.at < len(self.tokens) else _Token("end", "")

    def sees(self, *texts: str) -> bool:
        token = self.peek()
        return token.kind in ("sign", "escaped") and token.text in texts

    def commands(self, *names: str) -> bool:
        token = self.peek()
        return token.kind == "command" and token.text in names

    def take(self) -> _Token:
        token = self.peek()
        if token.kind == "end":
            self.fail("it ends too early")
        self.at += 1
        return token

    def expect(self, text: str) -> None:
        if not self.sees(text):
            self.fail(f"{text!r} is missing")
        self.at += 1

    def sum(self) -> Node:
        terms = [self.term()]
        while self.sees("+", "-"):
            terms.append(self.term())
        return terms[0] if len(terms) == 1 else Node("sum", tuple(terms))

    def term(self) -> Node:
        negative = False
        while self.sees("+", "-"):
            negative ^= self.take().text == "-"
        product = self.product()
        return Node("product", (number(-1), product)) if negative else product

    def product(self) -> Node:
        result = self.power()
        while True:
            if self.sees("*") or self.commands("cdot", "times"):
                self.take()
                result = Node("product", (result, self.signed()))
            elif self.sees("/"):
                self.take()
                result = Node("quotient", (result, self.signed()))
            elif self.begins_atom():
                before, token = self.tokens[self.at - 1], self.peek()
                if token.kind == "number" and before.kind in ("number", "word"):
                    self.fail("several numbers")
                result = Node("product", (result, self.power()))
            else:
                return result

    def signed(self) -> Node:
        negative = False
        while self.sees("+", "-"):
            negative ^= self.take().text == "-"
        factor = self.power()
        return Node("product", (number(-1), factor)) if negative else factor

    def begins_atom(self) -> bool:
        token = self.peek()
        if token.kind in ("number", "letter", "word"):
            return True
        if token.kind == "command":
            return token.text not in _NO_ATOM
        if token.text == "|":
            return not self.bars
        return token.kind == "sign" and token.text in "([{"

    def power(self) -> Node:
        base = self.postfix(self.atom())
        if not self.sees("^"):
            return base
        self.take()
        return self.postfix(Node("power", (base, self.exponent())))

    def exponent(self) -> Node:
        negative = False
        while self.sees("+", "-"):
            negative ^= self.take().text == "-"
        power = self.power()
        return Node("product", (number(-1), power)) if negative else power

    def postfix(self, node: Node) -> Node:
        while True:
            if self.sees("!"):
                self.take()
                double = self.sees("!") and not self.peek().spaced
                if double:
                    self.take()
                node = Node("call", (node,), "doublefactorial" if double else "factorial")
            elif self.sees("%"):
                self.take()
                if self.begins_atom() or self.sees("%"):
                    self.fail("a percent sign inside a formula")
                node = Node("quotient", (node, number(100)))
            elif self.sees("^") and (size := self.degree_sign()):
                self.at += size
                node = Node("degrees", (node,))
            else:
                return node

    def degree_sign(self) -> int:
        """How many tokens `^\\circ` has here, 0 if it is none."""
        ahead = [token.text for token in self.tokens[self.at + 1 : self.at + 4]]
        if ahead[:1] == ["circ"]:
            return 2
        return 4 if len(ahead) == 3 and (ahead[0], ahead[2]) == ("{", "}") and ahead[1] in ("circ", "o") else 0

    def atom(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return number(Fraction(token.text.rstrip(".") if token.text.endswith(".") else token.text))
        if token.kind == "letter":
            return self.letter(token.text)
        if token.kind == "word":
            return Node("symbol", name=self.named(units.symbol(token.text) or f"word {token.text}"))
        if token.kind == "command":
            return self.command(token.text)
        if token.text == "|" and token.kind == "sign":
            return self.barred("|", "abs")
        if token.text == "\\|":
            return self.barred("\\|", "norm")
        if token.kind == "sign" and token.text in _CLOSING:
            return self.group(_CLOSING[token.text])
        self.fail(f"unexpected {token.text!r}")

    def group(self, closing: str) -> Node:
        bars, self.bars = self.bars, 0
        inside = self.sum()
        self.bars = bars
        self.expect(closing)
        return inside

    def barred(self, closing: str, name: str) -> Node:
        bars, self.bars = self.bars, 1
        inside = self.sum()
        self.bars = bars
        self.expect(closing)
        return Node("call", (inside,), name)

    def letter(self, letter: str) -> Node:
        name = self.named(letter)
        if self.sees("("):
            if name == "C" and (found := self.arguments_at(2)):
                return Node("call", found, "binom")
            if name[0] in _APPLIED:
                self.take()
                return Node("call", self.arguments(), name)
        return Node("symbol", name=name)

    def named(self, name: str) -> str:
        """The name with its subscript and primes."""
        while True:
            if self.sees("_"):
                self.take()
                name += "_" + self.raw()
            elif self.sees("'"):
                self.take()
                name += "'"
            elif self.sees("^") and [t.text for t in self.tokens[self.at + 1 : self.at + 4]] in (["{", "prime", "}"],):
                self.at += 4
                name += "'"
            elif self.sees("^") and self.tokens[self.at + 1 : self.at + 2] and self.tokens[self.at + 1].text == "prime":
                self.at += 2
                name += "'"
            else:
                return name

    def raw(self) -> str:
        """The text of a subscript: one sign, or what stands in braces."""
        if not self.sees("{"):
            token = self.take()
            return token.text
        depth, texts = 0, list[str]()
        while True:
            token = self.take()
            depth += (token.text == "{") - (token.text == "}")
            if depth == 0:
                return "".join(texts)
            if token.text not in "{}":
                texts.append(token.text)

    def arguments(self) -> tuple[Node, ...]:
        """What stands between commas up to the closing bracket; the opening one is taken."""
        bars, self.bars = self.bars, 0
        found = [self.sum()]
        while self.sees(","):
            self.take()
            found.append(self.sum())
        self.bars = bars
        self.expect(")")
        return tuple(found)

    def arguments_at(self, count: int) -> tuple[Node, ...] | None:
        """`count` arguments in brackets, None (and nothing taken) where it is something else."""
        start = self.at
        try:
            self.take()
            found = self.arguments()
        except UnreadableError:
            found = ()
        if len(found) == count:
            return found
        self.at = start
        return None

    def braced(self, *, digit: bool = True) -> Node:
        """The argument of a command: a group, or the next sign, of a number its first digit (`\\frac12`)."""
        token = self.peek()
        if token.kind == "sign" and token.text == "{":
            self.take()
            return self.group("}")
        if token.kind == "number" and not token.text.isdigit():
            self.fail("a decimal without braces")
        if token.kind == "number" and digit and len(token.text) > 1:
            self.tokens[self.at : self.at + 1] = [_Token("digit", token.text[0]), _Token("number", token.text[1:])]
            self.take()
            return number(int(token.text[0]))
        return self.atom()

    def command(self, name: str) -> Node:
        name = _WORDS.get(name, name)
        if name == "frac":
            return Node("quotient", (self.braced(), self.braced()))
        if name == "binom":
            if self.sees("("):
                self.take()
                return self.call(name, self.arguments())
            return Node("call", (self.braced(), self.braced()), "binom")
        if name == "sqrt":
            return self.root()
        if name in FUNCTIONS:
            return self.function(FUNCTIONS[name])
        if name in ("lfloor", "lceil"):
            return self.rounded(name)
        if name in ("sum", "prod"):
            return self.series(name)
        if name in ("angle", "triangle", "square"):
            letters = ""
            while self.peek().kind == "letter":
                letters += self.take().text
            return Node("symbol", name=self.named(f"{name} {letters}"))
        if name in _DECORATED:
            raw = self.raw()
            if raw.isdigit():
                self.fail(f"\\{name} of a number")
            return Node("symbol", name=self.named(f"{name} {raw}"))
        if name in GREEK or name in ("pi", "infty"):
            return Node("symbol", name=self.named(name))
        self.fail(f"the command \\{name}")

    def root(self) -> Node:
        degree = number(2)
        if self.sees("["):
            self.take()
            degree = self.group("]")
        return Node("call", (self.braced(digit=False), degree), "root")

    def function(self, name: str) -> Node:
        base: Node | None = None
        power: Node | None = None
        while (base is None and self.sees("_")) or (power is None and self.sees("^")):
            if self.take().text == "_":
                base = self.braced(digit=False)
            else:
                power = self.exponent() if not self.sees("{") else self.braced()
        if power == Node("product", (number(-1), number(1))) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            name, power = f"arc{name}", None
        if self.sees("("):
            self.take()
            found = self.arguments()
        elif self.sees("{"):
            self.take()
            found = (self.group("}"),)
        elif name in ("abs", "exp", "gcd", "lcm", "max", "min"):
            found = (self.power(),)
        else:
            found = (self.loose_argument(),)
        result = self.call(name, found if base is None else (*found, base))
        return result if power is None else Node("power", (result, power))

    def call(self, name: str, found: tuple[Node, ...]) -> Node:
        limit = 2 if name in ("log", "binom") else 1
        if (name not in _SEVERAL and len(found) > limit) or (name == "binom" and len(found) != 2):
            self.fail(f"{name} of {len(found)} values")
        return Node("call", found, name)

    def loose_argument(self) -> Node:
        """What a function without brackets is of: `2x` in `\\sin 2x`, up to the next sign or function."""
        result = self.signed()
        while self.begins_atom() and not (self.peek().kind == "command" and self.peek().text in FUNCTIONS):
            if self.sees("(", "["):
                break
            result = Node("product", (result, self.power()))
        return result

    def rounded(self, name: str) -> Node:
        bars, self.bars = self.bars, 0
        inside = self.sum()
        self.bars = bars
        closing = "r" + name[1:]
        if not self.commands(closing):
            self.fail(f"\\{closing} is missing")
        self.take()
        return Node("call", (inside,), {"lfloor": "floor", "lceil": "ceil"}[name])

    def series(self, name: str) -> Node:
        self.expect("_")
        self.expect("{")
        index = self.take()
        if index.kind != "letter":
            self.fail("a sum without an index")
        self.expect("=")
        first = self.group("}")
        self.expect("^")
        last = self.braced(digit=False)
        body = self.product()
        return Node("series", (Node("symbol", name=index.text), first, last, body), name)


def symbols(tree: Node) -> frozenset[str]:
    r"""The names of a tree that stand for something unknown: not `\pi`, `e`, `i`."""
    found: set[str] = set()
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        unknown_function = node.kind == "call" and node.name not in KNOWN
        if unknown_function or (node.kind == "symbol" and node.name not in CONSTANTS):
            found.add(node.name + "()" * unknown_function)
        waiting += node.args
    return frozenset(found)


CONSTANTS: Final = frozenset({"pi", "e", "i"})
KNOWN: Final = frozenset({*FUNCTIONS.values(), "factorial", "doublefactorial", "root"})
"""The functions that have a meaning of their own; any other name is an unknown function."""
