"""Compiles the detectors of `r1rl.aha` where that is asked for, `R1RL_COMPILE=1 pip install .`: see the README.

Everything else about the package is in pyproject.toml. An editable install stays as it is: what was compiled would hide
what is edited.
"""

import os
import sys

from setuptools import setup

# What `annotate` spends its time in.
DETECTORS = (
    *("annotation", "announced", "arithmetic", "attempts", "backtracking", "countdown_sources", "countdown_trace"),
    *("equations", "goal_tests", "hygiene", "line_ends", "markers", "math_attempts", "notation", "reasoning"),
    *("statements", "transitions", "words"),
)

wanted = os.environ.get("R1RL_COMPILE", "") not in ("", "0")
modules = []
# Not where pip only asks what the build requires, nor for an editable install.
if wanted and {"bdist_wheel", "build", "build_ext"} & set(sys.argv):
    from mypyc.build import mypycify

    files = [f"r1rl/aha/{name}.py" for name in DETECTORS]
    modules = mypycify(["--ignore-missing-imports", "--follow-imports=skip", *files], opt_level="2")
setup(ext_modules=modules, setup_requires=["mypy[mypyc]>=1.15,<3"] if wanted else [])
