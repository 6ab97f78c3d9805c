r"""Whether two formulas are equal: exactly where they are rational numbers, else by their values to 80 digits.

Formulas with unknowns are compared at fixed pseudo-random points, positive, negative and whole ones. Two that differ as
functions agree at such a point by chance with a probability far below that of a broken machine (Schwartz and Zippel
for polynomials; the digits for the rest). A root or a logarithm of a negative number is looked at only where both
formulas are real, so `1/\sqrt n` is `\sqrt{1/n}` and `\sqrt{x^2}` is not `x`.

Every step is bounded: sizes of exact integers, magnitudes, the terms of a sum. Beyond a bound `UndefinedError` is
raised.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final

import mpmath
from mpmath import mp

from r1rl.verify.math.formula import Node, symbols

DIGITS: Final = 80
_SAME: Final = mpmath.mpf(10) ** -60
_REAL: Final = mpmath.mpf(10) ** -50
_MAX_BITS: Final = 60_000
_MAX_MAGNITUDE: Final = 1_000_000  # of a power's logarithm
_MAX_TERMS: Final = 300
_MAX_EVALUATIONS: Final = 1_500  # of the terms of sums, in one comparison
_BUDGET: Final = [_MAX_EVALUATIONS]
_MAX_FACTORIAL: Final = 5_000
_LEAST_POINTS: Final = 3
_MOST_MISSED: Final = 5
"""At fewer points two formulas are not compared; at more one must not lack the value that gold has."""
_FIXED: Final = (
    *("positive", "positive", "positive", "negative", "low", "odd", "even", "any", "any", "large", "large"),
    *("whole",) * 5,
)

Number = Any  # a Fraction where the value is exact, else mpmath's mpf or mpc
At = Mapping[str, Number]


class UndefinedError(ArithmeticError):
    """The formula has no value there, or one that is too large to compute."""


def _float(value: Number) -> Number:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def evaluate(node: Node, at: At) -> Number:
    """The value of a formula, its unknowns as given. Raises `UndefinedError`."""
    return _BY_KIND[node.kind](node, at)


def _sum(node: Node, at: At) -> Number:
    values = [evaluate(each, at) for each in node.args]
    if all(isinstance(value, Fraction) for value in values):
        return _bounded(sum(values, Fraction(0)))
    return mpmath.fsum(_float(value) for value in values)


def _product(node: Node, at: At) -> Number:
    left, right = (evaluate(each, at) for each in node.args)
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return _bounded(left * right)
    return _float(left) * _float(right)


def _quotient(node: Node, at: At) -> Number:
    top, bottom = (evaluate(each, at) for each in node.args)
    if not bottom:
        raise UndefinedError("division by zero")
    if isinstance(top, Fraction) and isinstance(bottom, Fraction):
        return _bounded(top / bottom)
    return _float(top) / _float(bottom)


def _bounded(value: Fraction) -> Number:
    if value.numerator.bit_length() > _MAX_BITS or value.denominator.bit_length() > _MAX_BITS:
        raise UndefinedError("a number that is too long")
    return value


def _power(node: Node, at: At) -> Number:
    return power(*(evaluate(each, at) for each in node.args))


def power(base: Number, exponent: Number) -> Number:
    if isinstance(exponent, Fraction) and exponent.denominator == 1:
        if not base and exponent <= 0:
            raise UndefinedError("a power of zero")
        times = exponent.numerator
        if isinstance(base, Fraction):
            if abs(base) in (0, 1):
                return base**times
            if max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(times) <= _MAX_BITS:
                return base**times
            if base.denominator == 1 or times < 0:
                raise UndefinedError("a power that is too long")
    base, exponent = _float(base), _float(exponent)
    if not base:
        if _is_real(exponent) and mpmath.re(exponent) > 0:
            return Fraction(0)
        raise UndefinedError("a power of zero")
    if abs(exponent) * (abs(mpmath.log(abs(base))) + 4) > _MAX_MAGNITUDE:
        raise UndefinedError("a power that is too large")
    return mpmath.power(base, exponent)


def _call(node: Node, at: At) -> Number:
    values = [evaluate(each, at) for each in node.args]
    return call(node.name, values)


def call(name: str, values: Sequence[Number]) -> Number:
    """A function's value; one without a meaning of its own has a pseudo-random one for each of its arguments."""
    if name in _EXACT and (found := _EXACT[name](*values)) is not None:
        return found
    values = [_float(value) for value in values]
    if any(abs(value) > mpmath.mpf(10) ** 40 for value in values):
        raise UndefinedError("too large")
    if name not in _FUNCTIONS:
        return _unknown(name, values)
    try:
        found = _FUNCTIONS[name](*values)
    except (ArithmeticError, ValueError, TypeError) as error:
        raise UndefinedError(str(error)) from error
    if not mpmath.isfinite(found) or abs(found) > mpmath.mpf(10) ** 40:
        raise UndefinedError("not finite")
    return found


