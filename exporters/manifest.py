"""What a manifest says, but for what the store adds (name, version, files, sha256) and where the model came from."""

import importlib.metadata
from datetime import UTC, datetime
from typing import Any

from artifacts.pixels import PREPROCESSING
from exporters.parity import Parity
from exporters.profile import Profile

LIBRARIES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "numpy", "pillow")
SPLITS = ("validation", "test")


def describe(  # noqa: PLR0913 - the fields of one record
    *,
    labels: list[str],
    shape: tuple[int, int, int],
    file: str,
    metrics: dict[str, Any],
    parity: Parity,
    profile: Profile,
    parameters: int,
) -> dict[str, Any]:
    """The fields that every manifest has.

    Args:
        labels: in the order of the outputs.
        shape: (height, width, channels) of the pictures.
        file: the name of the ONNX file.
        metrics: as in metrics.json; the accuracies are None where nothing was measured.
        parity: what the gate measured.
        profile: how fast the ONNX file runs here.
        parameters: of the model.
    """
    height, width, channels = shape
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "labels": labels,
        "input": {"height": height, "width": width, "channels": channels},
        "preprocessing": PREPROCESSING,
        "variants": {
            "fp32": {
                "file": file,
                "parity": parity.to_json(),
                "accuracy": metrics["test"]["accuracy"],
                "images_per_second": profile.images_per_second,
                "best_batch": profile.best_batch,
            },
        },
        "metrics": {split: {key: metrics[split][key] for key in ("accuracy", "loss")} for split in SPLITS},
        "libraries": {library: importlib.metadata.version(library) for library in LIBRARIES},
        "parameters": parameters,
    }
