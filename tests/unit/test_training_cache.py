import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from artifacts import files, pixels
from artifacts.errors import TintypeError
from training.data import cache
from training.data.decoding import Outcome

ROOT = Path(__file__).parents[2]
LOAD = """
import json, os, sys
from pathlib import Path
from training import config, presets
from training.data import sources

def load(folder, kept, overrides):
    preset = presets.Preset("any", "any", 0, "28x28x1", 18, "any", "", {
        "epochs": 1, "batch_size": 32, "optimizer": "adam", "learning_rate": 0.001,
    })
    recipe = config.resolve(preset, json.loads(overrides))
    return sources.load(folder, lambda native: config.at_input(recipe, preset, native), None, Path(kept))
"""
ON_DISK = {"memory_mb": "0", "input": "24x18x3"}


def process(code, *arguments, **overrides):
    """A process that can `load(*sys.argv[1:])`, and does `code`."""
    command = [sys.executable, "-c", LOAD + code, *map(str, arguments), json.dumps(overrides)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kept(home):
    """The folders of whole pictures, and what else lies beside them."""
    return sorted(path.name for path in home.glob("cache/pictures/*/*"))


def rewrite(path, content):
    """Other bytes of the same size and time."""
    status = path.stat()
    path.write_bytes(content[: status.st_size].ljust(status.st_size))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def equal(one, other):
    assert (one.files, one.sha256, one.skipped, one.labels) == (other.files, other.sha256, other.skipped, other.labels)
    np.testing.assert_array_equal(one.classes, other.classes)
    np.testing.assert_array_equal(one.pixels, other.pixels)


def test_what_does_not_fit_in_memory_lies_on_the_disk_and_is_the_same(pets, load, tmp_path):
    root = pets({"cat": 20, "dog": 20})
    for broken in ("cat/000.png", "dog/010.png", "dog/019.png"):
        (root / broken).write_bytes(b"nothing")
    in_memory, on_disk = load(root, input="24x18x3"), load(root, **ON_DISK)
    assert not isinstance(in_memory.pixels, np.memmap)
    assert isinstance(on_disk.pixels, np.memmap)
    assert not on_disk.pixels.flags.writeable
    equal(in_memory, on_disk)
    assert len(on_disk.pixels) == 37
    (folder,) = (tmp_path / "cache" / "pictures").iterdir()
    assert folder.name.startswith("pets-")
    assert f"they lie in {folder}" in on_disk.remarks[0]


def test_the_limit_is_in_megabytes(pets, load):
    root = pets({"cat": 6, "dog": 6})
    fits, not_quite = load(root, input="200x210x3", memory_mb="2"), load(root, input="210x200x3", memory_mb="1")
    assert not isinstance(fits.pixels, np.memmap)
    assert isinstance(not_quite.pixels, np.memmap)


def test_a_second_training_decodes_nothing(pets, load, tmp_path):
    root = pets({"cat": 4, "dog": 4})
    first = load(root, **ON_DISK)
    written = kept(tmp_path)
    for path in root.glob("*/*"):
        rewrite(path, b"nothing that can be decoded")
    equal(first, load(root, **ON_DISK))
    assert kept(tmp_path) == written


@pytest.mark.parametrize("change", ["content", "new", "gone", "moved"])
def test_when_the_files_change_they_are_decoded_anew_and_the_old_ones_freed(pets, load, tmp_path, change):
    root = pets({"cat": 4, "dog": 4})
    load(root, **ON_DISK)
    load(root, memory_mb="0", input="20x20x1")
    before = kept(tmp_path)
    picture = root / "cat" / "000.png"
    match change:
        case "content":
            picture.write_bytes((root / "dog" / "000.png").read_bytes())
        case "new":
            (root / "cat" / "new.png").write_bytes(picture.read_bytes())
        case "gone":
            picture.unlink()
        case "moved":
            picture.rename(root / "dog" / "moved.png")
    equal(load(root, **ON_DISK), load(root, input="24x18x3"))
    assert len(before) == 2
    assert len(kept(tmp_path)) == 1
    assert not set(kept(tmp_path)) & set(before)


def test_other_sizes_and_other_choices_are_kept_beside_one_another(pets, load, tmp_path):
    root = pets({"cat": 4, "dog": 4, "eel": 4})
    for changed in ({}, {"input": "20x20x1"}, {"labels": "cat,dog"}, {"labels": "cat,eel"}):
        load(root, **{**ON_DISK, **changed})
    assert len(kept(tmp_path)) == 4
    other_order = load(root, **ON_DISK, labels="dog,cat")
    assert len(kept(tmp_path)) == 4
    equal(other_order, load(root, input="24x18x3", labels="dog,cat"))


def test_other_rules_of_decoding_make_it_stale(pets, load, tmp_path, monkeypatch):
    root = pets({"cat": 4, "dog": 4})
    load(root, **ON_DISK)
    before = kept(tmp_path)
    monkeypatch.setitem(pixels.PREPROCESSING, "version", 2)
    load(root, **ON_DISK)
    assert len(kept(tmp_path)) == 1
    assert kept(tmp_path) != before


@pytest.mark.parametrize("file", ["pixels.npy", "outcome.json"])
@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda _: b"", None])
def test_what_is_damaged_is_made_anew(pets, load, tmp_path, file, damage):
    root = pets({"cat": 4, "dog": 4})
    load(root, **ON_DISK)
    (path,) = tmp_path.glob(f"cache/pictures/*/*/{file}")
    path.write_bytes(damage(path.read_bytes())) if damage else path.unlink()
    equal(load(root, **ON_DISK), load(root, input="24x18x3"))