def _unknown(name: str, values: Sequence[Number]) -> Number:
    shown = ",".join(mpmath.nstr(value, 40) for value in values)
    return _drawn(f"{name}({shown})", "any")


def _small(value: Number, limit: int) -> int | None:
    """The non-negative integer that a value is, None for another or a large one."""
    if not isinstance(value, Fraction):
        nearest = mpmath.nint(mpmath.re(value)) if abs(value) <= limit else None
        if nearest is None or abs(value - nearest) > _SAME:
            return None
        return int(nearest) if nearest >= 0 else None
    return int(value) if value.denominator == 1 and 0 <= value <= limit else None


def _factorial(value: Number) -> Number | None:
    whole = _small(value, _MAX_FACTORIAL)
    return None if whole is None else _whole_factorial(whole)


def _double_factorial(value: Number) -> Number:
    whole = _small(value, _MAX_FACTORIAL)
    if whole is None:
        raise UndefinedError("a double factorial of no small number")
    product = 1
    for factor in range(whole, 1, -2):
        product *= factor
    return Fraction(product)


def _binomial(top: Number, bottom: Number) -> Number | None:
    whole, chosen = _small(top, _MAX_FACTORIAL), _small(bottom, _MAX_FACTORIAL)
    if whole is None or chosen is None:
        return None
    return Fraction(math.comb(whole, chosen))


def _whole_numbers(*values: Number) -> list[int]:
    if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
        raise UndefinedError("no whole numbers")
    return [int(value) for value in values]


def _gcd(*values: Number) -> Number:
    return Fraction(math.gcd(*_whole_numbers(*values)))


def _lcm(*values: Number) -> Number:
    return Fraction(math.lcm(*_whole_numbers(*values)))


def _ordered(pick: Callable[..., Number]) -> Callable[..., Number]:
    def found(*values: Number) -> Number:
        if not all(_is_real(_float(value)) for value in values):
            raise UndefinedError("no order")
        return pick(values, key=lambda value: mpmath.re(_float(value)))

    return found


def _rounding(pick: Callable[[Number], Number]) -> Callable[[Number], Number]:
    def found(value: Number) -> Number:
        if isinstance(value, Fraction):
            return Fraction(pick(value))
        if not _is_real(value) or abs(value) > 10**15:
            raise UndefinedError("rounding")
        return Fraction(int(pick(mpmath.re(value))))

    return found


def _root(value: Number, degree: Number = Fraction(2)) -> Number:
    whole = _small(degree, 1_000)
    if whole and isinstance(value, Fraction) and value >= 0:
        exact = _exact_root(value, whole)
        if exact is not None:
            return exact
    value = _float(value)
    if whole and whole % 2 and _is_real(value) and mpmath.re(value) < 0:
        return -power(-mpmath.re(value), Fraction(1, whole))
    if not degree:
        raise UndefinedError("the root of degree 0")
    return power(value, 1 / degree if isinstance(degree, Fraction) else 1 / _float(degree))


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    if value.numerator.bit_length() + value.denominator.bit_length() > 2_000:
        return None
    parts = []
    for part in (value.numerator, value.denominator):
        found = int(mpmath.nint(mpmath.root(part, degree)))
        if found**degree != part:
            return None
        parts.append(found)
    return Fraction(*parts)


def _abs(value: Number) -> Number:
    return abs(value)


def _log(value: Number, base: Number | None = None) -> Number:
    return mpmath.log(value) / (mpmath.log(10) if base is None else mpmath.log(base))


def _exp(value: Number) -> Number:
    if abs(value) > _MAX_MAGNITUDE:
        raise UndefinedError("too large")
    return mpmath.exp(value)


_EXACT: Final[dict[str, Callable[..., Number | None]]] = {
    "factorial": _factorial, "doublefactorial": _double_factorial, "binom": _binomial, "gcd": _gcd, "lcm": _lcm,
    "max": _ordered(max), "min": _ordered(min), "abs": _abs, "root": _root,
    "floor": _rounding(lambda value: value.__floor__() if isinstance(value, Fraction) else mpmath.floor(value)),
    "ceil": _rounding(lambda value: value.__ceil__() if isinstance(value, Fraction) else mpmath.ceil(value)),
}  # fmt: skip
_FUNCTIONS: Final[dict[str, Callable[..., Number]]] = {
    **{name: getattr(mpmath, name) for name in ["sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh"]},
    **{f"arc{name}": getattr(mpmath, f"a{name}") for name in ["sin", "cos", "tan", "cot", "sec", "csc"]},
    "ln": mpmath.log, "log": _log, "exp": _exp, "sgn": mpmath.sign, "factorial": mpmath.factorial,
    "binom": mpmath.binomial,
}  # fmt: skip


