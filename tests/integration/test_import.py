"""Models from and for elsewhere, through the command itself."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import onnx
import pytest
import tensorflow as tf
import tf2onnx
from keras import layers

import tintype
from artifacts.bundle import verify
from artifacts.pictures import Pictures
from artifacts.run import find
from tests.real import ROOT, Home
from training.config import Recipe
from training.data import split
from training.data.sources import load
from training.importing import keras_file


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits as `tintype train` divides them: (pixels, classes) of each part, pixels uint8 (N, 8, 8, 1)."""
    recipe = Recipe(0, 1, "none", 0.0, input=(8, 8, 1))
    data = load("digits", lambda _: recipe, None, tmp_path_factory.mktemp("cache"))
    return {part: (data.pixels[rows], data.classes[rows]) for part, rows in split.divide(data).items()}


@pytest.fixture(scope="module")
def elsewhere(digits):
    """A compiled model of 8×8 pictures from 0 to 1, trained as a script of somebody else's would."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 1))
    x = layers.Flatten()(layers.Conv2D(16, 3, activation="relu")(picture))
    model = keras.Model(picture, layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    pixels, classes = digits["train"]
    model.fit(pixels.astype("float32") / 255, classes, epochs=8, batch_size=32, verbose=0)
    return model


@pytest.fixture(scope="module")
def made(elsewhere, tmp_path_factory):
    """A folder of the same model in every format."""
    folder = tmp_path_factory.mktemp("made")
    sequential = keras.Sequential([keras.Input((8, 8, 1)), *elsewhere.layers[1:]])
    with keras_file.advice_hidden():
        elsewhere.save(folder / "functional.h5")
        elsewhere.save(folder / "functional.keras")
        sequential.save(folder / "sequential.h5")
    elsewhere.export(folder / "exported", verbose=False)
    tf.saved_model.save(elsewhere, str(folder / "saved"))
    write_onnx(elsewhere, folder / "nhwc.onnx")
    write_onnx(elsewhere, folder / "nchw.onnx", inputs_as_nchw=["picture"])
    (folder / "ten.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    (folder / "two.txt").write_text("even\nodd\n")
    (folder / "nine.txt").write_text("".join(f"{digit}\n" for digit in range(9)))
    (folder / "twice.txt").write_text("a\na\n")
    return folder


def write_onnx(model, path, **options):
    signature = [tf.TensorSpec((None, 8, 8, 1), tf.float32, name="picture")]
    function = tf.function(model, input_signature=signature)
    tf2onnx.convert.from_function(function, signature, opset=17, output_path=str(path), **options)


@pytest.fixture
def bring(made, tmp_path, monkeypatch, capfd):
    """`bring("functional.h5", …)`: import it with ten labels into a home of its own; what was printed as JSON."""
    monkeypatch.setenv("TINTYPE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TINTYPE_VARIANT", "fp32")  # it is compared with the original, which no other variant equals

    def brought(name, *options, labels="ten.txt"):
        code = tintype.main(["import", str(made / name), "--labels", str(made / labels), *options, "--json"])
        out, err = capfd.readouterr()
        assert code == 0, err
        return json.loads(out)

    return brought


@pytest.fixture
def refused(made, tmp_path, monkeypatch, capfd):
    """As `bring`, for what is refused: (exit code, standard error)."""
    monkeypatch.setenv("TINTYPE_HOME", str(tmp_path / "home"))

    def refuse(name, *options, labels="ten.txt"):
        code = tintype.main(["import", str(made / name), "--labels", str(made / labels), *options])
        assert not list((tmp_path / "home").glob("*/*/[0-9]*"))
        assert not list((tmp_path / "home" / "runs").glob("*"))
        return code, capfd.readouterr().err

    return refuse


def tell(capfd, *arguments):
    """A command that succeeds, and what it prints as JSON."""
    code = tintype.main([*map(str, arguments), "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("name", ["functional.h5", "functional.keras", "sequential.h5"])
def test_the_score_of_an_older_model_is_the_same_before_and_after(bring, elsewhere, digits, name):
    told = bring(name, "--size", "8,8", "--scaling", "unit", "--data", "digits")
    run = find(ROOT, told["run"])
    model = keras.saving.load_model(run.model_file, compile=False)
    for part in ("validation", "test"):
        pixels, classes = digits[part]
        before = elsewhere.predict_on_batch(pixels.astype("float32") / 255)
        np.testing.assert_array_equal(model.predict_on_batch(pixels), before)
        accuracy = float((before.argmax(1) == classes).mean())
        assert told["metrics"][part]["accuracy"] == pytest.approx(accuracy, abs=1e-6)
        assert accuracy > 0.9


def test_a_run_that_is_saved_and_imported_has_the_same_figures(home, bring, capfd, tmp_path):
    run = find(home.path / "runs", "latest")
    for name in ("model.keras", "model.h5"):
        told = tell(capfd, "save", run.path, tmp_path / name)
        assert told["accuracy"]["before"] == told["accuracy"]["after"] > 0.9
        assert told["pictures"] == 64
        again = bring(tmp_path / name, "--data", "digits")
        assert again["metrics"]["test"] == run.metrics()["test"]
        assert again["metrics"]["validation"] == run.metrics()["validation"]


def test_saving_replaces_nothing_unasked(home, bring, capfd, tmp_path):
    run = find(home.path / "runs", "latest").path
    (tmp_path / "model.h5").write_text("mine")
    for arguments, says in (
        (["model.h5"], "exists; give another name, or --force"),
        (["model.pb"], "must end in .keras, or in .h5"),
        (["nowhere/model.h5"], "there is no folder"),
    ):
        assert tintype.main(["save", str(run), str(tmp_path / arguments[0])]) == 2
        assert says in capfd.readouterr().err
    assert (tmp_path / "model.h5").read_text() == "mine"
    tell(capfd, "save", run, tmp_path / "model.h5", "--force")
    assert (tmp_path / "model.h5").read_bytes().startswith(b"\x89HDF")


def test_an_imported_run_is_exported_deployed_and_answers(bring, elsewhere, digits, capfd, tmp_path, encode):
    told = bring("functional.h5", "--scaling", "unit", "--name", "older")
    assert told["metrics"]["test"] == {"accuracy": None, "loss": None}
    (listed,) = tell(capfd, "runs")
    assert (listed["name"], listed["accuracy"]) == ("older", None)
    manifest = tell(capfd, "export", "latest", "--precision", "fp32,int8")
    assert manifest["left_out"] == {"int8": "no training pictures were kept, by which int8 is calibrated"}
    assert manifest["imported"]["file"] == "functional.h5"
    assert manifest["judged_on"].startswith("64 generated pictures")
    assert manifest["variants"]["fp32"]["accuracy"] is None
    assert manifest["run"]["id"] == told["id"]
    answers(capfd, "older", elsewhere, digits, tmp_path, encode)
    assert tintype.main(["models"]) == 0
    assert [cell for cell in capfd.readouterr().out.splitlines()[1].split() if cell == "-"] == ["-"]


@pytest.mark.parametrize("name", ["exported", "saved", "nhwc.onnx", "nchw.onnx"])
def test_a_model_of_another_format_becomes_a_version_that_answers_the_same(
    bring, elsewhere, digits, capfd, tmp_path, encode, name
):
    manifest = bring(name, "--data", "digits", "--scaling", "unit", "--name", "foreign")
    pixels, classes = digits["test"]
    expected = elsewhere.predict_on_batch(pixels.astype("float32") / 255)
    assert manifest["metrics"]["test"]["accuracy"] == pytest.approx((expected.argmax(1) == classes).mean(), abs=1e-6)
    assert manifest["variants"]["fp32"]["parity"]["max_difference"] <= 1e-4
    assert manifest["imported"]["scaling"] == "unit"
    assert manifest["parameters"] == elsewhere.count_params()
    has_saved_model = not name.endswith(".onnx")
    version = verify(tmp_path / "home" / "models" / "foreign" / "1")
    assert (version.path / "saved_model.pb").exists() == has_saved_model
    assert set(manifest["saved_model"]) == {"encoded" if has_saved_model else "absent"}
    assert set(manifest["variants"]) | set(manifest["left_out"]) == {"fp32", "fp16", "int8"}
    golden = Pictures.load(version.golden_file)
    np.testing.assert_allclose(
        golden.probabilities,
        elsewhere.predict_on_batch(golden.decode(8, 8, 1).astype("float32") / 255),
        atol=1e-5,
    )
    answers(capfd, "foreign", elsewhere, digits, tmp_path, encode)


def answers(capfd, name, model, digits, tmp_path, encode):
    """Deploy the newest version, and compare what `tintype predict` says with the model itself."""
    tell(capfd, "deploy", name)
    pixels = digits["test"][0][:3]
    files = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for file, picture in zip(files, pixels, strict=True):
        file.write_bytes(encode(picture[..., 0]))
    told = tell(capfd, "predict", *files, "--model", name)["predictions"]
    expected = model.predict_on_batch(pixels.astype("float32") / 255)
    assert [each["label"] for each in told] == [str(label) for label in expected.argmax(1)]
    np.testing.assert_allclose([each["confidence"] for each in told], expected.max(1), atol=1e-4)


def test_the_scaling_is_found_out_on_labelled_pictures(made, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TINTYPE_HOME", str(tmp_path))
    for name in ("functional.keras", "nhwc.onnx"):
        labels = ["--labels", str(made / "ten.txt")]
        assert tintype.main(["import", str(made / name), *labels, "--data", "digits", "--name", "found"]) == 0
        assert "unit is taken" in "".join(capfd.readouterr())
    assert find(tmp_path / "runs", "latest").config()["imported"]["scaling"] == "unit"


def test_one_sigmoid_unit_gets_two_labels(made, bring, tmp_path):
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 1))
    model = keras.Model(picture, layers.Dense(1, activation="sigmoid")(layers.Flatten()(picture)))
    write_onnx(model, tmp_path / "sigmoid.onnx")
    with keras_file.advice_hidden():
        model.save(tmp_path / "sigmoid.h5")
    told = bring(tmp_path / "sigmoid.h5", "--scaling", "unit", labels="two.txt")
    run = find(ROOT, told["run"])
    pictures = Pictures.load(run.pictures_file)
    assert pictures.labels.tolist() == [-1] * 64
    pixels = pictures.decode(8, 8, 1)
    second = model.predict_on_batch(pixels.astype("float32") / 255)
    expected = np.concatenate([1 - second, second], axis=1)
    ours = keras.saving.load_model(run.model_file, compile=False).predict_on_batch(pixels)
    np.testing.assert_array_equal(ours, expected)
    manifest = bring(tmp_path / "sigmoid.onnx", "--scaling", "unit", labels="two.txt")
    golden = Pictures.load(tmp_path / "home" / "models" / manifest["name"] / "1" / "golden.npz")
    np.testing.assert_allclose(golden.probabilities, expected, atol=1e-6)


def test_logits_are_refused_unless_they_are_named(made, bring, capfd, tmp_path, elsewhere):
    bare = keras.Sequential([keras.Input((8, 8, 1)), *elsewhere.layers[1:-1], layers.Dense(10)])
    bare.set_weights(elsewhere.get_weights())
    bare.save(tmp_path / "logits.keras")
    write_onnx(bare, tmp_path / "logits.onnx")
    for name in ("logits.keras", "logits.onnx"):
        labels = ["--labels", str(made / "ten.txt"), "--scaling", "unit"]
        assert tintype.main(["import", str(tmp_path / name), *labels]) == 2
        assert "for logits: --logits" in capfd.readouterr().err
    run = find(ROOT, bring(tmp_path / "logits.keras", "--scaling", "unit", "--logits")["run"])
    pixels = Pictures.load(run.pictures_file).decode(8, 8, 1)
    expected = elsewhere.predict_on_batch(pixels.astype("float32") / 255)
    ours = keras.saving.load_model(run.model_file, compile=False).predict_on_batch(pixels)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    bring(tmp_path / "logits.onnx", "--scaling", "unit", "--logits")


def test_a_lambda_is_refused_until_it_is_allowed_at_each_step(made, bring, capfd, tmp_path):
    keras.utils.set_random_seed(0)
    picture = keras.Input((8, 8, 1))
    doubled = layers.Lambda(lambda x: x * 2, name="double")(picture)
    model = keras.Model(picture, layers.Dense(10, activation="softmax")(layers.Flatten()(doubled)))
    with keras_file.advice_hidden():
        model.save(tmp_path / "code.keras")
        model.save(tmp_path / "code.h5")
    for name in ("code.keras", "code.h5"):
        labels = ["--labels", str(made / "ten.txt"), "--scaling", "unit"]
        assert tintype.main(["import", str(tmp_path / name), *labels]) == 1
        err = capfd.readouterr().err
        assert err.index("loading a model runs its code") < err.index("Lambda 'double'") < err.index("--allow-code")
        told = bring(tmp_path / name, "--scaling", "unit", "--allow-code")
        command = ["export" if name == "code.keras" else "save", told["run"]]
        command += [str(tmp_path / "again.h5")] if command[0] == "save" else ["--precision", "fp32"]
        assert tintype.main(command) == 1
        assert "Lambda 'double'" in capfd.readouterr().err
        tell(capfd, *command, "--allow-code")


def test_a_graph_that_writes_files_is_refused_until_it_is_allowed(bring, refused, tmp_path):
    class Writer(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32)])
        def __call__(self, pictures):
            tf.io.write_file(str(tmp_path / "written"), "x")
            return tf.nn.softmax(tf.reshape(pictures, (-1, 64))[:, :10])

    tf.saved_model.save(Writer(), str(tmp_path / "writer"))
    code, err = refused(tmp_path / "writer", "--scaling", "unit")
    assert (code, "WriteFile" in err, "--allow-code" in err) == (1, True, True)
    assert not (tmp_path / "written").exists()
    bring(tmp_path / "writer", "--scaling", "unit", "--allow-code")


def test_onnx_of_one_picture_at_a_time_is_opened_up_where_its_graph_allows(bring, refused, tmp_path):
    weights = np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    shaped = onnx.numpy_helper.from_array(np.array([1, 64]), "shape")
    for name, begin in (
        ("free.onnx", helper.make_node("Flatten", ["probabilities"], ["flat"], axis=1)),
        ("bound.onnx", helper.make_node("Reshape", ["probabilities", "shape"], ["flat"])),
    ):
        nodes = [
            begin,
            helper.make_node("MatMul", ["flat", "weights"], ["image"]),
            helper.make_node("Softmax", ["image"], ["answer"], axis=1),
        ]
        ends = [
            [helper.make_tensor_value_info("probabilities", number, [1, 1, 8, 8])],
            [helper.make_tensor_value_info("answer", number, [1, 10])],
        ]
        graph = helper.make_graph(nodes, "g", *ends, [onnx.numpy_helper.from_array(weights, "weights"), shaped])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.save(model, tmp_path / name)
    manifest = bring(tmp_path / "free.onnx", "--scaling", "signed")
    assert manifest["imported"]["layout"] == "NCHW"
    assert manifest["variants"]["fp32"]["parity"]["batches"] == [1, 7, 32]
    shutil.rmtree(tmp_path / "home")
    code, err = refused(tmp_path / "bound.onnx", "--scaling", "signed")
    assert (code, "export it with a free batch dimension" in err) == (1, True)
    assert "onnxruntime" not in err


@pytest.mark.parametrize(
    ("name", "options", "labels", "code", "says"),
    [
        ("functional.h5", ["--scaling", "unit"], "nine.txt", 2, "needs 10 labels; --labels holds 9"),
        ("saved", ["--scaling", "unit"], "nine.txt", 2, "needs 10 labels; --labels holds 9"),
        ("nhwc.onnx", ["--scaling", "unit"], "two.txt", 2, "needs 10 labels; --labels holds 2"),
        ("functional.h5", ["--size", "9,9"], "ten.txt", 2, "takes pictures of 8×8; received --size 9,9"),
        ("nchw.onnx", ["--size", "9,9"], "ten.txt", 2, "takes pictures of 8×8; received --size 9,9"),
        ("saved", ["--channels", "3"], "ten.txt", 2, "channels: 1; received --channels 3"),
        ("functional.h5", [], "ten.txt", 2, "does not tell how its pictures were scaled"),
        ("functional.h5", ["--scaling", "torch"], "ten.txt", 2, "is for colour pictures"),
        ("functional.h5", ["--scaling", "unit", "--logits"], "ten.txt", 2, "leave --logits out"),
        ("functional.h5", ["--data", "nowhere"], "ten.txt", 2, "'nowhere'"),
        ("functional.h5", ["--name", "A!"], "ten.txt", 2, "received 'A!'"),
        ("functional.h5", [], "none.txt", 2, "none.txt cannot be read"),
        ("functional.h5", [], "twice.txt", 2, "has a more than once"),
        ("functional.h5", [], "functional.h5", 2, "is not UTF-8 text"),
        ("nothing.h5", [], "ten.txt", 2, "there is no file"),
        ("ten.txt", [], "ten.txt", 2, "is not a model: .keras, HDF5 (.h5), SavedModel and ONNX are read"),
        ("cut.h5", ["--scaling", "unit"], "ten.txt", 1, "is damaged"),
        ("cut.keras", ["--scaling", "unit"], "ten.txt", 1, "is damaged"),
        ("cut.onnx", ["--scaling", "unit"], "ten.txt", 1, "it is damaged, or no ONNX file"),
        ("cut", ["--scaling", "unit"], "ten.txt", 1, "saved_model.pb is damaged"),
    ],
)
def test_what_does_not_fit_gets_a_sentence_and_leaves_nothing(refused, made, name, options, labels, code, says):
    for suffix in (".h5", ".keras"):
        content = (made / f"functional{suffix}").read_bytes()
        (made / f"cut{suffix}").write_bytes(content[: len(content) // 2])
    (made / "cut.onnx").write_bytes((made / "nhwc.onnx").read_bytes()[:-3000])
    (made / "cut").mkdir(exist_ok=True)
    (made / "cut" / "saved_model.pb").write_bytes((made / "saved" / "saved_model.pb").read_bytes()[:-3000])
    got, err = refused(name, *options, labels=labels)
    assert got == code, err
    assert says in err
    assert "Traceback" not in err
    assert "a defect" not in err


def test_nothing_but_our_own_words_reaches_the_person(made, tmp_path):
    command = ["import", made / "functional.h5", "--labels", made / "ten.txt", "--scaling", "unit"]
    done = Home(tmp_path).run(*command)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        "loading a model runs its code: import only files from people whom you trust",
        "loading Keras",
        "reading functional.h5",
        "looking at how it takes pictures, and what it answers",
        "writing the run, and reading it back",
    ]
    assert done.stdout.splitlines()[0] == "accuracy not measured: give labelled pictures with --data to measure it"
    path = done.stdout.splitlines()[-1]
    done = Home(tmp_path).run("save", path, tmp_path / "again.h5")
    doing = "writing again.h5, reading it back and comparing its answers on 64 held-out pictures"
    assert done.stderr.splitlines() == ["loading Keras", doing]
    assert "the same probabilities, bit for bit, on 64 held-out pictures" in done.stdout


WITHOUT_TENSORFLOW = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "tensorflow":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
import tintype
sys.exit(tintype.main(sys.argv[1:]))
"""


def test_keras_files_are_imported_without_tensorflow(made, tmp_path):
    command = ["import", made / "functional.h5", "--labels", made / "ten.txt", "--data", "digits"]
    environment = {**Home(tmp_path).environment, "KERAS_BACKEND": "jax"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *map(str, command)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert find(tmp_path / "runs", "latest").metrics()["test"]["accuracy"] > 0.9
