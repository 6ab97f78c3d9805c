"""reasoning-gym as the grader pool's judge: `score` runs in a worker. Nothing that a model writes is evaluated.

reasoning-gym 0.1.25 gives the answer to `eval` in four scorers (binary_matrix, n_queens, spiral_matrix,
string_insertion) and to sympy's `parse_expr`, which evaluates Python, in five (countdown, puzzle24,
polynomial_multiplication and both integrations). `warm_up` puts `ast.literal_eval` and `read_expression` in their
places.

Some pay more than their rows' answers: `nan` for every complex number, "0" for every probability, any four numbers
that make 24, a name that cancels out (`x/x`) for a number that is missing. `_objection` looks again at what they pay.
"""

import ast
import cmath
import functools
import importlib
import json
import math
import operator
import re
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
TOLERANCE = 0.01
"""Largest relative error that is paid where the row's answer is a number, whatever the scorer's own tolerance."""

Scorer = Callable[[str, dict[str, Any]], float]

# Modules that evaluate what they generated themselves and that scoring never hands an answer.
_EVALUATE_THEIR_OWN = ("bitwise_arithmetic", "basic_arithmetic", "generators_00_49", "generators_50_99")
_FUNCTION_NAMES = "sin cos tan cot sec csc asin acos atan sinh cosh tanh exp log ln sqrt Abs"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_CONSTANTS = frozenset({"pi", "E", "I"})
_FROM_GIVEN_NUMBERS = frozenset({"countdown", "puzzle24"})
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Constant)


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


def _power(base: Any, exponent: Any) -> Any:
    if exponent.is_number and not abs(exponent) <= MAX_EXPONENT:
        raise ValueError(f"exponent above {MAX_EXPONENT}")
    return base**exponent


_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: _power,
}


def read_expression(text: str, local_dict: dict[str, Any] | None = None, *_: Any, **__: Any) -> Any:
    """A sympy expression from `+ - * / **`, numbers, names and a few functions, in place of `parse_expr`.

    Raises `ValueError` or `SyntaxError` for anything else. Python's parser reads the text and nothing evaluates it.
    """
    import sympy

    if not isinstance(text, str) or len(text) > MAX_EXPRESSION_CHARS:
        raise ValueError("not an expression")
    names = local_dict or {}

    def build(node: ast.AST) -> Any:
        match node:
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](build(left), build(right))
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


@functools.cache
def _scorer(dataset: str) -> Scorer | None:
    """The data set's scorer, None if there is no such data set."""
    gym: Any = importlib.import_module("reasoning_gym")
    try:
        found: Scorer = gym.get_score_answer_fn(dataset)
    except ValueError:
        return None
    disarm()  # it may have imported more
    return found


class Row(NamedTuple):
    """A usable row: its data set, how its answers are marked, and its entry as JSON."""

    dataset: str
    scorer: Scorer
    entry: str
    tuples: bool = False  # JSON's lists must be tuples again: arc_agi compares its metadata with them

    def mark(self, answer: str) -> tuple[float, str]:
        """The mark on a fresh copy of the entry (scorers may change theirs), and why it is not the full one."""
        entry = json.loads(self.entry)
        if self.tuples:
            entry["metadata"] = _as_tuples(entry.get("metadata"))
        mark = float(self.scorer(answer, entry))
        if not 1 <= mark < math.inf:
            mark = mark if math.isfinite(mark) else 0.0
            return mark, f"the scorer's mark is {mark:g}, not 1"
        objection = _objection(self.dataset, answer, json.loads(self.entry))
        return (0.0, objection) if objection else (mark, "")


