import itertools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from exporters.report import LABELS_APART, difference, fastest, figure, render, share, told, verdict

NASTY = "<script>alert(1)</script>\" onerror='alert(2)' & </title></style></svg>"
VOID = {"meta", "br", "img", "input", "link", "hr"}
CORES = 2
RATES = {"fp32": 2700.0, "fp16": 2300.0, "int8": 5120.0}


def profile(rate, batches=(1, 2, 4, 8, 16, 32), cores=CORES):
    """Rising up to a batch of 8, then falling."""
    share_of = {1: 0.6, 2: 0.75, 4: 0.9, 8: 1.0, 16: 0.96, 32: 0.9}
    return [
        {
            "threads": threads,
            "batch": batch,
            "images_per_second": (reached := rate * share_of[batch] * threads**0.8),
            "latency_ms": 1000 * batch / reached,
            "memory_mb": 80.0 + batch,
        }
        for threads in range(1, cores + 1)
        for batch in batches
    ]


def variant(name, **changes):
    parity = {
        "max_difference": 8.5e-7 if name == "fp32" else 0.0123,
        "differing_labels": 0,
        "pictures": 10_000,
        "batches": [1, 7],
        "tolerance": 1e-4,
        "agreement": 1.0,
        "accuracy_change": 0.0,
    }
    return {
        "file": "model.onnx" if name == "fp32" else f"model.{name}.onnx",
        "bytes": 1_096_567,
        "parity": {**parity, **{key: changes.pop(key) for key in parity if key in changes}},
        "accuracy": 0.9174,
        "images_per_second": RATES[name],
        "best_batch": 8,
        "profile": profile(RATES[name]),
        **changes,
    }


def manifest(*variants, **changes):
    """As an export gives it to the store; `variants` are names, or (name, changes)."""
    given = [(each, {}) if isinstance(each, str) else each for each in variants]
    return {
        "created": "2026-11-21T12:40:36+00:00",
        "labels": ["dark", "light"],
        "input": {"height": 32, "width": 24, "channels": 3},
        "variants": {name: variant(name, **options) for name, options in given},
        "left_out": {},
        "exceptions": [],
        "measured_on": {"processor": "Some CPU", "cores": CORES, "system": "Linux", "onnxruntime": "1.31.1"},
        "saved_model": {"encoded": {"pictures": 64, "max_difference": 3.1e-7, "not_done": ["EXIF orientation"]}},
        "opset": 17,
        "metrics": {"test": {"accuracy": 0.9174}},
        "libraries": {"keras": "3.15.1", "numpy": "2.4.6"},
        "parameters": 274_442,
        "run": {"id": "20261121-101530-a", "data_digest": "f7ab", "seed": 7},
        **changes,
    }


FAILED = {"agreement": 0.971, "differing_labels": 290, "allowed": "97.1 % of the labels agree"}
THREE = manifest("fp32", "fp16", ("int8", {"agreement": 0.998, "differing_labels": 20, "accuracy_change": -0.001}))


class Page(HTMLParser):
    """Fails where a tag is closed that is not open, and gathers what tests look at."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)


def charts(page):
    return [ET.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]  # noqa: S314 - our own page


def axis(chart, kind, place):
    """(lowest, highest) labelled value of an axis, each as (where it is drawn, value)."""
    ticks = [
        (float(tick.get(place)), float(tick.text.replace(",", ""))) for tick in chart.iterfind(f"text[@class='{kind}']")
    ]
    return sorted(ticks, key=lambda tick: tick[1])


def drawn(chart):
    """By variant, each point's (x, y, whether it is ringed)."""
    return {
        line.get("class"): [
            (float(dot.get("cx")), float(dot.get("cy")), dot.get("class") == "ring")
            for dot in line.iterfind("g[@class='point']/circle")
            if dot.get("class") != "hit"
        ]
        for line in chart.iterfind("g[text]")
    }


def rate_at(chart, y):
    (y0, rate0), *_, (y1, rate1) = axis(chart, "rate", "y")
    tick = 4.5  # its text stands that much below the line
    return rate0 + (y + tick - y0) / (y1 - y0) * (rate1 - rate0)


