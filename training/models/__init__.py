"""Every model that can be trained: a family is one builder and a table."""

import keras

from training.config import Shape
from training.models import cnn, mlp, resnet

MODELS = {**mlp.MODELS, **cnn.MODELS, **resnet.MODELS}


def build(name: str, shape: Shape, classes: int, *, l2: float, seed: int) -> keras.Model:
    """The model `name` with fresh weights: uint8 (N, *shape) -> probabilities, float32 (N, classes).

    `seed` governs the weights, and everything random in the training that follows.
    """
    keras.utils.set_random_seed(seed)
    return MODELS[name](shape, classes, l2)
