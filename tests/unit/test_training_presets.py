import re
import subprocess
import sys

import pytest

from artifacts.errors import WrongUse
from training import config, presets

# What was published with each architecture, or Keras's own count with its head of 1,000 classes; the two DenseNets of
# which only the score was published were counted here.
PARAMETERS = {
    "mlp-32": 25_450,
    "mlp-512": 407_050,
    "mlp-256-128": 235_146,
    "cnn-small": 93_322,
    "cnn": 80_266,
    "y-network": 208_394,
    "cnn-stride2": 30_282,
    "cnn-stride2-1cycle": 30_282,
    "cnn-stride2-bn": 30_802,
    "digits": 30_802,
    "threes-sevens": 6_722,
    "resnet20v1": 274_442,
    "resnet32v1": 470_218,
    "resnet44v1": 665_994,
    "resnet56v1": 861_770,
    "resnet110v1": 1_742_762,
    "resnet56v2": 1_673_738,
    "resnet110v2": 3_323_210,
    "densenet100bc": 797_788,
    "densenet190bc": 25_910_176,
    "densenet250bc": 15_605_392,
    "cats-dogs": 3_453_121,
    "resnet50": 25_636_712,
    "resnet101": 44_707_176,
    "resnet152": 60_419_944,
    "resnet50v2": 25_613_800,
    "resnet101v2": 44_675_560,
    "resnet152v2": 60_380_648,
    "densenet121": 8_062_504,
    "densenet169": 14_307_880,
    "densenet201": 20_242_984,
    "eeg-cnn": 108_001,
    "crosses-noughts": 170,
}
FAST = [name for name in presets.names() if name.endswith("-fast")]
KEYS = ["name", "model", "parameters", "input", "data", "expected"]


def test_the_list_says_what_the_command_promises():
    listed = presets.presets()
    assert [list(entry) for entry in listed] == [KEYS] * len(listed)
    assert [entry["name"] for entry in listed] == presets.names()


def test_listing_loads_neither_keras_nor_its_backend():
    code = "import sys, training.presets as p; p.presets(); print({'keras', 'tensorflow'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_an_unknown_preset_names_the_nearest():
    sentence = r"there is no preset 'resnet20'; did you mean resnet20v1\? The presets are: cats-dogs, cnn, "
    with pytest.raises(WrongUse, match=sentence):
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
def test_each_recipe_makes_sense_at_the_designed_input(name):
    preset = presets.read(name)
    recipe = config.resolve(preset, {"input": preset.input})
    assert recipe.epochs > recipe.head_epochs
    assert (recipe.weights == "none") == (recipe.head_epochs == 0)


def test_parameters_are_the_published_ones():
    listed = {entry["name"]: entry["parameters"] for entry in presets.presets()}
    assert listed == {name: PARAMETERS[name.removesuffix("-fast")] for name in presets.names()}
    assert set(PARAMETERS) <= set(listed)


@pytest.mark.parametrize("name", FAST)
def test_a_fast_preset_is_a_fast_recipe_for_the_same_model(name):
    fast, slow = presets.read(name), presets.read(name.removesuffix("-fast"))
    recipe = fast.recipe
    assert (fast.model, fast.input, fast.smallest) == (slow.model, slow.input, slow.smallest)
    assert (recipe["schedule"], recipe["optimizer"], recipe["precision"]) == ("1cycle", "sgd", "auto")
    assert 0 < recipe["label_smoothing"] <= 0.1
    assert recipe["epochs"] <= 30 < slow.recipe["epochs"]


def test_every_cifar_model_has_a_fast_preset():
    slow = [entry["name"] for entry in presets.presets() if entry["data"] == "cifar10" and entry["name"] not in FAST]
    assert sorted(f"{name}-fast" for name in slow) == FAST


def least():
    """The shallowest preset of each builder and smallest input: the deeper ones only repeat its blocks."""
    from training import models

    found = {}
    for preset in sorted(map(presets.read, presets.names()), key=lambda each: each.parameters):
        found.setdefault((models.MODELS[preset.model].func, preset.smallest), preset)
    return list(found.values())


@pytest.mark.parametrize("preset", least(), ids=lambda preset: preset.name)
def test_the_smallest_input_can_be_built(preset):
    from training import models

    model = models.build(preset.model, (preset.smallest, preset.smallest, 1), 2, seed=0)
    assert model.output_shape == (None, 2)


@pytest.mark.parametrize(("name", "side"), [("cnn", 17), ("cats-dogs", 45)])
def test_a_smaller_input_than_the_smallest_breaks_the_cnn(name, side):
    from training import models

    assert presets.read(name).smallest == side + 1
    with pytest.raises(ValueError, match=r"negative|Computed output size"):
        models.build(name, (side, side, 1), 2, seed=0)
