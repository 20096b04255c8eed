"""ONNX Runtime, TensorFlow and a TensorFlow Serving host give the same answers, and say what keeps them from it."""

import json
import logging
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from artifacts.bundle import verify
from artifacts.errors import BadBundle, TintypeError
from artifacts.settings import read
from serving.engine import devices, onnx
from serving.engine.variants import check, open_best, plans
from serving.errors import DeadlineExceeded, EngineFailed, NoModel, NoRuntime, QueueFull
from tests.real import ROOT, free_port, serving

RUNTIMES = ("onnx", "saved_model", "tf_serving")
PICTURES = 20


class Host:
    """A stand-in for TensorFlow Serving in a process of its own, and what it is told."""

    def __init__(self, models, folder):
        self.models = models
        self.address = f"127.0.0.1:{free_port()}"
        self._control = folder / "control"
        self._process = None

    def start(self):
        if self._process:
            return
        port = self.address.rpartition(":")[2]
        command = [sys.executable, "-m", "tests.tf_serving_host", self.models, port, self._control]
        self._process = subprocess.Popen([*map(str, command)], cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"answers\n"

    def stop(self):
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
            self._process = None

    def tell(self, what=""):
        """What it does wrong from now on: the name of a gRPC status, or one of its faults; nothing."""
        self._control.write_text(what)

    @property
    def asked(self):
        """[[model, version, signature, pictures, height, width, channels], …] of all requests."""
        record = self._control.with_suffix(".asked")
        return [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []


@pytest.fixture(scope="module")
def running(home, tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    models = shutil.copytree(home.path / "models", folder / "models")
    shutil.copytree(models / "digits" / "1", models / "digits" / "2")
    host = Host(models, folder)
    yield host
    host.stop()


@pytest.fixture
def host(running):
    """A host that serves digits@1 of `home`, the same as digits@2, and does nothing wrong yet."""
    running.tell()
    running.start()
    return running


@pytest.fixture
def version(home):
    return verify(home.path / "models" / "digits" / "1")


@pytest.fixture
def pixels(pictures, version):
    return pictures.part(0, PICTURES).decode(*version.shape)


def environment(runtime, host=None, **more):
    given = {"TINTYPE_RUNTIME": runtime, **more}
    return {**given, "TINTYPE_TF_SERVING": host.address} if runtime == "tf_serving" and host else given


def settings(runtime="onnx", host=None, **more):
    return read(environment(runtime, host, **{f"TINTYPE_{name}": value for name, value in more.items()}))


def opened(bundle, runtime, host=None, **more):
    return open_best(bundle, settings(runtime, host, **more), threads=1).runtime


def refused(ask):
    with pytest.raises(TintypeError) as error:
        ask()
    return error.value


# The same answers.


def test_every_runtime_gives_the_same_labels_and_probabilities_over_http(home, host, pictures):
    files = [(f"{number}.png", data) for number, data in enumerate(pictures.encoded[:PICTURES])]
    given = {}
    for runtime in RUNTIMES:
        with serving(home, **environment(runtime, host), TINTYPE_API_PROCESSES="1") as (_, client):
            status, given[runtime] = client.predict_form(files, "?top_k=10")
            assert status == 200, given[runtime]
    for runtime in RUNTIMES[1:]:
        assert given[runtime]["model"] == given["onnx"]["model"]
        for one, other in zip(given[runtime]["predictions"], given["onnx"]["predictions"], strict=True):
            assert (one["file"], one["label"]) == (other["file"], other["label"])
            ours, theirs = ({each["label"]: each["confidence"] for each in top} for top in (one["top"], other["top"]))
            assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("many", [1, 2, 3, PICTURES])
def test_a_picture_gets_the_same_answer_alone_and_among_many(version, host, pixels, runtime, many):
    model = opened(version, runtime, host)
    together = model.run(pixels[:many])
    assert (together.dtype, together.shape) == (np.float32, (many, 10))
    alone = np.concatenate([model.run(each[np.newaxis]) for each in pixels[:many]])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_threads_that_run_at_once_get_their_own_answers(version, host, pixels, runtime):
    model = opened(version, runtime, host)
    expected = model.run(pixels)
    together = threading.Barrier(8)

    def ask(number):
        together.wait()
        return [model.run(pixels[number : number + 2]) for _ in range(5)]

    with ThreadPoolExecutor(8) as pool:
        for number, given in enumerate(pool.map(ask, range(8))):
            for each in given:
                np.testing.assert_allclose(each, expected[number : number + 2], atol=1e-5)


@pytest.fixture
def folder(pictures, tmp_path):
    """A folder of four pictures."""
    (tmp_path / "folder").mkdir()
    for number, data in enumerate(pictures.encoded[:4]):
        (tmp_path / "folder" / f"{number}.png").write_bytes(data)
    return tmp_path / "folder"


def command(home, given, *arguments):
    """`tintype` with more settings than the home's."""
    line = [sys.executable, str(ROOT / "tintype.py"), *map(str, arguments)]
    return subprocess.run(line, env={**home.environment, **given}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("runtime", RUNTIMES[1:])
def test_a_folder_is_classified_by_the_runtime_that_is_set(home, host, folder, tmp_path, runtime):
    done = command(home, environment(runtime, host), "classify", folder, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "out" / "results.csv").read_text().splitlines()[1:]
    expected = home.json("predict", *sorted(folder.iterdir()))["predictions"]
    assert [row.split(",")[1] for row in rows] == [each["label"] for each in expected]
    assert json.loads((tmp_path / "out" / "job.json").read_text())["model"]["variant"] == "fp32"


def test_a_single_picture_is_classified_by_the_runtime_that_is_set(home, host, folder):
    pictures = sorted(folder.iterdir())
    done = command(home, environment("tf_serving", host), "predict", *pictures, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert host.asked[-len(pictures) :] == [["digits", 1, "serving_default", 1, 28, 28, 1]] * len(pictures)
    expected = home.json("predict", *pictures)
    given = json.loads(done.stdout)
    assert given["model"] == expected["model"]
    assert [each["label"] for each in given["predictions"]] == [each["label"] for each in expected["predictions"]]


@pytest.mark.parametrize(("runtime", "device"), [("onnx", "cpu"), ("saved_model", "cpu"), ("tf_serving", "remote")])
def test_a_runtime_says_where_it_runs_and_proves_itself_first(version, host, caplog, runtime, device):
    with caplog.at_level(logging.INFO):
        given = open_best(version, settings(runtime, host), threads=1)
    assert (given.variant, given.runtime.device) == ("fp32", device)
    assert given.best_batch >= 1
    (said,) = [record.getMessage() for record in caplog.records if "golden pictures within" in record.getMessage()]
    assert said.startswith(f"digits@1 in fp32 loaded, on {device}, ")


# A version that is not as it was exported.


@pytest.fixture
def copy(home, tmp_path):
    """A copy of the version, to be tampered with after it was verified."""
    return verify(shutil.copytree(home.path / "models", tmp_path / "models") / "digits" / "1")


@pytest.mark.parametrize("runtime", ["saved_model", "tf_serving"])
def test_a_version_without_a_saved_model_is_refused(copy, host, runtime):
    (copy.path / "saved_model.pb").unlink()
    error = refused(lambda: opened(copy, runtime, host))
    assert isinstance(error, BadBundle)
    assert str(error) == "digits@1 has no SavedModel (it has no saved_model.pb); unset TINTYPE_RUNTIME"


def test_a_damaged_saved_model_is_refused(copy):
    graph = copy.path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:-3000])
    error = refused(lambda: opened(copy, "saved_model"))
    assert isinstance(error, BadBundle)
    assert str(error).startswith("digits@1: the SavedModel cannot be loaded (")


def test_the_saved_model_of_another_network_is_refused(copy, coloured):
    for name in ("saved_model.pb", "variables"):
        (shutil.rmtree if (copy.path / name).is_dir() else lambda path: path.unlink())(copy.path / name)
        source = coloured.path("coloured", 1) / name
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, copy.path / name)
    error = refused(lambda: opened(copy, "saved_model"))
    assert isinstance(error, BadBundle)
    assert str(error).startswith("digits@1: serving_default of the SavedModel must have image of ('uint8', 28, 28, 1)")


def test_a_host_that_answers_for_another_model_is_refused(version, host):
    host.tell("reversed")
    error = refused(lambda: opened(version, "tf_serving", host))
    assert isinstance(error, BadBundle)
    assert str(error).startswith("digits@1 in fp32 answers its golden pictures otherwise, by ")


# TensorFlow Serving.


def test_the_host_is_asked_for_the_version_and_the_signature(version, host, pixels):
    second = replace(version, manifest={**version.manifest, "version": 2})
    before = len(host.asked)
    opened(second, "tf_serving", host).run(pixels[:3])
    assert host.asked[before:] == [["digits", 2, "serving_default", count, 28, 28, 1] for count in (16, 3)]


def test_floats_are_read_in_whichever_way_the_host_writes_them(version, host, pixels):
    model = opened(version, "tf_serving", host)
    content = model.run(pixels)
    host.tell("floats")
    np.testing.assert_array_equal(model.run(pixels), content)


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        ("UNAVAILABLE", NoModel, "does not answer; try again soon"),
        ("NOT_FOUND", NoModel, "does not serve digits@1; start it with --model_config_file="),
        ("FAILED_PRECONDITION", NoModel, "does not serve digits@1; start it with --model_config_file="),
        ("DEADLINE_EXCEEDED", DeadlineExceeded, "gave no answer within 10 s"),
        ("RESOURCE_EXHAUSTED", QueueFull, "has too much to do; try again soon"),
        ("INVALID_ARGUMENT", EngineFailed, "failed on 20 pictures (INVALID_ARGUMENT)"),
        ("INTERNAL", EngineFailed, "failed on 20 pictures (INTERNAL)"),
        ("UNIMPLEMENTED", EngineFailed, "failed on 20 pictures (UNIMPLEMENTED)"),
        ("CANCELLED", EngineFailed, "failed on 20 pictures (CANCELLED)"),
    ],
)
def test_every_status_of_the_host_has_its_error(version, host, pixels, caplog, status, kind, says):
    model = opened(version, "tf_serving", host)
    host.tell(status)
    with caplog.at_level(logging.INFO, "serving"):  # another test of this process may have set the root's higher
        error = refused(lambda: model.run(pixels))
    assert type(error) is kind
    assert says in str(error)
    assert host.address not in str(error)  # it is no client's business
    assert caplog.records[-1].getMessage().startswith(f"TensorFlow Serving at {host.address}: {status} for digits@1: ")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("nothing", "TensorFlow Serving gave nothing, not probabilities"),
        ("transposed", "must answer float32 of shape (20, 10); it answered 800 bytes of type 1 and shape (10, 20)"),
        ("wide", "must answer float32 of shape (20, 10); it answered 1600 bytes of type 2 and shape (20, 10)"),
        ("nan", "the model gave a probability that is not a number"),
    ],
)
def test_an_answer_that_is_none_is_refused(version, host, pixels, fault, says):
    model = opened(version, "tf_serving", host)
    host.tell(fault)
    error = refused(lambda: model.run(pixels))
    assert type(error) is EngineFailed
    assert says in str(error)


