"""The Keras applications: large networks for photographs, fresh, or pretrained on ImageNet and fine-tuned.

K. He et al., "Deep Residual Learning for Image Recognition", 2015 (ResNet), and "Identity Mappings in Deep Residual
Networks", 2016 (v2); G. Huang et al., "Densely Connected Convolutional Networks", 2016 (DenseNet).
"""

from collections.abc import Callable
from functools import partial

import keras
from keras import KerasTensor, applications, layers, ops

from training.models import parts, pretrained
from training.models.regularization import Regularization
from training.readers import Shape

CHANNELS = 3  # that ImageNet's pictures have

# What each family was trained with, as in `keras.applications.imagenet_utils`. Of the channels of ImageNet:
CAFFE_MEANS = (103.939, 116.779, 123.68)  # blue, green, red, of 255
TORCH_MEANS, TORCH_DEVIATIONS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # red, green, blue, of 1

LAST_STAGE = "conv5_"  # how the names of its layers begin, in all of the families


def application(  # noqa: PLR0913 - its two ends and what lies between
    shape: Shape,
    classes: int,
    regularization: Regularization,
    *,
    backbone: Callable[..., keras.Model],
    preprocess: Callable[[KerasTensor], KerasTensor],
    weights: str = "none",
) -> keras.Model:
    """A Keras application with a head of its own: preprocessing, backbone, average pooling, softmax.

    Args:
        shape: of the input, (height, width, channels); at least 32 × 32; grey is repeated to three channels.
        classes: width of the output.
        regularization: of the backbone's convolutions; its dropout stands before the output.
        backbone: one of `keras.applications`.
        preprocess: what that backbone was trained with: uint8 RGB (N, H, W, 3) -> floats of the same shape.
        weights: of the backbone: `imagenet`, a file, or `none`.

    Returns:
        uint8 (N, height, width, channels) -> float32 (N, classes).

    Raises:
        WrongUse: the weights cannot be had.
        BadData: the file does not hold this network's weights.
    """
    image = parts.picture(shape)
    colour = image if shape[2] == CHANNELS else layers.Concatenate()([image] * CHANNELS)
    network = pretrained.backbone(backbone, preprocess(colour), weights)
    _penalise(network, regularization)
    x = parts.drop(layers.GlobalAveragePooling2D()(network.output), regularization.drop(0.0))
    return keras.Model(image, parts.softmax(x, classes))


def set_trainable(model: keras.Model, phase: str) -> None:
    """Let a phase of fine-tuning train its part of an application, and nothing else.

    Normalisation stays frozen: it works with the statistics that it was pretrained with, and does not renew them.

    Args:
        model: of this family.
        phase: `head`: the output layer alone; `top`: the last stage of the backbone too.
    """
    for layer in model.layers:
        in_top = layer.name.startswith(LAST_STAGE) and not isinstance(layer, layers.BatchNormalization)
        layer.trainable = layer is model.layers[-1] or (phase == "top" and in_top)


def caffe(colour: KerasTensor) -> KerasTensor:
    """RGB 0…255 -> BGR around 0."""
    return layers.Rescaling(1.0, [-mean for mean in CAFFE_MEANS])(ops.take(colour, [2, 1, 0], axis=-1))


def minus_one_to_one(colour: KerasTensor) -> KerasTensor:
    """RGB 0…255 -> RGB -1…1."""
    return layers.Rescaling(1 / 127.5, -1.0)(colour)


def torch(colour: KerasTensor) -> KerasTensor:
    """RGB 0…255 -> RGB of mean 0 and deviation 1 over ImageNet."""
    scales = [1 / (255 * deviation) for deviation in TORCH_DEVIATIONS]
    offsets = [-mean / deviation for mean, deviation in zip(TORCH_MEANS, TORCH_DEVIATIONS, strict=True)]
    return layers.Rescaling(scales, offsets)(colour)


def _penalise(network: keras.Model, regularization: Regularization) -> None:
    """Keras's builders take no regularizer: set it where a layer and its kernel keep theirs."""
    for layer in network.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel_regularizer = layer.kernel.regularizer = regularization.kernel()


_resnet = partial(application, preprocess=caffe)
_resnet_v2 = partial(application, preprocess=minus_one_to_one)
_densenet = partial(application, preprocess=torch)

MODELS = {
    "resnet50": partial(_resnet, backbone=applications.ResNet50),
    "resnet101": partial(_resnet, backbone=applications.ResNet101),
    "resnet152": partial(_resnet, backbone=applications.ResNet152),
    "resnet50v2": partial(_resnet_v2, backbone=applications.ResNet50V2),
    "resnet101v2": partial(_resnet_v2, backbone=applications.ResNet101V2),
    "resnet152v2": partial(_resnet_v2, backbone=applications.ResNet152V2),
    "densenet121": partial(_densenet, backbone=applications.DenseNet121),
    "densenet169": partial(_densenet, backbone=applications.DenseNet169),
    "densenet201": partial(_densenet, backbone=applications.DenseNet201),
}
