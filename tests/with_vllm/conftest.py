"""What the tests of a real vLLM share: a training process, and scores by the model itself."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from with_vllm.machine import ENVIRONMENT, ROOT


def pytest_collection_modifyitems(items) -> None:
    if os.environ.get("R1RL_TEST_VLLM"):
        return
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.skip(reason="set R1RL_TEST_VLLM=1 (make test-vllm)"))


@pytest.fixture(scope="session")
def train():
    """Call it with the changes of driver.py, a recipe and its overrides; it gives the ended process."""

    def call(changes, recipe, *words, processes=1, **more):
        driver = [str(Path(__file__).with_name("driver.py")), changes, "--config", str(ROOT / "recipes" / recipe)]
        if processes > 1:
            config = str(ROOT / "recipes" / "accelerate" / f"cpu_ddp{processes}.yaml")
            driver = ["-m", "accelerate.commands.launch", "--config_file", config, *driver]
        # In a session of its own, so that what it leaves behind can be ended.
        process = subprocess.Popen(
            [sys.executable, *driver, *map(str, words)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
            env=ENVIRONMENT | {name: str(value) for name, value in more.items()}, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=400)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(driver, process.returncode, output, "")

    return call


@pytest.fixture(scope="session")
def gaps():
    """Mean difference, over the rows' tokens, of the stored log-probabilities from those of a model, in nats."""
    import torch

    @torch.no_grad()
    def call(model, tokenizer, rows):
        found = []
        for row in rows:
            prompt = tokenizer(row["prompt"])["input_ids"]
            ids = torch.tensor([prompt + row["token_ids"]])
            logits = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()
            scores = (logits / (row["temperature"] or 1.0)).log_softmax(-1)
            own = scores.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
            found.append((own - torch.tensor(row["logprobs"])).abs())
        return torch.cat(found)

    return call
