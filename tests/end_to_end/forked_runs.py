"""Starts runs without their imports: reads one JSON object a line, forks, trains, and writes how the child ended.

`{"words": [...], "kill_at": 7}`: the child kills itself in its seventh write (None: it is left alone). With the number
of the child it answers at once, with how it ended when it has.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any


def dies_in_write(number: int) -> None:
    """Have this process killed when it has begun, but not ended, so many writes of a checkpoint, a shard or a log."""
    import torch

    count = 0

    def counted(plain: Any, *, half: bool) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal count
            count += 1
            if count < number:
                return plain(*args, **kwargs)
            if half:  # the write is made, and its end never seen
                plain(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)

        return call

    torch.save = counted(torch.save, half=True)
    os.replace = counted(os.replace, half=False)  # whole files
    os.fsync = counted(os.fsync, half=False)


def main() -> None:
    import trl.trainer.grpo_trainer

    assert trl
    from r1rl.train import main as train
    from r1rl.train import trainer

    assert trainer
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            os.setsid()
            if asked["kill_at"]:
                dies_in_write(asked["kill_at"])
            code = 1
            try:
                code = train.main(asked["words"])
            finally:
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
