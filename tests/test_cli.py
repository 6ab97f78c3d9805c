"""The command line: help, exit codes, and user errors in one line without a traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

import r1rl.models.base
import r1rl.train
from r1rl import __version__, cli
from r1rl.commands import train as train_command
from r1rl.ground.errors import RecipeError

ROOT = Path(__file__).resolve().parents[1]
RECIPE = ROOT / "recipes" / "tiny" / "countdown.yaml"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The training replaced by a stub; returns the arguments it was called with."""
    calls: list[list[str]] = []
    stub = types.ModuleType("r1rl.train.main")
    stub.main = calls.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "r1rl.train.main", stub)
    monkeypatch.setattr(r1rl.train, "main", stub, raising=False)
    return calls


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(["--version"])
    assert done.value.code == 0
    assert capsys.readouterr().out == f"r1rl {__version__}\n"


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["train"],
        ["plan"],
        ["submit"],
        ["status"],
        ["logs"],
        ["init"],
        ["runs"],
        ["inspect"],
        ["aha"],
        ["counterfactual"],
        ["judge"],
        ["export"],
        ["import"],
        ["rewards"],
        ["audit"],
        ["tasks"],
        ["base"],
        ["study"],
    ],
)
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main([*command, "--help"])
    assert done.value.code == 0
    out = capsys.readouterr().out
    assert "usage: r1rl" in out
    if command not in ([], ["tasks"]):
        assert "examples:\n  r1rl " in out


def test_train_help_lists_every_own_key(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["train", str(RECIPE), "--help"])
    out = capsys.readouterr().out
    for key in ("prompts_per_step", "heldout_size", "launcher", "reward_options"):
        assert key in out


def test_train_passes_every_override_on(training: list[list[str]]) -> None:
    words = ["--max_steps", "3", "--task_options.path", "a b.jsonl", "--reward_weights", "1", "-1", "--bf16"]
    assert cli.main(["train", str(RECIPE), *words]) == 0
    assert training == [["--config", str(RECIPE), *words]]


@pytest.mark.parametrize(
    ("raised", "code", "shown"),
    [
        pytest.param(RecipeError("key=1: no"), 2, "error: key=1: no\n", id="user error"),
        pytest.param(KeyboardInterrupt(), 130, "\ninterrupted\n", id="Ctrl-C"),
    ],
)
def test_exit_codes(
    raised: BaseException,
    code: int,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> int:
        raise raised

    monkeypatch.setattr(train_command, "train", fail)
    assert cli.main(["train", str(RECIPE)]) == code
    assert capsys.readouterr().err == shown


def test_a_failure_shows_its_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any) -> int:
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr(train_command, "train", fail)
    assert cli.main(["train", str(RECIPE)]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["trian", "x"], "did you mean 'train'?", id="unknown command"),
        pytest.param(["zzz"], "invalid choice: 'zzz'", id="a command like no other"),
        pytest.param(["import", "a", "--to", "b", "--kind", "evl"], "did you mean 'eval'?", id="unknown choice"),
        pytest.param(["inspect", "a", "--jsn"], "--jsn: unknown option; did you mean '--json'?", id="unknown option"),
        pytest.param(["inspect", "a", "--html", "no"], "did you mean '--no-html'?", id="a flag by its opposite"),
        pytest.param(["inspect", "a", "--open", "yes"], "--open: takes no value, leave 'yes' out", id="flag: yes"),
        pytest.param(["inspect", "a", "--no_html", "false"], "--no-html: takes no value, leave 'false'", id="flag: no"),
        pytest.param(["export", "a", "--overwrite=yes"], "--overwrite: takes no value, leave 'yes'", id="flag: equals"),
        pytest.param(
            ["plan", str(RECIPE), "--json", "true"], "--json: takes no value, leave 'true'", id="behind RECIPE"
        ),
        pytest.param(["train", "--max_steps", "3", str(RECIPE)], "--max_steps: RECIPE comes first", id="keys before"),
        pytest.param(["train"], "required: RECIPE", id="no recipe"),
        pytest.param(["inspect"], "required: RUN", id="no run"),
        pytest.param(["base", "burn"], "invalid choice: 'burn'", id="unknown action"),
    ],
)
def test_usage_errors(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as done:
        cli.main(words)
    assert done.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_nothing_at_all_is_a_question_for_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    assert "\n    train " in capsys.readouterr().out


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_option_is_known_with_underscores_too(name: str) -> None:
    subparsers = next(action for action in cli._parser()._actions if isinstance(action.choices, dict))
    parser = subparsers.choices[name]
    for option in parser._option_string_actions:
        if option.startswith("--"):
            assert parser._hyphenated("--" + option[2:].replace("-", "_") + "=a_b-c") == option + "=a_b-c"


def test_a_shell_is_told_how_words_may_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    stub = types.ModuleType("argcomplete")
    stub.autocomplete = asked.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "argcomplete", stub)
    assert cli.main(["rewards"]) == 0
    assert asked == []
    monkeypatch.setenv("_ARGCOMPLETE", "1")
    assert cli.main(["rewards"]) == 0
    assert [parser.prog for parser in asked] == ["r1rl"]
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    assert cli.main(["rewards"]) == 0


