"""Train in a process of its own with something changed: `python driver.py CHANGE[,CHANGE…] --config RECIPE …`."""

import os
import sys
import tempfile
from pathlib import Path

from r1rl.run import exits
from r1rl.train import main as train


def vllm_alone():
    """Nothing may be sampled by the embedded engine."""
    from r1rl.rollout.engine import Engine

    def generate(*args, **kwargs):
        raise AssertionError("the embedded engine sampled")

    Engine.generate = generate


def stale():
    """The weights never arrive at vLLM, and nothing says so."""
    from trl.generation.vllm_generation import VLLMGeneration

    VLLMGeneration.sync_weights = lambda self: None


def stand_in():
    """For TRL's transport of weights, which is NCCL alone: they go through a folder that the server loads again.

    With R1RL_TEST_KILL, `SYNC PID`, the server's process group is killed at that synchronisation.
    """
    from safetensors.torch import save_file
    from trl.generation.vllm_client import VLLMClient

    folder = Path(tempfile.mkdtemp())
    count = 0

    def update_named_params(self, metadata, named_params):
        nonlocal count
        count += 1
        due, process = map(int, os.environ.get("R1RL_TEST_KILL", "0 0").split())
        if count == due:
            os.killpg(process, 9)
        save_file({name: tensor.contiguous().clone() for name, tensor in named_params}, folder / "model.safetensors")
        request = {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}}
        self._post(f"{self.base_url}/collective_rpc", json=request)

    VLLMClient.init_communicator = lambda self, device: None
    VLLMClient.update_named_params = update_named_params


CHANGES = {"vllm_alone": vllm_alone, "stale": stale, "stand_in": stand_in}

if __name__ == "__main__":
    for name in sys.argv[1].split(","):
        CHANGES[name]()
    sys.exit(exits.guarded(lambda: train.main(sys.argv[2:])))
