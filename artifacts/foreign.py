"""A model that was made elsewhere: how it wants its pictures and gives its answers, in plain numpy.

    uint8 (N, H, W, C) -> scaling -> layout -> [the model] -> softmax or sigmoid of logits -> probabilities (N, classes)

Whoever imports a model builds the same into its graph, and is proven against what is here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import WrongUse
from artifacts.pictures import Pictures

Shape = tuple[int, int, int]  # height, width, channels
Dims = tuple[int | None, ...]  # of one picture, as the model declares them; None: any
Predict = Callable[[NDArray[np.uint8]], NDArray[np.float32]]  # pictures (N, H, W, C) -> probabilities (N, classes)

REASON = 300  # characters of what a library says; it may add the whole architecture
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
DTYPES = ("uint8", "float16", "float32", "float64")


class Kind(StrEnum):
    """Formats that are imported."""

    KERAS = ".keras"
    HDF5 = "HDF5"
    SAVED_MODEL = "SavedModel"
    ONNX = "ONNX"


class Layout(StrEnum):
    """How a model's input is laid out."""

    NHWC = "NHWC"
    NCHW = "NCHW"
    NHW = "NHW"  # grey, without an axis for the channel
    FLAT = "flat"  # one vector a picture


class Scaling(NamedTuple):
    """(x / divisor - mean) / deviation of a uint8 x; `bgr`: with the channels in reverse order."""

    divisor: float = 1.0
    mean: tuple[float, ...] = ()  # one for all channels, or one a channel; (): 0
    deviation: tuple[float, ...] = ()  # as above; (): 1
    bgr: bool = False

    def fits(self, channels: int) -> bool:
        """Whether it says something about pictures of so many channels."""
        return len(self.mean) in (0, 1, channels)


AUTO = "auto"
# The last three are the modes of `preprocess_input` in keras.applications; the figures are theirs, of ImageNet.
SCALINGS = {
    "none": Scaling(),
    "unit": Scaling(255.0),
    "signed": Scaling(127.5, (1.0,)),
    "caffe": Scaling(mean=(103.939, 116.779, 123.68), bgr=True),
    "torch": Scaling(255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


@dataclass(frozen=True)
class Wanted:
    """What the person says about the model. None: as the model declares it."""

    labels: list[str]  # in the order of the outputs
    size: tuple[int, int] | None = None  # height, width
    channels: int | None = None
    scaling: str = AUTO
    logits: bool = False
    allow_code: bool = False


class Original(Protocol):
    """A model as it came, opened."""

    @property
    def dims(self) -> Dims:
        """What it declares for one picture."""

    @property
    def dtype(self) -> str:
        """Of its input, one of DTYPES."""

    @property
    def scales_itself(self) -> bool:
        """Whether pictures go in from 0 to 255."""

    def run(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """What it gives, (N, …), for pictures as it takes them, (N, *dims).

        Raises:
            BadModel: it does not take them.
        """


@dataclass(frozen=True)
class Foreign:
    """Everything there is to know about the model's two ends."""

    shape: Shape  # of the pictures
    layout: Layout
    dtype: str  # of its input, one of DTYPES
    scaling: str  # one of SCALINGS
    logits: bool
    labels: list[str]

    def feed(self, pixels: NDArray[np.uint8]) -> NDArray[Any]:
        """Pictures, uint8 (N, H, W, C), as the model itself takes them."""
        divisor, mean, deviation, bgr = SCALINGS[self.scaling]
        x: NDArray[Any] = pixels[..., ::-1] if bgr else pixels
        if self.scaling != "none":
            x = x.astype(np.float32) / np.float32(divisor)
            x = x - np.array(mean, np.float32) if mean else x
            x = x / np.array(deviation, np.float32) if deviation else x
        if self.layout is Layout.NCHW:
            x = x.transpose(0, 3, 1, 2)
        elif self.layout is Layout.NHW:
            x = x[..., 0]
        elif self.layout is Layout.FLAT:
            x = x.reshape(len(x), -1)
        return np.ascontiguousarray(x, self.dtype)

    def probabilities(self, outputs: NDArray[Any]) -> NDArray[np.float32]:
        """What the model gave, (N, …), as float32 (N, classes)."""
        given: NDArray[Any] = outputs.reshape(len(outputs), -1).astype(np.float32)
        one = given.shape[1] == 1
        if self.logits and one:
            given = (1 + np.tanh(given / 2)) / 2  # the sigmoid, without overflow
        elif self.logits:
            raised = np.exp(given - given.max(axis=1, keepdims=True))
            given = raised / raised.sum(axis=1, keepdims=True)
        return np.concatenate([1 - given, given], axis=1) if one else given

    def fed_by_hand(self, original: Original) -> Predict:
        """The model as it came, between these two ends."""
        return lambda pixels: self.probabilities(original.run(self.feed(pixels)))

    def to_json(self) -> dict[str, Any]:
        """For config.toml and the manifest."""
        return {"layout": str(self.layout), "input_dtype": self.dtype, "scaling": self.scaling, "logits": self.logits}


@dataclass(frozen=True)
class Evidence:
    """What an imported model is proven and judged on."""

    pictures: Pictures
    source: str  # in words
    digest: str  # sha256 over all that was chosen
    split: str  # the text of split.json
    judge: Callable[[Predict], dict[str, Any]]  # -> what metrics.json holds
    trial: Callable[[Predict], tuple[float, float]] | None  # -> accuracy and loss on validation; None: no labels
    test: Pictures | None = None  # more, to judge reduced precision by; None: no labels
    training: Pictures | None = None  # to calibrate int8 by; as above


EvidenceFor = Callable[[Shape], Evidence]  # from the shape of the pictures that a model turns out to take


def kind(path: Path) -> Kind:
    """The format of a model's file or folder, by its content.

    Raises:
        WrongUse: there is none, or it is no model.
    """
    if not path.exists():
        raise WrongUse(f"there is no file {path}; give a .keras, .h5 or .onnx file, or the folder of a SavedModel")
    if path.is_dir():
        if (path / "saved_model.pb").is_file():
            return Kind.SAVED_MODEL
        raise WrongUse(f"the folder {path} is not a SavedModel: it has no saved_model.pb")
    with path.open("rb") as file:
        begin = file.read(8)
    if begin.startswith(b"PK"):
        return Kind.KERAS
    if begin == b"\x89HDF\r\n\x1a\n":
        return Kind.HDF5
    if path.suffix == ".onnx":
        return Kind.ONNX
    if path.name == "saved_model.pb":
        raise WrongUse(f"{path} is a part of a SavedModel; give its folder, {path.parent}")
    raise WrongUse(f"{path} is not a model: .keras, HDF5 (.h5), SavedModel and ONNX are read")


def short(said: object) -> str:
    """What a library said, on one line and not without end."""
    text = " ".join(_COLOUR.sub("", str(said)).split())
    return text if len(text) <= REASON else f"{text[:REASON]}…"
