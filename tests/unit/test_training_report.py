"""The page of tiny real trainings: every section is there, nothing reaches out, nothing hostile gets in."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import keras
import numpy as np
import pytest

from training.config import Recipe
from training.data import split
from training.data.dataset import Data
from training.evaluate import Evaluation, evaluate
from training.learning.feed import Examples
from training.learning.finder import Finder
from training.learning.fit import fit
from training.report.page import MISTAKES, Story, evidence, render

HOSTILE = ["<script>alert(1)</script>", "a\" onerror='x'", "$\\frac{", "{{ 7 * 7 }}"]


def network(classes, shape=(8, 8, 1)):
    image = keras.Input(shape, dtype="uint8", name="image")
    x = keras.layers.Conv2D(4, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dropout(0.1)(keras.layers.Flatten()(x))
    return keras.Model(image, keras.layers.Dense(classes, activation="softmax", name="probabilities")(x))


def story(labels, each=12, **recipe):
    """Trained on pictures whose brightness is their class, with much noise."""
    rng = np.random.default_rng(0)
    classes = np.repeat(np.arange(len(labels)), each)
    middles = 255 * (classes[:, None, None, None] + 0.5) / len(labels)
    shown = rng.normal(middles, 20, (len(classes), 8, 8, 1)).clip(0, 255).astype(np.uint8)
    plain = {"epochs": 2, "batch_size": 16, "optimizer": "adam", "learning_rate": 0.01, "input": (8, 8, 1)}
    data = Data(
        recipe=Recipe(**{**plain, **recipe}),
        labels=labels,
        pixels=shown,
        classes=classes,
        files=[f"{labels[number]}/{place}.jpg" for place, number in enumerate(classes)],
        sha256=[f"{place:064x}" for place in range(len(classes))],
        parts=np.full(len(classes), "train"),
        shares={"validation": 0.25, "test": 0.25},
        skipped=[],
        encode=lambda _: b"",
        formats={"JPEG": len(classes)},
    )
    divided = split.divide(data)
    parts = {part: Examples(shown, classes, rows) for part, rows in divided.items()}
    keras.utils.set_random_seed(0)
    model = network(len(labels))
    told = fit(model, parts["train"], parts["validation"], data.recipe)
    validation, test = (evaluate(model, parts[part], labels) for part in ("validation", "test"))
    config = {"name": "tones", "data": "tones", "preset": "tiny", "model": "tiny", **data.recipe.to_toml()}
    return Story("20260101-tones", config, data, divided, model, told, validation, test)


@pytest.fixture(scope="module")
def digits():
    return story([str(number) for number in range(10)], augment="shift", schedule="1cycle")


@pytest.fixture(scope="module")
def page(digits):
    return render(digits)


def section(page, name):
    (found,) = re.findall(rf'<section id="{name}">.*?</section>', page, flags=re.DOTALL)
    return found


class Dangers(HTMLParser):
    """Collects what a browser would run, and the addresses that it would follow."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [tag] if tag in ("script", "link", "iframe", "object", "base", "meta http-equiv") else []
        self.found += [name for name, _ in attrs if name.startswith("on")]
        self.found += [value for name, value in attrs if name == "src" and not value.startswith("data:image/")]
        self.found += [value for name, value in attrs if name in ("href", "xlink:href") and not value.startswith("#")]


def dangers(page):
    parser = Dangers()
    parser.feed(page)
    return parser.found + re.findall(r"@import|url\((?!#)", page)


def test_the_page_reaches_nothing_outside(page):
    assert "http" not in page
    assert dangers(page) == []
    assert len(page) < 1_000_000


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("verdict", '<div class="finding '),
        ("learning", "Schedule"),
        ("answers", "Calibration"),
        ("mistakes", "data:image/png"),
        ("augmentation", "augment = shift"),
        ("activations", "colour dimension"),
        ("architecture", "Convolution 3×3, 4"),
        ("maps", "Dense 10"),
        ("data", "120 pictures of 10 classes (JPEG: 120)"),
        ("configuration", "learning_rate"),
    ],
)
def test_every_section_is_there(page, name, told):
    assert told in section(page, name)
    assert f'href="#{name}"' in page


