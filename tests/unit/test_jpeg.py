"""Plain JPEG files come another way than the others, and must not be seen to."""

import io

import numpy as np
import pytest
from PIL import Image

from artifacts import jpeg, pixels
from artifacts.errors import BadPicture, PictureTooLarge

SIZES = [(32, 32, 3), (28, 28, 1), (60, 41, 3), (8, 200, 1)]


def picture(height, width, *, grey=False):
    rows, columns = np.mgrid[:height, :width]
    planes = [(rows * 5 + columns * 3) % 256, (rows * columns) % 256, (columns * 7 - rows) % 256]
    return Image.fromarray(np.stack(planes, axis=2).astype(np.uint8)).convert("L" if grey else "RGB")


def encoded(image, **options):
    out = io.BytesIO()
    image.save(out, "JPEG", **{"quality": 90, **options})
    return out.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def little_endian(orientation):
    entry = b"\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0])
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"


def outcome(data, size, max_pixels=pixels.MAX_PIXELS):
    try:
        found = pixels.decode(data, *size, max_pixels)
    except BadPicture as error:
        return type(error), str(error)
    return found.pixels.shape, found.pixels.tobytes(), found.width, found.height


def by_pillow(data, size, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(jpeg, "decode", lambda *_: None)
        return outcome(data, size)


PLAIN = {
    "small": encoded(picture(32, 32)),
    "odd": encoded(picture(479, 641)),
    "grey": encoded(picture(100, 75, grey=True)),
    "not subsampled": encoded(picture(99, 203), subsampling="4:4:4"),
    "subsampled in a row": encoded(picture(64, 300), subsampling="4:2:2"),
    "progressive": encoded(picture(300, 200), progressive=True),
    "upright by its metadata": encoded(picture(120, 90), exif=turned(1)),
    "upright by its metadata, little endian": encoded(picture(120, 90), exif=little_endian(1)),
    "metadata without orientation": encoded(picture(120, 90), exif=Image.Exif()),
    "restart markers": encoded(picture(120, 90), restart_marker_rows=1),
    "bytes behind it": encoded(picture(64, 64)) + b"a film",
}
SPECIAL = {
    "turned": encoded(picture(120, 90), exif=turned(6)),
    "turned, little endian": encoded(picture(120, 90), exif=little_endian(8)),
    "metadata that ends too soon": encoded(picture(120, 90), exif=little_endian(1)[:-10]),
    "CMYK": encoded(picture(64, 64).convert("CMYK")),
    "XMP": encoded(picture(64, 64), xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'),
    "cut off": encoded(picture(200, 200))[:-500],
    "cut off in its head": encoded(picture(200, 200))[:100],
    "broken metadata": encoded(picture(64, 64), exif=b"Exif\0\0MM no such thing"),
    "nothing behind the marker": b"\xff\xd8\xff",
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_picture_has_the_pixels_that_pillow_gives(name, size, monkeypatch):
    height, width, channels = size
    assert jpeg.decode(PLAIN[name], channels, max(height, width), pixels.MAX_PIXELS) is not None
    assert outcome(PLAIN[name], size) == by_pillow(PLAIN[name], size, monkeypatch)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", SPECIAL)
def test_all_else_is_left_to_pillow(name, monkeypatch):
    assert jpeg.decode(SPECIAL[name], 3, 32, pixels.MAX_PIXELS) is None
    assert outcome(SPECIAL[name], SIZES[0]) == by_pillow(SPECIAL[name], SIZES[0], monkeypatch)


def test_a_picture_with_too_many_pixels_is_refused_before_one_is_decoded(monkeypatch):
    def decode(*_, **__):
        raise AssertionError("decoded")

    monkeypatch.setattr(jpeg.simplejpeg, "decode_jpeg", decode)
    assert outcome(PLAIN["odd"], SIZES[0], 479 * 641 - 1)[0] is PictureTooLarge


def test_a_large_picture_that_is_not_scaled_is_left_to_pillow_which_takes_few_at_a_time():
    side = int(jpeg.LARGE_PIXELS**0.5) + 1
    large = encoded(picture(side, side, grey=True), quality=10)
    assert jpeg.decode(large, 1, side, pixels.MAX_PIXELS) is None
    assert jpeg.decode(large, 1, side // 2, pixels.MAX_PIXELS).pixels.shape == (-(-side // 2), -(-side // 2), 1)
