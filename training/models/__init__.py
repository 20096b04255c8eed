"""Every model that can be trained: a family is one builder and a table."""

import keras

from artifacts.errors import WrongUse
from training.models import applications, cnn, crosses_noughts, densenet, eeg_cnn, mlp, resnet, y_network
from training.models.regularization import Regularization
from training.readers import Shape

FROM_NOTHING = {
    **mlp.MODELS, **cnn.MODELS, **y_network.MODELS, **resnet.MODELS, **densenet.MODELS, **eeg_cnn.MODELS,
    **crosses_noughts.MODELS,
}  # fmt: skip
AS_DESIGNED = Regularization()  # no penalty, and the dropout of the architecture
MODELS = {**FROM_NOTHING, **applications.MODELS}


def build(  # noqa: PLR0913 - what the recipe says of the network
    name: str,
    shape: Shape,
    classes: int,
    *,
    regularization: Regularization = AS_DESIGNED,
    weights: str = "none",
    seed: int,
) -> keras.Model:
    """The model `name`: `image`, uint8 (N, *shape) -> `probabilities`, float32 (N, classes).

    Args:
        name: one of MODELS.
        shape: (height, width, channels).
        classes: width of the output.
        regularization: penalties and dropout.
        weights: of the backbone of a Keras application: `imagenet`, a file, or `none`; everything else is fresh.
        seed: governs the weights, and everything random in the training that follows.

    Raises:
        WrongUse: weights for a network that is no Keras application, weights that cannot be had, or a number of classes
            that the network cannot tell apart.
        BadData: the file does not hold this network's weights.
    """
    keras.utils.set_random_seed(seed)
    if name in applications.MODELS:
        return applications.MODELS[name](shape, classes, regularization, weights=weights)
    if weights != "none":
        known = ", ".join(applications.MODELS)
        raise WrongUse(f"weights can be given to {known}; received {weights!r} for {name}, which begins from nothing")
    return MODELS[name](shape, classes, regularization)
