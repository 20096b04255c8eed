import json

import numpy as np
import pytest

from artifacts import bundle as bundles
from artifacts.errors import BadBundle, WrongUse
from artifacts.held_out import HeldOut
from artifacts.pictures import Pictures
from artifacts.store import Reference
from serving.comparison import comparison, gate, page, pictures
from serving.comparison.comparison import compare
from serving.comparison.requirement import parse
from serving.engine.variants import Opened
from serving.errors import Incomparable, Worse

PICTURES = 40  # of the tones 0, 5, 10 … 195: dark below 100


class Threshold:
    """A runtime that takes what is at least so bright for light, or for a third label that is brighter still."""

    def __init__(self, *edges):
        self._edges = np.array(edges)

    def run(self, pixels):
        tones = pixels.reshape(len(pixels), -1).mean(axis=1)
        places = (tones[:, None] >= self._edges).sum(axis=1)
        return np.where(np.arange(len(self._edges) + 1) == places[:, None], 0.9, 0.1).astype(np.float32)


@pytest.fixture
def tones(encode):
    """Forty pictures: the first twenty are dark, and every fourth was learnt from by the version that comes first."""
    encoded = [encode(np.full((8, 8, 3), 5 * number, np.uint8)) for number in range(PICTURES)]
    names = [f"{number}.png" for number in range(PICTURES)]
    return Pictures(encoded, names, (np.arange(PICTURES) >= PICTURES // 2).astype(np.int64))


@pytest.fixture
def version(store, manifest, tones):
    """`version(trained)`: publish one that carries the tones, and has learnt from those of these numbers."""

    def published(trained=(), *, held_out=True, golden=None, **changes):
        entries = [{"file": name, "sha256": f"{number:064x}"[::-1]} for number, name in enumerate(tones.names)]
        division = {"test": entries, "train": [entries[number] for number in trained]}
        with store.staging("tones") as folder:
            (folder / "model.onnx").write_bytes(b"graph")
            (golden or Pictures(tones.encoded[:16], tones.names[:16], np.full(16, -1))).save(folder / "golden.npz")
            if held_out:
                HeldOut.of(tones, division).save(folder)
            return store.publish("tones", folder, {**manifest, **changes}, {})

    return published


def measure(*runtimes):
    """Compare with these runtimes, the candidate's first."""

    def measured(candidate, current):
        by_version = dict(zip([each.version for each in (candidate, current) if each], runtimes, strict=False))
        return compare(candidate, current, lambda bundle: Opened("fp32", 4, by_version[bundle.version]))

    return measured


def test_both_answer_the_same_pictures(version):
    current, candidate = version(), version()
    told = measure(Threshold(100), Threshold(120))(candidate, current)
    assert (told["pictures"], told["source"], told["left_out"]) == (40, "held-out pictures of tones@2", 0)
    assert told["candidate"]["scores"]["accuracy"] == 1.0
    assert told["current"]["scores"]["accuracy"] == 0.9
    assert told["current"]["scores"]["per_class"]["light"] == {
        "pictures": 20, "recall": 0.8, "precision": 1.0, "f1": pytest.approx(8 / 9, abs=1e-6),
    }  # fmt: skip
    assert told["candidate"]["scores"]["loss"] == pytest.approx(-np.log(0.9), abs=1e-5)
    changed = told["changed"]
    assert (changed["broken"], changed["mended"], changed["otherwise"], changed["chance"]) == (0, 4, 0, 0.125)
    assert changed["shown"][0] == {
        "kind": "mended", "place": 20, "file": "20.png", "is": "light",
        "was": {"label": "dark", "confidence": 0.9}, "now": {"label": "light", "confidence": 0.9},
    }  # fmt: skip


def test_labels_are_matched_by_name_and_an_unknown_one_counts_as_wrong(version):
    current = version()
    candidate = version(labels=["light", "dark"])  # the pictures' own numbers now mean the other label
    told = measure(Threshold(100), Threshold(100))(candidate, current)
    assert (told["candidate"]["scores"]["accuracy"], told["current"]["scores"]["accuracy"]) == (1.0, 0.0)
    renamed = version(labels=["dark", "bright"])
    told = measure(Threshold(100), Threshold(100))(renamed, current)
    assert told["labels"] == {"added": ["bright"], "removed": ["light"]}
    assert (told["candidate"]["scores"]["accuracy"], told["current"]["scores"]["accuracy"]) == (1.0, 0.5)
    assert told["current"]["scores"]["per_class"]["bright"]["recall"] == 0
    assert told["current"]["scores"]["loss"] > 40  # nothing at all is given to what is not known


def test_pictures_that_the_other_has_learnt_from_are_left_out(version):
    chosen = pictures.choose(version(), version(trained=range(0, 40, 4)))
    assert (len(chosen), chosen.left_out, chosen.remarks) == (30, 10, [])
    assert chosen.names[:3] == ["1.png", "2.png", "3.png"]
    assert chosen.truth[14:16] == ["dark", "light"]
    few = pictures.choose(version(), version(trained=range(30)))
    assert (len(few), few.left_out) == (40, 0)
    assert few.remarks[0].startswith("tones@4 has learnt from 30 of them, and too few are left without")


def test_without_held_out_pictures_the_others_or_golden_ones_are_taken(version, tones):
    bare, full = version(held_out=False), version()
    assert pictures.choose(bare, full).source == "held-out pictures of tones@2"
    labelled = version(held_out=False, golden=tones.part(0, 30))
    chosen = pictures.choose(bare, labelled)
    assert (len(chosen), chosen.source) == (30, "golden pictures of tones@3")
    assert chosen.remarks == ["tones@3 carries no held-out pictures, only its 30 golden ones"]
    assert len(pictures.choose(bare, version(held_out=False))) == 0
    assert measure(Threshold(100), Threshold(100))(bare, version(held_out=False))["candidate"]["scores"] is None


def test_held_out_pictures_are_bounded_and_read_back(version, tones, monkeypatch):
    monkeypatch.setattr("artifacts.held_out.MOST", 10)
    division = {"test": [{"file": name, "sha256": "f" * 64} for name in tones.names], "train": []}
    assert len(HeldOut.of(tones, division).pictures.encoded) == 10
    monkeypatch.setattr("artifacts.held_out.MOST_BYTES", sum(map(len, tones.encoded[:3])))
    kept = HeldOut.of(tones, division)
    assert (kept.pictures.encoded, kept.keys.tolist(), len(kept.seen)) == (tones.encoded[:3], [2**64 - 1] * 3, 0)


def test_held_out_pictures_of_other_labels_are_refused(version):
    bundle = version()
    stranger = bundles.Bundle(bundle.path, {**bundle.manifest, "labels": ["one"]})
    with pytest.raises(BadBundle, match=r"does not go with data_keys\.npz and the labels"):
        HeldOut.load(stranger)
    (bundle.path / "data_keys.npz").write_bytes(b"no keys")
    with pytest.raises(BadBundle, match="is not a file of keys"):
        HeldOut.load(bundle)


@pytest.fixture
def deploy(store, monkeypatch):
    """`deploy(version, requirement, *runtimes)`: through the gate; what it was told."""
    monkeypatch.setattr(gate, "check_answers", lambda _: None)  # the graphs of these versions are no graphs

    def deployed(number, text, *runtimes):
        made = gate.Gate(store, parse(text), measure(*runtimes))
        store.deploy(Reference("tones", number), check=made)
        return made.told

    return deployed


def test_a_worse_one_is_refused_with_both_figures(store, version, deploy):
    version(), version()
    assert deploy(1, "accuracy >= current - 0.005", None) is None  # the first one
    says = (
        r"tones@2 is not good enough for production: accuracy 0.9000, tones@1 has 1.0000, wanted >= 0.9950, on the "
        r"same 40 held-out pictures of tones@2; --require none deploys it all the same"
    )
    with pytest.raises(Worse, match=says):
        deploy(2, "accuracy >= current - 0.005", Threshold(120), Threshold(100))
    assert store.aliases("tones") == {"production": 1}
    told = json.loads((store.root / "tones/comparisons/2-1.json").read_bytes())
    assert told["verdict"]["passed"] is False
    assert told["verdict"]["findings"][0]["bound"] == 0.995
    assert "comparisons/2-1.html" not in (store.root / "tones/comparisons/index.html").read_text()
    assert 'href="2-1.html"' in (store.root / "tones/comparisons/index.html").read_text()
    assert "not good enough for production" in (store.root / "tones/comparisons/2-1.html").read_text()
    assert deploy(2, "none", None) is None
    assert store.aliases("tones") == {"production": 2, "previous": 1}


def test_what_was_measured_is_not_measured_again_and_is_judged_anew(version, deploy):
    version(), version()
    deploy(1, "none", None)
    with pytest.raises(Worse):
        deploy(2, "accuracy > current", Threshold(120), Threshold(100))
    told = deploy(2, "accuracy >= 0.9", None, None)  # runtimes that are none: nothing was asked
    assert told["verdict"]["require"] == "accuracy >= 0.9"
    assert told["verdict"]["sentence"].startswith("tones@2 is good enough: accuracy 0.9000, tones@1 has 1.0000")


def test_a_first_version_has_to_meet_what_is_asked_of_itself(store, version, deploy):
    version()
    with pytest.raises(Worse, match=r"accuracy 0.9000, wanted >= 0.9500"):
        deploy(1, "accuracy >= 0.95 and loss <= current", Threshold(120))
    assert deploy(1, "accuracy >= 0.9", Threshold(120))["current"] is None
    assert (store.root / "tones/comparisons/1.html").exists()


def test_a_damaged_version_in_production_does_not_keep_its_repair_out(store, version, deploy, caplog):
    version(), version(), version()
    deploy(1, "none", None)
    (store.path("tones", 1) / "model.onnx").write_bytes(b"other")
    assert deploy(2, "accuracy >= current", None) is None
    assert "compared with nothing, for what is in production is damaged" in caplog.text

    def fails(candidate, current):
        raise BadBundle(f"{current.name} does not answer")

    store.deploy(Reference("tones", 3), check=gate.Gate(store, parse("accuracy >= current"), fails))
    assert store.aliases("tones")["production"] == 3


def test_without_labelled_pictures_it_is_said_that_nothing_can_be_compared(store, version, deploy):
    version(held_out=False), version(held_out=False)
    deploy(1, "none", None)
    with pytest.raises(Incomparable, match=r"tones@2 cannot be compared: .* --require none deploys it uncompared"):
        deploy(2, "accuracy >= current", Threshold(100), Threshold(100))
    with pytest.raises(WrongUse, match="none of the held-out pictures shows 'grey'"):
        deploy(version().version, "recall[grey] >= current", Threshold(100), Threshold(100))
    assert store.aliases("tones") == {"production": 1}


def test_the_page_shows_the_changed_answers_and_escapes_labels(version, tones):
    current, candidate = version(labels=["dark", "<light>"]), version(labels=["dark", "<light>"])
    told = measure(Threshold(90), Threshold(120))(candidate, current)
    told["verdict"] = {"require": "none", "passed": True, "sentence": "a sentence", "findings": []}
    html = page.render(told, tones.encoded)
    assert html.count("<figure") == told["changed"]["mended"] + told["changed"]["broken"] == 6
    assert html.count("data:image/png;base64,") == 6
    assert "<light>" not in html
    assert "Wrong only now" in html
    assert "Right only now" in html


@pytest.mark.parametrize(("broken", "mended", "chance"), [(0, 0, 1), (3, 3, 1), (0, 5, 0.0625), (10, 1, 0.01171875)])
def test_the_sign_test(broken, mended, chance):
    assert comparison._chance(broken, mended) == chance  # noqa: SLF001 - a formula with published values
