"""Which variant of a version answers, and on which device: the fastest that passed, unless the settings name one."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.settings import AUTO, Settings
from artifacts.speed import figures
from serving.engine import devices
from serving.engine.devices import CPU, CUDA, GPU_BATCH, REMOTE, TENSORRT
from serving.engine.runtime import BASE, Runtime
from serving.errors import NoRuntime

WORTH = 1.05  # how much faster than fp32 a variant has to be: less is noise, and fp32 answers as the model itself does
ON_GPU = ("fp16", BASE)  # the one to prefer first; quantized graphs are made for CPUs
REMOTE_BATCH = 32  # pictures: what the host is fastest at is not known, and one way there and back is paid for so many
ONNX, SAVED_MODEL, TF_SERVING = "onnx", "saved_model", "tf_serving"  # as TINTYPE_RUNTIME has them
INSTALL = {
    ONNX: "pip install 'tintype[serve]', or 'tintype[gpu]' where there is an NVIDIA GPU",
    SAVED_MODEL: "pip install tensorflow, or 'tensorflow[and-cuda]' where there is an NVIDIA GPU",
    TF_SERVING: "pip install 'tintype[tf-serving]'",
}

log = logging.getLogger(__name__)


class Choice(NamedTuple):
    """A variant, and the batch size at which it is fastest here."""

    variant: str
    best_batch: int


class Plan(NamedTuple):
    """A variant, and the device that is to run it: cpu, cuda, tensorrt or remote."""

    device: str
    choice: Choice


class Opened(NamedTuple):
    """A variant that is loaded and answers as it should."""

    variant: str
    best_batch: int
    runtime: Runtime


def choices(bundle: Bundle, wanted: str, device: str = CPU) -> list[Choice]:
    """The variants that may answer on a device, the one to prefer first.

    On a CPU the figures of the export decide, or those that were measured on this machine since. For GPUs
    nothing is measured: there half precision is preferred where it passed, and int8 is not run.

    Args:
        bundle: an opened version.
        wanted: `auto`, or the one variant that may.
        device: cpu, cuda or tensorrt.

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
    passed = [name for name, entry in variants.items() if name == BASE or "allowed" not in entry]
    may = passed if wanted == AUTO else [wanted]
    if device != CPU:
        return [Choice(name, GPU_BATCH) for name in ON_GPU if name in may]
    measured = figures(bundle)
    rates = {name: measured[name].get("images_per_second", 0) * (WORTH if name == BASE else 1) for name in may}
    names = sorted(may, key=lambda name: rates[name], reverse=True)
    return [Choice(name, int(measured[name]["best_batch"])) for name in names]


def plans(bundle: Bundle, settings: Settings) -> list[Plan]:
    """What to try, in turn: each stands in for those before it. Nothing is loaded.

    Raises:
        BadBundle: the version does not have the variant that is wanted.
        NoRuntime: the settings ask for what this runtime, its build, or the device cannot do.
    """
    with _installed(settings.runtime):
        tried = _devices(settings)
    if tried == [REMOTE]:
        return [Plan(REMOTE, Choice(BASE, REMOTE_BATCH))]
    wanted = settings.variant if settings.runtime == ONNX else BASE
    found = [Plan(device, choice) for device in tried for choice in choices(bundle, wanted, device)]
    if not found:
        raise NoRuntime(
            f"TINTYPE_VARIANT is {wanted}, which runs on CPUs alone, and TINTYPE_DEVICE is {settings.device}; set "
            f"TINTYPE_DEVICE=cpu, or TINTYPE_VARIANT to {' or '.join(ON_GPU)}"
        )
    return found


def check(settings: Settings) -> None:
    """Refuse settings by which no model could be opened: for a process that starts before there is one.

    Raises:
        NoRuntime: as `open_best`, as far as it can be known without a model.
    """
    with _installed(settings.runtime):
        _devices(settings)


def open_best(bundle: Bundle, settings: Settings, threads: int) -> Opened:
    """Load the variant to prefer; when it does not answer here as it did at the export, or its GPU fails, the next one.

    Args:
        bundle: an opened version.
        settings: its runtime, device, variant, tf_serving, deadline_ms and cache are heeded.
        threads: that one batch runs on, on a CPU; with TensorFlow, all batches of this process together.

    Raises:
        BadBundle: none can be loaded, or the one that is wanted.
        NoRuntime: the settings ask for a runtime or device that is not to be had here.
        NoModel, QueueFull, DeadlineExceeded: TensorFlow Serving is to answer, and does not, for now.
    """
    with _installed(settings.runtime):
        return _first_that_opens(bundle, plans(bundle, settings), settings, threads)


def _first_that_opens(bundle: Bundle, waiting: list[Plan], settings: Settings, threads: int) -> Opened:
    while True:
        device, choice = waiting.pop(0)
        try:
            return Opened(*choice, _open(bundle, choice.variant, device, settings, threads))
        except NoRuntime as error:
            waiting = [plan for plan in waiting if plan.device != device]
            if not waiting:
                raise
            log.warning("%s; the %s answers instead", error, waiting[0].device.upper())
        except BadBundle as error:
            if not waiting:
                raise
            log.warning("%s; %s answers instead", error, waiting[0].choice.variant)


def _open(bundle: Bundle, variant: str, device: str, settings: Settings, threads: int) -> Runtime:
    if settings.runtime == TF_SERVING:
        from serving.engine.tf_serving import open_tf_serving

        return open_tf_serving(bundle, settings.tf_serving, settings.deadline_ms / 1000)
    if settings.runtime == SAVED_MODEL:
        from serving.engine.saved_model import open_saved_model

        return open_saved_model(bundle, device, threads)
    from serving.engine.onnx import open_onnx

    return open_onnx(bundle, variant, threads, device, settings.cache)


def _devices(settings: Settings) -> list[str]:
    """The devices to try, in turn."""
    _check_fits(settings)
    if settings.runtime == TF_SERVING:
        return [REMOTE]
    if settings.runtime == SAVED_MODEL:
        return devices.to_try(settings.device, (CPU, CUDA), gpu=devices.gpu_seen())  # its import tells what it can do
    from serving.engine import onnx

    return devices.to_try(settings.device, onnx.usable(), gpu=devices.gpu_seen())


def _check_fits(settings: Settings) -> None:
    """Refuse settings that contradict one another."""
    runtime, device = settings.runtime, settings.device
    if runtime != ONNX and settings.variant not in (AUTO, BASE):
        raise NoRuntime(
            f"TINTYPE_RUNTIME={runtime} answers in {BASE} alone, and TINTYPE_VARIANT is {settings.variant}; unset one"
        )
    if runtime == SAVED_MODEL and device == TENSORRT:
        raise NoRuntime(f"TINTYPE_RUNTIME={runtime} runs on {CPU} or {CUDA}, and TINTYPE_DEVICE is {device}; unset one")
    if runtime == TF_SERVING and device != AUTO:
        raise NoRuntime(
            f"TINTYPE_RUNTIME={runtime} runs on whatever its host has, and TINTYPE_DEVICE is {device}; unset one"
        )
    if runtime == TF_SERVING and not settings.tf_serving:
        raise NoRuntime("TINTYPE_RUNTIME is tf_serving, and TINTYPE_TF_SERVING is not set; give host:8500")


@contextmanager
def _installed(runtime: str) -> Iterator[None]:
    """Say of a package that is missing how it is installed."""
    try:
        yield
    except ImportError as error:
        raise NoRuntime(
            f"TINTYPE_RUNTIME is {runtime}, and what it needs is not installed ({error}); {INSTALL[runtime]}"
        ) from error
