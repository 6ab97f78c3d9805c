"""Muon for CPUs: torch's multiplies in bfloat16 on any of them, which most laptops' do 50 times slower than float32."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class Muon(torch.optim.Muon):
    """`torch.optim.Muon` (read in 2.13) in float32, and with one product for all matrices of one shape."""

    def __init__(self, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float = 0.1) -> None:
        super().__init__(params, lr=lr, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step, as torch's but for the rounding."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(parameter.shape, []).append(parameter)
            for (rows, columns), parameters in by_shape.items():
                updates = orthogonal(
                    torch.stack([self._update(parameter, group) for parameter in parameters]).float(),
                    group["ns_coefficients"], group["ns_steps"], group["eps"],
                )  # fmt: skip
                lr = group["lr"] * max(1.0, rows / columns) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=lr)
        return loss

    def _update(self, parameter: torch.Tensor, group: dict[str, Any]) -> torch.Tensor:
        gradient = parameter.grad
        assert gradient is not None
        momentum = self.state[parameter].setdefault("momentum_buffer", torch.zeros_like(gradient))
        momentum.lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(momentum, group["momentum"]) if group["nesterov"] else momentum


def orthogonal(
    matrices: torch.Tensor, coefficients: tuple[float, float, float], steps: int, epsilon: float
) -> torch.Tensor:
    """[n, rows, columns] -> the same, each matrix's singular values brought near 1.

    The quintic Newton-Schulz iteration of Muon (Jordan and others, 2024).
    """
    a, b, c = coefficients
    turned = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if turned else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=epsilon)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if turned else x
