"""Settings of vLLM on a CPU."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {
    "OMP_NUM_THREADS": "1",
    "PYTHONPATH": str(ROOT),
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB; also lifts the check on free memory
    "VLLM_CPU_CI_ENV": "1",  # nothing is compiled, which would take minutes
    "VLLM_LOGGING_LEVEL": "WARNING",
}