def _objection(dataset: str, answer: str, entry: dict[str, Any]) -> str:
    """Why an answer that the scorer pays is not the row's, "" where nothing speaks against it."""
    if dataset in _FROM_GIVEN_NUMBERS:
        metadata = entry["metadata"]
        nodes = list(ast.walk(ast.parse(answer.strip(), mode="eval")))
        used = [node.value for node in nodes if isinstance(node, ast.Constant)]
        if not all(isinstance(node, _ARITHMETIC) and not isinstance(node, ast.Pow) for node in nodes):
            return "more than + - * / and numbers"
        if sorted(map(repr, used)) != sorted(map(repr, metadata["numbers"])):
            return "not the row's numbers"
        target = metadata.get("target", 24)
        return "" if read_expression(answer) == target else f"not exactly {target}"
    if not isinstance(entry["answer"], str):
        return ""
    if duration := re.fullmatch(r"(\d+) [a-z]+", entry["answer"]):  # such scorers read one number and stop
        one = set(map(int, re.findall(r"\d+", answer))) <= {int(duration[1])}
        return "" if one else "more than the row's number"
    if not re.fullmatch(r"\[.*\]|\S+|\S+ [+-] \S+i", entry["answer"].strip()):  # a grid: several may be right
        return ""
    gold, given = _numbers(entry["answer"]), _numbers(answer)
    if not gold or not given or not all(map(cmath.isfinite, gold)):
        return ""
    if not all(map(cmath.isfinite, given)):
        return "no finite number"
    near = all(abs(one - other) <= TOLERANCE * abs(other) for one, other in zip(given, gold, strict=False))
    return "" if near else "too far from the row's number"


def _numbers(text: str) -> list[complex] | None:
    """The one number that a text is, or the numbers of a list in their order of size; None for any other text."""
    try:
        if text.lstrip().startswith("["):
            return [complex(value) for value in sorted(map(float, json.loads(text.replace("'", '"'))))]
        # the scorers drop commas and blanks, and call the imaginary unit i
        plain = re.sub(r"[\s,()]", "", text).lower()
        numerator, _, denominator = re.sub("i(?!nf|nity|ty)", "j", plain).partition("/")
        return [complex(numerator) / complex(denominator or "1")]
    except (ValueError, TypeError, ArithmeticError, RecursionError):
        return None


def _as_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_tuples(inner) for key, inner in value.items()}
    return tuple(_as_tuples(inner) for inner in value) if isinstance(value, list) else value


def _same_text(answer: str, entry: dict[str, Any]) -> float:
    return float(answer.strip() == str(entry["answer"]).strip())


@functools.lru_cache(maxsize=256)
def _read_row(gold: str, text: str) -> Row | str:
    """The row as it can be scored, or why its gold cannot be used."""
    content = json.loads(text)
    scorer, entry = _scorer(content["dataset"]), content["entry"]
    if scorer is None:
        return f"reasoning-gym has no data set {quote(content['dataset'])}"
    entry.setdefault("answer", gold)
    reference, problem = entry["answer"], ""
    for tuples in (False, True):
        row = Row(content["dataset"], scorer, json.dumps(entry), tuples)
        try:
            # without a reference (several answers are right) there is only nonsense to try
            mark = 1.0 if reference is None else row.mark(reference)[0]
        except Exception as error:
            problem = f"the scorer raised {type(error).__name__} on it"
            continue
        if mark >= 1:
            if not _pays_nonsense(row):
                return row
            if reference is None:
                return "gold: none is given, and the scorer pays nonsense"
            return row._replace(scorer=_same_text)  # game_of_life_halting takes nonsense for False
        problem = problem or f"its own mark is {mark:g}"
    return f"gold: {problem}"


def _pays_nonsense(row: Row) -> bool:
    try:
        return row.mark(NONSENSE)[0] >= 1
    except Exception:
        return False


def prepare(_: str, gold: str, row: str) -> None:
    """Make the data set's scorer and read the row, before the clock of an item starts."""
    _read_row(gold, row)


def score(answer: str, gold: str, row: str) -> Verdict:
    """Judge one answer; `row` is JSON {"dataset": name, "entry": {...}}."""
    read = _read_row(gold, row)
    if isinstance(read, str):
        return Verdict("bad_gold", None, clip(read))
    if not answer:
        return Verdict("unparseable", None, "no answer")
    try:
        mark, problem = read.mark(answer)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:  # a scorer that stumbles over hostile text must not stop a training
        return Verdict("unparseable", None, f"the scorer raised {type(error).__name__}")
    return Verdict("wrong" if problem else "correct", f"{mark:g}", clip(problem))
