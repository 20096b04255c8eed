"""An ONNX file that was made elsewhere, between the ends that every model has here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from artifacts.bundle import INPUT, OUTPUT
from artifacts.errors import BadModel
from artifacts.foreign import DTYPES, SCALINGS, Dims, Foreign, Layout, Wanted, short
from exporters.completion import Written
from exporters.padding import zeros_kept
from exporters.to_onnx import open_onnx
from exporters.variants import BASE, FILES

ORIGINAL = "original/"  # before every name of the graph, so that none meets one of ours
TYPES = {dtype: int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))) for dtype in DTYPES}
FLOATS = {TYPES[dtype] for dtype in DTYPES if dtype != "uint8"}
FATAL_ONLY = 4  # ONNX Runtime's word for how much it writes to standard error; errors are raised as well


@dataclass(frozen=True)
class OnnxModel:
    """A graph, and what runs it as it came: see `artifacts.foreign.Original`."""

    model: onnx.ModelProto
    session: onnxruntime.InferenceSession
    takes: onnx.ValueInfoProto
    gives: onnx.ValueInfoProto
    dims: Dims
    dtype: str
    one_by_one: bool  # it was exported for batches of one picture

    @property
    def scales_itself(self) -> bool:
        """Whether pictures go in as uint8."""
        return self.dtype == "uint8"

    @property
    def parameters(self) -> int:
        """Values of all its floating-point initializers."""
        floats = (each for each in self.model.graph.initializer if each.data_type in FLOATS)
        return sum(int(np.prod(each.dims)) for each in floats)

    def run(self, pictures: NDArray[Any]) -> NDArray[Any]:
        """What the graph gives, (N, …), for pictures as it takes them.

        Raises:
            BadModel: it does not take them.
        """
        batches = pictures[:, None] if self.one_by_one else [pictures]
        try:
            outputs = [self.session.run([self.gives.name], {self.takes.name: batch})[0] for batch in batches]
        except Exception as error:  # onnxruntime has no base class of its own errors
            shape = pictures.shape[1:]
            raise BadModel(f"the model does not take pictures of shape {shape} ({short(error)})") from error
        return np.concatenate(outputs)

    def write(self, foreign: Foreign, name: str, pixels: NDArray[np.uint8], folder: Path) -> Written:  # noqa: ARG002
        """Write ONNX into `folder`; what runs it. No SavedModel can be made of it, so `name` is not needed.

        Raises:
            BadModel: it takes one picture at a time, whatever its input is declared to be.
        """
        path = folder / FILES[BASE]
        try:
            model = self._adapted(foreign)
            onnx.checker.check_model(model, full_check=True)
            onnx.save(model, path)
            _session(path).run([OUTPUT], {INPUT: pixels[:2]})
        except OSError:  # the disk is full
            raise
        except Exception as error:  # neither onnx nor onnxruntime has a base class of its own errors
            if self.one_by_one:
                free = "export it with a free batch dimension"
                raise BadModel(f"the graph takes one picture at a time; {free}") from error
            raise BadModel(f"the graph cannot be served ({short(error)})") from error
        return Written({"ONNX": open_onnx(path)}, None)

    def _adapted(self, foreign: Foreign) -> onnx.ModelProto:
        """The model between the ends of `foreign`: uint8 (N, H, W, C) -> float32 (N, classes)."""
        model = onnx.compose.add_prefix(self.model, ORIGINAL)
        graph = model.graph
        takes, gives = ORIGINAL + self.takes.name, ORIGINAL + self.gives.name
        before, after = Chain(INPUT), Chain(gives)
        _feed(before, foreign)
        _read(after, foreign, one=self._units() == 1, rank=len(self.gives.type.tensor_type.shape.dim))
        nodes = [*before.ended(takes), *graph.node, *after.ended(OUTPUT)]
        graph.ClearField("node")
        graph.node.extend(nodes)
        graph.initializer.extend([*before.constants, *after.constants])
        others = [each for each in graph.input if each.name != takes]  # of old files: the initializers
        for field in ("input", "output", "value_info"):  # the last may say one picture
            graph.ClearField(field)
        graph.input.extend([helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", *foreign.shape]), *others])
        graph.output.append(helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["N", len(foreign.labels)]))
        return model

    def _units(self) -> int:
        dims = self.gives.type.tensor_type.shape.dim[1:]
        return int(np.prod([dim.dim_value for dim in dims]))


class Chain:
    """Nodes, each of which takes what the one before it gave."""

    def __init__(self, begin: str) -> None:
        self.last, self.nodes, self.constants = begin, [], []

    def add(self, operation: str, *constants: NDArray[Any], first: bool = True, **attributes: Any) -> None:
        """One more node; `constants` are its other inputs, behind the chain's or, unless `first`, before it."""
        names = [f"{self.last}/{operation}/{number}" for number in range(len(constants))]
        self.constants += [numpy_helper.from_array(value, name) for value, name in zip(constants, names, strict=True)]
        inputs = [self.last, *names] if first else [*names, self.last]
        made = f"{self.last}/{operation}"
        self.nodes.append(helper.make_node(operation, inputs, [made], made, **attributes))
        self.last = made

    def join(self, other: str, **attributes: Any) -> None:
        """Concatenate `other` with what the chain gave."""
        made = f"{self.last}/Concat"
        self.nodes.append(helper.make_node("Concat", [self.last, other], [made], made, **attributes))
        self.last = made

    def ended(self, name: str) -> Iterator[onnx.NodeProto]:
        """All nodes, the last of which gives `name`."""
        yield from self.nodes
        yield helper.make_node("Identity", [self.last], [name], f"{name}/Identity")


