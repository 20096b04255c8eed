"""A version that was tampered with, or whose pictures are decoded otherwise here, is refused when it is opened."""

import io
import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from artifacts import bundle
from artifacts.errors import BadBundle
from artifacts.pictures import Pictures
from artifacts.pixels import Picture
from artifacts.settings import read
from artifacts.store import Reference, Store
from serving import one_off
from serving.api.state import State
from serving.engine.onnx import check_answers
from serving.engine.variants import open_best

SHAPE, CLASSES = (16, 20, 3), 4  # of the coloured pictures
PICTURES = 40


@pytest.fixture
def store(coloured, tmp_path):
    """A copy, to be tampered with."""
    return Store(shutil.copytree(coloured.root, tmp_path / "models"))


@pytest.fixture
def version(store):
    return store.path("coloured", 1)


def of(variant):
    """Settings by which the CPU answers in a variant."""
    return read({"TINTYPE_DEVICE": "cpu", "TINTYPE_VARIANT": variant})


# Bytes that were altered after the export.


def files_of(version):
    return sorted(path for path in version.rglob("*") if path.is_file())


def test_a_flipped_byte_in_any_file_is_named(store, version):
    for path in files_of(version):
        before = path.read_bytes()
        for place in (0, len(before) // 2, len(before) - 1):
            damaged = bytearray(before)
            damaged[place] ^= 1
            path.write_bytes(damaged)
            with pytest.raises(BadBundle, match=path.name):
                bundle.verify(version)
            with pytest.raises(BadBundle, match=path.name):
                store.deploy(Reference("coloured", version=1), "canary", check_answers)
        path.write_bytes(before)
    assert bundle.verify(version).version == 1
    assert store.aliases("coloured") == {"production": 1}


def test_a_flipped_bit_anywhere_in_the_manifest_is_caught_or_changes_nothing(version):
    path = version / "manifest.json"
    before, manifest = path.read_bytes(), bundle.read(version).manifest
    unnoticed = []
    for place in range(len(before)):
        damaged = bytearray(before)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            same = bundle.read(version).manifest == manifest
        except BadBundle:
            continue
        assert same, bytes(damaged[place - 20 : place + 20])
        unnoticed.append(place)
    assert len(unnoticed) <= len(before) // 100  # such as the last of seventeen digits, which names the same number


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_truncated_file_of_any_kind_is_named(version, share):
    for path in files_of(version):
        before = path.read_bytes()
        path.write_bytes(before[: int(share * len(before))])
        with pytest.raises(BadBundle, match=path.name):
            bundle.verify(version)
        path.write_bytes(before)


def test_a_damaged_version_answers_nobody(version, tmp_path):
    graph = version / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-100])
    settings = read({"TINTYPE_HOME": str(tmp_path), "TINTYPE_API_PROCESSES": "1"})
    picture = tmp_path / "a.png"
    picture.write_bytes(Pictures.load(version / "golden.npz").encoded[0])
    says = r"model\.onnx was altered after the export"
    with pytest.raises(BadBundle, match=says):
        State(settings).models.get(Reference("coloured"))
    with pytest.raises(BadBundle, match=says):
        one_off.predict(version, [picture], settings)


# Versions whose manifest agrees with their bytes, as another program would write them, or a person who means harm.


def sealed(version, **changes):
    """Seal what lies there now."""
    manifest = json.loads((version / "manifest.json").read_bytes())
    kept = {key: value for key, value in manifest.items() if key not in ("files", "sha256")}
    bundle.seal(version, {**kept, **changes})


def altered(change):
    """What changes the graph of a version."""

    def applied(version):
        path = version / "model.onnx"
        model = onnx.load(path)
        change(model)
        path.write_bytes(model.SerializeToString())

    return applied


def _before(model, operation, constants, made, **attributes):
    """Put a node between the pictures and whatever takes them."""
    for each in model.graph.node:
        each.input[:] = [made if name == "image" else name for name in each.input]
    names = _kept(model, made, constants)
    model.graph.node.insert(0, helper.make_node(operation, ["image", *names], [made], **attributes))


def _after(model, operation, *constants, **attributes):
    """Put a node between the last one and the probabilities."""
    for each in model.graph.node:
        each.output[:] = ["until then" if name == "probabilities" else name for name in each.output]
    names = _kept(model, "after", constants)
    model.graph.node.append(helper.make_node(operation, ["until then", *names], ["probabilities"], **attributes))


def _kept(model, beginning, constants):
    """The names of these constants in the model; none for an input that is left out."""
    names = [f"{beginning} {number}" if value is not None else "" for number, value in enumerate(constants)]
    made = [numpy_helper.from_array(value, name) for name, value in zip(names, constants, strict=True) if name]
    model.graph.initializer.extend(made)
    return names


def _kernel(model):
    return next(each for each in model.graph.initializer if len(each.dims) == 4)


@altered
def graph_in_bgr(model):
    _before(model, "Gather", [np.array([2, 1, 0])], "in order", axis=3)


