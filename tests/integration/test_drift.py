"""What a server says of pictures like those that its model was judged on, and of others."""

import json
import shutil

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from artifacts.bundle import read
from artifacts.pictures import Pictures
from artifacts.pixels import encode_png
from artifacts.run import find
from artifacts.store import Store, parse
from tests.real import serving

FEATURES = {"label", "confidence", "brightness", "size"}


@pytest.fixture(scope="module")
def held_out(home):
    """The pictures that the reference was counted from."""
    return Pictures.load(find(home.path / "runs", "latest").test_pictures_file).encoded


@pytest.fixture(scope="module")
def shifted(held_out):
    """The same, bright and large."""
    pixels = Pictures(held_out, [], np.zeros(0, np.int64)).decode(8, 8, 1)
    return [encode_png(np.kron(255 - each // 4, np.ones((4, 4, 1), np.uint8))) for each in pixels]


def send(client, encoded):
    """All of them, some alone and most in forms, each kind by its own way."""
    for data in encoded[:20]:
        assert client.predict(data)[0] == 200
    for start in range(0, len(encoded), 64):
        assert client.predict_form([("a.png", data) for data in encoded[start : start + 64]])[0] == 200


def drift(client, query=""):
    status, told = client.get(f"/models/digits/drift{query}")
    assert status == 200
    return told


def psi(client):
    """The metric, by feature."""
    status, _, body = client.request("GET", "/metrics")
    assert status == 200
    samples = [each for family in text_string_to_metric_families(body.decode()) for each in family.samples]
    return {each.labels["feature"]: each.value for each in samples if each.name == "tintype_drift_psi"}


def test_the_bundle_carries_the_census_of_its_held_out_pictures(home, held_out):
    census = read(home.path / "models" / "digits" / "1").manifest["census"]
    assert census.keys() == FEATURES
    assert {sum(counts.values()) for counts in census.values()} == {len(held_out)}
    assert census["size"] == {"8": len(held_out)}
    metrics = find(home.path / "runs", "latest").metrics()["test"]
    assert census["label"] == dict(
        zip(metrics["per_class"], np.sum(metrics["confusion_matrix"], 0).tolist(), strict=True)
    )


def test_pictures_like_the_reference_are_stable_and_others_have_drifted(home, held_out, shifted, eventually):
    with serving(home, TINTYPE_API_PROCESSES="2") as (_, client):
        told = drift(client)
        assert (told["level"], told["window"]["pictures"]) == ("unknown", 0)
        assert told["features"]["label"]["psi"] is None
        while told["window"]["pictures"] < 2 * len(held_out):
            send(client, held_out)
            told = drift(client)
        eventually(lambda: drift(client) == drift(client) == drift(client), 60)  # whichever process answers
        told = drift(client)
        assert (told["model"]["name"], told["model"]["version"]) == ("digits", 1)
        assert told["reference"]["pictures"] == len(held_out)
        assert {each["level"] for each in told["features"].values()} == {"stable"}
        found = psi(client)
        assert found.keys() == told["features"].keys() == FEATURES
        assert max(found.values()) < 0.1
        before = told["window"]["pictures"]
        while told["window"]["pictures"] < 2 * before:
            send(client, shifted)
            told = drift(client)
        assert told["level"] == "drifted"
        for feature in ("brightness", "size"):
            assert told["features"][feature]["level"] == "drifted"
            assert told["features"][feature]["psi"] > 0.25
            eventually(lambda feature=feature: psi(client)[feature] > 0.25, 60)
        _page_shows(client, told)


def _page_shows(client, told):
    status, headers, page = client.request("GET", "/models/digits/drift", Accept="text/html,*/*;q=0.8")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    text = page.decode()
    assert "Drift of digits@1" in text
    assert text.count("<svg") == len(FEATURES)
    assert text.count('<rect class="is"') == sum(len(each["bins"]) for each in told["features"].values())


def test_a_version_of_an_older_export_says_that_it_cannot_be_compared(home, held_out, tmp_path):
    store = Store(tmp_path / "models")
    with store.staging("digits") as folder:
        shutil.copytree(home.path / "models" / "digits" / "1", folder, dirs_exist_ok=True)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").unlink()
        gone = ("name", "version", "files", "sha256", "census")
        store.publish("digits", folder, {key: value for key, value in manifest.items() if key not in gone}, {})
    store.deploy(parse("digits@1"))
    with serving(home, TINTYPE_HOME=str(tmp_path), TINTYPE_API_PROCESSES="1") as (_, client):
        send(client, held_out)
        told = drift(client)
        assert (told["reference"], told["level"], told["features"]) == (None, "unknown", {})
        assert "digits@1 carries nothing to compare with" in told["detail"]
        assert "export it again" in told["detail"]
        assert told["window"]["pictures"] > 0
        assert psi(client) == {}
        status, _, page = client.request("GET", "/models/digits/drift", Accept="text/html")
        assert status == 200
        assert b"carries nothing to compare with" in page


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/models/cats/drift", 404, "unknown_model"),
        ("/models/digits/drift?version=9", 404, "unknown_model"),
        ("/models/digits/drift?alias=none", 404, "unknown_model"),
        ("/models/digits/drift?versoin=1", 400, "bad_request"),
        ("/models/..%2fx/drift", 404, "not_found"),
        ("/models/A/drift", 400, "wrong_use"),
    ],
)
def test_what_cannot_be_told_is_a_problem(server, path, status, code):
    answered, problem = server.get(path)
    assert (answered, problem["code"]) == (status, code)
