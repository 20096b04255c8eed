"""A run's model as a file for use elsewhere, with the same score before and after."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import WrongUse
from artifacts.foreign import Kind
from artifacts.pictures import Pictures
from artifacts.run import Run
from training import backend
from training.importing import keras_file
from training.narration import say


@dataclass(frozen=True)
class Saved:
    """What was compared; the accuracies are None where nobody knows what the pictures show."""

    path: Path
    pictures: int
    before: float | None
    after: float | None


def save(run: Run, path: Path, *, force: bool = False, allow_code: bool = False) -> Saved:
    """Write the model of `run` to `path`, as .keras or HDF5, proven on the run's held-out pictures.

    Raises:
        WrongUse: the name ends otherwise, its folder is missing, or it is there and `force` is not given.
        BadModel: the run's model is damaged, or the format cannot hold it.
    """
    keras_file.kind_to_write(path)
    if path.exists() and not force:
        raise WrongUse(f"{path} exists; give another name, or --force to replace it")
    if not path.parent.is_dir():
        raise WrongUse(f"there is no folder {path.parent} to write {path.name} into")
    backend.load()
    model = keras_file.read(run.model_file, Kind.KERAS, allow_code=allow_code)
    pictures = Pictures.load(run.pictures_file)
    pixels = pictures.decode(*model.input_shape[1:])
    say(f"writing {path.name}, reading it back and comparing its answers on {len(pixels)} held-out pictures")
    before, after = keras_file.write_proven(model, path, pixels, allow_code=allow_code)
    return Saved(path, len(pixels), _accuracy(before, pictures), _accuracy(after, pictures))


def _accuracy(probabilities: NDArray[np.float32], pictures: Pictures) -> float | None:
    if (pictures.labels < 0).any():
        return None
    return float((probabilities.argmax(1) == pictures.labels).mean())
