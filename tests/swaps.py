"""Deploys and rollbacks under load: every answer is checked for whether two versions are mixed in it.

Versions come in two kinds. The one is digits@1; the other gives the probabilities in the opposite order, under other
names: labels of one kind beside probabilities, a number or a sha256 of the other show at once.
"""

import http.client
import json
import shutil
import threading
import time
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

from artifacts import bundle
from artifacts.audit import Note
from artifacts.pictures import Pictures
from artifacts.store import Reference, Store
from tests.deployment import until

CONNECTIONS = 16
SECONDS = 90  # that a swap may take on a busy machine before it counts as lost
OTHER = "no. "  # before the labels of the other kind


class Answered(NamedTuple):
    """What came of one request."""

    status: int
    version: int
    fault: str  # empty where there is none
    seconds: float


def publish(store, *, other):
    """One version more, of either kind; made of digits@1."""
    first = store.path("digits", 1)
    manifest = json.loads((first / "manifest.json").read_bytes())
    with store.staging("digits") as folder:
        shutil.copytree(first, folder, dirs_exist_ok=True)
        (folder / "manifest.json").unlink()
        if other:
            _reverse(folder)
            manifest["labels"] = [f"{OTHER}{label}" for label in reversed(manifest["labels"])]
        body = {key: manifest[key] for key in manifest if key not in ("name", "version", "files", "sha256")}
        return store.publish("digits", folder, body, {}).version


def _reverse(folder):
    path = folder / "model.onnx"
    model = onnx.load(path)
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    for node in model.graph.node:
        node.output[:] = ["until then" if name == "probabilities" else name for name in node.output]
        node.input[:] = ["until then" if name == "probabilities" else name for name in node.input]
    model.graph.initializer.append(numpy_helper.from_array(np.arange(classes)[::-1].copy(), "reversed"))
    model.graph.node.append(helper.make_node("Gather", ["until then", "reversed"], ["probabilities"], axis=1))
    onnx.save(model, path)
    golden = Pictures.load(folder / "golden.npz")
    answers = {variant: given[:, ::-1] for variant, given in golden.answers.items()}
    golden = Pictures(golden.encoded, golden.names, golden.labels, golden.probabilities[:, ::-1], answers)
    golden.save(folder / "golden.npz")


class Asking:
    """`CONNECTIONS` clients that keep theirs and ask without a pause, until the block ends."""

    def __init__(self, port, store):
        self.answered = []
        self._port = port
        self._store = store
        golden = Pictures.load(store.path("digits", 1) / "golden.npz")
        self._pictures = golden.encoded
        self._right = [str(row.argmax()) for row in golden.probabilities]
        self._known = {}
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(n,)) for n in range(CONNECTIONS)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def failed(self):
        """Those that were not answered, or not as they should have been."""
        return [each for each in self.answered if each.status != 200 or each.fault]

    def latest(self):
        """The versions that answered of late."""
        return {each.version for each in self.answered[-CONNECTIONS:]}

    def _ask(self, number):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        while not self._over.is_set():
            place = number % len(self._pictures)
            began = time.monotonic()
            try:
                connection.request("POST", "/predict", self._pictures[place], {"Content-Type": "image/png"})
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.answered.append(Answered(0, 0, repr(error), time.monotonic() - began))
                connection.close()
            else:
                version = answer.get("model", {}).get("version", 0)
                fault = self._fault(answer, place) if response.status == 200 else json.dumps(answer)
                self.answered.append(Answered(response.status, version, fault, time.monotonic() - began))
            number += CONNECTIONS
        connection.close()

    def _fault(self, answer, place):
        said, prediction = answer["model"], answer["predictions"][0]
        known = self._known.get(said["version"]) or bundle.read(self._store.path("digits", said["version"]))
        self._known[said["version"]] = known
        other = known.labels[0].startswith(OTHER)
        right = OTHER * other + self._right[place]
        if said["sha256"] != known.sha256:
            return f"the sha256 of another version: {said}"
        if prediction["label"] != right or any(each["label"] not in known.labels for each in prediction["top"]):
            return f"mixed: {said} gave {prediction}, and the label is {right}"
        return ""


def swap(store, asking, times):
    """Deploy a new version and roll it back by turns, each as soon as the one before is served; the seconds of each."""
    took = []
    for turn in range(times):
        if turn % 2 == 0:
            version = publish(store, other=turn % 4 == 0)
            began = time.monotonic()
            store.deploy(Reference("digits", version=version), note=Note("the test", f"turn {turn}"))
        else:
            began = time.monotonic()
            version = store.rollback("digits", Note("the test", f"turn {turn}"))
        until(lambda version=version: asking.latest() == {version}, SECONDS, f"digits@{version} is not served")
        took.append(time.monotonic() - began)
    return took


def home_store(home):
    """The store of a home."""
    return Store(home.path / "models")