@altered
def graph_of_another_filter(model):
    whole, smaller = np.array([1, *SHAPE]), np.array([1, SHAPE[0] - 1, SHAPE[1] - 1, SHAPE[2]])
    _before(model, "Resize", [None, (whole / smaller).astype(np.float32)], "again", mode="nearest")
    _before(model, "Resize", [None, (smaller / whole).astype(np.float32)], "smaller", mode="nearest")


@altered
def graph_of_shuffled_outputs(model):
    _after(model, "Gather", np.array([1, 0, 2, 3]), axis=1)


@altered
def graph_of_other_weights(model):
    kernel = _kernel(model)
    kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel) * np.float32(1.1), kernel.name))


@altered
def graph_of_no_numbers(model):
    _after(model, "Mul", np.array([np.nan], np.float32))


@altered
def graph_of_infinities(model):
    _after(model, "Div", np.array([0], np.float32))


@altered
def graph_of_another_shape(model):
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = SHAPE[0] * 2


@altered
def graph_that_takes_floats(model):
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]  # that of what follows would say bytes


@altered
def graph_that_takes_more(model):
    model.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["N"]))


@altered
def graph_without_probabilities(model):
    _after(model, "Identity")
    model.graph.node[-1].output[:] = ["answer"]
    model.graph.output[0].name = "answer"


@altered
def graph_of_weights_elsewhere(model):
    kernel = _kernel(model)
    kernel.ClearField("raw_data")
    kernel.data_location = onnx.TensorProto.EXTERNAL
    kernel.external_data.add(key="location", value="weights.bin")


def graph_cut_off(version):
    graph = version / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-500])


def graph_of_nothing(version):
    (version / "model.onnx").write_bytes(b"")


def graph_of_text(version):
    (version / "model.onnx").write_text("a graph")


def golden_cut_off(version):
    golden = version / "golden.npz"
    golden.write_bytes(golden.read_bytes()[:-500])


def golden_of(**changes):
    def applied(version):
        pictures = Pictures.load(version / "golden.npz")
        fields = {name: getattr(pictures, name) for name in ("encoded", "names", "labels", "probabilities")}
        Pictures(**{**fields, **changes}).save(version / "golden.npz")

    return applied


OTHERWISE = "answers its golden pictures otherwise, by "
CANNOT_ANSWER = "cannot answer its golden pictures .*not a number"
NOT_LOADED = "the ONNX file cannot be loaded"
NO_ANSWERS = r"golden\.npz has no answers for its 4 labels"
UNKNOWN = np.full((PICTURES, CLASSES), np.nan, np.float32)
NO_PICTURES = {"encoded": [], "names": [], "labels": np.zeros(0, np.int64), "probabilities": UNKNOWN[:0]}

TAMPERING = {
    "BGR": (graph_in_bgr, OTHERWISE),
    "another filter": (graph_of_another_filter, OTHERWISE),
    "shuffled outputs": (graph_of_shuffled_outputs, OTHERWISE),
    "other weights": (graph_of_other_weights, OTHERWISE),
    "no numbers": (graph_of_no_numbers, CANNOT_ANSWER),
    "infinities": (graph_of_infinities, CANNOT_ANSWER),
    "another shape": (graph_of_another_shape, r"the graph takes .*32, 20, 3.*; its manifest says .*16, 20, 3"),
    "floats in": (graph_that_takes_floats, r"the graph takes .*tensor\(float\).*; its manifest says .*tensor\(uint8\)"),
    "two inputs": (graph_that_takes_more, "the graph takes .*mask"),
    "no probabilities": (graph_without_probabilities, "probabilities must be float of 4 labels; it is no such output"),
    "weights elsewhere": (graph_of_weights_elsewhere, NOT_LOADED),
    "graph cut off": (graph_cut_off, NOT_LOADED),
    "no graph": (graph_of_nothing, NOT_LOADED),
    "text for a graph": (graph_of_text, NOT_LOADED),
    "golden pictures cut off": (golden_cut_off, r"golden\.npz is not a file of pictures"),
    "no answers": (golden_of(probabilities=None), NO_ANSWERS),
    "answers of fewer labels": (golden_of(probabilities=UNKNOWN[:, :3]), NO_ANSWERS),
    "answers of fewer pictures": (golden_of(probabilities=UNKNOWN[:3]), NO_ANSWERS),
    "no golden pictures": (golden_of(**NO_PICTURES), NO_ANSWERS),
    "answers that are no numbers": (golden_of(probabilities=UNKNOWN), OTHERWISE + "nan"),
    "golden files that are no pictures": (
        golden_of(encoded=[b"no picture"] * PICTURES),
        "cannot answer its golden pictures",
    ),
}


@pytest.mark.parametrize(("tamper", "says"), TAMPERING.values(), ids=TAMPERING.keys())
def test_a_version_that_was_sealed_anew_does_not_go_live(store, version, tmp_path, monkeypatch, tamper, says):
    kernel = _kernel(onnx.load(version / "model.onnx"))
    (tmp_path / "weights.bin").write_bytes(numpy_helper.to_array(kernel).tobytes())
    monkeypatch.chdir(tmp_path)
    tamper(version)
    sealed(version)
    assert bundle.verify(version).version == 1
    with pytest.raises(BadBundle, match=says):
        store.deploy(Reference("coloured"), "canary", check_answers)
    assert store.aliases("coloured") == {"production": 1}
    with pytest.raises(BadBundle, match=says):
        State(read({"TINTYPE_HOME": str(tmp_path)})).models.get(Reference("coloured", version=1))


