"""Every precision of a model: made, judged by the gate, measured; what fails is left out with a reason."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from artifacts.errors import ParityFailed
from artifacts.foreign import short
from artifacts.manifest import PRECISIONS
from exporters import profile
from exporters.half import write_half
from exporters.parity import Reference, Verdict, judge
from exporters.quantize import Attempt, Quantization
from exporters.to_onnx import open_onnx

FILES = {"fp32": "model.onnx", "fp16": "model.fp16.onnx", "int8": "model.int8.onnx"}
BASE = PRECISIONS[0]
NO_TRAINING_PICTURES = "no training pictures were kept, by which int8 is calibrated"
COMPARED_BATCH = 8
CLEARLY = 1.05  # faster, for all layers in int8 to be tried before the more accurate one

Say = Callable[[str], None]


@dataclass
class Variants:
    """What stands in the manifest of them: `made` by name, and why others were `left_out`."""

    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What is asked for: which precisions, and which of them may stay although the gate refuses them."""

    precisions: tuple[str, ...] = PRECISIONS
    exceptions: tuple[str, ...] = ()


EVERYTHING = Order()


def base(order: Order, verdict: Verdict) -> dict[str, Any]:
    """The entry of fp32, which has been proven.

    Raises:
        ParityFailed: it failed and is no exception.
    """
    if verdict.fault and BASE not in order.exceptions:
        raise ParityFailed(f"{verdict.fault}; nothing was published")
    return _entry(BASE, verdict)


def reduce(  # noqa: PLR0913, PLR0917 - what a precision is made from
    folder: Path,
    entry: dict[str, Any],
    order: Order,
    reference: Reference,
    training: NDArray[np.uint8] | None,
    say: Say,
) -> Variants:
    """fp16 and int8 beside the fp32 file in `folder`.

    Args:
        folder: the version in the making.
        entry: that of fp32.
        order: what is asked for.
        reference: what the original model says.
        training: uint8 (N, height, width, channels), pictures to calibrate int8 by; None when there are none.
        say: is told what is being done.
    """
    variants = Variants({BASE: entry})
    if "fp16" in order.precisions:
        say("writing fp16, and judging it")
        path = folder / FILES["fp16"]
        _admit(variants, order, "fp16", path, partial(_halve, folder / FILES[BASE], path, reference))
    if "int8" in order.precisions and training is None:
        variants.left_out["int8"] = NO_TRAINING_PICTURES
    elif "int8" in order.precisions:
        say(f"writing int8, calibrated by {len(training)} training pictures, and judging it")
        path = folder / FILES["int8"]
        _admit(variants, order, "int8", path, partial(_quantize, folder / FILES[BASE], path, training, reference, say))
    return variants


def measure(folder: Path, shape: tuple[int, int, int], variants: Variants, say: Say) -> None:
    """Add to every entry how fast it runs here."""
    for name, entry in variants.made.items():
        say(f"measuring {name}")
        path = folder / entry["file"]
        entry.update(bytes=path.stat().st_size, **profile.measure(path, shape))


def _admit(variants: Variants, order: Order, name: str, path: Path, make: Callable[[], Verdict]) -> None:
    """Have a variant made and judged; take it in, or leave it out and remove its file."""
    verdict, fault = None, None
    try:
        verdict = make()
        fault = verdict.fault
    except ParityFailed as error:  # what is no number, or has another shape, is no exception either
        fault = str(error)
    except (OSError, MemoryError):  # they say nothing of the model
        raise
    except Exception as error:  # noqa: BLE001 - ONNX Runtime's converters raise whatever a strange graph leads them to
        fault = f"it cannot be made of this graph ({short(error)})"
    if verdict is not None and (not fault or name in order.exceptions):
        variants.made[name] = _entry(name, verdict)
    else:
        variants.left_out[name] = str(fault)
        path.unlink(missing_ok=True)


def _entry(name: str, verdict: Verdict) -> dict[str, Any]:
    allowed = {"allowed": verdict.fault} if verdict.fault else {}
    return {
        "file": FILES[name],
        "parity": verdict.parity.to_json(),
        "accuracy": verdict.accuracy,
        **verdict.details,
        **allowed,
    }


def _halve(source: Path, path: Path, reference: Reference) -> Verdict:
    write_half(source, path)
    return judge("fp16", open_onnx(path), reference)


def _quantize(source: Path, path: Path, training: NDArray[np.uint8], reference: Reference, say: Say) -> Verdict:
    """Write the fastest attempt that passes; when none does, the one whose labels agree most."""
    judged: list[tuple[Verdict, Attempt]] = []
    for attempt in _attempts(Quantization(source, training), reference.pixels[:COMPARED_BATCH]):
        onnx.save(attempt.model, path)
        verdict = judge("int8", open_onnx(path), reference)
        judged.append((verdict, attempt))
        if not verdict.fault:
            break
        say(str(verdict.fault))
    else:
        verdict, attempt = max(judged, key=lambda each: each[0].parity.agreement)
        onnx.save(attempt.model, path)
    return replace(verdict, details={"float_layers": attempt.in_float})


def _attempts(quantization: Quantization, pixels: NDArray[np.uint8]) -> Iterator[Attempt]:
    """First the two that are fast, then those that pay for accuracy with speed."""
    whole, ends = quantization.all_in_int8(), quantization.ends_in_float()
    rates = [profile.rate(attempt.model.SerializeToString(), pixels) for attempt in (whole, ends)]
    fast = (whole, ends) if rates[0] > CLEARLY * rates[1] else (ends, whole)
    yield from filter(quantization.is_quantized, itertools.chain(fast, quantization.more_in_float()))
