"""`python -m r1rl.train --config RECIPE [--key value …]`, alone or under `accelerate launch`."""

import sys

from r1rl.run import exits
from r1rl.train import main

sys.exit(exits.guarded(main.main, last=True))