def test_the_head_is_judged(digits, page):
    accuracy = digits.test.metrics["accuracy"]
    assert f'<b class="colored">{100 * accuracy:.2f}<small>' in page
    random = Evaluation(digits.test.probabilities, {**digits.test.metrics, "accuracy": 0.1})
    assert '<div class="big bad">' in render(replace(digits, test=random))


def test_momentum_and_rate_are_drawn(page):
    assert "momentum" in section(page, "learning")
    assert section(page, "learning").count("<svg") == 3


def test_a_finder_and_folds_are_shown_where_there_are_any(digits):
    found = Finder([1e-5, 1e-3, 1e-1], [2.3, 1.0, 5.0], 1e-4)
    learning = section(render(replace(digits, finder=found, folds=[0.8, 0.9, 1.0])), "learning")
    assert "suggested: 0.0001" in learning
    assert "Mean 90.00 %, standard deviation 10.00 %" in learning


def test_the_worst_mistakes_come_first(digits, page):
    matrix = np.array(digits.test.metrics["confusion_matrix"])
    mistakes = int(matrix.sum() - np.trace(matrix))
    assert mistakes > 0
    shown = section(page, "mistakes")
    assert shown.count("<img") == min(MISTAKES, mistakes)
    confidences = [int(found) for found in re.findall(r"</b> (\d+) %", shown)]
    assert confidences == sorted(confidences, reverse=True)


def test_without_augmentation_there_is_no_sheet(digits):
    plain = render(replace(digits, config={**digits.config, "augment": "none"}))
    assert 'id="augmentation"' not in plain
    assert "#augmentation" not in plain


def test_hostile_names_stay_text():
    hostile = story(HOSTILE)
    data = replace(
        hostile.data,
        skipped=[{"file": "<img src=x onerror=y>.jpg", "reason": "<b>no</b>"}] * 30,
        leaks=[{"sha256": "0", "files": ["<i>a", "b"], "labels": ["<u>", "d"]}],
        contradictions=[{"sha256": "0", "files": ["<i>a", "b"], "labels": ["<u>", "d"]}],
        remarks=["<script>remark</script>"],
    )
    page = render(replace(hostile, data=data, config={**hostile.config, "data": "/<script>"}))
    assert dangers(page) == []
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<img src=x" not in page
    assert "49" not in section(page, "answers")
    listed = section(page, "data")
    assert "30 unreadable pictures were left out" in listed
    assert "and 10 more; split.json lists all" in listed
    assert "&lt;i&gt;a = b" in listed


def test_150_classes_are_a_painting_and_a_table():
    page = render(story([f"class {number:03}" for number in range(150)], each=4, epochs=1))
    answers = section(page, "answers")
    assert 'class="painting"' in answers
    assert answers.count("<tr><td") >= 150
    assert len(page) < 1_000_000


def test_two_classes_have_no_pairs():
    page = render(story(["dark", "light"]))
    assert "Taken for each other" not in page
    assert 'class="matrix few"' in page


def test_a_training_that_dies_says_so_and_why():
    page = render(story(["dark", "grey", "light"], each=60, optimizer="adam", learning_rate=5.0, epochs=3))
    verdict = section(page, "verdict")
    assert "It failed to train" in verdict
    assert re.search(
        r"The cause: layer conv2d\w*\. (\d+\.\d % of the activations are near|The activations grew)", verdict
    )
    assert "<code>--set schedule=1cycle</code>" in verdict
    assert '<div class="big bad">' in page


def test_leaked_test_pictures_are_counted(digits):
    first, second = digits.split["test"][:2]
    seen, checked = digits.split["train"][0], digits.split["validation"][0]
    copies = list(digits.data.sha256)
    copies[first], copies[second] = copies[seen], copies[checked]
    told = replace(digits, data=replace(digits.data, sha256=copies))
    assert evidence(told).leaked == 2
    assert "Test pictures have leaked" in render(told)


def test_the_evidence_is_that_of_the_run(digits):
    told = evidence(digits)
    assert told.pictures == [6] * 10
    assert told.dropout == pytest.approx(0.1)
    assert not told.normalised
    assert told.activations.layers == digits.fit.activations.layers
    assert len(told.rates) == 2 * 4  # epochs, batches of 16 of 60 pictures
