import re
import subprocess
import sys

import pytest

from artifacts.errors import WrongUse
from training import config, presets

KEYS = ["name", "model", "parameters", "input", "data", "expected"]


def test_the_list_says_what_the_command_promises():
    listed = presets.presets()
    assert [list(entry) for entry in listed] == [KEYS] * len(listed)
    assert {"mlp-32", "cnn", "cnn-stride2-bn", "resnet20v1", "digits"} <= {entry["name"] for entry in listed}


def test_listing_loads_neither_keras_nor_its_backend():
    code = "import sys, training.presets as p; p.presets(); print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(
        WrongUse, match=r"there is no preset 'resnet20'; did you mean resnet20v1\? The presets are: cnn, "
    ):
        presets.read("resnet20")


@pytest.mark.parametrize("data", ["digits", "mnist", "some/folder"])
def test_all_data_has_a_preset_of_its_own(data):
    assert presets.default(data) in presets.names()


@pytest.mark.parametrize("name", presets.names())
def test_each_preset_opens_with_command_time_and_score(name):
    header = (presets.FOLDER / f"{name}.toml").read_text().split("\nmodel =")[0].splitlines()
    assert header[0].startswith("# tintype train ")
    assert all(line.startswith("#") for line in header if line)
    text = " ".join(header)
    assert re.search(r"Time: .*\d", text)
    assert re.search(r"Published|Measured", text)


@pytest.mark.parametrize("name", presets.names())
def test_parameters_are_those_of_the_model_at_the_designed_input(name):
    from training import models

    preset = presets.read(name)
    model = models.build(preset.model, config.read_shape(preset.input), 10, l2=0.0, seed=0)
    assert model.count_params() == preset.parameters


def test_parameters_are_the_published_ones():
    counts = {entry["name"]: entry["parameters"] for entry in presets.presets()}
    assert counts["mlp-32"] == 25_450
    assert counts["cnn"] == 80_266
    assert counts["cnn-stride2-bn"] == 30_802
    assert counts["resnet20v1"] == 274_442


@pytest.mark.parametrize("name", presets.names())
def test_the_smallest_input_can_be_built(name):
    from training import models

    preset = presets.read(name)
    model = models.build(preset.model, (preset.smallest, preset.smallest, 1), 3, l2=0.0, seed=0)
    assert model.output_shape == (None, 3)


def test_a_smaller_input_than_the_smallest_breaks_the_cnn():
    from training import models

    with pytest.raises(ValueError, match=r"negative|Computed output size"):
        models.build("cnn", (17, 17, 1), 3, l2=0.0, seed=0)