def test_a_file_that_could_not_be_opened_is_tried_again(tmp_path):
    place = cache.place(tmp_path, "pets", ["cat"], ["a", "b"])
    shape = (2, 2, 1)
    picture = Outcome(np.ones(shape, np.uint8), "0")
    closed = Outcome(None, "", "permission denied", passing=True)
    found, sha256, reasons = cache.kept(place, shape, 2, [picture, closed])
    assert (len(found), sha256, reasons) == (1, ["0", ""], ["", "permission denied"])
    assert len(cache.kept(place, shape, 2, [picture, picture])[0]) == 2
    assert len(cache.kept(place, shape, 2, [])[0]) == 2


def test_nothing_readable_at_all_can_be_kept(tmp_path):
    place = cache.place(tmp_path, "pets", ["cat"], ["a"])
    for _ in range(2):
        found, _, reasons = cache.kept(place, (2, 2, 1), 1, [Outcome(None, "", "damaged")])
        assert found.shape == (0, 2, 2, 1)
        assert reasons == ["damaged"]


@pytest.fixture
def slow(pets, encode):
    """Small pictures, and at the end one of 36 megapixels: the others are written while it is decoded."""
    root = pets({"cat": 30, "dog": 30}, size=(8, 8, 3))
    (root / "dog" / "large.png").write_bytes(encode(np.zeros((6000, 6000), np.uint8)))
    return root


def test_after_a_kill_in_the_middle_nothing_half_is_taken_for_whole(slow, load, tmp_path, eventually):
    def written():
        return sum(path.stat().st_size for path in tmp_path.glob("cache/pictures/*/.part/pixels.npy"))

    wanted = {"memory_mb": "0", "input": "128x128x3"}
    running = process("load(*sys.argv[1:])", slow, tmp_path / "cache", **wanted)
    eventually(lambda: written() > 1_000_000, 30)
    running.kill()
    running.communicate()
    assert kept(tmp_path) == [".part"]
    found = load(slow, **wanted)
    assert len(found.pixels) == 61
    for position in range(61):
        decoded = pixels.decode(found.encode(position), 128, 128, 3).pixels
        np.testing.assert_array_equal(found.pixels[position], decoded)
    assert len(kept(tmp_path)) == 1
    assert kept(tmp_path) != [".part"]


