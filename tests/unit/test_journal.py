"""Pictures that kill the process which holds the model: each attempt is a process of its own here."""

import os
import signal

import pytest

from serving.jobs.chunk import classify_chunk
from serving.jobs.inputs import write_listing
from serving.jobs.journal import STRIKES, Journal
from tests.jobs import write_pictures
from tests.real import read_listing


class Deadly:
    """A runtime that kills its process when it meets a tone."""

    def __init__(self, runtime, *tones):
        self._runtime, self._tones = runtime, tones

    def run(self, pixels):
        if any((pixels[:, 0, 0, 0] == tone).any() for tone in self._tones):
            os.kill(os.getpid(), signal.SIGKILL)
        return self._runtime.run(pixels)


@pytest.fixture
def folder(tmp_path, encode):
    return write_pictures(tmp_path / "pictures", 30, encode)


@pytest.fixture
def inputs(tmp_path, folder):
    write_listing(folder, tmp_path / "inputs", tmp_path / "job")
    return [each for chunk in read_listing(tmp_path / "inputs") for each in chunk.inputs]


@pytest.fixture
def survive(tmp_path, folder, inputs):
    """Do the chunk in one process after another until one survives; the number of those that died, and the rows."""

    def run(model):
        for deaths in range(30):
            child = os.fork()
            if not child:
                Journal(tmp_path / "journal.json").classify(folder, inputs, model, lambda _: None)
                os._exit(0)
            if os.waitpid(child, 0)[1] == 0:
                return deaths, Journal(tmp_path / "journal.json").classify(folder, inputs, model, lambda _: None)
        raise AssertionError

    return run


def test_a_picture_that_kills_is_set_aside_and_its_neighbours_are_classified(
    survive, classifier, brightness, folder, inputs
):
    deaths, rows = survive(classifier._replace(runtime=Deadly(brightness, 50)))
    assert deaths == 1 + STRIKES
    expected = classify_chunk(folder, inputs, classifier)
    expected[10] |= dict.fromkeys(("label", "confidence", "top", "width", "height", "sha256"))
    expected[10]["error"] = "poisoned: 3 workers died of this picture and it was set aside"
    assert rows == expected


def test_several_that_kill_are_set_aside_each(survive, classifier, brightness):
    deaths, rows = survive(classifier._replace(runtime=Deadly(brightness, 45, 50, 95)))
    assert [row["path"] for row in rows if (row["error"] or "").startswith("poisoned")] == [
        "0009.png", "0010.png", "0019.png",
    ]  # fmt: skip
    assert deaths == 2 + 3 * STRIKES


def test_deaths_that_no_picture_is_to_blame_for_set_nothing_aside(survive, classifier, folder, inputs, tmp_path):
    expected = classify_chunk(folder, inputs, classifier)
    for place in range(1, 25):
        child = os.fork()
        if not child:
            Journal(tmp_path / "journal.json").classify(
                folder, inputs, classifier, lambda done, place=place: done >= place and os.kill(os.getpid(), 9)
            )
        os.waitpid(child, 0)
    assert survive(classifier) == (0, expected)


def test_a_damaged_journal_is_begun_anew(survive, classifier, folder, inputs, tmp_path):
    (tmp_path / "journal.json").write_text('{"at": [1')
    assert survive(classifier) == (0, classify_chunk(folder, inputs, classifier))
