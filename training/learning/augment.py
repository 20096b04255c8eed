"""Augmentation: Keras layers that stand before the network while it is trained, and nowhere else."""

import keras
from keras import Layer, layers

SHIFT = 0.1  # of the height and the width


def augmentation(name: str) -> list[Layer]:
    """The layers of one of `training.config.AUGMENTATIONS`: pixels 0…255 (N, H, W, C) -> the same shape.

    `shift` and `shift-flip` are those of K. He et al., 2015, as R. Atienza applies them to CIFAR-10; `photo` is that of
    F. Chollet, "Deep Learning with Python", 2017, section 5.2: rotation 40°, shifts 0.2, shear 0.2, zoom 0.2, flip.
    """
    if name == "none":
        return []
    if name == "photo":
        return [
            layers.RandomFlip("horizontal"),
            layers.RandomRotation(40 / 360, fill_mode="nearest"),
            layers.RandomTranslation(0.2, 0.2, fill_mode="nearest"),
            layers.RandomShear(0.2, fill_mode="nearest"),
            layers.RandomZoom((-0.2, 0.2), fill_mode="nearest"),
        ]
    # By whole pixels: a bilinear shift by half a pixel blurs what is 32 pixels wide, and no picture is served blurred.
    shift = layers.RandomTranslation(SHIFT, SHIFT, fill_mode="nearest", interpolation="nearest")
    return [shift] if name == "shift" else [shift, layers.RandomFlip("horizontal")]


def augmented(model: keras.Model, name: str) -> keras.Model:
    """What is trained in place of `model`: the augmentation before it. What is saved is `model` alone."""
    return keras.Sequential([keras.Input(model.input_shape[1:], dtype="uint8"), *augmentation(name), model])
