"""A small model and recipe that the tests train for real, in seconds and without a network."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers share the cores
# Started in a shell's background, Python and all its children ignore Ctrl-C, which some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)

# On a busy machine an example may take as long as it likes; the other settings stay, those of CI too.
with contextlib.suppress(ImportError):  # the environment of the tests with vLLM has none
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "any machine", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("any machine")

ROOT = Path(__file__).resolve().parents[1]

# On CI a test may be skipped for these reasons alone; anything else could have been installed.
ALLOWED_SKIPS = (
    "set R1RL_TEST_",  # longer versions, run on demand
    "set R1RL_LONG_TEXTS",  # texts that may not be shipped
    "make test-slurm",  # starts daemons and edits /etc/hosts
    "no kernel headers here",
    "mounting a file system needs root",
    "this build of torch packs no weights",
)


# What trains, or starts worker processes, or reads megabytes: left out of `make check`.
SLOW = (
    *("aha/counterfactual", "aha/judge", "aha/validate", "benchmarks", "commands", "end_to_end", "kernels", "rollout"),
    *("train", "update", "launch/test_start", "run/test_watchdog", "store/test_crash", "test_packaging"),
    *("models/base", "tasks/test_audit", "tasks/test_gold", "tasks/test_gym", "tasks/test_mix", "tasks/test_presets"),
    *("tasks/test_registry", "eval/test_evaluation", "eval/test_vllm_engine", "eval/test_voting"),
    *("verify/test_code", "verify/test_gym", "verify/test_hostile", "verify/test_math", "verify/test_pool"),
    *("verify/test_sandbox", "rewards/test_code", "rewards/test_registry"),
    *("eval/study/test_report", "eval/study/test_running", "docs/test_commands", "docs/test_notebook"),
)
# Repeats of what a shorter version checks, in other settings: `make test-long`.
LONG = pytest.mark.skipif(not os.environ.get("R1RL_TEST_LONG"), reason="set R1RL_TEST_LONG=1: make test-long")
LONG_TEXTS = ("bounded_time", "hostile_text_is_bounded")


def pytest_collection_modifyitems(items) -> None:
    for item in items:
        place = item.path.relative_to(ROOT / "tests").as_posix()
        if place.startswith(SLOW) or any(name in item.name for name in LONG_TEXTS):
            item.add_marker(pytest.mark.slow)
        if item.get_closest_marker("long"):
            item.add_marker(LONG)


def pytest_sessionfinish(session, exitstatus) -> None:
    """Fail where a test was skipped for want of something that could be installed."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    reasons = [str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
               for report in reporter.stats.get("skipped", ())]  # fmt: skip
    if unmet := sorted({reason for reason in reasons if not any(allowed in reason for allowed in ALLOWED_SKIPS)}):
        reporter.write_line("skipped for want of something that CI must have:", red=True)
        for reason in unmet:
            reporter.write_line(f"  {reason}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def small_base(tmp_path_factory) -> Path:
    """A base that writes the right format but has no skills: 100,000 parameters, pretrained for some seconds."""
    import torch

    from r1rl.models.base import pretrain

    config = pretrain.PretrainConfig(
        hidden=64,
        layers=2,
        intermediate=128,
        steps=80,
        batch=16,
        block_tokens=96,
        first_shares=(0.0, 0.0, 0.0),
        last_shares=(0.0, 0.0, 0.0),
        warmup_steps=10,
    )
    threads = torch.get_num_threads()
    model, tokenizer = pretrain.pretrain(config)
    torch.set_num_threads(threads)
    folder = tmp_path_factory.mktemp("small-base")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def small_run(small_base, tmp_path) -> list[str]:
    """Overrides that make the tiny recipe a run of seconds, into a folder of the test's own."""
    settings = {
        "model_name_or_path": small_base,
        "runs_dir": tmp_path / "runs",
        "max_steps": 3,
        "prompts_per_step": 4,
        "num_generations": 4,
        "max_completion_length": 48,
        "heldout_size": 6,
        "train_size": 64,
        "eval_steps": 2,
        "num_generations_eval": 2,
        "max_wasted_steps": 0,
        "lr_scheduler_type": "constant",  # a resumed run may be asked for more steps
    }
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]
