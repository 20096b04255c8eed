import pytest

from artifacts.manifest import faults, is_plain

FILE = {"sha256": "0" * 64, "bytes": 5}
FP32 = {"file": "model.onnx", "best_batch": 4}
SIZE = {"height": 8, "width": 8, "channels": 3}
NOT_WHOLE = [None, -1, 1.5, 8.0, "8", True, [8]]


@pytest.fixture
def whole(manifest):
    """A manifest as the store seals it."""
    return {"name": "digits", "version": 3, **manifest, "files": {"model.onnx": FILE}}


@pytest.mark.parametrize("name", ["model.onnx", "a/b/c", "...", "..a", "a..", "a b", "ü", ".hidden", "-", "a/.b"])
def test_a_plain_path_is_one_that_stays_inside_whatever_it_looks_like(name):
    assert is_plain(name)


NOT_PLAIN = [
    "", ".", "..", "/", "/etc/passwd", "../secret", "a/../../secret", "a/..", "./a", "a/.", "a/./b", "a//b", "//a",
    "a/", "a\\b", "..\\secret", "C:\\secret", "model.onnx\0", None, 3, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_leaves_the_folder_or_can_be_written_shorter_is_no_plain_path(name):
    assert not is_plain(name)


def test_what_the_store_seals_has_no_fault(whole):
    assert list(faults(whole)) == []


def test_a_grey_model_whose_accuracy_nobody_measured_has_no_fault(whole):
    whole |= {"input": {**SIZE, "channels": 1}, "metrics": {"test": {"accuracy": None}}}
    assert list(faults(whole)) == []


@pytest.mark.parametrize(
    ("field", "sentence", "wrongs"),
    [
        ("name", "name must be text", [None, 3, True, "", ["digits"]]),
        ("version", "version a whole number above 0", [*NOT_WHOLE, 0]),
        ("preprocessing", "preprocessing must be an object with version", [None, 1, "version", [], {}, ["version"]]),
        ("metrics", "metrics must be an object with test", [None, 1, [], {}, {"test": 1}, {"test": {"loss": 1}}]),
        ("labels", "labels must be a list of text", [None, "ab", {"a": 1, "b": 2}, 2, [1, 2], ["a", None], [["a"]]]),
        ("labels", "labels must be two or more, each of them once", [[], ["a"], ["a", "b", "a"]]),
        ("input", "input must have height and width", [None, 8, [8, 8, 3], {}, {"height": 8, "width": 8}]),
        ("input", "input must have height", [{**SIZE, "height": wrong} for wrong in (*NOT_WHOLE, 0)]),
        ("input", "input must have height", [{**SIZE, "width": wrong} for wrong in (*NOT_WHOLE, 0)]),
        ("input", "and 1 or 3 channels", [{**SIZE, "channels": wrong} for wrong in (*NOT_WHOLE, 0, 2, 4)]),
        ("files", "files must be an object", [None, 1, ["model.onnx"], "model.onnx"]),
        ("files", "files must name plain relative paths", [{"../a": FILE}, {"": FILE}, {"a//b": FILE}]),
        ("files", "files must give sha256 and bytes of 'a'", [{"a": wrong} for wrong in (None, 5, [], {})]),
        ("files", "files must give sha256 and bytes", [{"a": {**FILE, "bytes": wrong}} for wrong in NOT_WHOLE]),
        ("files", "files must give sha256 and bytes", [{"a": {**FILE, "sha256": wrong}} for wrong in (None, 5, [])]),
        ("variants", "the variant 'int4' must be one of fp32, fp16, int8", [{"fp32": FP32, "int4": FP32}]),
        (
            "variants",
            "must have images_per_second, a number above 0",
            [{"fp32": {**FP32, "images_per_second": wrong}} for wrong in (None, "9", True, 0, -1.0, float("inf"))],
        ),
        ("variants", "variants must be an object with fp32", [None, 1, [], ["fp32"], "fp32", {}, {"int8": FP32}]),
        ("variants", "the variant 'fp32' must have file", [{"fp32": wrong} for wrong in (None, "a", [], {}, 1)]),
        ("variants", "the variant 'int8' must have file", [{"fp32": FP32, "int8": {"best_batch": 4}}]),
        ("variants", "whole number above 0", [{"fp32": {**FP32, "best_batch": wrong}} for wrong in (*NOT_WHOLE, 0)]),
        ("variants", "must have as file a plain", [{"fp32": {**FP32, "file": wrong}} for wrong in NOT_PLAIN]),
        ("variants", "must have as file one that files lists", [{"fp32": {**FP32, "file": "model.int8.onnx"}}]),
    ],
)
def test_a_field_of_a_wrong_kind_is_the_first_fault(whole, field, sentence, wrongs):
    for wrong in wrongs:
        assert sentence in next(faults({**whole, field: wrong}), ""), wrong


def test_a_fault_is_told_shortly_whatever_is_in_the_manifest(whole):
    huge = ["x" * 100_000] * 1000
    for field in whole:
        assert len(next(faults({**whole, field: {"fp32": huge, "a": huge}}))) < 500
