"""CIFAR-10 in its official binary files, in a folder or still in their archive.

60,000 pictures of 32×32×3 (A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009). A file is
10,000 records of one byte, the class, and 3,072 bytes: the red, green and blue planes, row by row.
"""

import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from artifacts.errors import BadData
from training.data import downloads
from training.data.arrays import Scans

LABELS = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPE = (32, 32, 3)
SHARES = {"validation": 0.1}
URL = "https://www.cs.toronto.edu/~kriz"
ARCHIVE = "cifar-10-binary.tar.gz"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
SUBFOLDER = "cifar-10-batches-bin"
PART_OF = {**{f"data_batch_{number}.bin": "train" for number in range(1, 6)}, "test_batch.bin": "test"}
RECORDS = 10_000  # of each official file
RECORD = 1 + 32 * 32 * 3  # bytes


def has_class_folders(data_dir: Path) -> bool:
    """Whether `data_dir` holds pictures in class folders, and not the official files."""
    places = (data_dir, data_dir / "train")
    return _find(data_dir) is None and any((place / label).is_dir() for place in places for label in LABELS)


def download(kept: Path) -> Path:
    """`kept`, with the archive in it.

    Raises:
        BadData: as `downloads.fetch`.
    """
    return downloads.fetch(URL, ARCHIVE, MD5, kept).parent


def read(home: Path) -> Scans:
    """The pictures of the official files in `home`, in its sub-folder, or in the archive; nothing is unpacked.

    Raises:
        BadData: a file is missing or damaged.
    """
    source = _find(home)
    if source is None:
        ways = f"{', '.join(PART_OF)}, or {ARCHIVE}, or train|test/class/*.jpg"
        raise BadData(f"{home} does not hold CIFAR-10; --data-dir must hold {ways}")
    came = dict(_from_archive(source) if source.is_file() else _from_folder(source))
    if missing := [file for file in PART_OF if file not in came]:
        raise BadData(f"there is no {missing[0]} in {source}; it must hold {', '.join(PART_OF)}")
    counts = {file: len(came[file]) for file in PART_OF}
    pixels, classes = _arrays(came)
    odd = [f"{file} has {count:,}" for file, count in counts.items() if count != RECORDS]
    return Scans(
        name="cifar10",
        labels=LABELS,
        pixels=pixels,
        classes=classes,
        files=[f"{file}#{number}" for file, count in counts.items() for number in range(count)],
        parts=np.repeat(list(PART_OF.values()), list(counts.values())),
        shares=SHARES,
        format="CIFAR-10 binary",
        remarks=[f"not the official files, which have {RECORDS:,} pictures each: {', '.join(odd)}"] if odd else [],
    )


def _find(home: Path) -> Path | None:
    """The folder of the official files, or their archive; None where there is neither."""
    for folder in (home, home / SUBFOLDER):
        if any((folder / file).exists() for file in PART_OF):
            return folder
    archive = home / ARCHIVE
    return archive if archive.exists() else None


def _arrays(came: dict[str, NDArray[np.uint8]]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Pictures (N, 32, 32, 3) and classes (N,); `came` is emptied, so that the pictures never lie in memory twice."""
    total = sum(map(len, came.values()))
    pixels, classes = np.empty((total, *SHAPE), dtype=np.uint8), np.empty(total, dtype=np.int64)
    start = 0
    for file in PART_OF:
        records = came.pop(file)
        end = start + len(records)
        classes[start:end] = records[:, 0]
        pixels[start:end] = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        start = end
    return pixels, classes


def _from_folder(folder: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for file in PART_OF:
        if (folder / file).is_file():
            yield file, _records(folder / file, (folder / file).read_bytes())


def _from_archive(archive: Path) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    try:
        with tarfile.open(archive, "r|gz") as members, _bar() as bar:
            for member in members:
                file = Path(member.name).name
                content = members.extractfile(member) if file in PART_OF else None
                if content:
                    yield file, _records(archive / file, content.read())
                    bar.update()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise BadData(f"{archive} is damaged ({error}); copy it again") from error


def _bar() -> "tqdm[None]":
    return tqdm(desc=f"reading {ARCHIVE}", total=len(PART_OF), unit=" files", disable=None, leave=False)


def _records(path: Path, content: bytes) -> NDArray[np.uint8]:
    """(N, RECORD)."""
    if not content or len(content) % RECORD:
        raise BadData(f"{path} has {len(content):,} bytes, not a whole number of records of {RECORD:,}; copy it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() >= len(LABELS):
        raise BadData(f"the labels of {path} go up to {records[:, 0].max()}; they must be 0 to {len(LABELS) - 1}")
    return records
