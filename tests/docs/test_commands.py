"""The blocks of code of every page of the site: each is run here, or by a test that is named, or says what it needs."""

from __future__ import annotations

import csv
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import build_pages
import jsonschema
import pytest
import yaml

from r1rl import cli, verify
from r1rl.recipe import schema

ROOT = Path(__file__).resolve().parents[2]
_FENCE = re.compile(r"(?:^<!-- (needs [^>]+) -->\n)?^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROGRAMS = ("r1rl", "make", "python", "pip", "accelerate", "git", "ssh", "export")
NEEDS = ("needs a GPU", "needs a network", "needs a cluster", "needs a server")

# Commands that take long, serve a page or change the environment: the test that runs the same.
_BUILT = "tests/models/base/test_base.py"
_ASKED_AGAIN = "tests/aha/counterfactual"
_IMPORTED = "tests/store/importers/test_opening.py"
ELSEWHERE = {
    "make zero": "tests/end_to_end/test_train.py",
    "r1rl aha validate": "tests/aha/validate/test_validation.py",
    "r1rl base build --out my-base": _BUILT,
    "r1rl base build --corpus.retries 0.01 --out few-retries": _BUILT,
    "r1rl base build --corpus.retries 0.01 --out few": _BUILT,
    "r1rl base build --corpus.goal_test 0.5 --may-lack --out blind": _BUILT,
    "r1rl study studies/tiny-controls --jobs 2": "tests/eval/study/test_study.py",
    "r1rl study studies/tiny-dose --jobs 2": "tests/eval/study/test_study.py",
    "r1rl study studies/tiny-controls --report": "tests/eval/study/test_report.py",
    "r1rl aha grpo-output": _IMPORTED,
    "r1rl inspect logs/2026-01-01T12-00-00_math.eval": _IMPORTED,
    "r1rl import rollout_data --to runs/theirs --verifier math --extraction boxed": _IMPORTED,
    "r1rl inspect runs/seed0 --follow": "tests/inspect/test_follow.py",
    "r1rl study studies/tiny-controls --dry-run": "tests/eval/study/test_study.py",
    "r1rl counterfactual RUN --measure entropy thinking errors verification": f"{_ASKED_AGAIN}/test_verification.py",
    "r1rl counterfactual ROLLOUTS --model MODEL --measure thinking": f"{_ASKED_AGAIN}/test_thinking.py",
    "r1rl counterfactual ROLLOUTS --model http://127.0.0.1:8000/v1#MODEL --measure errors verification": (
        f"{_ASKED_AGAIN}/test_remote.py"
    ),
}
_SERVED, _SERVES = "tests/inspect/reader/test_serve.py", " --serve"
_PLANNED = "tests/plan/test_plan.py"  # compares every line that docs/plan.md shows

# What makes a command small enough for a test; what it says stays.
SMALLER = (
    (r"^(r1rl train .*)", r"\1 --max_steps 2 --prompts_per_step 4 --num_generations 4 --heldout_size 4 --train_size 32 "
     r"--eval_steps 1 --num_generations_eval 2 --save_steps 1 --save_total_limit 5 --lr_scheduler_type constant"),
    (r"--samples \d+", "--samples 2"),
    (r"--step 0,40,50", "--step 0,1,2"),
    (r"400: 0.8", "1: 0.8"),
    (r"^(r1rl eval runs/zero)$", r"\1 --samples 2"),
    (r"^(r1rl counterfactual .*)", r"\1 --points 6 --samples 1"),
)  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block of code of a page."""

    page: str
    language: str
    text: str
    needs: str  # "" for nothing but r1rl

    @property
    def commands(self) -> list[str]:
        """The lines that are commands, without what follows behind `#`."""
        lines = self.text.replace("\\\n", " ").splitlines()
        cleaned = [re.split(r"\s{2,}# ", line.removeprefix("$ "))[0].strip() for line in lines]
        found = [line for line in cleaned if line.split(" ")[0] in _PROGRAMS]
        return found if self.language in ("", "sh", "bash", "console") else []


def blocks(path: Path) -> Iterator[Block]:
    """The blocks of a page."""
    for needs, language, text in _FENCE.findall(path.read_text(encoding="utf-8")):
        yield Block(path.relative_to(ROOT).as_posix(), language, text, needs)


BLOCKS = [block for path in build_pages.sources() for block in blocks(path)]
FREE = [block for block in BLOCKS if not block.needs and block.page != "docs/plan.md"]
PAGES = sorted({block.page for block in FREE if block.commands or block.language == "python"})
# Other tests run most of what these show.
LONG = ("docs/evaluating.md", "docs/measures.md", "docs/schedules.md", "docs/tiny-base.md")


def elsewhere(command: str) -> str | None:
    """The test that runs a command, where it is not run here."""
    return _SERVED if _SERVES in command else ELSEWHERE.get(command)


def test_every_need_is_one_that_is_known() -> None:
    assert {block.needs for block in BLOCKS} <= {"", *NEEDS}
    marked = [line for path in build_pages.sources() for line in build_pages.NEEDS.findall(path.read_text())]
    assert len(marked) == sum(bool(block.needs) for block in BLOCKS)  # none stands apart from its block


def test_a_block_of_commands_holds_nothing_else() -> None:
    """So a program that this file does not know cannot hide among others."""
    for block in (block for block in BLOCKS if block.commands and "$ r1rl" not in block.text):
        lines = [line for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]
        assert len(block.commands) == len(lines), f"{block.page}: {block.text}"


def test_the_table_of_other_tests_is_true() -> None:
    said = {command for block in BLOCKS for command in block.commands if not block.needs}
    assert set(ELSEWHERE) <= said
    assert all((ROOT / test).is_file() for test in [*ELSEWHERE.values(), _SERVED, _PLANNED])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "yaml"], ids=lambda block: block.page)
def test_what_is_shown_of_recipes_is_a_recipe(block: Block) -> None:
    shown = yaml.safe_load(block.text) or {}
    content = json.loads(json.dumps({"model_name_or_path": "base:countdown"} | shown))
    assert list(jsonschema.Draft202012Validator(schema.schema()).iter_errors(content)) == []


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the pages' commands name: a short run under several names, data, recipes."""
    folder = tmp_path_factory.mktemp("pages")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run("r1rl train tiny/countdown --name zero") == 0
    for name in ("seed0", "seed1", "seed2", "coin", "mine"):
        shutil.copytree(folder / "runs/zero", folder / "runs" / name)
        recipe = folder / "runs" / name / "recipe.yaml"
        recipe.write_text(recipe.read_text().replace("name: zero", f"name: {name}"))
    shutil.copyfile(ROOT / "recipes/tiny/countdown.yaml", folder / "recipe.yaml")
    shutil.copytree(ROOT / "r1rl/models/base/countdown", folder / "my-base")
    rows = [{"question": f"Use {n}, 1, 2 to make {n + 3}.", "nums": [n, 1, 2], "answer": str(n + 3)} for n in range(60)]
    for name in ("problems", "train"):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = [{"problem": f"What is {n} + 1?", "answer": str(n + 1)} for n in range(20)]
    (folder / "math500_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in asked))
    theirs = {"model_name_or_path": "Qwen/Qwen2.5-1.5B-Instruct", "dataset_name": "someone/MATH", "max_steps": 10}
    for place in ("grpo.yaml", "open-r1/recipes/Qwen2.5-1.5B-Instruct/grpo/config_demo.yaml"):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(yaml.safe_dump(theirs))
    return folder


def run(command: str) -> int:
    """Run a command of a page, made smaller, in this process."""
    for pattern, smaller in SMALLER:
        command = re.sub(pattern, smaller, command)
    words = shlex.split(command.partition(" > ")[0])
    if words[0] == "export":
        return subprocess.run(["sh", "-c", command], check=False).returncode
    if words[0] == "python":
        runpy.run_path(words[1], run_name="__main__")
        return 0
    assert words[0] == "r1rl", command
    if words[1] == "train" and "--name" in words:
        shutil.rmtree(Path("runs") / words[words.index("--name") + 1], ignore_errors=True)
    try:
        return cli.main(words[1:])
    except SystemExit as ended:
        return int(ended.code or 0)


@pytest.mark.parametrize("page", [pytest.param(page, marks=[pytest.mark.long] * (page in LONG)) for page in PAGES])
def test_a_page_can_be_followed(
    page: str, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its blocks one after the other, in a folder with what they name."""
    folder = tmp_path / "here"
    shutil.copytree(trained, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    done = 0
    for block in (block for block in FREE if block.page == page):
        if block.language == "python":
            named = re.match(r"# (\S+\.py)\n", block.text)
            file = folder / (named[1] if named else f"block{done}.py")
            file.write_text(block.text)
            done += 1
            if not named:
                runpy.run_path(str(file))
        if block.language == "yaml" and (named := re.match(r"# (\S+\.yaml)\n", block.text)):
            recipe = yaml.safe_load(Path(named[1]).read_text()) | yaml.safe_load(block.text)
            Path(named[1]).write_text(yaml.safe_dump(recipe))
        for command in block.commands:
            if elsewhere(command) is None:
                assert run(command) == 0, f"{page}: {command}\n{capsys.readouterr().err[-2000:]}"
                done += 1
    assert done or all(elsewhere(command) for block in FREE if block.page == page for command in block.commands)


def test_the_tutorial_trains_on_what_can_be_right(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its problems are read and judged as Countdown's, and every one has a solution."""
    monkeypatch.chdir(tmp_path)
    for block in (block for block in FREE if block.page == "docs/your-own.md" and block.language == "python"):
        Path(block.text.split()[1]).write_text(block.text)
    runpy.run_path("make_problems.py", run_name="__main__")
    rows = list(csv.DictReader(Path("problems.csv").read_text().splitlines()))
    assert len(rows) == 220
    for row in rows:
        a, b, c = map(int, row["nums"].split())
        assert verify.get("countdown")(f"{c} + {b} - {a}", row["target"], {"numbers": [a, b, c]}).status == "correct"
    init = next(
        command for block in FREE for command in block.commands if command.startswith("r1rl init --model base:")
    )
    assert run(init) == 0
    assert yaml.safe_load(Path("mine.yaml").read_text())["task_options"]["verifier"] == "countdown"