SAME = "Its labels agree with the Keras model's on all 10,000 pictures"
FASTEST = "int8 is the fastest that passed: 5,120 images/s on one thread, 1.9 times fp32."
SO_CLOSE = f"{SAME}, and no probability differs by more than 8.5·10⁻⁷."


@pytest.mark.parametrize(
    ("made", "sentences"),
    [
        (THREE, [FASTEST, f"{SAME}, and its accuracy is 0.1 points lower.".replace("all", "99.8 % of")]),
        (
            manifest("fp32", "fp16"),
            ["fp32 is the fastest that passed: 2,700 images/s on one thread (fp16: 2,300).", SO_CLOSE],
        ),
        (manifest("fp32"), ["fp32 is the only variant: 2,700 images/s on one thread.", SO_CLOSE]),
        (
            manifest("fp32", left_out={"fp16": "no", "int8": "no"}),
            [
                "fp32 is the only one that passed: 2,700 images/s on one thread.",
                SO_CLOSE,
                "fp16 and int8 were left out.",
            ],
        ),
        (
            manifest("fp32", ("int8", FAILED), left_out={"fp16": "no"}),
            [
                FASTEST.replace(" that passed", ", though it failed the gate and was allowed"),
                f"{SAME}, and its accuracy is the same.".replace("all", "97.1 % of"),
                "fp16 was left out.",
            ],
        ),
        (
            manifest("fp32", ("fp16", {"allowed": "differs"}), ("int8", {"accuracy_change": 0.0125})),
            [FASTEST, f"{SAME}, and its accuracy is 1.25 points higher.", "fp16 failed the gate and was allowed."],
        ),
        (
            manifest("fp32", ("int8", {"accuracy_change": -0.01})),
            [FASTEST, f"{SAME}, and its accuracy is 1 point lower."],
        ),
        (
            manifest("fp32", ("int8", {"accuracy": None, "accuracy_change": None}), imported={"file": "m.onnx"}),
            [FASTEST, f"{SAME}; its accuracy was not measured.".replace("Keras", "imported")],
        ),
    ],
)
def test_the_verdict_says_which_is_the_fastest_and_how_well_it_answers(made, sentences):
    assert verdict(made) == " ".join(sentences)
    assert " ".join(sentences) in Page(render("digits", made)).text.replace("\u00a0", " ")


def test_the_page_is_whole_and_reaches_nothing_outside():
    text = render("digits", THREE)
    page = Page(text)
    assert text.lstrip().startswith("<!doctype html>")
    assert not {"script", "link", "img", "iframe", "object", "embed", "form"} & set(page.tags)
    reached = [value for name, value in page.attributes if name in {"src", "href", "xlink:href", "action"}]
    assert reached == ["../../comparisons/index.html"]  # which lies beside the version
    assert not re.search(r"://|url\(|@import", text)


def test_hostile_words_stay_text():
    made = manifest(
        "fp32",
        ("int8", {"allowed": NASTY, "float_layers": [NASTY]}),
        labels=[NASTY, "light"],
        left_out={"fp16": NASTY},
        exceptions=[NASTY],
        imported={"file": NASTY, "kind": NASTY},
        judged_on=NASTY,
        measured_on={"processor": NASTY, "cores": CORES, "system": NASTY, "onnxruntime": NASTY},
        activation_map={"output": NASTY, "height": 8, "width": 8},
    )
    page = Page(render(NASTY, made))
    assert "script" not in page.tags
    assert not {name for name, _ in page.attributes if name.startswith("on")}
    assert page.text.count(NASTY) == 16


def test_every_variant_and_every_reason_is_on_the_page():
    reasons = {"fp16": "it gives NaN on 3 pictures"}
    text = Page(render("digits", manifest("fp32", ("int8", FAILED), left_out=reasons, exceptions=["int8"]))).text
    assert re.search(r"gate passed allowed images/s", text)
    assert "int8 failed the gate and is allowed: 97.1 % of the labels agree." in text
    assert "fp16 is left out: it gives NaN on 3 pictures." in text
    assert "Allowed with --allow : int8" in text