def test_an_interruption_leaves_nothing(pets, load, tmp_path):
    """Ctrl-C reaches the thread that writes."""
    place = cache.place(tmp_path / "cache", "pets", ["cat"], ["a", "b"])

    def pictures():
        yield Outcome(np.ones((2, 2, 1), np.uint8), "0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache.kept(place, (2, 2, 1), 2, pictures())
    assert kept(tmp_path) == []


def test_of_two_trainings_at_once_one_decodes_and_the_other_waits(pets, load, tmp_path):
    root = pets({"cat": 30, "dog": 30})
    found = [None] * 4

    def one(number):
        found[number] = load(root, **ON_DISK)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(len(found))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({Path(each.pixels.filename).stat().st_ino for each in found}) == 1
    for each in found[1:]:
        equal(found[0], each)


def test_a_process_that_waits_for_another_says_so(pets, load, tmp_path, eventually):
    root = pets({"cat": 4, "dog": 4})
    first = load(root, **ON_DISK)
    (folder,) = (tmp_path / "cache" / "pictures").iterdir()
    with files.locked(folder):
        waiting = process("print(load(*sys.argv[1:]).pixels.sum())", root, tmp_path / "cache", **ON_DISK)
        said = waiting.stderr.readline()
        assert f"another training is reading the same pictures into {folder}: waiting for it" in said
    assert int(waiting.communicate(timeout=30)[0]) == first.pixels.sum()


def test_a_full_disk_is_said_in_a_sentence_and_nothing_is_left(pets, tmp_path):
    """The limit on a file's size is what a test can have of a disk that fills up while it is written."""
    root = pets({"cat": 30, "dog": 30})
    code = """
import resource
from artifacts.errors import TintypeError
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    load(*sys.argv[1:])
except TintypeError as error:
    print(error)
"""
    told, error = process(code, root, tmp_path / "cache", memory_mb="0", input="64x64x3").communicate(timeout=60)
    sentence = (
        r"60 pictures of 64x64x3 take 0\.7 MB, which cannot be kept in .* \(File too large\): free some space, set"
    )
    assert re.search(sentence, told), error
    assert kept(tmp_path) == []


def test_a_disk_that_is_too_small_is_said_before_anything_is_decoded(tmp_path):
    place = cache.place(tmp_path / "cache", "pets", ["cat"], [])
    with pytest.raises(
        TintypeError, match=r"take 1,000,000\.0 GB, which cannot be kept in .* GB are free\): free some"
    ):
        cache.kept(place, (1000, 1000, 1), 10**9, iter(()))
    assert kept(tmp_path) == []


def test_a_cache_that_cannot_be_written_is_said_in_a_sentence(pets, load, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(TintypeError, match=r"cannot be kept in .*pets-[0-9a-f]+ \(Not a directory\): free some space"):
        load(pets({"cat": 4, "dog": 4}), **ON_DISK)


LIMITED = """
import resource, threading
import numpy as np
threading.stack_size(1 << 20)
used = next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 96_000_000, used + 96_000_000))
found = load(*sys.argv[1:])
rows = np.random.default_rng(0).permutation(len(found.files))
print(sum(len(found.pixels[rows[start : start + 64]]) for start in range(0, len(rows), 64)))
"""


@pytest.mark.parametrize(("memory_mb", "outcome"), [("0", "200\n"), ("4096", "")])
def test_memory_is_bounded_when_the_pictures_do_not_fit(pets, tmp_path, memory_mb, outcome):
    """150 MB of decoded pictures in a process that may have 96 MB: read, and fed in a random order."""
    root = pets({"cat": 1, "dog": 1}, size=(60, 60, 3))
    for label in ("cat", "dog"):
        for number in range(1, 100):
            os.link(root / label / "000.png", root / label / f"{number:03}.png")
    limited = process(LIMITED, root, tmp_path / "cache", memory_mb=memory_mb, input="500x500x3")
    told, error = limited.communicate(timeout=60)
    assert told == outcome, error
    assert ("MemoryError" in error) == (outcome == "")
