"""The pages of the site: what links where, what is in the menu, and that nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import build_pages
import pytest
import reference

from r1rl import cli
from r1rl.recipe.load import known_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = None

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / ".venv-site" / "bin" / "zensical"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        pytest.param("[a](reader.md#keys)", "[a](reader.md#keys)", id="a page beside it"),
        pytest.param("[a](../slurm/README.md)", "[a](cluster.md)", id="a page from outside docs"),
        pytest.param("![a](reader/flow.webp)", "![a](reader/flow.webp)", id="a picture"),
        pytest.param("[a guide](../pyproject.toml)", "a guide (`pyproject.toml`)", id="a file that is no page"),
        pytest.param("[`cli.py`](../r1rl/cli.py)", "`r1rl/cli.py`", id="named as the file"),
        pytest.param("[a](https://example.org/x.md)", "[a](https://example.org/x.md)", id="another site"),
        pytest.param("```\n[a](../pyproject.toml)\n```", "```\n[a](../pyproject.toml)\n```", id="code stays"),
        pytest.param("<!-- needs a GPU -->\n```\n```", "*Needs a GPU.*\n\n```\n```", id="a need is shown"),
    ],
)
def test_a_page_is_converted(written: str, expected: str) -> None:
    assert build_pages.converted(written + "\n", ROOT / "docs" / "gpu.md") == expected + "\n"


def test_a_link_to_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"docs/gpu\.md: links to gone\.md"):
        build_pages.converted("[a](gone.md)", ROOT / "docs" / "gpu.md")


def test_every_page_converts() -> None:
    for source in build_pages.sources():
        page = build_pages.converted(source.read_text(encoding="utf-8"), source)
        assert "](../" not in re.sub(r"(?ms)^```.*?^```$", "", page), source


@pytest.mark.skipif(tomllib is None, reason="set R1RL_TEST_SITE=1 with Python 3.11: reads TOML")
def test_every_page_is_in_the_menu_once() -> None:
    menu = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    listed = re.findall(r"'([\w./-]+\.md)'", str(menu))
    pages = [str(build_pages.place(source)) for source in build_pages.sources()] + list(reference.PAGES)
    assert sorted(listed) == sorted(pages)


def test_the_reference_holds_every_key_and_command() -> None:
    keys, commands = reference.recipe_keys(), reference.commands()
    assert [key for key in known_keys() if f"| `{key}` |" not in keys] == []
    assert [name for name in cli.COMMANDS if f"## r1rl {name}\n" not in commands] == []
    for page in (reference.task_names(), reference.reward_names()):
        assert "MISSING" not in page
        assert "_empty" not in page


@pytest.mark.parametrize("page", ["papers.md", "coming-from.md"])
def test_tables_name_keys_that_exist(page: str) -> None:
    """In papers.md the second column, in coming-from.md the last: words that look like keys are keys."""
    import rewards
    from r1rl.recipe.keys import Recipe
    from r1rl.tasks import prompts

    known = {*known_keys(), *rewards.names(), *prompts.names(), *cli.COMMANDS}
    options = {"dataset", "config", "question_column", "path", "pass_rates", "system"}
    rows = [
        line.strip("| ").split(" | ") for line in (ROOT / "docs" / page).read_text().splitlines() if line[:2] == "| "
    ]
    cells = [row[1] for row in rows if len(row) > 1 and "---" not in row[1]]
    words = [
        word for cell in cells for code in re.findall(r"`([^`]+)`", cell) for word in re.findall(r"^[a-z_-]+\b", code)
    ]
    programs = {"r1rl", "generate", "--name"}
    assert words
    assert [word for word in words if word not in known | options | programs] == []
    assert Recipe().task == "countdown"


@pytest.mark.long
@pytest.mark.skipif(not GENERATOR.exists(), reason="set R1RL_TEST_LONG=1 after make site: no generator here")
def test_the_site_builds_without_warnings_and_fetches_nothing(tmp_path: Path) -> None:
    build_pages.main(tmp_path / "build" / "pages")
    (tmp_path / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    offline = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "https_proxy": "http://127.0.0.1:9"}
    done = subprocess.run(
        [GENERATOR, "build", "--strict"], cwd=tmp_path, env=offline, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pages = list((tmp_path / "build" / "site").rglob("*.html"))
    assert len(pages) > 20
    fetched = re.compile(r'<(?:link|script|img|iframe)\b[^>]*?(?:href|src)="?(https?://[^">\s]+)')
    for page in pages:
        assert [found for found in fetched.findall(page.read_text()) if "canonical" not in found] == [], page.name