def test_the_table_has_a_column_a_variant():
    text = Page(render("digits", THREE)).text
    for row in (
        "images/s one thread, best batch 2,700 2,300 5,120",
        "times fp32 1 0.85 1.9",
        "best batch 8 8 8",
        "latency one picture, one thread 0.62 ms 0.72 ms 0.33 ms",
        "memory at the best batch 88 MB 88 MB 88 MB",
        "file 1.1 MB 1.1 MB 1.1 MB",
        "accuracy 91.74 % 91.74 % 91.74 %",
        "change of accuracy, in points 0 0 −0.1",
        "labels that agree 100 % 100 % 99.8 %",
        "labels that differ 0 0 20",
        "largest difference of a probability 8.5·10⁻⁷ 0.012 0.012",
    ):
        assert row in text


def test_what_was_not_measured_is_a_dash():
    nothing = {"accuracy": None, "accuracy_change": None, "profile": []}
    text = Page(render("digits", manifest(("fp32", nothing)))).text
    for row in ("latency one picture, one thread –", "memory at the best batch –", "accuracy – change of accuracy"):
        assert row in text


def test_the_points_are_where_the_figures_say():
    text = render("digits", THREE)
    for threads, chart in enumerate(charts(text), 1):
        batches = axis(chart, "batch", "x")
        for name, points in drawn(chart).items():
            measured = [p for p in THREE["variants"][name]["profile"] if p["threads"] == threads]
            assert [x for x, _, _ in points] == [x for x, _ in batches]
            assert [batch for _, batch in batches] == [point["batch"] for point in measured]
            wanted = [point["images_per_second"] for point in measured]
            assert [rate_at(chart, y) for _, y, _ in points] == pytest.approx(wanted, abs=2.5)  # 0.05 units
    assert len(charts(text)) == 2


def test_batches_stand_apart_by_their_logarithm():
    made = manifest(("fp32", {"profile": profile(2700.0, (1, 2, 8, 32), cores=1)}))
    (chart,) = charts(render("digits", made))
    (first, _), (second, _), (third, _), (fourth, _) = axis(chart, "batch", "x")
    assert third - second == pytest.approx(2 * (second - first), abs=0.15)
    assert fourth - third == pytest.approx(2 * (second - first), abs=0.15)


def test_the_best_batch_of_one_thread_is_that_of_the_manifest_and_of_all_cores_the_fastest():
    made = manifest(("fp32", {"best_batch": 16}))
    single, every = charts(render("digits", made))
    batches = [batch for _, batch in axis(single, "batch", "x")]
    ringed = [
        [batches[place] for place, point in enumerate(drawn(each)["fp32"]) if point[2]] for each in (single, every)
    ]
    assert ringed == [[16], [8]]


def test_a_point_says_its_figures_when_pointed_at():
    titles = [title.text for title in charts(render("digits", THREE))[0].iterfind("g/g/title")]
    assert "int8, batch 8: 5,120 images/s, 1.56 ms a batch, 88 MB" in titles
    assert len(titles) == 18


def test_a_variant_may_lack_batches_that_took_too_long():
    made = manifest("fp32", ("int8", {"profile": profile(5120.0, (1, 2))}), ("fp16", {"profile": []}))
    text = render("digits", made)
    assert {name: len(points) for name, points in drawn(charts(text)[0]).items()} == {"fp32": 6, "int8": 2}
    assert "32 2,430/s 13.2 ms –" in Page(text).text


def test_names_at_the_lines_ends_do_not_cover_one_another():
    same = {"profile": profile(2700.0)}
    low = {"profile": [{**point, "images_per_second": 1.0} for point in profile(2700.0)]}
    for ends in ([same, same, same], [same, low, low], [low, low, {}]):
        made = manifest(*zip(("fp32", "fp16", "int8"), ends, strict=True))
        for chart in charts(render("digits", made)):
            places = sorted(float(name.get("y")) for name in chart.iterfind("g/text[@class='name']"))
            assert all(b - a >= LABELS_APART - 0.01 for a, b in itertools.pairwise(places))
            assert places[-1] <= axis(chart, "rate", "y")[0][0]