def _series(node: Node, at: At) -> Number:
    index, first, last, body = node.args
    start, end = _small(evaluate(first, at), 10**9), _small(evaluate(last, at), 10**9)
    if start is None or end is None or end - start > _MAX_TERMS:
        raise UndefinedError("a sum without small bounds")
    total: Number = Fraction(0) if node.name == "sum" else Fraction(1)
    for value in range(start, end + 1):
        _BUDGET[0] -= 1
        if _BUDGET[0] < 0:
            raise UndefinedError("a sum of too many terms")
        each = evaluate(body, {**at, index.name: Fraction(value)})
        exact = isinstance(total, Fraction) and isinstance(each, Fraction)
        left, right = (total, each) if exact else (_float(total), _float(each))
        total = left + right if node.name == "sum" else left * right
        if isinstance(total, Fraction):
            total = _bounded(total)
    return total


def _symbol(node: Node, at: At) -> Number:
    if node.name in at:
        return at[node.name]
    if node.name == "pi":
        return +mp.pi
    if node.name == "e":
        return +mp.e
    if node.name == "i":
        return mpmath.mpc(0, 1)
    raise UndefinedError(f"no value for {node.name}")


def _degrees(node: Node, at: At) -> Number:
    return _float(evaluate(node.args[0], at)) * mp.pi / 180


_BY_KIND: Final[dict[str, Callable[[Node, At], Number]]] = {
    "number": lambda node, at: node.value, "symbol": _symbol, "sum": _sum, "product": _product, "quotient": _quotient,
    "power": _power, "call": _call, "series": _series, "degrees": _degrees,
}  # fmt: skip


def _is_real(value: Number) -> bool:
    return isinstance(value, Fraction) or abs(mpmath.im(value)) <= _REAL * (1 + abs(value))


@lru_cache(maxsize=4_096)
def _whole_factorial(value: int) -> Fraction:
    return Fraction(math.factorial(value))


@lru_cache(maxsize=65_536)
def _drawn(name: str, kind: str) -> Number:
    """A value that depends on the name alone, of one of several kinds."""
    seed = int.from_bytes(hashlib.sha256(f"{kind} {name}".encode()).digest()[:16], "big")
    share = Fraction(seed % 1_000_003, 1_000_003)
    if kind == "whole":
        return Fraction(1 + seed % 19)
    if kind == "large":
        return 5 + 55 * share
    value = Fraction(1, 5) + 3 * share
    if kind == "low":
        return -4 - 5 * value
    return -value if kind == "negative" or (kind == "any" and seed >> 64 & 1) else value


def points(names: frozenset[str]) -> list[dict[str, Number]]:
    """The points at which formulas in these unknowns are compared."""
    found = []
    for index, kind in enumerate(_FIXED):
        at = {name: _drawn(f"{name} {index}", kind) for name in names}
        if kind in ("odd", "even"):  # the odd or the even names are negative
            at = {name: at[name] * (-1 if place % 2 == (kind == "odd") else 1) for place, name in enumerate(sorted(at))}
        found.append(at)
    return found


def value_of(tree: Node) -> Number:
    """The value of a formula without unknowns. Raises `UndefinedError`."""
    with mp.workdps(DIGITS + _extra_digits(tree)):
        return evaluate(tree, {})


