"""Every precision of one model, from the gate to the answer of a server."""

import json
import shutil
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

import exporters.export as exporting
import tintype
from artifacts import speed
from artifacts.bundle import verify
from artifacts.errors import BadBundle
from artifacts.manifest import PRECISIONS
from artifacts.pictures import Pictures
from artifacts.pixels import encode_png
from artifacts.run import Run, find
from artifacts.settings import read
from artifacts.store import Store
from exporters.export import export
from exporters.variants import Order
from serving.engine.onnx import check_answers
from serving.engine.variants import choices, open_best

LIMITS = {"fp32": 1e-6, "fp16": 2e-2, "int8": 2e-1}  # of a probability of digits, far from what sabotage comes to


@pytest.fixture
def version(whole):
    return verify(whole.path / "models" / "digits" / "1")


@pytest.fixture
def run(home, tmp_path):
    """A copy of the run, to be altered."""
    return Run(shutil.copytree(find(home.path / "runs", "latest").path, tmp_path / "runs" / "digits"))


@pytest.fixture
def of_black(run):
    """The same with black training pictures, by which no int8 can be calibrated that is any good."""
    training = Pictures.load(run.training_pictures_file)
    black = encode_png(np.zeros((8, 8, 1), np.uint8))
    replace(training, encoded=[black] * len(training.encoded)).save(run.training_pictures_file)
    return run


@pytest.fixture
def command(tmp_path, monkeypatch, capfd):
    """A command that succeeds, in this process, with a home of its own; what it prints."""
    monkeypatch.setenv("TINTYPE_HOME", str(tmp_path))

    def run(*arguments):
        code = tintype.main([*map(str, arguments)])
        out, err = capfd.readouterr()
        assert code == 0, err
        return out

    return run


def of(variant):
    """Settings by which the CPU answers in a variant."""
    return read({"TINTYPE_DEVICE": "cpu", "TINTYPE_VARIANT": variant})


def test_every_precision_is_proven_and_measured(version):
    variants = version.manifest["variants"]
    assert list(variants) == list(PRECISIONS)
    assert (version.manifest["left_out"], version.manifest["exceptions"]) == ({}, [])
    for name, entry in variants.items():
        parity = entry["parity"]
        assert (parity["pictures"], parity["batches"]) == (359, [1, 7, 32])
        assert parity["tolerance"] == (1e-4 if name == "fp32" else None)
        assert parity["max_difference"] <= LIMITS[name] * 10
        assert parity["agreement"] >= (1 if name == "fp32" else 0.995)
        assert parity["accuracy_change"] >= (0 if name == "fp32" else -0.005)
        assert entry["accuracy"] == pytest.approx(variants["fp32"]["accuracy"] + parity["accuracy_change"])
        assert entry["bytes"] == version.variant_file(name).stat().st_size
        assert "allowed" not in entry
        assert ("float_layers" in entry) == (name == "int8")
    assert variants["fp32"]["accuracy"] == pytest.approx(version.manifest["metrics"]["test"]["accuracy"], abs=1e-6)
    assert variants["int8"]["bytes"] < variants["fp32"]["bytes"]
    assert variants["fp16"]["bytes"] < 0.6 * variants["fp32"]["bytes"]


def test_the_profile_has_every_batch_on_one_thread_and_on_all(version):
    machine = version.manifest["measured_on"]
    assert machine["onnxruntime"] == onnxruntime.__version__
    for entry in version.manifest["variants"].values():
        points = {(point["threads"], point["batch"]): point for point in entry["profile"]}
        assert {threads for threads, _ in points} >= {1, machine["cores"]}
        assert {batch for threads, batch in points if threads == 1} == {1, 2, 4, 8, 16, 32}
        best = points[1, entry["best_batch"]]
        assert entry["images_per_second"] == best["images_per_second"]
        assert best["images_per_second"] >= 0.97 * max(points[1, batch]["images_per_second"] for batch in (1, 8, 32))
        for (_, batch), point in points.items():
            assert point["images_per_second"] == pytest.approx(1000 * batch / point["latency_ms"], rel=0.1)
            assert point["memory_mb"] > 0


def test_golden_pictures_have_the_answers_of_every_variant(version):
    golden = Pictures.load(version.golden_file)
    assert set(golden.answers) == {"fp16", "int8"}
    pixels = golden.decode(*version.shape)
    for name in PRECISIONS:
        session = onnxruntime.InferenceSession(version.variant_file(name))
        (answers,) = session.run(["probabilities"], {"image": pixels})
        np.testing.assert_allclose(answers, golden.answers.get(name, golden.probabilities), atol=1e-5)
        assert np.abs(answers - golden.probabilities).max() <= LIMITS[name]


def test_the_report_shows_the_variants_and_is_sealed(version):
    assert "report/export.html" in version.manifest["files"]
    page = (version.path / "report" / "export.html").read_text()
    assert all(name in page for name in PRECISIONS)
    assert "training.html" in {path.name for path in (version.path / "report").iterdir()}


def test_tensorflow_serving_is_told_what_is_in_production(version, whole):
    text = (whole.path / "models" / "tf_serving.config").read_text()
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("digits", str(version.path.parent))
    assert dict(model.version_labels) == {"production": 1}
    assert list(model.model_version_policy.specific.versions) == [1]