@pytest.mark.parametrize(("cores", "alike"), [(2, True), (16, False)])
def test_both_panels_have_one_scale_unless_that_would_squash_one(cores, alike):
    machine = {"processor": "Some CPU", "cores": cores, "system": "Linux", "onnxruntime": "1.31.1"}
    made = manifest(("fp32", {"profile": profile(2700.0, cores=cores)}), measured_on=machine)
    text = render("digits", made)
    single, every = (axis(chart, "rate", "y") for chart in charts(text))
    assert (single == every) is alike
    assert ("The two scales differ." in text) is not alike
    assert f"{cores} threads: all cores" in text


def test_without_measurements_there_is_no_chart():
    text = render("digits", manifest(("fp32", {"profile": []})))
    assert charts(text) == []
    assert "No batch size was measured" in text


def test_the_gate_is_told_with_its_limits():
    text = Page(render("digits", THREE)).text
    assert "in batches of 1 and 7" in text
    assert "every probability is within 0.0001" in text
    assert "at least 99.5 % of the labels agree and the accuracy falls by at most 0.5 points" in text


def test_an_import_says_where_it_comes_from_and_why_it_has_no_saved_model():
    made = manifest(
        "fp32",
        imported={"file": "model.onnx", "kind": "ONNX", "logits": True},
        judged_on="32 generated pictures",
        run={"id": None, "data_digest": "cdcd", "seed": None},
        saved_model={"absent": "imported from ONNX, of which none can be made"},
    )
    text = Page(render("digits", made)).text
    for told_of in (
        "imported from model.onnx",
        "The pictures: 32 generated pictures.",
        "There is none: imported from ONNX, of which none can be made.",
        "imported: logits yes",
        "digest of the data cdcd",
    ):
        assert told_of in text
    assert "serving_default" not in text
    assert "seed" not in text


def test_signatures_and_outputs_are_told_with_their_shapes():
    made = manifest(
        ("int8", {"float_layers": ["conv1"]}), "fp32", activation_map={"output": "map", "height": 8, "width": 6}
    )
    text = Page(render("digits", made)).text.replace("\u00a0", " ")
    assert (
        "serving_default takes pixels: image , uint8 (N, 32, 24, 3), and gives probabilities , float32 (N, 2)." in text
    )
    assert "largest difference of a probability 3.1·10⁻⁷ not done in the graph EXIF orientation" in text
    assert "a second output, map : the class activation map, 8 × 6 for each label" in text
    assert "1 layer is left in float in int8 conv1" in text
    assert "Where it looked" not in render("digits", THREE)


def test_hundreds_of_labels_are_folded_away():
    few, many = (render("digits", manifest("fp32", labels=[f"label-{n}" for n in range(c)])) for c in (100, 1000))
    assert "All of them" not in few
    assert "All of them" in many
    assert "label-999" in many
    assert "1,000 labels" in many


def test_the_fastest_is_so_on_one_thread():
    assert fastest(THREE["variants"]) == "int8"
    assert fastest(manifest("fp32", "fp16")["variants"]) == "fp32"


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (share, 1, "100 %"),
        (share, 0.99999, "99.99 %"),
        (share, 0.998, "99.8 %"),
        (share, 0.0, "0 %"),
        (difference, 0.0, "0"),
        (difference, 8.49e-7, "8.5·10⁻⁷"),
        (difference, 1e-4, "0.0001"),
        (difference, 0.1432, "0.14"),
        (difference, 11.0, "11"),
        (figure, 5119.6, "5,120"),
        (figure, 38.24, "38.2"),
        (figure, 1.934, "1.93"),
        (figure, 300, "300"),
        (told, True, "yes"),
        (told, None, "–"),
        (told, ["a", 1000], "a, 1,000"),
        (told, [], "none"),
    ],
)
def test_figures_are_written_for_people(write, value, text):
    assert write(value) == text