def open_original(path: Path, _: Wanted) -> OnnxModel:
    """Load an ONNX file.

    Raises:
        BadModel: it is damaged, or has not one picture in and one answer out.
    """
    try:
        model = onnx.load(path)
        zeros_kept(model)
        session = _session(model.SerializeToString())
    except Exception as error:  # as above
        raise BadModel(f"{path} cannot be loaded ({short(error)}); it is damaged, or no ONNX file") from error
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    outputs = [each for each in model.graph.output if each.type.tensor_type.elem_type in FLOATS]
    if len(inputs) != 1 or len(outputs) != 1:
        have = f"{len(inputs)} inputs and {len(outputs)} outputs of numbers"
        raise BadModel(f"{path} has {have}; one that takes a single picture and gives one answer can be served")
    tensor = inputs[0].type.tensor_type
    dtype = next((name for name, number in TYPES.items() if number == tensor.elem_type), None)
    if dtype is None:
        kind = helper.tensor_dtype_to_string(tensor.elem_type)
        raise BadModel(f"{path} takes values of {kind}; pictures are {', '.join(DTYPES)}")
    batch, *dims = [dim.dim_value or None for dim in tensor.shape.dim] or [None]
    if batch not in (None, 1):
        raise BadModel(f"{path} takes batches of {batch} only; export it again with a free batch dimension")
    return OnnxModel(model, session, inputs[0], outputs[0], tuple(dims), dtype, one_by_one=batch == 1)


def _session(model: Path | bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ONLY
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _feed(chain: Chain, foreign: Foreign) -> None:
    """As `Foreign.feed`."""
    divisor, mean, deviation, bgr = SCALINGS[foreign.scaling]
    height, width, _ = foreign.shape
    if bgr:
        chain.add("Gather", np.array([2, 1, 0]), axis=3)
    if foreign.scaling != "none":
        chain.add("Cast", to=TensorProto.FLOAT)
        chain.add("Div", np.float32(divisor))
        if mean:
            chain.add("Sub", np.array(mean, np.float32))
        if deviation:
            chain.add("Div", np.array(deviation, np.float32))
    chain.add("Cast", to=TYPES[foreign.dtype])
    if foreign.layout is Layout.NCHW:
        chain.add("Transpose", perm=[0, 3, 1, 2])
    elif foreign.layout is Layout.NHW:
        chain.add("Reshape", np.array([0, height, width]))
    elif foreign.layout is Layout.FLAT:
        chain.add("Flatten", axis=1)


def _read(chain: Chain, foreign: Foreign, *, one: bool, rank: int) -> None:
    """As `Foreign.probabilities`."""
    chain.add("Cast", to=TensorProto.FLOAT)
    if rank != 2:  # noqa: PLR2004 - (N, units)
        chain.add("Flatten", axis=1)
    if foreign.logits and one:
        chain.add("Sigmoid")
    elif foreign.logits:
        chain.add("Softmax", axis=1)
    if one:
        second = chain.last
        chain.add("Sub", np.array([1], np.float32), first=False)
        chain.join(second, axis=1)
