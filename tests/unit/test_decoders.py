"""Pictures that kill their decoder or keep it busy. Each decoder is a process of its own, as in a worker."""

import os
import shutil
import signal
import time
from functools import total_ordering

import numpy as np
import psutil
import pytest

from serving.jobs import decoders
from serving.jobs.chunk import classify_chunk
from serving.jobs.decoders import Decoders
from serving.jobs.inputs import write_listing
from serving.jobs.journal import Journal
from serving.jobs.pipeline import classify_ahead
from tests.jobs import hands, write_pictures
from tests.real import read_listing

FILES = 40


@total_ordering
class Trap:
    """A limit on pixels at which a decoder dies, or hangs, when it meets a picture of 13 × 13."""

    def __init__(self, does):
        self.does = does

    def __lt__(self, pixels):
        if pixels == 13 * 13:
            if self.does == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        return False

    def __eq__(self, other):
        return False

    __hash__ = None


@pytest.fixture
def pool():
    made = Decoders(2)
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path, encode):
    return write_pictures(tmp_path / "pictures", FILES, encode)


@pytest.fixture
def inputs(tmp_path, folder):
    def listed():
        write_listing(folder, tmp_path / "inputs", tmp_path / "job")
        return [each for chunk in read_listing(tmp_path / "inputs") for each in chunk.inputs]

    return listed


def decoding():
    """The processes that decode; multiprocessing has one more, which keeps count of its semaphores."""
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


def test_rows_are_those_of_one_after_another_whatever_dies(pool, folder, inputs, classifier):
    expected = classify_chunk(folder, inputs(), classifier)
    done = []

    def progress(files):
        done.append(files)
        if len(done) == 1:
            for child in decoding():
                child.kill()

    many = inputs() * 20  # so that some are still to be decoded when the decoders die
    assert classify_ahead(folder, many, classifier, hands(pool), progress) == expected * 20
    assert done[-1] == len(many)
    assert done == sorted(done)


def test_doubles_are_left_out_alike_ahead_with_care_and_after_a_decoder_has_died(
    pool, folder, inputs, classifier, brightness, tmp_path, monkeypatch
):
    for number in range(1, FILES, 2):
        shutil.copy(folder / f"{number:04d}.png", folder / f"{number:04d}-copy.png")
    batches = []

    class Recording:
        def run(self, pixels):
            batches.append(sorted(pixels[:, 0, 0, 0].tolist()))
            return brightness.run(pixels)

    model, listed = classifier._replace(runtime=Recording(), bunch=8), inputs()
    expected = classify_chunk(folder, listed, model)
    whole, batches = sorted(batches), []
    assert sum(map(len, whole)) == sum(bool(number % 7) for number in range(FILES)) + 2  # two pairs lie in two bunches
    assert Journal(tmp_path / "journal.json").classify(folder, listed, model, lambda _: None) == expected
    assert (sorted(batches), batches.clear()) == (whole, None)
    assert classify_ahead(folder, listed, model, hands(pool), lambda _: None) == expected
    assert (sorted(batches), batches.clear()) == (whole, None)
    monkeypatch.setattr(decoders, "BUNCH_SECONDS", 0.0)  # each bunch takes too long, and is done one by one
    assert classify_ahead(folder, listed, model, hands(pool), lambda _: None) == expected
    assert sorted(batches) == whole


@pytest.mark.parametrize(("does", "times"), [("killed", 3), ("hung", 1)])
def test_a_picture_that_kills_or_hangs_its_decoder_is_set_aside(
    pool, folder, inputs, classifier, encode, monkeypatch, does, times
):
    if does == "hung":  # a decoder has to start within these, also on a busy machine
        monkeypatch.setattr(decoders, "BUNCH_SECONDS", 2.0)
        monkeypatch.setattr(decoders, "ALONE_SECONDS", 10.0)
    monkeypatch.setattr(decoders, "TRIES", times)
    expected = classify_chunk(folder, inputs(), classifier)
    (folder / "0011a.png").write_bytes(encode(np.zeros((13, 13, 3), np.uint8)))
    rows = classify_ahead(folder, inputs(), classifier._replace(max_pixels=Trap(does)), hands(pool), lambda _: None)
    bad = rows.pop(12)
    assert (bad["path"], bad["label"]) == ("0011a.png", None)
    assert bad["error"] == f"poisoned: this picture {does} its decoder {times} times and was set aside"
    assert rows == expected


def test_work_that_is_stopped_leaves_the_decoders_ready_for_the_next(pool, folder, inputs, classifier):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        classify_ahead(folder, inputs() * 20, classifier, hands(pool), stop)
    expected = classify_chunk(folder, inputs(), classifier)
    assert classify_ahead(folder, inputs(), classifier, hands(pool), lambda _: None) == expected


def test_online_requests_are_let_go_first(pool, folder, inputs, classifier):
    asked = []
    waits = hands(pool, give_way=lambda: asked.append(os.getpriority(os.PRIO_PROCESS, 0)))
    classify_ahead(folder, inputs(), classifier, waits, lambda _: None)
    assert asked == [decoders.NICE] * 10
    assert {child.nice() for child in decoding()} == {decoders.NICE}
    assert psutil.Process().nice() == 0
