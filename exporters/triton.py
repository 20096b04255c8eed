"""`config.pbtxt`, with which Triton serves `models/<name>/` as it is."""

from artifacts.bundle import INPUT, OUTPUT


def config(name: str, shape: tuple[int, int, int], classes: int, best_batch: int) -> str:
    """The text of the model configuration (Triton's documentation, "Model Configuration")."""
    return f"""\
name: "{name}"
backend: "onnxruntime"
max_batch_size: {max(best_batch, 32)}
input [{{ name: "{INPUT}" data_type: TYPE_UINT8 dims: {list(shape)} }}]
output [{{ name: "{OUTPUT}" data_type: TYPE_FP32 dims: [{classes}] }}]
dynamic_batching {{ preferred_batch_size: [{best_batch}] }}
version_policy {{ all {{}} }}
"""
