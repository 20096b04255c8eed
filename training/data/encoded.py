"""The encoded pictures that a run keeps, so that it can be exported when its data is gone."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from artifacts.pictures import GOLDEN_PICTURES, LEAST, TEST_PICTURES, TRAINING_PICTURES, Pictures, representative
from artifacts.run import Run
from training.data.dataset import Data
from training.data.split import Split


def keep(run: Run, data: Data, divided: Split, predict: Callable[[NDArray[np.uint8]], NDArray[np.float32]]) -> None:
    """Write `pictures.npz`, `test_pictures.npz` and `training_pictures.npz`.

    The first has what `predict`, the network, says of the pixels as training has them: the export has to find the same.
    """
    kept = _held_out(data, divided)
    replace(_files(data, kept), probabilities=predict(data.pixels[kept])).save(run.pictures_file)
    of_test(data, divided).save(run.test_pictures_file)
    of_training(data, divided).save(run.training_pictures_file)


def held_out(data: Data, divided: Split) -> Pictures:
    """Pictures of the test part; where that has fewer than LEAST, of validation and train too."""
    return _files(data, _held_out(data, divided))


def of_test(data: Data, divided: Split) -> Pictures:
    """Pictures of the test part, to judge reduced precision by."""
    return _files(data, _some(data, divided["test"], TEST_PICTURES))


def of_training(data: Data, divided: Split) -> Pictures:
    """Pictures of the training part, to calibrate int8 by."""
    return _files(data, _some(data, divided["train"], TRAINING_PICTURES))


def _held_out(data: Data, divided: Split) -> NDArray[np.int64]:
    positions = divided["test"]
    for part in ("validation", "train"):
        if len(positions) < LEAST:
            positions = np.concatenate([positions, divided[part]])
    return _some(data, positions, GOLDEN_PICTURES)


def _some(data: Data, positions: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    return positions[representative(data.classes[positions], lambda each: len(data.encode(positions[each])), most)]


def _files(data: Data, kept: NDArray[np.int64]) -> Pictures:
    return Pictures([data.encode(each) for each in kept], [data.files[each] for each in kept], data.classes[kept])