def test_a_host_that_is_away_is_no_fault_of_the_version_and_is_asked_again_when_it_is_back(
    home, version, host, pictures, pixels, eventually
):
    model = opened(version, "tf_serving", host)
    before = model.run(pixels)
    host.stop()
    for ask in (lambda: model.run(pixels), lambda: opened(version, "tf_serving", host)):
        assert type(refused(ask)) is NoModel
    # A server starts without its host, and its clients are told what the host says.
    with serving(home, **environment("tf_serving", host), TINTYPE_API_PROCESSES="1") as (_, client):

        def given():
            status, headers, body = client.request("POST", "/predict", pictures.encoded[0], Content_Type="image/png")
            return status, json.loads(body).get("code"), "retry-after" in map(str.lower, headers)

        assert client.get("/health/ready")[0] == 503
        assert given() == (503, "no_model", False)
        host.start()
        eventually(lambda: given() == (200, None, False), 60)
        for status, expected in {
            "UNAVAILABLE": (503, "no_model", False),
            "NOT_FOUND": (503, "no_model", False),
            "DEADLINE_EXCEEDED": (504, "deadline_exceeded", False),
            "RESOURCE_EXHAUSTED": (429, "queue_full", True),
            "INTERNAL": (500, "engine_failed", False),
            "": (200, None, False),
        }.items():
            host.tell(status)
            assert given() == expected
    eventually(lambda: answers(lambda: model.run(pixels)), 60)
    np.testing.assert_allclose(model.run(pixels), before, atol=1e-6)
    np.testing.assert_allclose(opened(version, "tf_serving", host).run(pixels), before, atol=1e-6)


