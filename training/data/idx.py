"""MNIST and Fashion-MNIST in their four gzipped idx files."""

import gzip
import hashlib
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifacts.errors import BadData
from training.data import downloads
from training.data.arrays import Scans

SHARES = {"validation": 0.1}
SHAPE = (28, 28)
BEGINNINGS = {"train": "train", "test": "t10k"}


class Official(NamedTuple):
    """Where a data set is published, the md5 of its files, and its labels."""

    url: str
    md5: dict[str, str]
    labels: list[str]


OFFICIAL = {
    "mnist": Official(
        "https://storage.googleapis.com/cvdf-datasets/mnist",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        [str(digit) for digit in range(10)],
    ),
    "fashion_mnist": Official(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"],
    ),
}


def read(name: str, data_dir: Path | None, kept: Path) -> Scans:
    """60,000 + 10,000 pictures of 28×28, from `data_dir`, or downloaded to `kept`.

    MNIST: Y. LeCun, C. Cortes, C. Burges. Fashion-MNIST: H. Xiao, K. Rasul, R. Vollgraf, arXiv:1708.07747.

    Raises:
        BadData: a file is missing, damaged, of the other data set, or cannot be downloaded.
    """
    official = OFFICIAL[name]
    home = data_dir or kept / name
    if data_dir is None:
        for file, md5 in official.md5.items():
            downloads.fetch(official.url, file, md5, home)
    remarks = _check_files(name, home)
    images, classes, names, parts = [], [], [], []
    for part, begin in BEGINNINGS.items():
        file = f"{begin}-images-idx3-ubyte.gz"
        images.append(read_idx(home / file, 3))
        classes.append(read_idx(home / f"{begin}-labels-idx1-ubyte.gz", 1))
        _check(home / file, images[-1], classes[-1], len(official.labels))
        names += [f"{file}#{number}" for number in range(len(images[-1]))]
        parts += [part] * len(images[-1])
    return Scans(
        name=name,
        labels=official.labels,
        pixels=np.concatenate(images)[..., None],
        classes=np.concatenate(classes).astype(np.int64),
        files=names,
        parts=np.array(parts),
        shares=SHARES,
        format="idx",
        remarks=remarks,
    )


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """A gzipped idx file: two zeros, 8 for unsigned bytes, the number of dimensions, big-endian sizes, the bytes.

    Raises:
        BadData: it is missing or is none.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        magic, *sizes = struct.unpack_from(f">I{dimensions}I", content)
        if magic != 0x0800 + dimensions:
            raise ValueError(f"it begins with {magic:#010x}, not {0x0800 + dimensions:#010x}")  # noqa: TRY301
        return np.frombuffer(content, np.uint8, offset=4 * (1 + dimensions)).reshape(sizes)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise BadData(f"{path} is not a gzipped {dimensions}-dimensional idx file ({error}); copy it again") from error


def _check_files(name: str, home: Path) -> list[str]:
    """All four are there, and none is another data set's; a sentence about those that are not the official ones."""
    wanted = OFFICIAL[name].md5
    unknown = []
    for file, md5 in wanted.items():
        if not (home / file).is_file():
            raise BadData(f"there is no {file} in {home}; --data-dir must hold {', '.join(wanted)}")
        with (home / file).open("rb") as content:
            came = hashlib.file_digest(content, _md5).hexdigest()
        for other, official in OFFICIAL.items():
            if came == official.md5[file] and other != name:
                raise BadData(f"{home / file} is the file of {other}, not of {name}; train {other}, or copy {name}")
        if came != md5:
            unknown.append(file)
    return [f"not the official files of {name}, used as they are: {', '.join(unknown)}"] if unknown else []


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


def _check(path: Path, images: NDArray[np.uint8], classes: NDArray[np.uint8], labels: int) -> None:
    """Pictures and labels belong together."""
    if len(images) != len(classes):
        raise BadData(f"{path} has {len(images)} pictures and {len(classes)} labels; they must agree")
    if not len(images) or images.shape[1:] != SHAPE:
        came = " × ".join(map(str, images.shape))
        raise BadData(f"{path} has {came} pixels; it must have pictures of 28 × 28")
    if classes.max() >= labels:
        raise BadData(f"the labels of {path} go up to {classes.max()}; they must be 0 to {labels - 1}")
