"""Encoded bytes -> uint8 pixels: the only decode and resize there is.

Training, the parity gate, the server and the folder jobs all come through `decode`, so that no two of them can
disagree about a picture. What it does, in order:

    bytes -> kind by first bytes -> header -> limits -> draft (JPEG at 1/2, 1/4, 1/8) -> load -> EXIF orientation
          -> RGB or grey (alpha on white, 16 bits shifted to 8) -> stretch to the size, bilinear -> uint8 (H, W, C)

`PREPROCESSING` states the same in words; it stands in every manifest, and a bundle made under other rules is refused.
"""

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# The plug-ins for their effect: Image.open(formats=…) imports every one there is when one of these is not loaded yet.
from PIL import (  # noqa: F401
    ExifTags,
    Image,
    JpegImagePlugin,
    MpoImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from artifacts import jpeg
from artifacts.errors import BadPicture, NotAnImage, PictureTooLarge, UnreadablePicture, UnsupportedFormat

MAX_PIXELS = 40_000_000  # 40 megapixels: 120 MB as RGB
THUMBNAIL_QUALITY = 70

PREPROCESSING = {
    "version": 1,
    "formats": ["JPEG", "PNG", "WEBP"],
    "orientation": "EXIF applied",
    "alpha": "on white",
    "depth": "16 bits shifted to 8",
    "resize": "stretched to the input size, bilinear with antialiasing; JPEG first scaled by 1/2, 1/4, 1/8 in decoding",
    "values": "uint8, 0 to 255; scaling is inside the graph",
}

# "Corrupt EXIF data" and the like: what matters of it is answered, per picture, by an error of ours.
warnings.filterwarnings("ignore", category=UserWarning, module="PIL")

_LARGE_AT_ONCE = threading.Semaphore(2)

# The limit of `decode` is stricter and is checked before a pixel is decoded; Pillow's own would only warn.
Image.MAX_IMAGE_PIXELS = None

_JPEG = b"\xff\xd8\xff"
_OTHER_KINDS = (
    (b"GIF8", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"%PDF", "PDF"), (b"8BPS", "Photoshop"),
    (b"%!PS", "PostScript"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x4f\xff\x51", "JPEG 2000"), (b"<svg", "SVG"),
)  # fmt: skip
_TURNS = {  # EXIF orientation (CIPA DC-008, tag 274) -> what makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_QUARTER_TURNS = (5, 6, 7, 8)


class Picture(NamedTuple):
    """A decoded picture: `pixels` uint8 (H, W, C) at the model's size; `width` and `height` as a viewer shows it."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    thumbnail: bytes | None = None  # a JPEG for a person to look at, in the picture's own proportions, if asked for


def decode(  # noqa: PLR0913, PLR0917 - a shape has three
    data: bytes, height: int, width: int, channels: int, max_pixels: int = MAX_PIXELS, thumbnail: int = 0
) -> Picture:
    """Decode JPEG, PNG or WebP bytes to uint8 pixels of shape (height, width, channels); `channels` is 1 or 3.

    `thumbnail`: the side of a small copy that is made besides of any picture with more pixels than (2 × side)², or 0.

    Raises:
        NotAnImage, UnsupportedFormat, UnreadablePicture, PictureTooLarge: all of them `BadPicture`.
    """
    with _damage_as_unreadable():
        plain = None
        if data.startswith(_JPEG):
            plain = jpeg.decode(data, channels, max(height, width), max_pixels)
        if plain is None:
            return _decode(data, (height, width, channels), max_pixels, thumbnail)
    large = thumbnail and is_large(plain.width, plain.height, thumbnail)
    small = _small_copy(_image(plain.pixels), thumbnail) if large else None
    fits = plain.pixels.shape[:2] == (height, width)
    stretched = plain.pixels if fits else resize(plain.pixels, height, width)
    return Picture(stretched, plain.width, plain.height, small)


def _decode(data: bytes, shape: tuple[int, int, int], max_pixels: int, thumbnail: int) -> Picture:
    """By Pillow, which knows all there is."""
    height, width, channels = shape
    mode = "L" if channels == 1 else "RGB"
    image, stored = _open(data, mode, max(height, width), max_pixels)
    with _few_large(image):
        image, shown = _upright(image, stored)
        image = _flat(image, mode)
        small = _small_copy(image, thumbnail) if thumbnail and is_large(*shown, thumbnail) else None
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BILINEAR)
    return Picture(np.asarray(image).reshape(height, width, channels), *shown, small)


def is_large(width: int, height: int, side: int) -> bool:
    """Whether a picture is so large that a thumbnail of this side is made of it."""
    return width * height > (2 * side) ** 2


def area(data: bytes) -> int:
    """Width times height of a picture that `decode` accepts, by its header.

    Raises:
        BadPicture: as `decode`, for what the header shows.
    """
    with _damage_as_unreadable():
        width, height = _open(data, "RGB", MAX_PIXELS, MAX_PIXELS)[1]
    return width * height


def resize(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Stretch a picture, uint8 (H, W, C), to (height, width, C) as `decode` does."""
    stretched = _image(pixels).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(stretched).reshape(height, width, pixels.shape[2])


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 (H, W, C), as PNG: `decode` at the same size gives the same pixels back."""
    out = io.BytesIO()
    _image(pixels).save(out, "PNG")
    return out.getvalue()


def thumbnail(data: bytes, side: int, max_pixels: int = MAX_PIXELS) -> bytes:
    """A JPEG of at most side × side pixels, in the picture's own proportions, for a person to look at.

    Raises:
        BadPicture: as `decode`.
    """
    with _damage_as_unreadable():
        image, stored = _open(data, "RGB", side, max_pixels)
        with _few_large(image):
            return _small_copy(_flat(_upright(image, stored)[0], "RGB"), side)


@contextmanager
def _damage_as_unreadable() -> Iterator[None]:
    try:
        yield
    except (BadPicture, MemoryError):  # the second says nothing about the picture
        raise
    except Exception as error:  # Pillow raises SyntaxError, ValueError, struct.error and others on damaged bytes
        raise UnreadablePicture(f"the picture is damaged: {_reason(error)}") from error


def _open(data: bytes, mode: str, side: int, max_pixels: int) -> tuple[Image.Image, tuple[int, int]]:
    """The picture by its header, to be decoded at least `side` long where it can be, and its stored size."""
    image: Image.Image = Image.open(io.BytesIO(data), formats=(_kind(data),))
    width, height = image.size
    if width * height > max_pixels:
        message = f"the picture has {width} × {height} = {width * height:,} pixels; at most {max_pixels:,} are accepted"
        raise PictureTooLarge(message)
    if mode != image.mode or min(width, height) >= 2 * side:  # else it would change nothing
        image.draft(mode, (side, side))
    return image, (width, height)


def _image(pixels: NDArray[np.uint8]) -> Image.Image:
    return Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)


def _few_large(image: Image.Image) -> AbstractContextManager[object]:
    """Decode large pictures a few at a time: one of 40 megapixels with alpha takes 600 MB while it is flattened."""
    return _LARGE_AT_ONCE if image.size[0] * image.size[1] > jpeg.LARGE_PIXELS else nullcontext()


def _small_copy(image: Image.Image, side: int) -> bytes:
    out, small = io.BytesIO(), image.copy()
    small.thumbnail((side, side), Image.Resampling.BILINEAR)
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY)
    return out.getvalue()


def _upright(image: Image.Image, stored: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """The decoded picture, turned as EXIF says, and its full size as a viewer shows it (width, height)."""
    width, height = stored
    image.load()
    orientation = _orientation(image)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    return image, (height, width) if orientation in _QUARTER_TURNS else (width, height)


def _reason(error: Exception) -> str:
    """Pillow's reason, the same for the same bytes: its "cannot identify" ends in an address in memory."""
    if isinstance(error, UnidentifiedImageError):
        return "its header cannot be read"
    return str(error) or type(error).__name__


def _kind(data: bytes) -> str:
    """Pillow's name for the format that the first bytes announce."""
    if data.startswith(_JPEG):
        if jpeg.has_too_many_scans(data):
            raise UnreadablePicture(f"the JPEG has more than {jpeg.MAX_SCANS} scans; save it as a plain JPEG")
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    found = next((name for magic, name in _OTHER_KINDS if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        found = "HEIF, AVIF or a film"
    if found:
        raise UnsupportedFormat(f"the bytes are {found}; JPEG, PNG and WebP are read")
    came = f"{len(data):,} bytes of something else" if data else "no bytes"
    raise NotAnImage(f"this is not a picture: {came}; JPEG, PNG and WebP are read")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none."""
    if not image.info.keys() & {"exif", "xmp", "Raw profile type exif", "XML:com.adobe.xmp"}:
        return 1
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - a broken EXIF block must not cost the person a picture that is whole
        return 1


def _flat(image: Image.Image, mode: str) -> Image.Image:
    """8 bits, no alpha, in `mode`."""
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion would clip everything above 255 to white
        deep = np.asarray(image).astype(np.uint32)
        if "transparency" in image.info:
            deep[deep == image.info["transparency"]] = 0xFFFF  # on white, as below
        image = Image.fromarray((deep >> 8).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)