def answers(ask):
    try:
        ask()
    except NoModel:
        return False
    return True


def test_pictures_that_the_host_refuses_are_an_error_of_the_engine(version, host, pixels):
    model = opened(version, "tf_serving", host)
    error = refused(lambda: model.run(np.repeat(pixels, 3, axis=3)))
    assert (type(error), str(error)) == (EngineFailed, "TensorFlow Serving failed on 20 pictures (INVALID_ARGUMENT)")


def test_a_host_that_hangs_costs_no_more_than_the_deadline(version, host, pixels):
    model = opened(version, "tf_serving", host, DEADLINE_MS="300")
    host.tell("hang")
    error = refused(lambda: model.run(pixels))
    assert type(error) is DeadlineExceeded
    assert str(error) == "TensorFlow Serving gave no answer within 0.3 s"


def test_many_large_pictures_fit_into_one_message(version, host, pixels):
    many = np.tile(pixels, (300, 1, 1, 1))  # 4.7 MB; gRPC by itself would take 4
    assert opened(version, "tf_serving", host).run(many).shape == (6000, 10)


def test_the_messages_come_without_tensorflow_and_leave_it_as_it_is(home, host):
    program = f"""
import sys
from artifacts.bundle import verify
from artifacts.settings import read
from serving.engine.variants import open_best
version = verify(__import__("pathlib").Path({str(home.path / "models" / "digits" / "1")!r}))
given = read({environment("tf_serving", host)!r})
for _ in range(2):
    open_best(version, given, threads=1)
print([name for name in ("tensorflow", "keras", "tensorflow.python") if name in sys.modules])
import tensorflow as tf
print(tf.make_ndarray(tf.make_tensor_proto([1.0, 2.0])).tolist(), tf.keras.__name__ != "")
open_best(version, given, threads=1)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[]", "[1.0, 2.0] True"]


# A device, runtime or package that is not to be had.


CPU_BUILD = (
    "and the installed ONNX Runtime is built for cpu alone; pip uninstall onnxruntime, then "
    "pip install 'tintype[gpu]', or unset TINTYPE_DEVICE"
)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"DEVICE": "cuda"}, f"TINTYPE_DEVICE is cuda, {CPU_BUILD}"),
        ({"DEVICE": "tensorrt"}, f"TINTYPE_DEVICE is tensorrt, {CPU_BUILD}"),
        (
            {"RUNTIME": "tf_serving"},
            "TINTYPE_RUNTIME is tf_serving, and TINTYPE_TF_SERVING is not set; give host:8500",
        ),
        (
            {"RUNTIME": "saved_model", "VARIANT": "int8"},
            "TINTYPE_RUNTIME=saved_model answers in fp32 alone, and TINTYPE_VARIANT is int8; unset one",
        ),
        (
            {"RUNTIME": "saved_model", "DEVICE": "tensorrt"},
            "TINTYPE_RUNTIME=saved_model runs on cpu or cuda, and TINTYPE_DEVICE is tensorrt; unset one",
        ),
        (
            {"RUNTIME": "tf_serving", "DEVICE": "cuda", "TF_SERVING": "localhost:1"},
            "TINTYPE_RUNTIME=tf_serving runs on whatever its host has, and TINTYPE_DEVICE is cuda; unset one",
        ),
    ],
)
def test_a_command_that_cannot_have_what_is_set_ends_with_one_sentence(home, version, folder, given, says):
    if CPU_BUILD in says and onnx.usable() != ["cpu"]:
        pytest.skip("this ONNX Runtime is built for GPUs")
    given = {f"TINTYPE_{name}": value for name, value in given.items()}
    done = command(home, given, "predict", folder / "0.png", "--json")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"tintype: {says}\n")
    for ask in (lambda: check(read(given)), lambda: open_best(version, read(given), threads=1)):
        error = refused(ask)
        assert isinstance(error, NoRuntime)
        assert (str(error), error.status, error.exit_code) == (says, 503, 2)


def test_a_tensorflow_that_sees_no_gpu_is_refused_when_one_is_asked_for(version):
    error = refused(lambda: opened(version, "saved_model", DEVICE="cuda"))
    assert isinstance(error, NoRuntime)
    assert str(error).startswith(("this TensorFlow sees no GPU, and TINTYPE", "this TensorFlow is built without CUDA"))


@pytest.mark.parametrize(
    ("runtime", "package", "extra"),
    [
        ("onnx", "onnxruntime", "'tintype[serve]', or 'tintype[gpu]' where there is an NVIDIA GPU"),
        ("saved_model", "tensorflow", "tensorflow, or 'tensorflow[and-cuda]' where there is an NVIDIA GPU"),
        ("tf_serving", "grpc", "'tintype[tf-serving]'"),
        ("tf_serving", "tensorflow_serving", "'tintype[tf-serving]'"),
    ],
)
def test_a_package_that_is_not_installed_is_named(home, runtime, package, extra):
    program = f"""