def test_a_missing_recipe_is_reported_at_once(tmp_path: Path) -> None:
    """In a real process, and without the seconds that importing torch takes."""
    script = (
        "import sys; from r1rl import cli; code = cli.main(['train', sys.argv[1]]); "
        "assert 'torch' not in sys.modules; sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "none.yaml")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 2
    assert done.stderr == f"error: recipe {tmp_path / 'none.yaml'}: no such file\n"


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tasks"]) == 0
    assert cli.main(["rewards"]) == 0
    out = capsys.readouterr().out
    for name in ("countdown", "file", "accuracy", "format"):
        assert f"\n{name} " in f"\n{out}"


def test_inspect_hands_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import webbrowser

    import r1rl.inspect

    calls: list[Any] = []
    opened: list[str] = []
    monkeypatch.setattr(r1rl.inspect, "run", lambda run, **options: calls.append((run, options)))
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert cli.main(["inspect", str(tmp_path)]) == 0
    assert cli.main(["inspect", str(tmp_path), "--json", "--no-html"]) == 0
    assert opened == []
    assert cli.main(["inspect", str(tmp_path), "--open"]) == 0
    assert calls[0] == (tmp_path, {"as_json": False, "html": True})
    assert calls[1] == (tmp_path, {"as_json": True, "html": False})
    assert opened == [(tmp_path / "report.html").resolve().as_uri()]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["a", "b"], "several are read with --serve alone", id="two runs"),
        pytest.param(["a", "--port", "80"], "--port: only with --serve", id="a port without a server"),
        pytest.param(["a", "--control", "b"], "--control: only with --serve", id="a control without a server"),
        pytest.param(["a", "--serve", "--json"], "takes neither --json", id="a server that prints"),
        pytest.param(
            ["a", "--follow", "--open"], "takes neither --json nor --open", id="what is followed is not opened"
        ),
        pytest.param(["a", "--serve", "--host", "0.0.0.0"], "give --token as well", id="an open server"),
        pytest.param(["none", "--serve"], "no such folder", id="a server of nothing"),
        pytest.param(["none", "--follow"], "no such folder", id="nothing to follow"),
    ],
)
def test_what_inspect_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", *words]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_inspect_of_no_run_is_a_user_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert "Traceback" not in err


def test_base(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import r1rl.models.base

    assert cli.main(["base"]) == 0
    listed = capsys.readouterr().out
    assert "base:countdown" in listed
    assert "equations right" in listed
    assert cli.main(["base", "show", "countdown"]) == 0
    assert json.loads(capsys.readouterr().out)["weights_sha256"]
    assert cli.main(["base", "show", "--out", str(tmp_path)]) == 2
    assert "only with build" in capsys.readouterr().err
    built = []
    monkeypatch.setattr(
        r1rl.models.base, "build", lambda name, out, config, may_lack: built.append((config, may_lack)) or out
    )
    assert cli.main(["base", "build"]) == 0
    assert cli.main(["base", "build", "countdown", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"base-countdown\n{tmp_path}\n"
    assert cli.main(["base", "build", "--corpus.checks", "0.15", "--steps", "9", "--may-lack"]) == 0
    assert (built[-1][0].corpus.checks, built[-1][0].steps, built[-1][1]) == (0.15, 9, True)
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.main(["base", "--help"])
    told = capsys.readouterr().out
    plain = {key: r1rl.models.base.plain_option("countdown", key) for key in r1rl.models.base.OPTIONS}
    for key, value in plain.items():
        assert re.search(rf"\b{key.removeprefix('corpus.')}\b[^()]*\((default: )?{value}\)", told), key
    assert cli.main(["base", "--corpus.checks", "0.15"]) == 2
    assert "--corpus.checks: only with build" in capsys.readouterr().err
    assert cli.main(["base", "build", "countdwn"]) == 2
    assert "known are countdown" in capsys.readouterr().err


def test_audit_names_every_gold_that_fails_and_every_wrong_answer_that_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "data.jsonl"
    file.write_text(
        '{"question": "a", "answer": "12"}\n{"question": "b", "answer": "7"}\n{"question": "c", "answer": "7?"}\n'
    )
    assert cli.main(["audit", str(file), "--all_pairs"]) == 0
    out = capsys.readouterr().out
    assert "2 of 3" in out
    assert "7?" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["audit", "nowhere.jsonl"], "file 'nowhere.jsonl': no such file"),
        (["audit", str(RECIPE)], "need one of .jsonl"),
        (["audit", "DATA", "--answer-column", "anser"], "--answer-column='anser': data.jsonl has no such column"),
        (["audit", "DATA", "--answer-pattern", "("], "--answer-pattern='('"),
        (["audit", "DATA", "--verifier", "maths"], "--verifier='maths': unknown"),
    ],
)
def test_bad_audits(words: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"question": "a", "answer": "1"}\n{"question": "b", "answer": "2"}\n')
    words = [str(tmp_path / "data.jsonl") if word == "DATA" else word for word in words]
    try:
        code: Any = cli.main(words)
    except SystemExit as done:
        code = done.code
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert "task_options" not in error
    assert error.startswith("error: ")
    assert message in error
