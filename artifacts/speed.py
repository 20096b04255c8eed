"""How fast the variants of a version run: measured at its export or, since, by `tintype profile` on this machine.

A version is sealed, so what is measured later lies beside it, in `models/<name>/profiles/<version>.json`:

    {"sha256": of the manifest, "machines": [{"measured_on": {…}, "variants": {"int8": {"images_per_second", …}}}]}
"""

import importlib.metadata
import json
import os
import platform
from contextlib import suppress
from pathlib import Path
from typing import Any

from artifacts import files
from artifacts.bundle import Bundle

CPUINFO = Path("/proc/cpuinfo")
RUNTIMES = ("onnxruntime", "onnxruntime-gpu")  # one module, by two names
SAME = ("processor", "cores")  # two machines that agree on these are taken for one

Figures = dict[str, dict[str, Any]]  # variant -> {"images_per_second", "best_batch", "profile"}


def machine() -> dict[str, Any]:
    """What figures are measured on: {"processor", "cores", "system", "onnxruntime"}."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    version = None
    for name in RUNTIMES:
        with suppress(importlib.metadata.PackageNotFoundError):
            version = version or importlib.metadata.version(name)
    return {
        "processor": named[0] if named else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "onnxruntime": version,
    }


def figures(bundle: Bundle) -> Figures:
    """Of every variant: those measured on this machine, else those of the manifest."""
    here = machine()
    for measured in _measured(bundle):
        if (
            _is_same(measured["measured_on"], here)
            and measured["variants"].keys() == bundle.manifest["variants"].keys()
        ):
            return dict(measured["variants"])
    return dict(bundle.manifest["variants"])


def keep(bundle: Bundle, measured: Figures) -> Path:
    """Write the figures of this machine beside the version, in the place of older ones; the file's path."""
    path = _path(bundle)
    path.parent.mkdir(exist_ok=True)
    here = machine()
    with files.locked(path.parent.with_name(".lock")):
        others = [each for each in _measured(bundle) if not _is_same(each["measured_on"], here)]
        machines = [*others, {"measured_on": here, "variants": measured}]
        files.write_json(path, {"sha256": bundle.sha256, "machines": machines})
    return path


def _path(bundle: Bundle) -> Path:
    return bundle.path.parent / "profiles" / f"{bundle.version}.json"


def _measured(bundle: Bundle) -> list[dict[str, Any]]:
    """What lies beside the version; nothing when it is damaged or another's, for it can be measured again."""
    try:
        found = json.loads(_path(bundle).read_bytes())
        if found["sha256"] != bundle.sha256:
            return []
        machines = [each for each in found["machines"] if isinstance(each["measured_on"], dict)]
        return [each for each in machines if _are_figures(each["variants"])]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _are_figures(variants: Figures) -> bool:
    return all(
        isinstance(each["best_batch"], int) and each["best_batch"] >= 1 and each["images_per_second"] > 0
        for each in variants.values()
    )


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other[key] for key in SAME)
