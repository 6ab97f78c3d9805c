"""vLLM as a side that samples, in an interpreter of its own: it pins what r1rl's environment has in newer versions.

It runs at its best on a CPU: packed products, inductor, prefix caching, one request a prompt for all of its samples.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from benchmarks.work import VLLM

if TYPE_CHECKING:
    from benchmarks.side import Job

PYTHON = Path(__file__).resolve().parents[1] / ".venv-vllm" / "bin" / "python"
"""Made by `make test-vllm`."""

_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "4",  # GiB
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # in this process, whose memory is measured
    "VLLM_PLUGINS": "",  # that of tests/with_vllm takes the packed products away
    "VLLM_LOGGING_LEVEL": "ERROR",
}


def check() -> None:
    """Raise ValueError where vLLM has no interpreter here."""
    if not PYTHON.is_file():
        raise ValueError(f"peers=vllm: {PYTHON} is missing; `make test-vllm` makes it")


def serve(job: Job, questions: TextIO, answers: TextIO) -> None:
    """Sample the recipe's prompts, as many as a step has, for each line of questions."""
    os.environ.update(_SETTINGS, VLLM_CPU_OMP_THREADS_BIND=f"0-{job.threads - 1}" if job.threads > 1 else "0")
    import dataclasses

    import vllm
    from transformers import AutoModelForCausalLM

    from benchmarks.machine import reset_peak_memory
    from benchmarks.work import model_cost
    from r1rl.ground.machine import peak_memory
    from r1rl.recipe import load as recipe
    from r1rl.tasks.dataset import dataset_rows
    from r1rl.train import main as train

    loaded = recipe.load(Path(job.recipe), ["--runs_dir", job.folder, "--name", "run"])
    source, tokenizer = train.find_model(loaded)
    own, grpo = loaded.recipe, loaded.grpo
    rows, _ = train.usable_rows(loaded, train.open_folder(loaded))
    prompts = [
        tokenizer(row["prompt"])["input_ids"] for row in dataset_rows(rows, loaded.task, loaded.prompt(tokenizer))
    ]
    cost = dataclasses.asdict(model_cost(AutoModelForCausalLM.from_pretrained(source)))
    model = vllm.LLM(
        model=source,
        dtype="bfloat16" if grpo.bf16 else "float32",
        max_model_len=max(map(len, prompts)) + int(grpo.max_completion_length),
        max_num_seqs=512,
        enable_prefix_caching=True,
    )
    sampling = vllm.SamplingParams(
        n=grpo.num_generations,
        temperature=grpo.temperature,
        top_p=grpo.top_p,
        top_k=grpo.top_k or -1,
        max_tokens=grpo.max_completion_length,
        logprobs=0,  # the sampled token's, which a rollout keeps
        detokenize=False,
    )

    def answer(facts: dict[str, Any]) -> None:
        answers.write(json.dumps(facts) + "\n")
        answers.flush()

    answer({"ready": True})
    start, count = 0, own.prompts_per_step
    while questions.readline():
        reset_peak_memory()
        chosen = [prompts[(start + i) % len(prompts)] for i in range(count)]
        start += count
        begun = time.perf_counter()
        outputs = model.generate([{"prompt_token_ids": ids} for ids in chosen], sampling, use_tqdm=False)
        seconds = time.perf_counter() - begun
        drawn = [(list(out.prompt_token_ids), len(each.token_ids)) for out in outputs for each in out.outputs]
        answer(
            {
                "side": VLLM,
                "seconds": {"sampling": seconds},
                "prompts": [ids for ids, _ in drawn],
                "lengths": [length for _, length in drawn],
                "signal": [],
                "prefilled": None,
                "draws": None,
                "update": [],
                "cost": cost,
                "peak_bytes": peak_memory(),
            }
        )
