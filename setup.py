"""Compiles the detectors of `r1rl.aha` where that is asked for, `R1RL_COMPILE=1 pip install .`: see the README.

Everything else about the package is in pyproject.toml. An editable install stays as it is: what was compiled would hide
what is edited.
"""

import os
from pathlib import Path

from setuptools import setup

# What `annotate` spends its time in.
DETECTORS = (
    *("annotation", "announced", "arithmetic", "attempts", "backtracking", "countdown_sources", "countdown_trace"),
    *("equations", "goal_tests", "hygiene", "line_ends", "markers", "math_attempts", "notation", "reasoning"),
    *("statements", "transitions", "words"),
)

wanted = os.environ.get("R1RL_COMPILE", "") not in ("", "0")
modules = []
if wanted and Path("r1rl").is_dir():
    try:
        from mypyc.build import mypycify
    except ImportError:  # pip asks first what the build requires, `setup_requires`
        pass
    else:
        files = [f"r1rl/aha/{name}.py" for name in DETECTORS]
        modules = mypycify(["--ignore-missing-imports", "--follow-imports=skip", *files], opt_level="2")
setup(ext_modules=modules, setup_requires=["mypy[mypyc]>=1.15"] if wanted else [])
