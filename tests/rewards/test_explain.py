"""What `r1rl rewards try` says: the reward that training would pay, and why."""

import pytest

import rewards
from r1rl import cli
from rewards.explain import explain


async def slow(completions, **columns):
    return [float(len(text)) for text in completions]


@pytest.mark.parametrize(
    ("name", "completion", "arguments", "value", "facts"),
    [
        (
            "accuracy",
            "<answer>\\frac{1}{2}</answer>",
            {"gold": "0.5"},
            1.0,
            {"extracted": "\\frac{1}{2}", "verdict": "correct", "read as": "1/2"},
        ),
        (
            "accuracy",
            "<answer>3 + 5</answer>",
            {"gold": "22", "verifier": "countdown", "meta": {"numbers": [3, 5, 7]}},
            0.0,
            {"extracted": "3 + 5", "verdict": "wrong", "reason": "leaves out 7"},
        ),
        ("accuracy", "12", {"gold": "12"}, 0.0, {"extracted": "no <answer>", "verdict": "unparseable"}),
        ("accuracy", "it is 12", {"gold": "12", "options": {"extraction": "last-number"}}, 1.0, {"extracted": "12"}),
        ("accuracy", "<answer>1</answer>", {"gold": "1 2 x"}, None, {"verdict": "bad_gold"}),
        ("format", "<think>a</think><answer>b</answer> c", {}, 0.0, {"reason": "text after </answer>"}),
        ("format", "a</think><answer>b</answer>", {"prefill": "<think>"}, 1.0, {"reason": "keeps the format"}),
        ("soft-overlong", "a", {"tokens": 90, "options": {"max_tokens": 100, "cache_tokens": 20}}, -0.5, {}),
        (f"{__name__}:slow", "four", {}, 4.0, {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_explanations(name, completion, arguments, value, facts):
    found = explain(name, completion, **arguments)
    assert found.value == value
    told = dict(found.facts)
    for what, text in facts.items():
        assert told[what] == text


def test_hostile_text_is_shown_in_printable_ascii():
    found = explain("accuracy", "<answer>\x1b[31m\ud800\u202e12</answer>", gold="12")
    assert found.value == 0.0
    assert all(text.isascii() and text.isprintable() for _, text in found.facts)


def test_the_command_lists_every_reward(capsys):
    assert cli.main(["rewards"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == rewards.names()
    assert all(len(line.split()) > 3 for line in lines)


def test_the_command_reads_the_completion_from_standard_input(capsys, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("<answer>12</answer>"))
    assert cli.main(["rewards", "try", "accuracy", "--completion", "-", "--gold", "12"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split() == ["reward", "1"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["try"], "needs a reward's NAME and --completion"),
        (["try", "acuracy", "--completion", "x"], "did you mean 'accuracy'?"),
        (["try", "accuracy", "--completion", "x", "--verifier", "maths"], "verifier='maths': unknown"),
        (["try", "accuracy", "--completion", "x", "--meta", "[1]"], "need a JSON object"),
        (["try", "accuracy", "--completion", "x", "--options", "{"], "is not JSON"),
        (["try", "accuracy", "--completion", "x", "--options", '{"extraction": "box"}'], "extraction='box': unknown"),
    ],
)
def test_mistakes_end_in_one_line_and_code_two(words, message, capsys):
    try:
        code = cli.main(["rewards", *words])
    except SystemExit as stop:  # argparse's own
        code = stop.code
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1
