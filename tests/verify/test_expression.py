"""The expression parser against an independent oracle: Python's own parser on the ASCII rendering."""

import ast
from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from r1rl.verify.expression import (
    ExpressionError,
    Number,
    Operation,
    canonical,
    evaluate,
    numbers_used,
    parse,
    parse_equation,
    plain_value,
    postorder,
    tokenise,
)

trees = st.recursive(
    st.integers(0, 99).map(Number),
    lambda inner: st.builds(Operation, st.sampled_from("+-*/"), inner, inner),
    max_leaves=8,
)


def render(tree, signs, *, latex_fractions=False):
    """Fully bracketed text of a tree, with the given signs for its operators."""
    if isinstance(tree, Number):
        return str(tree.value)
    left, right = (render(side, signs, latex_fractions=latex_fractions) for side in (tree.left, tree.right))
    if tree.operator == "/" and latex_fractions:
        return rf"\frac{{{left}}}{{{right}}}"
    return f"({left} {signs[tree.operator]} {right})"


ASCII = {"+": "+", "-": "-", "*": "*", "/": "/"}
UNICODE = {"+": "+", "-": "\u2212", "*": "\u00d7", "/": "\u00f7"}
LATEX = {"+": "+", "-": "-", "*": r"\times ", "/": r"\div "}
STYLES = {
    "ascii": lambda tree: render(tree, ASCII),
    "unicode": lambda tree: render(tree, UNICODE),
    "latex": lambda tree: rf"\boxed{{{render(tree, LATEX)}}}",
    "latex fractions": lambda tree: f"${render(tree, {**LATEX, '*': chr(0xB7)}, latex_fractions=True)}$",
}


def oracle(text):
    """The value that Python gives to ASCII arithmetic, with fractions for integers."""

    def walk(node):
        match node:
            case ast.Expression(body=body):
                return walk(body)
            case ast.Constant(value=int(value)):
                return Fraction(value)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return walk(left) + walk(right)
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                return walk(left) - walk(right)
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return walk(left) * walk(right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return walk(left) / walk(right)
        raise SyntaxError(ast.dump(node))

    return walk(ast.parse(text.strip(), mode="eval"))


def value_or_none(function, argument):
    try:
        return function(argument)
    except ZeroDivisionError:
        return None


@pytest.mark.parametrize("style", STYLES)
@settings(max_examples=100)
@given(tree=trees)
def test_rendered_trees_are_read_back(style, tree):
    read = parse(STYLES[style](tree), max_chars=5000)
    assert read == tree
    assert value_or_none(evaluate, read) == value_or_none(oracle, render(tree, ASCII))


@settings(max_examples=300)
@given(st.lists(st.sampled_from(["1", "2", "30", "+", "-", "*", "/", "(", ")", " "]), max_size=14))
def test_precedence_and_association_agree_with_python(parts):
    text = " ".join(parts)  # blanks, so that Python's ** and // cannot arise from single signs
    try:
        tree = parse(text)
    except ExpressionError:
        with pytest.raises((SyntaxError, TypeError)):  # what we refuse, Python refuses, or it has a unary sign
            oracle(text)
    else:
        assert value_or_none(evaluate, tree) == value_or_none(oracle, text)


@given(trees)
def test_numbers_are_counted(tree):
    leaves = Counter(node.value for node in ast.walk(ast.parse(render(tree, ASCII))) if isinstance(node, ast.Constant))
    assert numbers_used(tree) == leaves


@given(trees)
def test_the_normal_form_keeps_value_and_numbers_and_is_its_own(tree):
    form = canonical(tree)
    again = parse(form, max_chars=5000)
    assert canonical(again) == form
    assert numbers_used(again) == numbers_used(tree)
    value = value_or_none(evaluate, tree)
    if value is not None:
        assert evaluate(again) == value


@given(trees, trees)
def test_the_normal_form_ignores_the_order_of_commuting_operands(left, right):
    for operator in "+*":
        assert canonical(Operation(operator, left, right)) == canonical(Operation(operator, right, left))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        pytest.param("(3*5)+7", "7+3*5", id="sum of a product"),
        pytest.param("7+5*3", "7+3*5", id="commuted"),
        pytest.param("(1+2)+(3+4)", "1+2+3+4", id="associated"),
        pytest.param("9-(4-2)", "2+9-4", id="difference of a difference"),
        pytest.param("9-4-2", "9-2-4", id="two subtractions"),
        pytest.param("8/(4/2)", "2*8/4", id="quotient of a quotient"),
        pytest.param("(7-2)*3", "3*(7-2)", id="product with a sum"),
        pytest.param("7-2*3", "7-2*3", id="not the same as (7-2)*3"),
        pytest.param("2+2", "2+2", id="not evaluated"),
    ],
)
def test_normal_forms(text, form):
    assert canonical(parse(text)) == form


def test_deep_nesting_needs_no_recursion():
    depth = 10_000
    text = "(" * depth + "3" + "+1)" * depth
    tree = parse(text, max_chars=len(text), max_tokens=len(text))
    assert evaluate(tree) == depth + 3
    assert numbers_used(tree) == {3: 1, 1: depth}
    assert sum(1 for _ in postorder(tree)) == 2 * depth + 1


def test_tokens_are_normalised():
    assert tokenise(r"12 \times 3 = 36") == ["12", "*", "3", "=", "36"]
    assert tokenise(r"\frac{1}{2}") == list("((1)/(2))")


def test_equations_give_the_claimed_value():
    assert parse_equation("1+2")[1] is None
    assert parse_equation("1+2=3")[1] == 3
    assert parse_equation("1-2 = -1")[1] == -1
    with pytest.raises(ExpressionError, match="unexpected '='"):
        parse("1+2=3")


@pytest.mark.parametrize(
    ("text", "value"),
    [("22", 22), ("-3", -3), ("\u22123", -3), ("7/2", Fraction(7, 2)), ("3.5", Fraction(7, 2)), (" 0 ", 0)],
)
def test_plain_values(text, value):
    assert plain_value(text) == value


@pytest.mark.parametrize("text", ["", "1/0", "1.", ".5", "1e3", "--1", "1 2", "\u0663", "1" * 13, "1/2/3"])
def test_what_is_no_plain_value(text):
    assert plain_value(text) is None
