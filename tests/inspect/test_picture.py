"""Curves as PNG and SVG."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.inspect import picture


def texts(svg: Path) -> str:
    """The comments that matplotlib writes before each text's outlines."""
    ElementTree.parse(svg)
    return svg.read_text()


def test_several_runs_are_laid_over_each_other(run_dir: Path, make_run: Callable[..., Path], tmp_path: Path) -> None:
    other = make_run(tmp_path / "a $x$ run")
    target = picture.draw([run_dir, other], tmp_path / "new" / "curves.svg", ["accuracy", "length"])
    drawn = texts(target)
    assert all(
        f"<!-- {text} -->" in drawn for text in ("Right answers", "Completion length, tokens", "optimizer steps")
    )
    assert f"<!-- {run_dir.name} -->" in drawn
    assert picture.COLOURS[0] in drawn
    assert picture.COLOURS[1] in drawn
    assert not list(target.parent.glob(".*")), "nothing half-written is left"


def test_the_command_draws_both_kinds(run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    png, svg = tmp_path / "x.png", tmp_path / "x.svg"
    assert cli.main(["inspect", str(run_dir), "--png", str(png), "--svg", str(svg)]) == 0
    assert capsys.readouterr().out == f"picture: {png}\npicture: {svg}\n"
    assert png.read_bytes().startswith(b"\x89PNG")
    assert "<!-- Right answers -->" in texts(svg)
    assert not (run_dir / "report.html").exists(), "a picture alone was asked for"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--png", "x.jpg"], "--png x.jpg: need a name that ends in .png", id="another format"),
        pytest.param(["--svg", "x.svg", "--figures", "lenght"], "figures='lenght': no such chart", id="a wrong name"),
        pytest.param(["--figures", "length"], "--figures: only with --png or --svg", id="no picture"),
        pytest.param(["--svg", "x.svg", "--serve"], "--svg: takes none of", id="two things at once"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    run_dir: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["inspect", str(run_dir), *words]) == 2
    assert message in capsys.readouterr().err
