"""For test_distributed.py: day 32's program in several processes, as torchrun starts them.

    python team.py FOLDER

torchrun's own agent starts them, but as forks of this process, so that torch is imported once.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from harness.grading import finder
from harness.protocol import SOLUTION

SETTINGS = {
    "pretrain_steps": 6,
    "batch": 7,
    "every": 2,
    "known": 100,
    "held": 4,
    "model": {
        "hidden_size": 16,
        "intermediate_size": 24,
        "moe_intermediate_size": 8,
        "num_experts_per_tok": 2,
    },
}


@contextmanager
def days() -> Iterator[Any]:
    """The program in float64, where no rounding chooses an expert."""
    with finder.use(finder.Choice(impl=SOLUTION)):
        arithmetic, distributed, _ = (
            importlib.import_module(f"tracks.pytorch.{name}")
            for name in ("arithmetic", "distributed", "day32")  # once, for all processes
        )

        made = arithmetic.Run.__init__

        def double(run: Any, *args: Any) -> None:
            made(run, *args)
            run.model.double()

        arithmetic.Run.__init__ = double
        arithmetic.Run.plot = lambda run: None
        yield arithmetic, distributed


def fork(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0


def team(size: int, work: Callable[[], None]) -> None:
    """What torchrun --standalone --nproc-per-node SIZE does."""
    config = LaunchConfig(
        1,
        1,
        size,
        run_id=str(size),
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        local_addr="localhost",
        max_restarts=0,
        start_method="fork",
    )
    try:
        elastic_launch(config, work)()
    except ChildFailedError as error:
        print(f"{size} processes failed:", *sorted(error.failures), flush=True)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    config = folder / "config.json"
    config.write_text(json.dumps(SETTINGS))

    with days() as (arithmetic, distributed):

        def pretrain(name: str, *more: str) -> None:
            asked = ["--folder", str(folder / name), "--config", str(config), *more]
            arithmetic.main(["pretrain", *asked])

        def killed() -> None:
            """Process 1 is killed while the second checkpoint is written."""
            save = distributed.dcp.save

            def ends(kept: Any, checkpoint_id: Path) -> None:
                if checkpoint_id.name == "step-00000004.tmp" and os.environ["RANK"] == "1":
                    os.kill(os.getpid(), signal.SIGKILL)
                save(kept, checkpoint_id=checkpoint_id)

            distributed.dcp.save = ends
            pretrain("team")

        def interrupted() -> None:
            """Ctrl-C, behind the second checkpoint."""
            read = arithmetic.Run.read

            def reads(run: Any, i: int) -> Any:
                if i == 4:
                    os.kill(os.getpid(), signal.SIGINT)
                    signal.pause()
                return read(run, i)

            arithmetic.Run.read = reads
            pretrain("team")

        fork(lambda: pretrain("alone"))
        team(2, killed)
        print("left:", *sorted(path.name for path in (folder / "team" / "sharded").iterdir()))
        team(1, interrupted)
        team(4, lambda: pretrain("team", "--ep", "2"))
        team(1, lambda: pretrain("team"))
        fork(lambda: arithmetic.main(["eval", "--folder", str(folder / "team")]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
