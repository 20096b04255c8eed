"""Does a model that was made elsewhere fit what the person says about it, and what can be served here?"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import BadModel, WrongUse
from artifacts.foreign import (
    AUTO,
    SCALINGS,
    Dims,
    Evidence,
    EvidenceFor,
    Foreign,
    Layout,
    Original,
    Shape,
    Wanted,
)

CHANNELS = (1, 3)
ADDS_TO = 1e-3  # how far the probabilities of a picture may be from 1: float16 rounds a thousand classes


def fit(
    original: Original, wanted: Wanted, evidence_for: EvidenceFor, say: Callable[[str], object]
) -> tuple[Foreign, Evidence]:
    """How the model is to be fed and read, and the pictures that showed it.

    Raises:
        BadModel: it is none that can be served.
        WrongUse: it is another than the person says, or the person has to say more.
    """
    shape, layout = fit_input(original.dims, wanted)
    evidence = evidence_for(shape)
    unscaled = Foreign(shape, layout, original.dtype, "none", wanted.logits, wanted.labels)
    outputs = original.run(unscaled.feed(evidence.pictures.decode(*shape)))
    check_units(int(np.prod(outputs.shape[1:])), wanted.labels)
    check_outputs(outputs, logits=wanted.logits)
    scaling, why = decide_scaling(wanted, unscaled, original, evidence)
    if why:
        say(why)
    return replace(unscaled, scaling=scaling), evidence


def fit_input(dims: Dims, wanted: Wanted) -> tuple[Shape, Layout]:
    """The pictures' shape and the model's layout, from the dimensions that it declares for one picture.

    Raises:
        BadModel: they are not those of a picture.
        WrongUse: the person says otherwise, or has to say more.
    """
    if len(dims) == 3:  # noqa: PLR2004 - height, width, channels in some order
        first = dims[0] in CHANNELS and dims[2] not in CHANNELS
        layout, (height, width, channels) = (
            (Layout.NCHW, (dims[1], dims[2], dims[0])) if first else (Layout.NHWC, (dims[0], dims[1], dims[2]))
        )
    elif len(dims) == 2:  # noqa: PLR2004 - height, width
        layout, (height, width, channels) = Layout.NHW, (*dims, 1)
    elif len(dims) == 1 and dims[0]:
        return _flat(dims[0], wanted), Layout.FLAT
    else:
        raise BadModel(f"the model takes {_written(dims)}, which is not one picture of height, width and channels")
    shape = (*_agreed_size((height, width), wanted), _agreed_channels(channels, wanted.channels))
    if shape[2] not in CHANNELS:
        raise BadModel(f"the model takes pictures of {shape[2]} channels; 1 (grey) and 3 (RGB) can be served")
    return shape, layout


def _flat(length: int, wanted: Wanted) -> Shape:
    if wanted.size is None:
        raise WrongUse(f"the model takes vectors of {length} values; give --size H,W of the pictures that they were")
    height, width = wanted.size
    channels = wanted.channels or length // (height * width)
    if height * width * channels != length or channels not in CHANNELS:
        raise WrongUse(f"the model takes vectors of {length} values; --size {height},{width} does not make them")
    return height, width, channels


def _agreed_size(declared: tuple[int | None, int | None], wanted: Wanted) -> tuple[int, int]:
    if wanted.size is None and None not in declared:
        return declared  # type: ignore[return-value] # the line above
    if wanted.size is None:
        raise WrongUse(f"the model takes pictures of any size ({_written(declared)}); give one with --size H,W")
    if any(own is not None and own != asked for own, asked in zip(declared, wanted.size, strict=True)):
        came = ",".join(map(str, wanted.size))
        raise WrongUse(f"the model takes pictures of {_written(declared)}; received --size {came}")
    return wanted.size


def _agreed_channels(declared: int | None, asked: int | None) -> int:
    if declared is not None and asked is not None and declared != asked:
        raise WrongUse(f"the model takes pictures with channels: {declared}; received --channels {asked}")
    if declared is None and asked is None:
        raise WrongUse("the model takes pictures with any number of channels; give --channels 1 or --channels 3")
    return declared or asked or 0


def check_units(units: int, labels: list[str]) -> None:
    """See that there is a label for each output; one unit stands for two labels.

    Raises:
        WrongUse: there is not.
    """
    expected = 2 if units == 1 else units
    if len(labels) != expected:
        why = " (one unit, the probability of the second label)" if units == 1 else ""
        raise WrongUse(f"the model's output needs {expected} labels{why}; --labels holds {len(labels)}")


def check_outputs(outputs: NDArray[Any], *, logits: bool) -> None:
    """See that what the model gave for some pictures, (N, …), are probabilities, or logits where the person says so.

    Raises:
        BadModel: they are no numbers.
        WrongUse: they are the other.
    """
    given = outputs.reshape(len(outputs), -1).astype(np.float64)
    if not np.isfinite(given).all():
        raise BadModel("the model gives what is no number; its weights are damaged, or --scaling is another")
    sums = given.sum(axis=1)
    adds_up = given.shape[1] == 1 or bool(np.abs(sums - 1).max() <= ADDS_TO)
    probable = adds_up and bool(given.min() >= -ADDS_TO and given.max() <= 1 + ADDS_TO)
    if probable != logits:
        return
    came = f"values from {given.min():.3g} to {given.max():.3g} that add to {sums.min():.3g} to {sums.max():.3g}"
    if logits:
        raise WrongUse(f"the outputs are probabilities and no logits: {came} for each picture; leave --logits out")
    raise WrongUse(f"the outputs must be probabilities that add to 1; received {came}; for logits: --logits")


def decide_scaling(wanted: Wanted, unscaled: Foreign, original: Original, evidence: Evidence) -> tuple[str, str]:
    """The scaling to build in, and a sentence about it, empty where there is nothing to say.

    Raises:
        WrongUse: it cannot be decided, or the model does not take pictures that were scaled so.
    """
    channels = unscaled.shape[2]
    if original.dtype == "uint8" and wanted.scaling not in (AUTO, "none"):
        raise WrongUse(f"the model takes uint8 and scales it itself; leave --scaling {wanted.scaling} out")
    if wanted.scaling != AUTO:
        if not SCALINGS[wanted.scaling].fits(channels):
            raise WrongUse(f"--scaling {wanted.scaling} is for colour pictures; the model takes grey ones")
        twice = original.scales_itself and wanted.scaling != "none"
        return wanted.scaling, f"the model scales again what --scaling {wanted.scaling} makes" if twice else ""
    if original.scales_itself:
        return "none", "the model scales its pictures itself: they go into it from 0 to 255"
    if evidence.trial is None:
        raise WrongUse(
            "the model does not tell how its pictures were scaled; "
            f"give --scaling {'|'.join(SCALINGS)}, or --data with labelled pictures to find it out"
        )
    reached = {
        name: evidence.trial(replace(unscaled, scaling=name).fed_by_hand(original))
        for name, scaling in SCALINGS.items()
        if scaling.fits(channels)
    }
    best = max(reached, key=lambda name: (reached[name][0], -reached[name][1]))
    listed = ", ".join(f"{name} {accuracy:.4f}" for name, (accuracy, _) in reached.items())
    return best, f"validation accuracy by scaling: {listed}; {best} is taken"


def _written(dims: Dims) -> str:
    return "×".join("any" if size is None else str(size) for size in dims) or "a single number"
