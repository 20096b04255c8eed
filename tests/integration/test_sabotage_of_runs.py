import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from artifacts.errors import BadRun
from artifacts.pixels import Picture
from artifacts.run import Run, find
from artifacts.store import Store
from exporters.export import export
from exporters.variants import Order


@pytest.fixture
def run(home, tmp_path):
    return Run(shutil.copytree(find(home.path / "runs", "latest").path, tmp_path / "run"))


def test_a_shuffled_label_file_is_refused(run, tmp_path):
    labels = run.labels()
    (run.path / "labels.json").write_text(json.dumps([labels[1], labels[0], *labels[2:]]))
    with pytest.raises(BadRun, match=r"labels\.json has not the labels in the order"):
        export(run, Store(tmp_path / "models"), "digits", Order(("fp32",)))


def decoded_by(filter_):
    def decode(data, height, width, channels):
        with Image.open(io.BytesIO(data)) as image:
            stretched = image.convert("L").resize((width, height), filter_)
            return Picture(np.asarray(stretched).reshape(height, width, channels), *image.size)

    return decode


def test_an_exporter_that_decodes_otherwise_than_training_did_publishes_nothing(run, tmp_path, monkeypatch):
    store = Store(tmp_path / "models")
    monkeypatch.setattr("artifacts.pictures.decode", decoded_by(Image.Resampling.NEAREST))
    with pytest.raises(BadRun, match="answers its held-out pictures otherwise than when it was trained"):
        export(run, store, "digits", Order(("fp32",)))
    monkeypatch.setattr("artifacts.pictures.decode", decoded_by(Image.Resampling.BILINEAR))
    assert export(run, store, "digits", Order(("fp32",))).version == 1
