import gzip
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from artifacts.pixels import encode_png
from tests.real import Home, serving

REQUEST = 100  # pictures


def test_10000_pictures_over_http_have_the_accuracy_that_training_measured(tmp_path, shared_data):
    home = Home(tmp_path)
    data_dir = shared_data / "mnist"
    preset = ("--preset", "cnn-stride2-bn", "--set", "epochs=1")
    trained = home.json("train", "mnist", "--data-dir", data_dir, *preset)["metrics"]["test"]["accuracy"]
    assert trained >= 0.98
    home.json("export", "latest")
    home.json("deploy", "mnist")
    pictures, labels = _test_set(data_dir)
    files = [(f"{number}.png", encode_png(picture)) for number, picture in enumerate(pictures)]
    with serving(home) as (_, client), ThreadPoolExecutor(4) as pool:
        batches = [files[start : start + REQUEST] for start in range(0, len(files), REQUEST)]
        answers = list(pool.map(client.predict_form, batches))
    assert {status for status, _ in answers} == {200}
    predictions = [each for _, answer in answers for each in answer["predictions"]]
    assert [each["file"] for each in predictions] == [name for name, _ in files]
    right = sum(int(each["label"]) == label for each, label in zip(predictions, labels, strict=True))
    assert round(right / len(labels), 4) == round(trained, 4)


def _test_set(folder):
    pictures = gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes())
    return np.frombuffer(pictures, np.uint8, offset=16).reshape(-1, 28, 28, 1), list(labels[8:])
