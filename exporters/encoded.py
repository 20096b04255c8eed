"""Encoded pictures -> probabilities in one TensorFlow graph: the signature `encoded`, for clients that decode nothing.

The graph follows `artifacts.pixels` step by step and reckons in whole numbers as Pillow 13 does, so that both make the
same pixels of a JPEG or PNG, bit for bit; with `tf.image.resize` up to a quarter of the values would be off by a level.
What it does otherwise stands here, and `measure` says what that comes to on real pictures:

    EXIF orientation    is not applied, nor one in XMP: a picture is taken as it is stored
    WebP                is refused: its operation is new, and an older server could not load the model at all
    CMYK in JPEG        is off by a level at most: TensorFlow rounds down where Pillow rounds

One picture that cannot be read fails the whole request, as everywhere in TensorFlow Serving.
"""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifacts import jpeg, pixels
from artifacts.bundle import OUTPUT
from artifacts.pictures import Pictures
from exporters.frameworks import tf

ENCODED = "encoded"  # the signature's name, and its input's
NOT_DONE = ("EXIF orientation", "WebP")
MEASURED = 64  # pictures at most
BATCH = 16  # pictures of a request that is measured

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"  # first bytes
PNG_SIZE, PNG_DEPTH = 16, 24  # where a PNG has its width and height, 4 bytes each, and its bits a channel, 1 byte
SCAN, SCAN_LENGTHS = b"\xff\xda", [b"\0\x08\x01", b"\0\x0a\x02", b"\0\x0c\x03", b"\0\x0e\x04"]  # as in artifacts.pixels
RATIOS = (1, 2, 4, 8)  # by which a JPEG can shrink while it is decoded
CMYK = 4  # channels
AT_ONCE = 2  # pictures that are decoded side by side: a PNG of 40 megapixels takes 0.8 GB
LUMA, LUMA_BITS = (19595, 38470, 7471), 16  # of ITU-R 601-2, as Pillow's Convert.c has it
WEIGHT_BITS = 22  # PRECISION_BITS of Pillow's Resample.c