def _extra_digits(*trees: Node) -> int:
    """More digits where a formula holds large exponents or factorials: 2^2005 + 1 is not 2^2005."""
    digits, waiting = 0, list(trees)
    while waiting:
        node = waiting.pop()
        waiting += node.args
        if node.kind == "number":
            digits = max(digits, node.value.numerator.bit_length() // 3)
        elif node.name == "factorial":
            digits = max([digits, *(4 * int(min(each.value, Fraction(750))) for each in _numbers(node))])
        elif node.kind == "power":
            digits = max([digits, *(int(min(each.value, Fraction(3_000))) for each in _numbers(node.args[1]))])
    limit = 400 if any(symbols(tree) for tree in trees) else 3_000  # each point costs as much
    return min(digits, limit) if digits > 40 else 0


def _numbers(tree: Node) -> list[Node]:
    """The numbers in a formula."""
    return [tree] if tree.kind == "number" else [number for each in tree.args for number in _numbers(each)]


def _close(left: Number, right: Number) -> bool:
    if isinstance(left, Fraction) and isinstance(right, Fraction):
        return left == right
    left, right = _float(left), _float(right)
    scale = max(abs(left), abs(right))
    return bool(abs(left - right) <= scale * mpmath.mpf(10) ** (20 - mp.dps))


def _pairs(left: Node, right: Node) -> Iterator[tuple[Number | None, Number]]:
    """The values of both wherever the right one has one; None where the left one has none."""
    _BUDGET[0] = _MAX_EVALUATIONS
    names = symbols(left) | symbols(right)
    for at in points(names) if names else [{}]:
        wanted, given = (_value_at(tree, at) for tree in (right, left))
        if wanted is None:
            continue
        if given is None:
            whole = all(value.denominator == 1 for value in at.values())
            if not whole or not names:
                yield None, wanted
            continue
        real = _is_real(wanted)
        if real == _is_real(given) and (real or all(value > 0 for value in at.values())):
            yield given, wanted


def _value_at(tree: Node, at: At) -> Number | None:
    try:
        return evaluate(tree, at)
    except UndefinedError:
        return None


def same(left: Node, right: Node) -> bool:
    """Whether two formulas have the same value, for all values of their unknowns."""
    if left == right:
        return True
    names = symbols(left) | symbols(right)
    if "infty" in names:
        return _infinite(left) is not None and _infinite(left) == _infinite(right)
    compared = missed = 0
    with mp.workdps(DIGITS + _extra_digits(left, right)):
        for given, wanted in _pairs(left, right):
            if given is None:
                missed += 1
            elif not _close(given, wanted):
                return False
            else:
                compared += 1
    return compared >= (_LEAST_POINTS if names else 1) and missed <= _MOST_MISSED


def _infinite(node: Node) -> int | None:
    """1 for infinity, -1 for its negative, None for all else."""
    if node.kind == "product" and node.args[0].kind == "number" and abs(node.args[0].value) == 1:
        inner = _infinite(node.args[1])
        return None if inner is None else int(node.args[0].value) * inner
    return 1 if node.kind == "symbol" and node.name == "infty" else None


def proportional(left: Node, right: Node) -> Number | None:
    """The constant that `left` is `right` times, None where there is none or either is zero."""
    names = symbols(left) | symbols(right)
    first, compared, missed = None, 0, 0
    with mp.workdps(DIGITS + _extra_digits(left, right)):
        for given, wanted in _pairs(left, right):
            if given is None:
                missed += 1
                continue
            if bool(given) != bool(wanted):
                return None
            if not given:
                continue
            ratio = _float(given) / _float(wanted)
            first = ratio if first is None else first
            if not _close(ratio, first):
                return None
            compared += 1
    return first if compared >= (_LEAST_POINTS if names else 1) and missed <= _MOST_MISSED else None


def rounds_to(exact: Node, decimal: Node, places: int) -> bool:
    """Whether a value that has no end at so many decimal places is rounded or cut to a decimal of them."""
    with mp.workdps(DIGITS):
        try:
            value, shown = evaluate(exact, {}), evaluate(decimal, {})
        except UndefinedError:
            return False
        scale = 10**places
        if isinstance(value, Fraction) and (value * scale).denominator == 1:
            return bool(value == shown)
        value, shown = _float(value), _float(shown)
        if not _is_real(value) or value * shown <= 0:
            return False
        off = abs(value - shown) * scale
        return bool(off <= 0.5 or (abs(shown) < abs(value) and off < 1))


def is_positive(value: Number) -> bool:
    """Whether a factor is real and above 0."""
    return _is_real(value) and mpmath.re(_float(value)) > 0


def whole_values(tree: Node, name: str, at: Sequence[int]) -> list[int] | None:
    """The values of a formula in one unknown at whole numbers, None where one is no whole number."""
    found = []
    try:
        for place in at:
            value = evaluate(tree, {name: Fraction(place)})
            if not isinstance(value, Fraction) or value.denominator != 1:
                return None
            found.append(int(value))
    except UndefinedError:
        return None
    return found


def is_zero(tree: Node) -> bool:
    """Whether a formula without unknowns is 0."""
    try:
        return not value_of(tree)
    except UndefinedError:
        return False


def is_above(left: Node, right: Node) -> bool:
    """Whether a number is above or at another one; infinities count, what has no value does not."""
    ends = [_infinite(node) for node in (left, right)]
    if ends[0] is not None or ends[1] is not None:
        return (ends[0] or 0) > 0 or (ends[1] or 0) < 0
    try:
        values = [_float(value_of(node)) for node in (left, right)]
    except UndefinedError:
        return False
    return all(map(_is_real, values)) and bool(mpmath.re(values[0]) >= mpmath.re(values[1]))
