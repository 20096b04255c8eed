"""What an export is: `models/<name>/<version>/`, described and sealed by its `manifest.json`.

The manifest names every file with its size and sha256 and carries a sha256 of itself, so a bundle that was cut off,
altered or added to is refused on opening. The directory is at once a TensorFlow Serving version and a Triton one.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from artifacts import files
from artifacts.errors import BadBundle
from artifacts.manifest import faults
from artifacts.pixels import PREPROCESSING

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_BYTES = 50_000_000  # one of 1,000 labels and 100 files has 40 kB; parsed, JSON takes many times its size
INPUT = "image"  # uint8 (N, height, width, channels)
OUTPUT = "probabilities"  # float32 (N, classes)
ACTIVATION_MAP = "activation_map"  # float32 (N, classes, rows, columns), where a network allows it
FIELDS = ("name", "version", "labels", "input", "preprocessing", "variants", "metrics", "files")


@dataclass(frozen=True)
class Bundle:
    """An opened version."""

    path: Path
    manifest: dict[str, Any]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.manifest["name"])

    @property
    def version(self) -> int:
        """A whole number that only grows."""
        return int(self.manifest["version"])

    @property
    def sha256(self) -> str:
        """Of the manifest without this field; it stands for every byte of the bundle."""
        return str(self.manifest["sha256"])

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the outputs."""
        return list(self.manifest["labels"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the input."""
        size = self.manifest["input"]
        return size["height"], size["width"], size["channels"]

    @property
    def golden_file(self) -> Path:
        """Real encoded pictures with the Keras model's probabilities."""
        return self.path / "golden.npz"

    def variant_file(self, variant: str) -> Path:
        """The ONNX file of a variant such as fp32."""
        return self.path / str(self.manifest["variants"][variant]["file"])

    def identity(self, variant: str) -> dict[str, Any]:
        """What every answer says of the model that gave it."""
        return {"name": self.name, "version": self.version, "sha256": self.sha256, "variant": variant}


def seal(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the manifest of the files that lie in `folder`, and its sha256."""
    listed = {
        path.relative_to(folder).as_posix(): {"sha256": files.sha256_file(path), "bytes": path.stat().st_size}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path != folder / MANIFEST
    }
    body = {"schema_version": SCHEMA_VERSION, **manifest, "files": listed}
    files.write_json(folder / MANIFEST, {**body, "sha256": digest(body)})


def digest(manifest: dict[str, Any]) -> str:
    """sha256 of a manifest without its own `sha256`, over JSON with sorted keys and no spaces."""
    body = {key: value for key, value in manifest.items() if key != "sha256"}
    return files.sha256(json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())


def read(path: Path) -> Bundle:
    """Read and check the manifest alone: what a list of models needs.

    Raises:
        BadBundle: it is missing, huge, altered, of another schema or preprocessing, or says what no export says.
    """
    try:
        manifest = json.loads(_content(path / MANIFEST))
        sealed = manifest["sha256"] == digest(manifest)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadBundle(f"{path} is not a bundle: its {MANIFEST} cannot be read ({error})") from error
    if not sealed:
        raise BadBundle(f"{path / MANIFEST} was altered after the export: its sha256 differs; export the run again")
    if manifest.get("schema_version") != SCHEMA_VERSION:
        was = manifest.get("schema_version")
        raise BadBundle(f"{path} has schema_version {was}; this version reads {SCHEMA_VERSION}")
    if missing := [field for field in FIELDS if field not in manifest]:
        raise BadBundle(f"{path / MANIFEST} lacks {', '.join(missing)}; export the run again")
    if wrong := next(faults(manifest), None):
        raise BadBundle(f"{path / MANIFEST}: {wrong}; export the run again")
    if manifest["preprocessing"]["version"] != PREPROCESSING["version"]:
        raise BadBundle(f"{path} was made under other rules of preprocessing; export the run again")
    return Bundle(path, manifest)


def _content(file: Path) -> bytes:
    """The bytes of a manifest, unless they are too many to be parsed."""
    if not file.is_file():
        raise FileNotFoundError("there is no plain file of this name")  # a pipe would be waited for without end
    if (size := file.stat().st_size) > MANIFEST_BYTES:
        raise BadBundle(f"{file} has {size:,} bytes; a manifest has at most {MANIFEST_BYTES:,}; export the run again")
    return file.read_bytes()


def verify(path: Path) -> Bundle:
    """Read the manifest and compare every file with it: what is done before a version may answer.

    Raises:
        BadBundle: as `read`, or a file is missing, altered, a link, a pipe, or not in the manifest.
    """
    if path.is_symlink():
        raise BadBundle(f"{path} is a symbolic link; a version is a folder of its own")
    bundle = read(path)
    listed = bundle.manifest["files"]
    present = set()
    for folder, names, found in os.walk(path):
        for name in [*names, *found]:
            item = Path(folder, name)
            if item.is_symlink():
                raise BadBundle(f"{item} is a symbolic link; a bundle holds plain files only")
            if not (item.is_file() or item.is_dir()):
                raise BadBundle(f"{item} is a pipe, socket or device; a bundle holds plain files only")
        present |= {Path(folder, name).relative_to(path).as_posix() for name in found}
    if strange := present ^ {MANIFEST, *listed}:
        raise BadBundle(
            f"{path} does not hold what its manifest lists; missing or strange: {', '.join(sorted(strange))}"
        )
    for name, expected in listed.items():
        item = path / name
        try:
            same = item.stat().st_size == expected["bytes"] and files.sha256_file(item) == expected["sha256"]
        except OSError as error:
            raise BadBundle(f"{item} cannot be read ({error.strerror})") from error
        if not same:
            raise BadBundle(f"{item} was altered after the export: its sha256 differs; export the run again")
    return bundle
