"""python own_group.py RANK SIZE FOLDER: a program with a group of SIZE processes of its own, through FOLDER.

The first process computes alone, while the others wait for it; then all of them join and compute together.
"""
import datetime
import json
import sys
from pathlib import Path

import numpy as np
import parallel_worker
from parallel_worker import SAME, dataset, evaluate
import torch._dynamo  # noqa: F401  before there is a group: what it imports keeps it, whose threads may then abort at exit
from torch import distributed

from cases import CONFIGS
from wvad_core.backend import find_backend


def main(rank: int, size: int, folder: Path) -> None:
    distributed.init_process_group("gloo", f"file://{folder / 'group'}", rank=rank, world_size=size,
                                   timeout=datetime.timedelta(seconds=120))  # where one waits for the other in vain
    torch, found = find_backend("torch"), {}
    if rank == 0:
        trained = parallel_worker.train(SAME, CONFIGS[SAME][0], "torch")
        report = evaluate("torch", dataset(folder))
        np.savez(folder / "alone.npz", **trained["weights"])
        found = {"processes": torch.processes(), "terms": trained["terms"], "metrics": report["metrics"]}
    distributed.barrier()
    found |= {"joined": torch.join("cpu"), "then": torch.processes(),
              "gathered": [part.tolist() for part in torch.gather(np.full(rank + 1, rank, np.float32))]}
    (folder / f"{rank}.json").write_text(json.dumps(found))
    distributed.destroy_process_group()
    assert torch.processes() == (0, 1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