import sys
sys.modules[{package!r}] = None  # as if it were not there
import tintype
sys.exit(tintype.main(["predict", {str(ROOT / "README.md")!r}]))
"""
    given = {**home.environment, "TINTYPE_RUNTIME": runtime, "TINTYPE_TF_SERVING": "localhost:1"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"tintype: TINTYPE_RUNTIME is {runtime}, and what it needs is not installed (")
    assert package in said
    assert said.endswith(f"; pip install {extra}")


@pytest.fixture
def as_if_for_gpus(monkeypatch):
    """As if ONNX Runtime were built for GPUs, and one were there: a session silently comes up on the CPU then."""
    monkeypatch.setattr(onnx, "usable", lambda: ["cpu", "cuda", "tensorrt"])
    monkeypatch.setattr(devices, "gpu_seen", lambda: True)
    monkeypatch.setattr("warnings.filters", [("ignore", None, UserWarning, None, 0)])


@pytest.mark.usefixtures("as_if_for_gpus")
@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_session_that_came_up_on_the_cpu_is_refused_when_a_gpu_was_asked_for(version, device, tmp_path):
    error = refused(lambda: opened(version, "onnx", DEVICE=device, HOME=str(tmp_path)))
    assert isinstance(error, NoRuntime)
    assert str(error).startswith(f"ONNX Runtime cannot start on {device} (")
    assert f"libonnxruntime_providers_{device}.so" in str(error)
    assert "pip install 'tintype[gpu]'" in str(error)


@pytest.mark.usefixtures("as_if_for_gpus")
def test_with_auto_the_cpu_answers_for_a_gpu_that_does_not_start_and_the_log_says_why(version, caplog):
    with caplog.at_level(logging.WARNING):
        given = open_best(version, settings(), threads=1)
    assert given.runtime.device == "cpu"
    assert given.best_batch == plans(version, settings(DEVICE="cpu"))[0].choice.best_batch
    (record,) = caplog.records
    assert record.getMessage().startswith("ONNX Runtime cannot start on cuda (")
    assert record.getMessage().endswith("; the CPU answers instead")


@pytest.mark.usefixtures("as_if_for_gpus")
def test_a_damaged_file_is_not_taken_for_a_gpu_that_does_not_start(copy):
    copy.variant_file("fp32").write_bytes(b"no graph")
    error = refused(lambda: opened(copy, "onnx", DEVICE="cuda"))
    assert isinstance(error, BadBundle)
    assert str(error).startswith("digits@1: the ONNX file cannot be loaded (")
