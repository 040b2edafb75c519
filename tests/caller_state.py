"""What a process may have set that this library uses: all of it, to be compared before and after.

As a script: BACKEND. Sets things as another program might, takes the library's steps one after another, and prints what
each has changed, {step: [names]}, as JSON.
"""
from __future__ import annotations

import copy
import importlib
import json
import os
import pickle
import random
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import parallel_worker

import wvad_core as wv
from cases import CONFIGS, batch, video
from wvad_core.training.recipe import Recipe
from wvad_core.training.trainer import Trainer


def snapshot() -> dict[str, Any]:
    """{name: value} of Python's, NumPy's, and of every framework's that is imported."""
    found = {"random": random.getstate(), "numpy.random": np.random.get_state(), "numpy.errors": np.geterr(),
             "environment": dict(os.environ), "warnings": list(warnings.filters), "folder": os.getcwd()}
    for name, read in (("torch", of_torch), ("mindspore", of_mindspore)):
        if name in sys.modules:
            found |= {f"{name}.{key}": value for key, value in read(sys.modules[name]).items()}
    return found


def of_torch(torch) -> dict[str, Any]:
    backends, distributed = torch.backends, torch.distributed
    precisions = {"float32": backends, "cudnn": backends.cudnn, "mkldnn": backends.mkldnn,
                  "matmul": backends.cuda.matmul, "conv": backends.cudnn.conv, "rnn": backends.cudnn.rnn, "cpu matmul": backends.mkldnn.matmul,
                  "cpu conv": backends.mkldnn.conv, "cpu rnn": backends.mkldnn.rnn}
    return {"random": torch.get_rng_state().numpy(), "default dtype": torch.get_default_dtype(),
            "default device": torch.get_default_device(), "gradients": torch.is_grad_enabled(),
            "inference": torch.is_inference_mode_enabled(), "autocast": torch.is_autocast_enabled("cpu"),
            "threads": torch.get_num_threads(), "threads between": torch.get_num_interop_threads(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            "cudnn deterministic": backends.cudnn.deterministic,
            "benchmark": backends.cudnn.benchmark, "older matmul": torch.get_float32_matmul_precision(),
            "older conv": backends.cudnn.allow_tf32, "group": distributed.is_initialized(),
            **{f"precision {name}": owner.fp32_precision for name, owner in precisions.items()}}


def of_mindspore(ms) -> dict[str, Any]:
    from mindspore.communication import GlobalComm
    from mindspore.runtime.executor import RuntimeConf

    names = ("mode", "device_target", "device_id", "pynative_synchronize", "deterministic")
    return {"seed": ms.get_seed(), "dataset seed": ms.dataset.config.get_seed(), "random": ms.get_rng_state().asnumpy(),
            "blocking": RuntimeConf.get_instance().is_launch_blocking(), "group": GlobalComm.INITED,
            **{name: ms.get_context(name) for name in names}}


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names whose values differ."""
    return sorted(name for name in before.keys() | after.keys() if not same(before.get(name), after.get(name)))


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, (tuple, list)) and isinstance(theirs, (tuple, list)):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else ours == theirs


def another_program(framework: str) -> None:
    """Set what is not as it is in a fresh process."""
    for package in ("scipy.sparse", "scipy.special", "tensorboardX"):
        importlib.import_module(package)  # which set warning filters or variables as they are imported
    random.seed(11)
    np.random.seed(12)
    warnings.simplefilter("error", ResourceWarning)
    if framework == "torch":
        import torch
        import torch._dynamo  # noqa: F401, which the first optimiser imports

        torch.manual_seed(13)
        torch.set_num_threads(1)
        torch.set_float32_matmul_precision("high")
        torch.use_deterministic_algorithms(True)
    if framework == "mindspore":
        import mindspore as ms

        ms.set_seed(14)
    random.random(), np.random.random()  # so that seeding once more by the same number shows


def main(backend: str) -> None:
    if backend != "numpy":
        importlib.import_module(backend)
    another_program(backend)
    with tempfile.TemporaryDirectory() as place:
        os.environ["WVAD_CACHE"] = place
        before, found = snapshot(), {}
        for step, act in steps(backend, Path(place)):
            act()
            after = snapshot()
            found[step], before = changed(before, after), after
    print(json.dumps(found))


def steps(backend: str, folder: Path):
    """(name, function) of what people do, for methods with each of what networks have of their own."""
    recipe = Recipe(segments=20, videos=3, steps=3)
    for method, number in (("saa", 0), ("ur-dmu", 0), ("adplg", 0), ("ar-net", 4)):
        config, made = CONFIGS[method][number], {}
        features, given = video(method, config, 20), batch(method, config, 20)
        yield f"create {method}", lambda: made.update(new=wv.create(method, backend, **config))
        yield f"save {method}", lambda: made["new"].save(folder / f"{method}.safetensors")
        yield f"load {method}", lambda: made.update(new=wv.load(folder / f"{method}.safetensors", backend))
        yield f"score {method}", lambda: made["new"].score(features)
        yield f"losses {method}", lambda: made["new"].losses(given)
        if backend == "numpy":
            continue
        yield f"gradients {method}", lambda: made["new"].gradients(given)
        yield f"trainer {method}", lambda: made.update(trainer=Trainer(made["new"], recipe))
        yield f"step {method}", lambda: made["trainer"].step(given)
        yield f"reseed {method}", lambda: made["trainer"].reseed(3)
        yield f"state {method}", lambda: made["trainer"].restore(made["trainer"].state())
    yield "copy", lambda: copy.deepcopy(made["new"])
    yield "pickle", lambda: pickle.loads(pickle.dumps(made["new"]))
    yield "evaluate", lambda: parallel_worker.evaluate(backend, parallel_worker.dataset(folder))
    if backend != "numpy":
        yield "training run", lambda: training_run(backend, folder)


def training_run(backend: str, folder: Path) -> None:
    """Two steps, an evaluation, and what a run leaves in its folder."""
    rows = ["video,split,category,frames,intervals"]
    for number, split in enumerate(("train", "train", "test", "test")):
        rows.append(f"a{number},{split},{'Fight' if number % 2 else 'Normal'},64,{'0-20' if number == 3 else ''}")
        np.save(folder / f"a{number}.npy", np.ones((4, 8), np.float32) * number)
    (folder / "own.csv").write_text("\n".join(rows) + "\n")
    wv.train("saa", folder / "own.csv", folder, backend, "cpu", folder / "run", feature_dim=8, attention_dim=4, hidden_dims=(4, 2),
             segments=4, videos=1, steps=2, evaluate_every=1, metric="auc")


if __name__ == "__main__":
    main(sys.argv[1])
