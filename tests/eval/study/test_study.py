"""A very small study in real processes: trained, one arm failing, gone on with, reported; and as a Slurm array."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from r1rl import cli
from r1rl.eval.study import arms, work
from tests.eval.study.made_up_study import write


@pytest.mark.processes
def test_a_study_trains_what_is_missing_and_tells_it(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = {
        "max_steps": 2, "prompts_per_step": 4, "num_generations": 4,
        "max_completion_length": 48, "heldout_size": 12, "train_size": 64, "eval_steps": 1, "num_generations_eval": 2,
        "max_wasted_steps": 0,
    }  # fmt: skip
    reward = tmp_path / "mine.py"
    reward.write_text("def mine(completions, **columns):\n    return [1 / 0 for _ in completions]\n")
    several = {"paid": {}, "broken": {"reward_funcs": [f"{reward}:mine", "format"]}}
    path = write(tmp_path, arms=several, settings=settings, seeds=1, questions=["accuracy", "retried"])
    words = ["study", str(path), "--out", str(tmp_path / "out"), "--jobs", "2"]
    study = arms.load(path, tmp_path / "out")
    assert cli.main(words) == 1
    told = capfd.readouterr()
    assert re.search(r"^broken-seed0 failed: error: reward_funcs: .*division by zero.*\(exit code 2, ", told.err, re.M)
    assert "Runs that are not finished are left out: broken (1 of 1)." in told.out
    reward.write_text("def mine(completions, **columns):\n    return [float(len(text)) for text in completions]\n")
    paid = study.folder(study.arms[0], 0)
    before = paid.result.stat().st_mtime_ns
    assert cli.main(words) == 0
    assert paid.result.stat().st_mtime_ns == before, "what is finished is not trained again"
    content = json.loads((study.out / "report.json").read_text())
    assert {name: arm["not_finished"] for name, arm in content["arms"].items()} == {"paid": [], "broken": []}
    first = [arm["figures"]["accuracy"]["counts"]["0"][0] for arm in content["arms"].values()]
    assert first[0] == first[1], "both start from one model, and step 0 is sampled with one seed"
    assert all(job.done() for job in work.jobs(arms.load(path, study.out)))
    capfd.readouterr()
    assert cli.main([*words, "--dry-run"]) == 0
    assert "2 of 2 jobs done; 0 to do" in capfd.readouterr().out


def test_dry_run_says_what_would_run_and_does_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    several = {"paid": {}, "few": {"base": {"corpus.retries": 0.01}}}
    path = write(tmp_path, arms=several, base={"steps": 9}, minutes={"run": 2, "base": 5})
    out = tmp_path / "out"
    assert cli.main(["study", str(path), "--out", str(out), "--dry-run", "--jobs", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"--steps 9 --corpus.retries 0.01 --may-lack --out {out}/bases/few")
    assert [line.rpartition(" ")[2] for line in lines[1:5]] == ["paid-seed0", "few-seed0", "paid-seed1", "few-seed1"]
    assert lines[5] == "# 2 arms x 2 seeds, 0 of 5 jobs done; 5 to do, 2 at once: about 6 min"
    assert not out.exists()


def test_slurm_gets_the_runs_that_are_missing_as_one_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, arms={"paid": {}, "few": {"base": {"corpus.retries": 0.01}}})
    study = arms.load(path, tmp_path / "out")
    done = study.folder(study.arms[0], 0)
    done.path.mkdir(parents=True)
    done.result.write_text('{"finished": true, "steps": 50}')
    words = ["study", str(path), "--out", str(tmp_path / "out"), "--slurm", "--profile", "cpu", "--dry-run"]
    assert cli.main(words) == 0
    script = capsys.readouterr().out
    assert "#SBATCH --array=0-2\n" in script
    names = re.findall(r"^  \d\) NAME=(\S+); WORDS=\((.*)\) ;;$", script, re.MULTILINE)
    assert [name for name, _ in names] == ["few-seed0", "paid-seed1", "few-seed1"]
    assert f"--model_name_or_path={tmp_path}/out/bases/few" in names[0][1]
    assert "--seed=1" in names[1][1]
    assert "--name" not in names[0][1], "the script says it behind the words"
    assert f"RUN_FOLDER={tmp_path}/out/runs/$NAME" in script


def test_slurm_reports_the_study_behind_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from r1rl.launch import slurm, slurm_jobs

    monkeypatch.chdir(tmp_path)
    path = write(tmp_path)
    given: list[slurm.Job] = []
    made = {"job": 7, "report": 8}
    monkeypatch.setattr(slurm_jobs, "submit", lambda job: given.append(job) or made)
    assert cli.main(["study", str(path), "--out", str(tmp_path / "out"), "--slurm", "--profile", "cpu"]) == 0
    assert f'"$PYTHON" -m r1rl.cli study {path} --out {tmp_path}/out --report\n' in given[0].report
    assert "r1rl.cli aha" not in given[0].report
