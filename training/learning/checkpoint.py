"""The file from which a killed training goes on, to the same final weights as an unbroken one.

One `.npz` without pickle, replaced atomically after an epoch: every variable of the trained wrapper (weights, BN
statistics, the states of its random generators) and of the optimizer, the best weights, the history.
"""

import io
import json
import time
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from artifacts.errors import BadRun
from artifacts.files import write_atomic
from training.learning.activations import Activations
from training.learning.state import State

PATIENCE = 100  # a checkpoint may take this much less time than what passes between two: 1 %
Arrays = dict[str, list[np.ndarray]]  # by group: "model", "optimizer", "best"


class Keeper(keras.callbacks.Callback):
    """Writes the checkpoint after every epoch, or less often where writing takes long beside training."""

    def __init__(self, path: Path, state: State) -> None:
        super().__init__()
        self.path, self.state = path, state
        self.taken, self.last = 0.0, -np.inf  # seconds

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Write, if it is time; never after an epoch that came to nothing."""
        begun = time.perf_counter()
        if self.state.epoch != epoch + 1 or begun - self.last < PATIENCE * self.taken:
            return
        write(self.path, self.state, self.model)
        self.last = time.perf_counter()
        self.taken = self.last - begun


def write(path: Path, state: State, model: keras.Model) -> None:
    """Write the state, and the variables of the compiled `model`."""
    groups = {
        "model": [keras.ops.convert_to_numpy(variable) for variable in model.variables],
        "optimizer": [keras.ops.convert_to_numpy(variable) for variable in model.optimizer.variables],
        "best": state.best_weights,
    }
    told = {"history": state.history, "best_epoch": state.best_epoch, "activations": asdict(state.activations)}
    arrays = {f"{name}-{number}": array for name, group in groups.items() for number, array in enumerate(group)}
    out = io.BytesIO()
    np.savez(out, told=np.array(json.dumps(told)), **arrays)
    write_atomic(path, out.getvalue())


def read(path: Path) -> tuple[State, Arrays]:
    """Read the file.

    Raises:
        BadRun: it is damaged.
    """
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            groups: Arrays = {"model": [], "optimizer": [], "best": []}
            for name in sorted(set(file.files) - {"told"}, key=lambda name: int(name.partition("-")[2])):
                groups[name.partition("-")[0]].append(file[name])
    except Exception as error:  # numpy and zipfile raise whatever the damaged bytes lead them to
        raise BadRun(f"{path} is not a checkpoint ({error}); delete it, and the training starts anew") from error
    state = State(Activations(**told["activations"]), told["history"], told["best_epoch"], groups["best"])
    return state, groups


def restore(variables: list[keras.Variable], arrays: list[np.ndarray], path: Path) -> None:
    """Put what was written back.

    Raises:
        BadRun: the network is another one than that of the checkpoint.
    """
    if [tuple(variable.shape) for variable in variables] != [array.shape for array in arrays]:
        raise BadRun(f"{path} is of another network or another version of Keras; delete it to start anew")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