@pytest.mark.parametrize("labels", [["a", "b", "c"], ["a", "b", "c", "d", "e"]])
def test_another_number_of_labels_does_not_go_live(store, version, labels):
    sealed(version, labels=labels)
    with pytest.raises(BadBundle, match=rf"probabilities must be float of {len(labels)} labels; it is .*4"):
        store.deploy(Reference("coloured"), check=check_answers)


@pytest.mark.parametrize("size", [(20, 16, 3), (16, 20, 1)])
def test_another_size_of_pictures_does_not_go_live(store, version, size):
    sealed(version, input=dict(zip(("height", "width", "channels"), size, strict=True)))
    with pytest.raises(BadBundle, match="the graph takes"):
        store.deploy(Reference("coloured"), check=check_answers)


def test_a_variant_whose_file_lies_elsewhere_is_not_opened(store, version):
    shutil.copyfile(version / "model.onnx", version.parent / "model.onnx")
    for file in ("../model.onnx", str(version.parent / "model.onnx")):
        sealed(version, variants={"fp32": {"file": file, "best_batch": 1}})
        with pytest.raises(BadBundle, match="must have as file a plain relative path in the bundle"):
            store.deploy(Reference("coloured"), check=check_answers)


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "saved_model.pb", "variables", "manifest.json"])
def test_a_symbolic_link_in_a_version_is_not_followed(store, version, name):
    shutil.move(version / name, version.parent / name)
    (version / name).symlink_to(version.parent / name)
    if name != "manifest.json":
        sealed(version)
    with pytest.raises(BadBundle, match=rf"{name} is a symbolic link"):
        store.deploy(Reference("coloured"), check=check_answers)


def test_a_version_that_is_itself_a_symbolic_link_is_not_followed(store, version):
    shutil.move(version, version.parent / "elsewhere")
    version.symlink_to(version.parent / "elsewhere")
    with pytest.raises(BadBundle, match="1 is a symbolic link; a version is a folder of its own"):
        store.deploy(Reference("coloured"), check=check_answers)


def test_an_int8_that_answers_otherwise_here_is_not_deployed_and_another_variant_answers(whole, tmp_path):
    store = Store(shutil.copytree(whole.path / "models", tmp_path / "models"))
    version = store.path("digits", 1)
    graph = version / "model.int8.onnx"
    model = onnx.load(graph)
    _after(model, "Sub", np.linspace(0, 0.5, 10, dtype=np.float32))
    onnx.save(model, graph)
    variants = bundle.read(version).manifest["variants"]
    sealed(version, variants={**variants, "int8": {**variants["int8"], "images_per_second": 1e9}})
    with pytest.raises(BadBundle, match="digits@1 in int8 answers its golden pictures otherwise"):
        store.deploy(Reference("digits"), check=check_answers)
    opened = bundle.verify(version)
    with pytest.raises(BadBundle, match="digits@1 in int8 answers its golden pictures otherwise"):
        open_best(opened, of("int8"), threads=1)
    assert open_best(opened, of("auto"), threads=1).variant in ("fp32", "fp16")


# The version is as it was, but this program, or this machine, no longer makes the same of a picture.


def decoded_by(change, filter_=Image.Resampling.BILINEAR):
    def decode(data, height, width, channels):
        with Image.open(io.BytesIO(data)) as image:
            stretched = image.convert("RGB").resize((width, height), filter_)
            return Picture(change(np.asarray(stretched)), *image.size)

    return decode


def unchanged(picture):
    return picture


@pytest.mark.parametrize(
    "decode",
    [
        decoded_by(unchanged, Image.Resampling.NEAREST),
        decoded_by(unchanged, Image.Resampling.BICUBIC),
        decoded_by(lambda picture: picture[..., ::-1]),
        decoded_by(lambda picture: picture[..., [0, 2, 1]]),
        decoded_by(lambda picture: picture // 2),
    ],
    ids=["nearest", "bicubic", "BGR", "swapped channels", "half as bright"],
)
def test_another_way_of_decoding_keeps_a_version_from_going_live(coloured, monkeypatch, decode):
    opened = bundle.verify(coloured.path("coloured", 1))
    monkeypatch.setattr("artifacts.pictures.decode", decoded_by(unchanged))  # by other means, and the same
    check_answers(opened)
    monkeypatch.setattr("artifacts.pictures.decode", decode)
    with pytest.raises(BadBundle, match=OTHERWISE):
        check_answers(opened)


def test_other_rules_of_preprocessing_are_refused(store, version):
    rules = bundle.read(version).manifest["preprocessing"]
    sealed(version, preprocessing={**rules, "version": rules["version"] + 1})
    with pytest.raises(BadBundle, match="made under other rules of preprocessing"):
        store.deploy(Reference("coloured"), check=check_answers)
