import csv
import json
import re
import tomllib

import keras
import numpy as np
import pytest

from artifacts import pixels
from artifacts.errors import WrongUse
from artifacts.pictures import Pictures
from artifacts.run import finished
from training import presets
from training.report.page import MISTAKES
from training.run import train as train_with_cache

PAPERS = {
    "config.toml",
    "environment.json",
    "history.csv",
    "labels.json",
    "metrics.json",
    "model.keras",
    "pictures.npz",
    "report.html",
    "split.json",
    "tensorboard",
    "test_pictures.npz",
    "training_pictures.npz",
}


def train(*arguments, runs, **more):
    return train_with_cache(*arguments, runs=runs, cache=runs.parent / "cache", **more)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def digits(runs):
    return train("digits", "digits", runs=runs, overrides={"epochs": "8"})


@pytest.fixture(scope="module")
def tones(tmp_path_factory, encode):
    """Two classes of few pictures, one of them broken."""
    root = tmp_path_factory.mktemp("data") / "Dark & Light"
    rng = np.random.default_rng(0)
    for label, middle in (("dark", 60), ("light", 190)):
        (root / label).mkdir(parents=True)
        for number in range(20):
            picture = rng.normal(middle, 25, (24, 40, 3)).clip(0, 255).astype(np.uint8)
            (root / label / f"{number:02}.jpg").write_bytes(encode(picture, "JPEG"))
    (root / "dark" / "07.jpg").write_bytes(b"\xff\xd8\xff and then nothing")
    return root


def test_a_run_leaves_every_paper(digits, runs):
    assert {path.name for path in digits.path.iterdir()} == PAPERS
    assert digits in finished(runs)
    assert digits.id.split("-", 2)[2].startswith("digits-")


def test_digits_are_learnt(digits):
    assert digits.metrics()["test"]["accuracy"] >= 0.97


def test_the_model_answers_the_held_out_files_as_it_did_in_training(digits):
    """The saved model, the encoded pictures and the figures fit together."""
    model = keras.saving.load_model(digits.model_file)
    held_out = Pictures.load(digits.pictures_file)
    assert len(held_out.encoded) == 64
    assert set(held_out.labels.tolist()) == set(range(10))
    predicted = model.predict(held_out.decode(28, 28, 1), verbose=0).argmax(1)
    assert (predicted == held_out.labels).mean() >= 0.95
    assert pixels.decode(held_out.encoded[0], 8, 8, 1).width == 8


def test_the_held_out_pictures_are_from_the_test_part(digits):
    record = json.loads((digits.path / "split.json").read_text())
    test = {entry["file"]: entry["label"] for entry in record["test"]}
    held_out = Pictures.load(digits.pictures_file)
    assert all(test[name] == str(label) for name, label in zip(held_out.names, held_out.labels, strict=True))


def test_the_config_is_resolved(digits):
    config = digits.config()
    assert config["name"] == config["data"] == config["preset"] == "digits"
    assert config["input"] == "28x28x1"
    assert (config["epochs"], config["seed"]) == (8, 0)
    assert (config["validation_share"], config["test_share"]) == (0.2, 0.2)
    assert config["backend"] == keras.backend.backend()