def test_a_variant_that_fails_the_gate_is_left_out_and_the_table_says_why(of_black, command):
    out = command("export", of_black.path, "--precision", "fp32,int8")
    manifest = verify(of_black.path.parents[1] / "models" / "digits" / "1").manifest
    assert list(manifest["variants"]) == ["fp32"]
    assert "model.int8.onnx" not in manifest["files"]
    why = manifest["left_out"]["int8"]
    assert why.startswith("int8 gives another label than the Keras model on ")
    lines = out.splitlines()
    assert f"int8 was left out: {why}" in lines
    assert [line.split()[0] for line in lines if line.endswith("passed")] == ["fp32"]
    assert lines[-1] == str(of_black.path.parents[1] / "models" / "digits" / "1")


def test_what_is_allowed_stays_is_recorded_and_answers_only_when_it_is_asked_for(of_black, command):
    told = json.loads(command("export", of_black.path, "--precision", "fp32,int8", "--allow", "int8", "--json"))
    version = verify(of_black.path.parents[1] / "models" / "digits" / "1")
    assert told == {"bundle": str(version.path), **version.manifest}
    assert (told["exceptions"], told["left_out"]) == (["int8"], {})
    entry = told["variants"]["int8"]
    assert entry["allowed"].startswith("int8 gives another label than the Keras model on ")
    assert entry["parity"]["agreement"] < 0.995
    assert "allowed" not in told["variants"]["fp32"]
    command("deploy", "digits")
    assert [choice.variant for choice in choices(version, "auto")] == ["fp32"]
    assert open_best(version, of("int8"), threads=1).variant == "int8"


def test_fp32_itself_may_be_allowed_and_its_own_answers_are_checked_then(run, tmp_path, monkeypatch):
    write = exporting.write_onnx

    def sabotaged(predict, path):
        @tf.function(input_signature=predict.input_signature)
        def upside_down(image):
            return predict(tf.reverse(image, axis=[1]))

        return write(upside_down, path)

    monkeypatch.setattr(exporting, "write_onnx", sabotaged)
    bundle = export(run, Store(tmp_path / "models"), "digits", Order(("fp32",), ("fp32",)))
    assert bundle.manifest["variants"]["fp32"]["allowed"].startswith("ONNX differs from the Keras model at batch 1: ")
    assert bundle.manifest["exceptions"] == ["fp32"]
    check_answers(bundle)


def test_a_run_of_an_older_version_is_judged_on_its_held_out_pictures_and_gets_no_int8(run, tmp_path):
    run.test_pictures_file.unlink()
    run.training_pictures_file.unlink()
    manifest = export(run, Store(tmp_path / "models"), "digits", Order(("fp32", "int8"))).manifest
    assert list(manifest["variants"]) == ["fp32"]
    assert manifest["variants"]["fp32"]["parity"]["pictures"] == 64
    assert manifest["left_out"] == {"int8": "no training pictures were kept, by which int8 is calibrated"}


def test_a_profile_of_this_machine_is_what_serving_goes_by(whole, tmp_path, command):
    shutil.copytree(whole.path / "models", tmp_path / "models")
    version = verify(tmp_path / "models" / "digits" / "1")
    told = json.loads(command("profile", "digits@1", "--json"))
    assert (told["name"], told["version"], told["measured_on"]) == ("digits", 1, speed.machine())
    path = tmp_path / "models" / "digits" / "profiles" / "1.json"
    kept = json.loads(path.read_text())
    assert kept["sha256"] == version.sha256
    assert kept["machines"] == [{"measured_on": told["measured_on"], "variants": told["variants"]}]
    assert speed.figures(version) == told["variants"]
    assert verify(version.path).sha256 == version.sha256
    for fastest in PRECISIONS:
        measured = {name: {**each, "images_per_second": 1.0} for name, each in told["variants"].items()}
        measured[fastest] |= {"images_per_second": 100.0, "best_batch": 5}
        speed.keep(version, measured)
        assert choices(version, "auto")[0] == (fastest, 5)
        assert open_best(version, of("auto"), threads=1)[:2] == (fastest, 5)


def test_a_profile_is_printed_as_a_table(home, tmp_path, command):
    shutil.copytree(home.path / "models", tmp_path / "models")
    lines = command("profile", "digits").splitlines()
    assert lines[0].split() == ["variant", "threads", "batch", "images/s", "ms", "a", "batch", "MB"]
    assert {line.split()[0] for line in lines[1:-1]} == {"fp32"}
    assert lines[-1] == str(tmp_path / "models" / "digits" / "profiles" / "1.json")


def test_a_variant_that_is_not_there_is_refused_with_the_reason(home, version):
    alone = verify(home.path / "models" / "digits" / "1")
    with pytest.raises(BadBundle, match=r"no int8 \(the export was not asked for it\); set TINTYPE_VARIANT to one of"):
        choices(alone, "int8")
    failed = replace(alone, manifest={**alone.manifest, "left_out": {"int8": "it fell by a point"}})
    with pytest.raises(BadBundle, match=r"digits@1 has no int8 \(it fell by a point\)"):
        choices(failed, "int8")
    assert [choice.variant for choice in choices(version, "int8")] == ["int8"]
