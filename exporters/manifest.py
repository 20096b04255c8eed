"""What a manifest says, but for what the store adds (name, version, files, sha256) and where the model came from."""

import importlib.metadata
from datetime import UTC, datetime
from typing import Any

from artifacts.bundle import ACTIVATION_MAP
from artifacts.pixels import PREPROCESSING
from artifacts.speed import machine
from exporters.activation_map import Map
from exporters.variants import Order, Variants

LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy", "pillow")
SPLITS = ("validation", "test")


def describe(  # noqa: PLR0913 - the fields of one record
    *,
    labels: list[str],
    shape: tuple[int, int, int],
    metrics: dict[str, Any],
    parameters: int,
    order: Order,
    variants: Variants,
    activation_map: Map | None,
    saved_model: dict[str, Any],
) -> dict[str, Any]:
    """The fields that every manifest has.

    Args:
        labels: in the order of the outputs.
        shape: (height, width, channels) of the pictures.
        metrics: as in metrics.json; the accuracies are None where nothing was measured.
        parameters: of the model.
        order: what was asked for.
        variants: what was made, and what was left out.
        activation_map: the second output of the ONNX graph, if it has one.
        saved_model: {"encoded": how that signature differs from `artifacts.pixels`} or {"absent": why}.
    """
    height, width, channels = shape
    looked = {"activation_map": {"output": ACTIVATION_MAP, **activation_map._asdict()}} if activation_map else {}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": labels,
        "input": {"height": height, "width": width, "channels": channels},
        "preprocessing": PREPROCESSING,
        "variants": variants.made,
        "left_out": variants.left_out,
        "exceptions": list(order.exceptions),
        "measured_on": machine(),
        "saved_model": saved_model,
        **looked,
        "metrics": {split: {key: metrics[split][key] for key in ("accuracy", "loss")} for split in SPLITS},
        "libraries": {library: importlib.metadata.version(library) for library in LIBRARIES},
        "parameters": parameters,
    }
