"""Which variant of a version answers: the fastest that passed the gate, unless the settings name one."""

import logging
from typing import NamedTuple

from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.manifest import PRECISIONS
from artifacts.settings import AUTO
from artifacts.speed import figures
from serving.engine.onnx import OnnxRuntime, open_onnx

BASE = PRECISIONS[0]
WORTH = 1.05  # how much faster than fp32 a variant has to be: less is noise, and fp32 answers as the model itself does

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """A variant, and the batch size at which it is fastest here."""

    variant: str
    best_batch: int


class Opened(NamedTuple):
    """A variant that is loaded and answers as it should."""

    variant: str
    best_batch: int
    runtime: OnnxRuntime


def choices(bundle: Bundle, wanted: str) -> list[Choice]:
    """The variants that may answer, the one to prefer first.

    Args:
        bundle: an opened version.
        wanted: `auto`, or the one variant that may.

    Raises:
        BadBundle: the version does not have it.
    """
    variants = bundle.manifest["variants"]
    if wanted != AUTO and wanted not in variants:
        why = bundle.manifest.get("left_out", {}).get(wanted, "the export was not asked for it")
        have = ", ".join(variants)
        raise BadBundle(
            f"{bundle.name}@{bundle.version} has no {wanted} ({why}); set TINTYPE_VARIANT to one of: {have}"
        )
    measured = figures(bundle)
    passed = [name for name, entry in variants.items() if name == BASE or "allowed" not in entry]
    rates = {name: measured[name].get("images_per_second", 0) * (WORTH if name == BASE else 1) for name in passed}
    names = sorted(passed, key=lambda name: rates[name], reverse=True) if wanted == AUTO else [wanted]
    return [Choice(name, int(measured[name]["best_batch"])) for name in names]


def open_best(bundle: Bundle, wanted: str, threads: int) -> Opened:
    """Load the variant to prefer; when it does not answer on this machine as it did at the export, the next one.

    Raises:
        BadBundle: none can be loaded, or the one that is wanted.
    """
    waiting = choices(bundle, wanted)
    while True:
        variant, best_batch = waiting.pop(0)
        try:
            return Opened(variant, best_batch, open_onnx(bundle, variant, threads))
        except BadBundle as error:
            if not waiting:
                raise
            log.warning("%s; %s answers instead", error, waiting[0].variant)
