"""Data sets that come as arrays: scikit-learn's scanned digits, and MNIST in its four idx files."""

import gzip
import hashlib
import struct
import urllib.request
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from artifacts import files, pixels
from artifacts.errors import BadData
from training.config import Shape
from training.dataset import AtInput, Data

DIGITS_SHARES = {"validation": 0.2, "test": 0.2}
MNIST_SHARES = {"validation": 0.1}
MNIST_URL = "https://storage.googleapis.com/cvdf-datasets/mnist"
MNIST_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
CACHE = Path("~/.cache/tintype/mnist")
DOWNLOAD_TIMEOUT = 30  # seconds without a byte


def digits(at_input: AtInput) -> Data:
    """1,797 scans of 8×8 pixels from scikit-learn (E. Alpaydin, C. Kaynak, UCI, 1998); 0…16 becomes 0…255."""
    from sklearn.datasets import load_digits

    found = load_digits()
    scans = np.rint(found.images[..., None] * (255 / 16)).astype(np.uint8)
    names = [f"digits#{number}" for number in range(len(scans))]
    parts = np.full(len(scans), "train", dtype="U10")
    return _data(at_input, scans, found.target, names, parts, DIGITS_SHARES)


def mnist(at_input: AtInput, data_dir: Path | None) -> Data:
    """60,000 + 10,000 pictures of 28×28 (Y. LeCun, C. Cortes, C. Burges), from `data_dir` or downloaded.

    Raises:
        BadData: a file is missing, damaged, or cannot be downloaded.
    """
    home = data_dir or CACHE.expanduser()
    if data_dir is None:
        for file, md5 in MNIST_MD5.items():
            download(MNIST_URL, file, md5, home)
    images, labels, names, parts = [], [], [], []
    for part, begin in (("train", "train"), ("test", "t10k")):
        file = f"{begin}-images-idx3-ubyte.gz"
        images.append(read_idx(home / file, 3))
        labels.append(read_idx(home / f"{begin}-labels-idx1-ubyte.gz", 1))
        if len(images[-1]) != len(labels[-1]):
            raise BadData(f"{home / file} has {len(images[-1])} pictures and {len(labels[-1])} labels; they must agree")
        names += [f"{file}#{number}" for number in range(len(images[-1]))]
        parts += [part] * len(images[-1])
    return _data(
        at_input, np.concatenate(images)[..., None], np.concatenate(labels), names, np.array(parts), MNIST_SHARES
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """A gzipped idx file: two zeros, 8 for unsigned bytes, the number of dimensions, big-endian sizes, the bytes.

    Raises:
        BadData: it is missing or is none.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        _, *sizes = struct.unpack_from(f">I{dimensions}I", content)
        return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(sizes)
    except FileNotFoundError:
        wanted = ", ".join(MNIST_MD5)
        raise BadData(f"there is no {path.name} in {path.parent}; --data-dir must hold {wanted}") from None
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BadData(
            f"{path} is not a gzipped idx file of {dimensions} dimensions ({error}); copy it again"
        ) from error


def download(base: str, file: str, md5: str, home: Path) -> None:
    """Bring `base`/`file` to `home`, unless it is there.

    Raises:
        BadData: it cannot be had, or it is not the file that was promised.
    """
    if (home / file).is_file():
        return
    try:
        with urllib.request.urlopen(f"{base}/{file}", timeout=DOWNLOAD_TIMEOUT) as answer:  # noqa: S310 - our own URL
            content = answer.read()
    except OSError as error:
        raise BadData(f"{base}/{file} cannot be downloaded ({error}); give a local copy with --data-dir") from error
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise BadData(f"{base}/{file} is not the official file: its md5 differs; give a local copy with --data-dir")
    home.mkdir(parents=True, exist_ok=True)
    files.write_atomic(home / file, content)


def _data(  # noqa: PLR0913, PLR0917 - the columns of one table
    at_input: AtInput,
    scans: NDArray[np.uint8],
    classes: NDArray[np.integer],
    names: list[str],
    parts: NDArray[np.str_],
    shares: dict[str, float],
) -> Data:
    recipe = at_input(scans.shape[1:])
    return Data(
        recipe=recipe,
        labels=[str(label) for label in range(classes.max() + 1)],
        pixels=_at(scans, recipe.input),
        classes=classes.astype(np.int64),
        files=names,
        sha256=[files.sha256(scan.tobytes()) for scan in scans],
        parts=parts,
        shares=shares,
        skipped=[],
        encode=partial(_encode, scans),
    )


def _encode(scans: NDArray[np.uint8], position: int) -> bytes:
    return pixels.encode_png(scans[position])


def _at(scans: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """Grey pictures, uint8 (N, H, W, 1), as `pixels.decode` would bring them to `shape`."""
    height, width, channels = shape
    if scans.shape[1:3] != (height, width):
        scans = np.stack([pixels.resize(scan, height, width) for scan in scans])
    return np.repeat(scans, channels, axis=3) if channels > 1 else scans
