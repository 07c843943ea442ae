"""One of two processes that train models together, one after the other: `python -m tests.rank_runs RANK FOLDER TARGET STUDY...`.

Each study is named after what trains. The first process has the server's address; the second one has an address where no server
listens, so any question from it raises. Each prints a line of JSON for each model: the epochs that began, and the last decision.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import torch

from curvestop.clients.remote.remote_study import connect
from curvestop.clients.training_loop import Epochs
from curvestop.srm.curve import Decision
from curvestop.srm.study_like import StudyLike
from tests.contracts import last_seen
from tests.contracts_training import BAD, PATIENT_S

LONGEST_S = 240.0

Run = Callable[[StudyLike, Sequence[float], list[int], Path], Decision | None]


def plain(study: StudyLike, curve: Sequence[float], began: list[int], folder: Path) -> Decision | None:
    epochs = Epochs(study, "bad", range(1, len(curve) + 1))
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(4, 1))
    for epoch in epochs:
        began.append(epoch)
        model(torch.ones(8, 4)).mean().backward()
        epochs.report(curve[epoch - 1])
    return epochs.decision


def mistake(study: StudyLike, curve: Sequence[float], began: list[int], folder: Path) -> Decision | None:
    """Report what the study refuses: an error in both processes, and neither waits for the other."""
    epochs = Epochs(study, "complete-0", range(1, 4), configuration={"width": 8})
    try:
        began.extend(epochs)
    except ValueError as error:
        return Decision.carry_on(str(error))
    return None


def lightning(study: StudyLike, curve: Sequence[float], began: list[int], folder: Path) -> Decision | None:
    from curvestop.clients.lightning import SRMCallback
    from tests.lightning_runs import Scripted, trainer

    callback = SRMCallback(study, "bad")
    run = trainer(len(curve), [callback], strategy="ddp", devices=2, num_sanity_val_steps=2)
    run.fit(Scripted(curve, began.append))
    assert run.world_size == 2
    return callback.decision


def transformers(study: StudyLike, curve: Sequence[float], began: list[int], folder: Path) -> Decision | None:
    from curvestop.clients.transformers import SRMCallback
    from tests.transformers_runs import scripted

    callback = SRMCallback(study, "bad")
    run = scripted(curve, [callback], folder, began.append, ddp_backend="gloo", per_device_train_batch_size=32)
    assert run.args.world_size == 2
    run.train()
    return callback.decision


def keras(study: StudyLike, curve: Sequence[float], began: list[int], folder: Path) -> Decision | None:
    os.environ["KERAS_BACKEND"] = "torch"
    from curvestop.clients.keras import SRMCallback
    from tests.keras_runs import fit

    callback = SRMCallback(study, "bad")
    fit(curve, callback, begin=began.append)
    return callback.decision


RUNS: dict[str, Run] = {"plain": plain, "mistake": mistake, "lightning": lightning, "transformers": transformers, "keras": keras}


def main(rank: str, folder: str, target: str, *names: str) -> None:
    warnings.simplefilter("ignore")
    os.environ.update({"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"})
    meeting = f"file://{folder}/meeting"
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=meeting, rank=int(rank), world_size=2, timeout=timedelta(seconds=LONGEST_S)
    )
    curve = BAD if rank == "0" else [0.0] * len(BAD)  # the second process's values must not count
    for name in names:
        began: list[int] = []
        with connect(target, last_seen(name=name, metric="accuracy"), strict=True, deadline_s=PATIENT_S) as study:
            decision = RUNS[name](study, curve, began, Path(folder))
        assert decision is not None
        print(json.dumps({"began": began, "stop": decision.stop, "reason": decision.reason}))
    gc.collect()  # models wrapped for the group hold on to it
    torch.distributed.barrier()  # neither process leaves while the other still needs its connection
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
    # On a busy machine a thread of gloo may outlive its group, and C++ destructors at exit then abort the process ("terminate
    # called without an active exception"). Everything is printed and closed: leave without them.
    sys.stdout.flush()
    os._exit(0)
