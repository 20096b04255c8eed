"""What the fields of a manifest must be, before anything that they say is used.

The sha256 of a manifest proves that it was not altered by accident. It proves no more, for another program, or a person
who means harm, can seal one too: so no path, shape or number is taken from it unless it is one that an export writes.
"""

import reprlib
from collections.abc import Iterator
from typing import Any

from artifacts import census

CHANNELS = (1, 3)  # grey, RGB
PRECISIONS = ("fp32", "fp16", "int8")  # names of the variants; the first is in every bundle


def faults(manifest: dict[str, Any]) -> Iterator[str]:
    """What is wrong with the fields of a manifest that has them all: half a sentence for each, without its end.

    A fault may rest on those before it: only the first one is certain.
    """
    yield from _origin(manifest)
    yield from _labels(manifest["labels"])
    yield from _input(manifest["input"])
    yield from _files(manifest["files"])
    yield from _variants(manifest["variants"], manifest["files"])
    if "census" in manifest and (wrong := census.fault(manifest["census"])):
        yield f"census {wrong}; received {_short(manifest['census'])}"


def is_plain(name: object) -> bool:
    """Whether `name` is a relative path that stays inside its folder, in the one way in which it can be written."""
    if not isinstance(name, str) or "\\" in name or "\0" in name:
        return False
    return not {"", ".", ".."}.intersection(name.split("/"))


def _origin(manifest: dict[str, Any]) -> Iterator[str]:
    """The fields that say what this is, and how good it was measured to be."""
    name, version, metrics = manifest["name"], manifest["version"], manifest["metrics"]
    if not isinstance(name, str) or not name or not _is_whole(version):
        yield f"name must be text and version a whole number above 0; received {_short(name)} and {_short(version)}"
    if not isinstance(manifest["preprocessing"], dict) or "version" not in manifest["preprocessing"]:
        yield f"preprocessing must be an object with version; received {_short(manifest['preprocessing'])}"
    if not isinstance(metrics, dict) or not isinstance(metrics.get("test"), dict) or "accuracy" not in metrics["test"]:
        yield f"metrics must be an object with test, and test one with accuracy; received {_short(metrics)}"


def _labels(labels: object) -> Iterator[str]:
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        yield f"labels must be a list of text; received {_short(labels)}"
    elif len(labels) < 2 or len(set(labels)) < len(labels):  # noqa: PLR2004 - one label leaves nothing to tell apart
        yield f"labels must be two or more, each of them once; received {_short(labels)}"


def _input(size: object) -> Iterator[str]:
    if (
        not isinstance(size, dict)
        or not all(_is_whole(size.get(side)) for side in ("height", "width", "channels"))
        or size["channels"] not in CHANNELS
    ):
        yield f"input must have height and width, whole numbers above 0, and 1 or 3 channels; received {_short(size)}"


def _files(listed: object) -> Iterator[str]:
    if not isinstance(listed, dict):
        yield f"files must be an object; received {_short(listed)}"
        return
    for name, entry in listed.items():
        if not is_plain(name):
            yield f"files must name plain relative paths inside the bundle; received {_short(name)}"
        if (
            not isinstance(entry, dict)
            or not isinstance(entry.get("sha256"), str)
            or not _is_whole(entry.get("bytes"), least=0)
        ):
            yield f"files must give sha256 and bytes of {_short(name)}; received {_short(entry)}"


def _variants(variants: object, listed: dict[str, Any]) -> Iterator[str]:
    if not isinstance(variants, dict) or PRECISIONS[0] not in variants:
        yield f"variants must be an object with fp32; received {_short(variants)}"
        return
    for name, entry in variants.items():
        variant = f"the variant {_short(name)}"
        if name not in PRECISIONS:
            yield f"{variant} must be one of {', '.join(PRECISIONS)}"
        if not isinstance(entry, dict) or "file" not in entry or not _is_whole(entry.get("best_batch")):
            yield f"{variant} must have file and best_batch, a whole number above 0; received {_short(entry)}"
        elif not is_plain(entry["file"]):
            yield f"{variant} must have as file a plain relative path in the bundle; received {_short(entry['file'])}"
        elif entry["file"] not in listed:
            yield f"{variant} must have as file one that files lists; received {_short(entry['file'])}"
        elif not _is_rate(entry.get("images_per_second", 1)):
            yield f"{variant} must have images_per_second, a number above 0; received {_short(entry)}"


def _is_whole(value: object, least: int = 1) -> bool:
    """Whether a JSON value is a whole number; true and false are none, though Python counts them as 1 and 0."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_rate(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")


def _short(value: object) -> str:
    """A value that may be of any size, for a sentence."""
    return reprlib.repr(value)