def test_the_history_has_a_row_an_epoch(digits):
    rows = list(csv.DictReader((digits.path / "history.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 9)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


def test_the_environment_is_recorded(digits):
    environment = json.loads((digits.path / "environment.json").read_text())
    assert environment["keras"] == keras.__version__
    assert 0 < environment["training_seconds"] < environment["wall_seconds"]


def test_the_report_is_one_page_with_its_plots_and_no_address(digits):
    page = digits.report_file.read_text()
    assert page.count("<svg") == 3 + 1 + 3  # learning, calibration, activations
    sections = re.findall(r'<section id="(\w+)">', page)
    assert sections == [
        "verdict", "learning", "answers", "mistakes", "augmentation", "activations", "architecture", "maps", "data",
        "configuration",
    ]  # fmt: skip
    assert len(page) < 3_000_000
    assert "http" not in page
    assert not re.search(r"<script|<link|@import|url\((?!#)|src=\"(?!data:)|href=\"(?!#)", page)
    assert f"{digits.metrics()['test']['accuracy'] * 100:.2f}<small> %" in page


def test_the_worst_mistakes_are_shown(digits):
    matrix = np.array(digits.metrics()["test"]["confusion_matrix"])
    mistakes = matrix.sum() - np.trace(matrix)
    shown = digits.report_file.read_text().partition('<section id="mistakes">')[2].partition("</section>")[0]
    assert shown.count('src="data:image/png;base64,') == min(MISTAKES, mistakes)


def test_a_good_training_is_told_to_be_good(digits):
    page = digits.report_file.read_text()
    assert '<div class="big good">' in page
    assert "It failed to train" not in page
    assert "It overfits" not in page


def test_the_calibration_is_among_the_metrics(digits):
    told = digits.metrics()["test"]["calibration"]
    assert 0 <= told["ece"] < 0.1
    assert sum(each["count"] for each in told["bins"]) == sum(map(sum, digits.metrics()["test"]["confusion_matrix"]))


def test_the_same_seed_gives_the_same_run(runs):
    one, same, other = (
        train("digits", "mlp-32", runs=runs, overrides={"epochs": "2", "seed": seed}) for seed in ("3", "3", "4")
    )
    assert one.metrics() == same.metrics()
    assert one.data_digest() == same.data_digest() != other.data_digest()
    weights = [keras.saving.load_model(run.model_file).get_weights() for run in (one, same)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights, strict=True))


def test_a_folder_is_trained_on(tones, runs, capfd):
    run = train(str(tones), "resnet20v1", runs=runs, overrides={"epochs": "2", "input": "16x16x3"})
    config = run.config()
    assert (config["name"], config["data"]) == ("dark-light", str(tones))
    assert run.labels() == ["dark", "light"]
    record = json.loads((run.path / "split.json").read_text())
    assert [entry["file"] for entry in record["skipped"]] == ["dark/07.jpg"]
    assert [len(record[part]) for part in ("train", "validation", "test")] == [27, 6, 6]
    assert "1 unreadable" in run.report_file.read_text()
    told = capfd.readouterr()
    assert told.out == ""
    assert re.search(r"epoch 2/2  loss \d", told.err)
    assert "TensorFlow" not in told.err


def test_few_test_pictures_are_topped_up_for_the_gate(tones, runs):
    run = train(str(tones), "mlp-32", runs=runs, name="tones", overrides={"epochs": "1"})
    held_out = Pictures.load(run.pictures_file)
    assert len(held_out.encoded) >= 16
    assert held_out.encoded[0] == (tones / held_out.names[0]).read_bytes()
    assert run.config()["name"] == "tones"


def test_a_small_picture_is_enlarged_and_that_is_said(runs, capsys):
    run = train("digits", "cnn", runs=runs, overrides={"epochs": "1", "batch_size": "64"})
    assert "pictures of 8x8x1 are enlarged to 28x28x1: the preset cnn needs at least 18x18" in capsys.readouterr().err
    assert run.config()["input"] == "28x28x1"
    assert keras.saving.load_model(run.model_file).input_shape == (None, 28, 28, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        (("digits", "cn"), WrongUse, "there is no preset 'cn'; did you mean cnn?"),
        (("nowhere", "cnn"), WrongUse, "there is no folder 'nowhere'"),
    ],
)
def test_wrong_use_leaves_no_run(tmp_path, arguments, error, sentence):
    with pytest.raises(error, match=re.escape(sentence)):
        train(*arguments, runs=tmp_path)
    with pytest.raises(WrongUse, match="a name has 1 to 63"):
        train("digits", "cnn", runs=tmp_path, name="No Such Name")
    assert list(tmp_path.iterdir()) == []


def test_one_epoch_of_mnist_reaches_98_percent(shared_data, runs):
    run = train("mnist", "cnn-stride2-bn", runs=runs, data_dir=shared_data / "mnist", overrides={"epochs": "1"})
    assert run.metrics()["test"]["accuracy"] >= 0.98
    config = tomllib.loads((run.path / "config.toml").read_text())
    assert config["validation_share"] == presets.read("cnn-stride2-bn").recipe["validation_share"]
    assert "test_share" not in config


def test_real_photographs_are_trained_on(unpacked, runs):
    changed = {"epochs": "3", "batch_size": "32", "learning_rate": "0.01", "input": "32x32x3"}
    run = train(str(unpacked("cats_dogs")), "cnn-stride2-bn", runs=runs, overrides=changed)
    record = json.loads((run.path / "split.json").read_text())
    assert [len(record[part]) for part in ("train", "validation", "test")] == [2000, 1000, 1000]
    assert run.metrics()["test"]["accuracy"] > 0.55
