"""A Keras model that was made elsewhere, wrapped: pictures go in as they are decoded, probabilities come out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from artifacts.errors import BadModel
from artifacts.foreign import DTYPES, SCALINGS, Dims, Foreign, Layout, Scaling, short


@dataclass(frozen=True)
class KerasOriginal:
    """A Keras model as it came: see `artifacts.foreign.Original`."""

    model: keras.Model
    dims: Dims
    dtype: str

    @property
    def scales_itself(self) -> bool:
        """Whether pictures go in as uint8, or are rescaled or normalised before the first weights."""
        if self.dtype == "uint8":
            return True
        for layer in _leaves(self.model):
            if isinstance(layer, layers.Rescaling | layers.Normalization):
                return True
            if layer.weights:
                return False
        return False

    def run(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """What the model gives, (N, …), for pictures as it takes them.

        Raises:
            BadModel: it does not take them, or has several outputs.
        """
        try:
            outputs = self.model.predict_on_batch(pictures)
        except Exception as error:  # Keras raises whatever the first layer that disagrees does
            shape = pictures.shape[1:]
            raise BadModel(f"the model does not take pictures of shape {shape} ({short(error)})") from error
        if not isinstance(outputs, np.ndarray):
            raise BadModel(f"the model has {len(outputs)} outputs; one with a single output can be served")
        return outputs


def opened(model: keras.Model) -> KerasOriginal:
    """The model with what it declares; one that declares nothing may take any picture.

    Raises:
        BadModel: it takes something else than one picture.
    """
    tensors = getattr(model, "inputs", None) or []
    if len(tensors) > 1:
        raise BadModel(f"the model has {len(tensors)} inputs; one that takes a single picture can be served")
    if not tensors:
        return KerasOriginal(model, (None, None, None), "float32")
    dtype = str(tensors[0].dtype)
    if dtype not in DTYPES:
        raise BadModel(f"the model takes {dtype} values; pictures are {', '.join(DTYPES)}")
    return KerasOriginal(model, tuple(tensors[0].shape[1:]), dtype)


def wrap(model: keras.Model, foreign: Foreign) -> keras.Model:
    """`model` between the two ends that every model has here.

    Returns:
        `image` uint8 (N, height, width, channels) -> `probabilities` float32 (N, classes). A model that is one already
        is returned as it is.

    Raises:
        BadModel: it does not take such pictures.
    """
    if _is_one_of_ours(model, foreign):
        return model
    picture = keras.Input(foreign.shape, dtype="uint8", name="image")
    try:
        outputs = model(_laid_out(_scaled(picture, foreign), foreign))
    except Exception as error:  # Keras raises whatever the first layer that disagrees does
        raise BadModel(f"the model does not take pictures of {foreign.shape} ({short(error)})") from error
    return keras.Model(picture, _probabilities(outputs, foreign))


def _leaves(model: keras.Model) -> Iterator[keras.Layer]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer


def _is_one_of_ours(model: keras.Model, foreign: Foreign) -> bool:
    if not isinstance(model, keras.Model) or len(getattr(model, "inputs", None) or []) != 1 or foreign.logits:
        return False
    (picture,) = model.inputs
    as_here = (picture.name, str(picture.dtype), tuple(picture.shape)) == ("image", "uint8", (None, *foreign.shape))
    return as_here and tuple(model.output_shape) == (None, len(foreign.labels)) and foreign.scaling == "none"


def _scaled(picture: keras.KerasTensor, foreign: Foreign) -> keras.KerasTensor:
    """(x / divisor - mean) / deviation, in the very operations of `Foreign.feed`, so that the answers are equal.

    A Normalization divides, by the square root of its variance, where a Rescaling would multiply by a rounded inverse;
    in binary floating point the root of a square is the number itself.
    """
    if foreign.dtype == "uint8":
        return picture
    scaling = SCALINGS[foreign.scaling]
    x = keras.ops.flip(picture, axis=-1) if scaling.bgr else picture
    if scaling.divisor != 1:
        x = layers.Normalization(axis=None, mean=0.0, variance=scaling.divisor**2)(x)
    if scaling.mean or scaling.bgr:
        return _normalised(x, scaling)
    return x if scaling.divisor != 1 else layers.Rescaling(1.0)(x)  # from integers to floats


def _normalised(x: keras.KerasTensor, scaling: Scaling) -> keras.KerasTensor:
    if len(scaling.mean) == 1:
        return layers.Rescaling(1.0, offset=-scaling.mean[0])(x)
    deviation = np.array(scaling.deviation or [1.0] * len(scaling.mean), np.float32)
    return layers.Normalization(mean=list(scaling.mean), variance=(deviation**2).tolist())(x)


def _laid_out(x: keras.KerasTensor, foreign: Foreign) -> keras.KerasTensor:
    height, width, channels = foreign.shape
    if foreign.layout is Layout.NCHW:
        return layers.Permute((3, 1, 2))(x)
    if foreign.layout is Layout.NHW:
        return layers.Reshape((height, width))(x)
    if foreign.layout is Layout.FLAT:
        return layers.Reshape((height * width * channels,))(x)
    return x


def _probabilities(outputs: keras.KerasTensor, foreign: Foreign) -> keras.KerasTensor:
    if len(outputs.shape) != 2:  # noqa: PLR2004 - (N, units)
        outputs = layers.Flatten()(outputs)
    one = outputs.shape[-1] == 1
    if foreign.logits:
        outputs = layers.Activation("sigmoid" if one else "softmax", dtype="float32")(outputs)
    if one:
        other = layers.Rescaling(-1.0, offset=1.0, dtype="float32")(outputs)
        return layers.Concatenate(dtype="float32", name="probabilities")([other, outputs])
    return layers.Identity(dtype="float32", name="probabilities")(outputs)
