"""A real vLLM server on this CPU: its answers, a run that samples from it, and its end in the middle of one.

TRL moves weights to a server by NCCL alone. Here they go through a folder instead (driver.py), so that neither NCCL nor
TRL's own transport is tested.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import torch
from with_vllm.machine import ENVIRONMENT, ROOT

from r1rl.models import resolve
from r1rl.run import manifest
from r1rl.run.folder import RunFolder
from r1rl.store import store

TINY = "tiny/countdown.yaml"
READY_SECONDS = 240
WORDS = (
    *("--prompts_per_step", "4", "--num_generations", "4", "--max_completion_length", "40", "--train_size", "64"),
    *("--heldout_size", "6", "--num_generations_eval", "2", "--max_wasted_steps", "0"),
    *("--lr_scheduler_type", "constant", "--bf16", "false", "--learning_rate", "0.005"),
    *("--use_vllm", "true", "--vllm_mode", "server", "--save_steps", "1", "--save_total_limit", "9"),
)


@contextmanager
def serving(log):
    """`trl vllm-serve` as slurm/train.sbatch.j2 starts it, in float32: its address and process, once it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    model = resolve.resolve("base:countdown")
    trl = Path(sys.executable).with_name("trl")
    words = ["--model", model, "--host", "127.0.0.1", "--port", port, "--dtype", "float32"]
    with log.open("w") as stream:
        process = subprocess.Popen(
            [trl, "vllm-serve", *map(str, words)],
            stdout=stream, stderr=subprocess.STDOUT, env=ENVIRONMENT, cwd=ROOT, start_new_session=True,
        )  # fmt: skip
        try:
            address, started = f"http://127.0.0.1:{port}", time.monotonic()
            while True:
                assert process.poll() is None, log.read_text()[-3000:]
                assert time.monotonic() < started + READY_SECONDS, log.read_text()[-3000:]
                try:
                    urllib.request.urlopen(f"{address}/health/", timeout=5)
                    break
                except OSError:
                    time.sleep(1)
            print(f"ready after {time.monotonic() - started:.0f} s")
            yield address, process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                with suppress(subprocess.TimeoutExpired):
                    process.wait(30)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("server") / "log") as found:
        yield found


def test_an_answer_has_tokens_log_probabilities_and_its_stop_string(server):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = resolve.resolve("base:countdown")
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    prompt = tokenizer("Use 3, 5, 7 to make 15.")["input_ids"]
    request = {
        "model": str(source), "prompt": [prompt], "n": 4, "max_tokens": 160, "temperature": 1.0, "logprobs": 0,
        "stop": ["</answer>"], "include_stop_str_in_output": True, "return_token_ids": True,
        "return_tokens_as_token_ids": True,
    }  # fmt: skip
    answer = urllib.request.urlopen(
        urllib.request.Request(
            f"{server[0]}/v1/completions", json.dumps(request).encode(), {"Content-Type": "application/json"}
        ),
        timeout=120,
    )
    choices = json.load(answer)["choices"]
    assert len(choices) == 4
    for choice in choices:
        ids = torch.tensor([prompt + choice["token_ids"]])
        with torch.no_grad():
            scores = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        own = scores.gather(1, ids[0, len(prompt) :, None]).squeeze(1)
        assert torch.allclose(own, torch.tensor(choice["logprobs"]["token_logprobs"]), atol=1e-3)
        assert (choice["finish_reason"] == "stop") == (len(choice["token_ids"]) < 160)
    assert any(choice["text"].endswith("</answer>") for choice in choices)


def test_without_a_gpu_the_run_ends_in_one_line(train, server, tmp_path):
    words = ("--runs_dir", tmp_path, "--name", "run", "--vllm_server_base_url", server[0], "--max_steps", "1")
    done = train("vllm_alone", TINY, *WORDS, *words)
    assert done.returncode == 1, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert "needs a CUDA device, got 'cpu'" in line


def test_rows_are_sampled_by_the_weights_of_their_step(train, server, gaps, tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    words = ("--runs_dir", tmp_path, "--name", "run", "--vllm_server_base_url", server[0], "--max_steps", "2")
    done = train("vllm_alone,stand_in", TINY, *WORDS, *words, "--eval_steps", "1")
    assert done.returncode == 0, done.stdout[-3000:]
    folder, source = RunFolder(tmp_path / "run"), resolve.resolve("base:countdown")
    tokenizer = AutoTokenizer.from_pretrained(source)
    at = [source, folder.checkpoints / "checkpoint-1", folder.checkpoints / "checkpoint-2"]
    models = [AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32) for place in at]
    rows = [row for kind in ("train", "eval") for row in store.read(folder.path, kind=kind).to_pylist()]
    for step, model in enumerate(models):
        mine = [row for row in rows if row["step"] == step]
        assert {row["temperature"] > 0 for row in mine} == {False, True}
        gap = gaps(model, tokenizer, mine)
        print(f"step {step}: {len(mine)} rows, gap mean {gap.mean():.2e} max {gap.max():.2e}")
        assert gap.mean() < 2e-5
        if step:
            assert gaps(models[step - 1], tokenizer, mine).mean() > 0.05, "else the weights before would do as well"


def test_a_server_that_dies_ends_the_run_in_one_line_and_the_run_can_go_on(train, tmp_path):
    words = ("--runs_dir", tmp_path, "--name", "run", "--max_steps", "3", "--eval_steps", "0")
    with serving(tmp_path / "first.log") as (address, process):
        here = ("--vllm_server_base_url", address)
        # The held-out problems before the first update, and the first step's rollouts, share the first synchronisation.
        done = train("vllm_alone,stand_in", TINY, *WORDS, *words, *here, R1RL_TEST_KILL=f"2 {process.pid}")
    assert done.returncode == 1, done.stdout[-3000:]
    assert "Traceback" not in done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
    assert address in line
    assert "--resume" in line
    folder = RunFolder(tmp_path / "run")
    assert manifest.newest_whole(folder.checkpoints)[0].name == "checkpoint-1"
    with serving(tmp_path / "second.log") as (address, _):
        here = ("--vllm_server_base_url", address)
        done = train("vllm_alone,stand_in", TINY, *WORDS, *words, *here, "--resume", "true")
    assert done.returncode == 0, done.stdout[-3000:]
    assert json.loads(folder.result.read_text())["steps"] == 3
