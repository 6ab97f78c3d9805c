"""A plugin of vLLM for the tests: on a CPU, linear layers multiply by the weights that they were given.

vLLM 0.30 packs those weights when it loads them and empties the parameter. The first synchronisation then fails
("'Parameter' object has no attribute 'weight_loader'") or, where a packed copy is kept beside the parameter, changes
nothing and says nothing. On a GPU nothing is packed. Plugins are what every process of vLLM loads, a server's too.
"""

import torch


def register() -> None:
    """What the entry point names; vLLM calls it in each of its processes."""
    from vllm.model_executor.layers import utils

    def plain(layer: torch.nn.Module, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    utils.dispatch_cpu_unquantized_gemm = plain
