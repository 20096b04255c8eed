"""Pictures inside a page, as `data:` addresses."""

import base64
import io

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from artifacts import pixels

SMALL = 64  # pixels: up to here every one of them is seen, and none may be altered
QUALITY = 88  # of JPEG
HEAT, AROUND_ZERO = "viridis", "coolwarm"  # of values that are all positive, and of others


def picture(image: NDArray[np.uint8]) -> str:
    """A picture, uint8 (height, width, channels): small ones as PNG, to the pixel; larger ones as JPEG."""
    if max(image.shape[:2]) <= SMALL:
        return _address("png", pixels.encode_png(image))
    out = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(out, "JPEG", quality=QUALITY)
    return _address("jpeg", out.getvalue())


def heat(values: NDArray[np.floating], highest: float, colors: str = HEAT) -> str:
    """Values (height, width) as colours: HEAT from 0 to `highest`, AROUND_ZERO from -`highest`; black is no number."""
    scaled = values / (highest or 1)
    scaled = scaled if colors == HEAT else (scaled + 1) / 2
    painting = mpl.colormaps[colors](np.nan_to_num(np.clip(scaled, 0, 1)), bytes=True)[..., :3]
    painting[~np.isfinite(values)] = 0
    return _address("png", pixels.encode_png(np.ascontiguousarray(painting)))


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
