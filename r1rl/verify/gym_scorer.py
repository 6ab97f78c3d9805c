"""reasoning-gym as the grader pool's judge: `score` runs in a worker. Nothing that a model writes is evaluated.

reasoning-gym 0.1.25 gives the answer to `eval` in four scorers (binary_matrix, n_queens, spiral_matrix,
string_insertion) and to sympy's `parse_expr`, which evaluates Python, in five (countdown, puzzle24,
polynomial_multiplication and both integrations). `warm_up` puts `ast.literal_eval` and `read_expression` in their
places.
"""

import ast
import functools
import importlib
import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from r1rl.verify.verdict import Verdict, clip, quote

MAX_EXPRESSION_CHARS = 1_000
MAX_DIGITS = 50
MAX_EXPONENT = 999
"""Limits on an expression for sympy: characters, digits of an integer, a constant exponent."""
NONSENSE = "?!"
"""No data set's answer: a scorer that pays for it is not to be trusted."""

# Modules that evaluate what they generated themselves and that scoring never hands an answer.
_EVALUATE_THEIR_OWN = ("bitwise_arithmetic", "basic_arithmetic", "generators_00_49", "generators_50_99")
_FUNCTION_NAMES = "sin cos tan cot sec csc asin acos atan sinh cosh tanh exp log ln sqrt Abs"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_CONSTANTS = frozenset({"pi", "E", "I"})


def warm_up() -> None:
    """Import reasoning-gym with its scorers disarmed, before any item's clock starts."""
    import sympy
    import sympy.parsing.sympy_parser as parser

    # sympify imports parse_expr from its module at each call, so this disarms it too
    sympy.parse_expr = parser.parse_expr = read_expression
    importlib.import_module("reasoning_gym")
    disarm()


def disarm() -> None:
    """Shadow `eval` and `exec` in every loaded module of reasoning-gym that may give them an answer."""
    for name, module in list(sys.modules.items()):
        if module is None or not (name == "reasoning_gym" or name.startswith("reasoning_gym.")):
            continue
        if not name.endswith(_EVALUATE_THEIR_OWN):
            vars(module)["eval"] = ast.literal_eval
        vars(module)["exec"] = _refuse


def _refuse(*_: Any, **__: Any) -> None:
    raise ValueError("nothing is executed here")


def read_expression(text: str, local_dict: dict[str, Any] | None = None, *_: Any, **__: Any) -> Any:
    """A sympy expression from `+ - * / **`, numbers, names and a few functions, in place of `parse_expr`.

    Raises `ValueError` or `SyntaxError` for anything else. Python's parser reads the text and nothing evaluates it.
    """
    import sympy

    if not isinstance(text, str) or len(text) > MAX_EXPRESSION_CHARS:
        raise ValueError("not an expression")
    names = local_dict or {}
    operators: dict[type, Callable[[Any, Any], Any]] = {
        ast.Add: lambda a, b: a + b,
        ast.Sub: lambda a, b: a - b,
        ast.Mult: lambda a, b: a * b,
        ast.Div: lambda a, b: a / b,
        ast.Pow: _power,
    }

    def build(node: ast.AST) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in operators:
                return operators[type(op)](build(left), build(right))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -build(operand)
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return build(operand)
            case ast.Constant(value=value) if type(value) is int and value < 10**MAX_DIGITS:
                return sympy.Integer(value)
            case ast.Constant(value=value) if type(value) is float and math.isfinite(value):
                return sympy.Float(repr(value))
            case ast.Name(id=name) if name in names and isinstance(names[name], sympy.Basic):
                return names[name]
            case ast.Name(id=name) if name in _CONSTANTS:
                return getattr(sympy, name)
            case ast.Name(id=name) if len(name) <= 20 and name.isascii() and name.isalnum():
                return sympy.Symbol(name)
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
                return getattr(sympy, name)(build(argument))
        raise ValueError("not an expression")

    return build(ast.parse(text.strip(), mode="eval").body)


def _power(base: Any, exponent: Any) -> Any:
    if exponent.is_number and not abs(exponent) <= MAX_EXPONENT:
        raise ValueError(f"exponent above {MAX_EXPONENT}")
    return base**exponent


@functools.cache
def _scorer(dataset: str) -> Callable[[str, dict[str, Any]], float] | None:
    """The data set's scorer, None if there is no such data set."""
    gym: Any = importlib.import_module("reasoning_gym")
    try:
        found: Callable[[str, dict[str, Any]], float] = gym.get_score_answer_fn(dataset)
    except ValueError:
        return None
    disarm()  # it may have imported more
    return found


def _mark(dataset: str, answer: str, row: str, *, tuples: bool) -> float:
    """The scorer's mark on a fresh copy of the entry: scorers may change theirs."""
    scorer, entry = _scorer(dataset), json.loads(row)["entry"]
    assert scorer is not None
    if tuples:
        entry["metadata"] = _as_tuples(entry.get("metadata"))
    mark = float(scorer(answer, entry))
    return mark if math.isfinite(mark) else 0.0


def _as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tuples(inner) for key, inner in value.items()}
    return tuple(_as_tuples(inner) for inner in value) if isinstance(value, list) else value


class Row(NamedTuple):
    """A usable row; `tuples` and `literal` say how its scorer must be used."""

    text: str
    reference: str | None
    tuples: bool = False  # JSON's lists must be tuples again: arc_agi compares its metadata with them
    literal: bool = False  # the scorer pays nonsense (game_of_life_halting: as False), so compare with the reference


@functools.lru_cache(maxsize=256)
def _read_row(gold: str, text: str) -> Row | str:
    """The row as it can be scored, or why its gold cannot be used."""
    content = json.loads(text)
    dataset, entry = content["dataset"], content["entry"]
    if _scorer(dataset) is None:
        return f"reasoning-gym has no data set {quote(dataset)}"
    entry.setdefault("answer", gold)
    text, reference, problem = json.dumps(content), entry["answer"], ""
    for tuples in (False, True):
        try:
            # without a reference (several answers are right) there is only nonsense to try
            mark = 1.0 if reference is None else _mark(dataset, reference, text, tuples=tuples)
        except Exception as error:
            problem = f"the scorer raised {type(error).__name__} on it"
            continue
        if mark >= 1:
            literal = _pays_nonsense(dataset, text, tuples=tuples)
            if literal and reference is None:
                return "gold: none is given, and the scorer pays nonsense"
            return Row(text, reference, tuples, literal)
        problem = problem or f"its own mark is {mark:g}"
    return f"gold: {problem}"


def _pays_nonsense(dataset: str, text: str, *, tuples: bool) -> bool:
    try:
        return _mark(dataset, NONSENSE, text, tuples=tuples) >= 1
    except Exception:
        return False


def score(answer: str, gold: str, row: str) -> Verdict:
    """Judge one answer; `row` is JSON {"dataset": name, "entry": {...}}."""
    read = _read_row(gold, row)
    if isinstance(read, str):
        return Verdict("bad_gold", None, clip(read))
    if not answer:
        return Verdict("unparseable", None, "no answer")
    try:
        if read.literal:
            mark = float(answer.strip() == str(read.reference).strip())
        else:
            mark = _mark(json.loads(row)["dataset"], answer, read.text, tuples=read.tuples)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a scorer that stumbles over hostile text must not stop a training
        return Verdict("unparseable", None, f"the scorer raised {type(error).__name__}")
    if mark >= 1:
        return Verdict("correct", f"{mark:g}", "")
    return Verdict("wrong", f"{mark:g}", f"the scorer's mark is {mark:g}, not 1")