def encoded_function(predict: Any, shape: tuple[int, int, int]) -> Any:
    """A tf.function: `encoded` string (N,), whole JPEG or PNG files -> {"probabilities": float32 (N, classes)}.

    When run, it raises tf.errors.InvalidArgumentError for a picture that is neither, is damaged or exceeds the limits
    of `artifacts.pixels`.

    Args:
        predict: a tf.function from uint8 (N, height, width, channels) to {"probabilities": float32 (N, classes)}.
        shape: (height, width, channels); `channels` is 1 or 3.
    """
    decode = decoding_function(shape)

    @tf.function(input_signature=decode.input_signature)
    def predict_encoded(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        return {OUTPUT: predict(decode(encoded))[OUTPUT]}

    return predict_encoded


def decoding_function(shape: tuple[int, int, int]) -> Any:
    """The first half of it, a tf.function: `encoded` string (N,) -> uint8 (N, height, width, channels)."""
    one = tf.TensorSpec(shape, tf.uint8)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name=ENCODED)])
    def decode(encoded: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(partial(_decoded, shape=shape), encoded, parallel_iterations=AT_ONCE, fn_output_signature=one)

    return decode


def measure(
    folder: Path, pictures: Pictures, shape: tuple[int, int, int], expected: NDArray[np.float32]
) -> dict[str, Any]:
    """How far the signature `encoded` is from `artifacts.pixels` and the model behind it; for the manifest.

    Args:
        folder: of the SavedModel.
        pictures: real ones; the first MEASURED are taken.
        shape: (height, width, channels) of the model's pictures.
        expected: float32 (N, classes), the model's answers to them, decoded by `artifacts.pixels`.

    Returns:
        `pictures` taken; `refused`, how many of them the graph cannot read; of the others the mean and the largest
        difference of a pixel (levels of 255) and the largest of a probability, all None where none is left, and
        how many labels differ; what the graph does not do.
    """
    taken = pictures.encoded[:MEASURED]
    levels = _levels_off(taken, shape)
    read = list(levels)
    answers = _answers(folder, [taken[position] for position in read]) if read else None
    return {
        "pictures": len(taken),
        "refused": len(taken) - len(read),
        "pixels_mean_difference": float(np.mean([mean for mean, _ in levels.values()])) if read else None,
        "pixels_max_difference": max((largest for _, largest in levels.values()), default=None),
        "max_difference": None if answers is None else float(np.abs(answers - expected[read]).max()),
        "differing_labels": 0 if answers is None else int((answers.argmax(1) != expected[read].argmax(1)).sum()),
        "not_done": list(NOT_DONE),
    }


def _levels_off(encoded: list[bytes], shape: tuple[int, int, int]) -> dict[int, tuple[float, int]]:
    """Mean and largest difference from `artifacts.pixels`, by the position of each picture that the graph reads."""
    decode = decoding_function(shape)
    found = {}
    for position, data in enumerate(encoded):
        try:
            made = decode(tf.constant([data]))[0].numpy().astype(np.int16)
        except tf.errors.InvalidArgumentError:
            continue
        difference = np.abs(made - pixels.decode(data, *shape).pixels)
        found[position] = float(difference.mean()), int(difference.max())
    return found


def _answers(folder: Path, encoded: list[bytes]) -> NDArray[np.float32]:
    loaded = tf.saved_model.load(str(folder))
    predict = loaded.signatures[ENCODED]
    starts = tqdm(range(0, len(encoded), BATCH), "asking the signature encoded", disable=None, leave=False)
    batches = (tf.constant(encoded[start : start + BATCH]) for start in starts)
    return np.concatenate([predict(**{ENCODED: batch})[OUTPUT].numpy() for batch in batches])


def _decoded(data: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """One picture, string () -> uint8 (height, width, channels), as `artifacts.pixels.decode`."""
    is_jpeg = tf.strings.substr(data, 0, len(JPEG)) == JPEG
    flat = tf.cond(is_jpeg, partial(_jpeg, data, shape), partial(_png, data, shape[2]))
    fits = tf.reduce_all(tf.shape(flat)[:2] == shape[:2])
    return tf.ensure_shape(tf.cond(fits, lambda: flat, partial(_stretched, flat, shape)), shape)


def _jpeg(data: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """Decoded as small as `draft` of Pillow's JpegImagePlugin has it, yet no side under the longer one of `shape`."""
    height, width, stored = tf.unstack(tf.io.extract_jpeg_shape(data))
    times = tf.minimum(height, width) // max(shape[:2])
    ratio = tf.reduce_sum(tf.cast(times >= RATIOS[1:], tf.int32))
    data = _within_limits(data, height, width)
    data = _checked(data, _scans(data) <= jpeg.MAX_SCANS, f"the JPEG has more than {jpeg.MAX_SCANS} scans")

    def decoded(channels: int) -> tf.Tensor:
        decode = partial(tf.io.decode_jpeg, data, channels, dct_method="INTEGER_ACCURATE")
        return tf.switch_case(ratio, [partial(decode, ratio=each) for each in RATIOS])

    if shape[2] == 1:  # the JPEG's own luma, but where it has none
        return tf.cond(stored == CMYK, lambda: _grey(decoded(3)), partial(decoded, 1))
    return decoded(3)


def _scans(data: tf.Tensor) -> tf.Tensor:
    lengths = tf.strings.substr(tf.strings.split(data, SCAN)[1:], 0, len(SCAN_LENGTHS[0]))
    return tf.math.count_nonzero(lengths[:, None] == SCAN_LENGTHS)


def _png(data: tf.Tensor, channels: int) -> tf.Tensor:
    is_png = tf.strings.substr(data, 0, len(PNG)) == PNG
    data = _checked(data, is_png, "a picture is neither JPEG nor PNG, which are all that is read here")
    data = _checked(data, tf.strings.length(data) > PNG_DEPTH, "a PNG ends in its header")
    size = tf.io.decode_raw(tf.strings.substr(data, PNG_SIZE, 8), tf.int32, little_endian=False)
    data = _within_limits(data, *tf.unstack(size, 2))
    picture = tf.io.decode_png(data, channels=4)  # of 16 bits the upper 8
    depth = tf.io.decode_raw(tf.strings.substr(data, PNG_DEPTH, 1), tf.uint8)[0]
    flat = _on_white(picture[..., :3], _alpha(picture[..., 3:], depth))
    return _grey(flat) if channels == 1 else flat


def _alpha(alpha: tf.Tensor, depth: tf.Tensor) -> tf.Tensor:
    """The same, but for opaque pictures of 1, 2 or 4 bits: to those TensorFlow gives an alpha of as many bits."""
    opaque = tf.cast(tf.bitwise.left_shift(1, tf.cast(depth, tf.int32)) - 1, tf.uint8)
    return tf.where(tf.reduce_all(alpha == opaque), tf.constant(255, tf.uint8), alpha)


def _within_limits(data: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    fits = tf.cast(height, tf.int64) * tf.cast(width, tf.int64) <= pixels.MAX_PIXELS
    return _checked(data, fits, f"a picture has more than {pixels.MAX_PIXELS:,} pixels")


def _checked(data: tf.Tensor, condition: tf.Tensor, message: str) -> tf.Tensor:
    """The same, for whatever may only run when the condition holds."""
    with tf.control_dependencies([tf.debugging.Assert(condition, [message])]):
        return tf.identity(data)


def _on_white(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """uint8 (H, W, 3) and (H, W, 1) -> (H, W, 3), with the division by 255 as in Pillow's AlphaComposite.c."""
    alpha = tf.cast(alpha, tf.uint16)
    x = tf.cast(colour, tf.uint16) * alpha + (255 - alpha) * 255 + 128
    return tf.cast(tf.bitwise.right_shift(tf.bitwise.right_shift(x, 8) + x, 8), tf.uint8)


def _grey(picture: tf.Tensor) -> tf.Tensor:
    """uint8 (H, W, 3) -> (H, W, 1)."""
    luma = tf.reduce_sum(tf.cast(picture, tf.int32) * LUMA, axis=-1, keepdims=True)
    return _rounded(luma, LUMA_BITS)


def _stretched(picture: tf.Tensor, shape: tuple[int, int, int]) -> tf.Tensor:
    """uint8 (H, W, C) -> `shape`, bilinear with antialiasing, in two passes of which each ends in whole levels."""
    height, width, _ = shape
    lost = tf.shape(picture)[:2] - (height, width)
    down_first = (lost[0] > 0) & (lost[0] > 2 * lost[1])  # as in `ImagingResampleInner` of Pillow's Resample.c
    return tf.cond(
        down_first,
        lambda: _stretched_across(_stretched_down(picture, height), width),
        lambda: _stretched_down(_stretched_across(picture, width), height),
    )


def _stretched_across(picture: tf.Tensor, columns: int) -> tf.Tensor:
    """uint8 (H, W, C) -> (H, columns, C)."""
    return tf.transpose(_stretched_down(tf.transpose(picture, (1, 0, 2)), columns), (1, 0, 2))


def _stretched_down(picture: tf.Tensor, rows: int) -> tf.Tensor:
    """uint8 (H, W, C) -> (rows, W, C)."""
    before, width, channels = tf.unstack(tf.shape(picture))
    flat = tf.cast(tf.reshape(picture, (before, width * channels)), tf.int32)
    sums = tf.sparse.sparse_dense_matmul(_weights(before, rows), flat)
    return tf.reshape(_rounded(sums, WEIGHT_BITS), (rows, width, channels))


def _weights(before: tf.Tensor, after: int) -> tf.SparseTensor:
    """What each of `before` pixels weighs in each of `after`, int32 (after, before), in units of 2**-WEIGHT_BITS.

    As `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow's Resample.c have it.
    """
    size = tf.cast(before, tf.int64)
    scale = tf.cast(before, tf.float64) / after
    reach = tf.maximum(scale, 1)
    centres = (tf.range(after, dtype=tf.float64)[:, None] + 0.5) * scale
    first = tf.cast(tf.maximum(centres - reach + 0.5, 0), tf.int64)
    columns = first + tf.range(2 * tf.cast(tf.math.ceil(reach), tf.int64) + 1)
    triangle = tf.nn.relu(1 - tf.abs((tf.cast(columns, tf.float64) - centres + 0.5) * (1 / reach)))
    inside = tf.where(columns < size, triangle, 0)
    shares = inside / tf.reduce_sum(inside, axis=1, keepdims=True)
    rows = tf.range(after, dtype=tf.int64)[:, None] + tf.zeros_like(columns)
    places = tf.stack([rows, tf.minimum(columns, size - 1)], axis=-1)
    values = tf.cast(shares * 2**WEIGHT_BITS + 0.5, tf.int32)
    return tf.SparseTensor(tf.reshape(places, (-1, 2)), tf.reshape(values, (-1,)), (after, size))


def _rounded(sums: tf.Tensor, bits: int) -> tf.Tensor:
    """Whole numbers of which the last `bits` are a fraction -> uint8."""
    return tf.cast(tf.bitwise.right_shift(sums + 2 ** (bits - 1), bits), tf.uint8)
