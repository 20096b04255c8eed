import json
import os
import re
import shutil

import numpy as np
import pytest

from artifacts import files, pixels
from artifacts.errors import BadData, WrongUse
from training.data import sources as data
from training.data import split


@pytest.fixture
def refuse(load):
    """`refuse(folder, "words", "of the sentence", key="value")`."""

    def refused(path, *words, **overrides):
        with pytest.raises(BadData) as caught:
            split.divide(load(path, **overrides))
        for word in words:
            assert word in str(caught.value)

    return refused


def test_pictures_are_what_the_one_decoder_makes_of_them(pets, load):
    root = pets({"cat": 4, "dog": 4}, "JPEG")
    found = load(root, input="24x18x3")
    assert found.labels == ["cat", "dog"]
    assert found.pixels.shape == (8, 24, 18, 3)
    assert found.pixels.dtype == np.uint8
    for position, name in enumerate(found.files):
        content = (root / name).read_bytes()
        assert found.encode(position) == content
        assert found.sha256[position] == files.sha256(content)
        np.testing.assert_array_equal(found.pixels[position], pixels.decode(content, 24, 18, 3).pixels)
    assert found.classes.tolist() == [0] * 4 + [1] * 4


def test_without_an_input_the_preset_decides(pets, load):
    assert load(pets({"cat": 4, "dog": 4})).pixels.shape == (8, 28, 28, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_format_is_found(pets, kind, load):
    assert len(load(pets({"cat": 3, "dog": 3}, kind)).files) == 6


def test_a_folder_is_divided_70_15_15(pets, load):
    divided = split.divide(load(pets({"cat": 40, "dog": 20})))
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 42, "validation": 9, "test": 9}


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_the_folders_own_parts_are_kept(pets, name, load):
    found = load(pets({f"{part}/{label}": 5 for part in ("train", name, "test") for label in ("cat", "dog")}))
    divided = split.divide(found)
    for part, rows in divided.items():
        begin = name if part == "validation" else part
        assert [found.files[row] for row in rows] == [
            f"{begin}/{label}/{number:03}.png" for label in ("cat", "dog") for number in range(5)
        ]


def test_a_missing_part_is_cut_from_train(pets, load):
    root = pets({"train/cat": 20, "train/dog": 20, "test/cat": 4, "test/dog": 4})
    found = load(root)
    divided = split.divide(found)
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 34, "validation": 6, "test": 8}
    assert all(found.files[row].startswith("train/") for row in divided["validation"])


def test_the_share_of_a_part_that_is_given_cannot_be_set(pets, load):
    root = pets({"train/cat": 20, "train/dog": 20, "test/cat": 4, "test/dog": 4})
    with pytest.raises(
        WrongUse, match="test_share cannot be set: the data set has its own test pictures; leave it out"
    ):
        split.divide(load(root, test_share="0.2"))
    assert len(split.divide(load(root, validation_share="0.25"))["validation"]) == 10


def test_unreadable_pictures_are_skipped_and_listed(pets, load):
    root = pets({"cat": 20, "dog": 20})
    (root / "cat" / "000.png").write_bytes((root / "cat" / "000.png").read_bytes()[:500])
    (root / "dog" / "a.gif").write_bytes(b"GIF89a and so on")
    (root / "dog" / "notes.txt").write_text("not a picture, and not said to be one")
    (root / "dog" / ".hidden.jpg").write_bytes(b"")
    found = load(root)
    assert [entry["file"] for entry in found.skipped] == ["cat/000.png", "dog/a.gif"]
    assert "damaged" in found.skipped[0]["reason"]
    assert "GIF" in found.skipped[1]["reason"]
    assert len(found.files) == len(found.pixels) == len(found.sha256) == len(found.classes) == 39
    assert "cat/000.png" not in found.files


def test_more_than_a_tenth_unreadable_is_refused(pets, refuse):
    root = pets({"cat": 10, "dog": 10})
    for number in range(3):
        (root / "cat" / f"{number:03}.png").write_bytes(b"nothing")
    refuse(root, "3 of 20 pictures", "at most 10%", "cat/000.png: this is not a picture: 7 bytes")


def test_the_share_that_may_be_unreadable_can_be_set(pets, load, refuse):
    root = pets({"cat": 10, "dog": 10})
    (root / "cat" / "000.png").write_bytes(b"nothing")
    refuse(root, "1 of 20 pictures", "at most 0%", unreadable_share="0")
    for number in range(9):
        (root / "cat" / f"{number:03}.png").write_bytes(b"nothing")
    assert len(load(root, unreadable_share="0.45").skipped) == 9


def test_a_class_of_which_nothing_can_be_read_is_refused(pets, refuse):
    root = pets({"cat": 4, "dog": 4})
    for path in (root / "cat").iterdir():
        path.write_bytes(b"nothing")
    refuse(root, "pets has no readable pictures of cat", "every class needs some", unreadable_share="1")
    for path in (root / "dog").iterdir():
        path.write_bytes(b"nothing")
    refuse(root, "pets has no readable pictures of cat, dog", unreadable_share="1")


def test_a_part_of_which_nothing_can_be_read_is_refused(pets, refuse):
    root = pets({f"{part}/{label}": 3 for part in ("train", "test") for label in ("cat", "dog")})
    for path in (root / "test").glob("*/*"):
        path.write_bytes(b"nothing")
    refuse(root, "no readable pictures of cat, dog in test (there are in train)", unreadable_share="1")


@pytest.mark.parametrize(
    ("name", "near"),
    [("none", ""), ("fashion-mnist", "did you mean fashion_mnist? "), ("digit", "did you mean digits? ")],
)
def test_a_missing_folder_is_refused_and_the_nearest_data_set_named(load, name, near):
    known = "DATA is digits, mnist, fashion_mnist, cifar10, crosses_noughts, or a folder such as"
    with pytest.raises(WrongUse, match=re.escape(f"there is no folder {name!r}; {near}{known}")):
        load(name)


def test_a_folder_without_classes_is_refused(pets, refuse):
    root = pets({"cat": 3})
    refuse(root / "cat", "has no class folders", "cat/*.jpg")


def test_a_single_class_is_refused(pets, refuse):
    refuse(pets({"cat": 3}), "has only one class folder, 'cat'", "at least two")


def test_an_empty_class_is_refused(pets, refuse):
    refuse(pets({"cat": 3, "dog": 0}), "the class folder", "dog is empty", "dog/*.jpg")


def test_classes_that_differ_between_the_parts_are_refused_and_both_sides_named(pets, refuse):
    root = pets({"train/cat": 3, "train/dog": 3, "test/cat": 3, "test/bird": 3})
    refuse(
        root,
        "no readable pictures of bird in train (there are in test); no readable pictures of dog in test "
        "(there are in train); every part must hold the same classes",
    )


def test_a_divided_folder_without_train_is_refused(pets, refuse):
    refuse(pets({"test/cat": 3, "test/dog": 3}), "has test and no train", "train/class/*.jpg")


def test_two_validation_folders_are_refused(pets, refuse):
    root = pets({f"{part}/{label}": 3 for part in ("train", "val", "validation") for label in ("cat", "dog")})
    refuse(root, "more than one validation folder", "keep one")


def test_a_class_with_too_few_pictures_is_refused(pets, refuse):
    sentence = "the class 'dog' has 2 pictures to divide into train, validation and test; at least 3 are needed"
    refuse(pets({"cat": 9, "dog": 2}), sentence)


def test_links_do_not_lead_out_of_the_folder(pets, tmp_path, load):
    root = pets({"cat": 4, "dog": 4})
    shutil.copytree(root / "cat", tmp_path / "outside")
    (root / "bird").symlink_to(tmp_path / "outside")
    (root / "cat" / "secret.png").symlink_to(tmp_path / "outside" / "000.png")
    (root / "cat" / "twin.png").symlink_to(root / "cat" / "000.png")
    found = load(root)
    assert found.labels == ["cat", "dog"]
    assert "cat/secret.png" not in found.files
    assert "cat/twin.png" in found.files


def test_local_copies_belong_to_the_data_sets_that_have_files(pets, tmp_path, load):
    for name in ("digits", "crosses_noughts", str(pets({"cat": 3, "dog": 3}))):
        with pytest.raises(
            WrongUse, match=r"--data-dir holds local copies of mnist or fashion_mnist or cifar10; .*leave"
        ):
            load(name, tmp_path)


def test_a_folder_of_local_copies_must_be_there(tmp_path, load):
    with pytest.raises(WrongUse, match=r"there is no folder .*none'; --data-dir is where the files of mnist lie"):
        load("mnist", tmp_path / "none")


def test_only_the_chosen_classes_are_decoded_in_the_order_given(pets, load):
    root = pets({"bird": 3, "cat": 3, "dog": 3, "eel": 0})
    (root / "bird" / "broken.png").write_bytes(b"nothing")
    found = load(root, labels="dog,cat")
    assert found.labels == ["dog", "cat"]
    assert found.files == [f"{label}/{number:03}.png" for label in ("cat", "dog") for number in range(3)]
    assert found.classes.tolist() == [1, 1, 1, 0, 0, 0]
    assert found.skipped == []


def test_a_class_that_there_is_not_is_refused_with_the_nearest(pets, load):
    root = pets({"train/cat": 3, "train/dog": 3, "test/cat": 3, "test/dog": 3})
    with pytest.raises(WrongUse, match=r"pets has no label 'dogs' \(did you mean 'dog'\?\); its labels are cat, dog"):
        load(root, labels="cat,dogs")


def test_of_many_classes_the_first_are_named(pets, load):
    root = pets({f"{number:03}": 1 for number in range(30)})
    with pytest.raises(WrongUse, match=r"its labels are 000, .*, 019 and 10 more$"):
        load(root, labels="000,x")


def test_what_lies_beside_the_class_folders_is_counted_and_said(pets, load):
    root = pets({"cat": 3, "dog": 3, ".": 2, "cat/more": 2})
    assert load(root).remarks == [
        f"left out: 2 pictures lie directly in {root}, not in a class folder, such as 000.png",
        "left out: folders inside class folders: cat/more",
    ]


def test_what_lies_beside_the_parts_is_counted_and_said(pets, load):
    parts = {f"{part}/{label}": 3 for part in ("train", "val", "test") for label in ("cat", "dog")}
    root = pets({**parts, "train": 1, "old/cat": 3, "new": 0})
    assert load(root).remarks == [
        f"left out: 1 picture lies directly in {root / 'train'}, not in a class folder, such as 000.png",
        f"left out: what lies beside train, val, test in {root}: new, old",
    ]


def test_a_clean_folder_needs_no_remark(pets, load):
    assert load(pets({"cat": 3, "dog": 3})).remarks == []


def test_the_formats_are_counted(pets, load):
    root = pets({"cat": 3, "dog": 3})
    pets({"cat": 2}, "JPEG"), pets({"dog": 1}, "WEBP")
    (root / "cat" / "other.GIF").write_bytes((root / "cat" / "000.png").read_bytes())
    assert load(root).formats == {"PNG": 6, "JPEG": 2, "WebP": 1, "GIF": 1}


def test_grey_pictures_become_colour_and_colour_grey(pets, load):
    root = pets({"cat": 2, "dog": 2})
    pets({"bird": 2}, size=(20, 30))
    grey, colour = load(root, input="20x30x1"), load(root, input="20x30x3")
    assert grey.pixels.shape == (6, 20, 30, 1)
    assert colour.pixels.shape == (6, 20, 30, 3)
    np.testing.assert_array_equal(colour.pixels[:2], grey.pixels[:2].repeat(3, axis=3))
    assert not np.array_equal(colour.pixels[2:, ..., 0], colour.pixels[2:, ..., 1])


@pytest.mark.parametrize("memory_mb", ["4096", "0"])
def test_names_that_are_not_utf_8_are_read_and_recorded(pets, load, tmp_path, memory_mb):
    root = pets({"cat": 4, "dog": 4})
    odd = os.fsdecode(b"caf\xe9 \xff.png")
    (root / "cat" / "000.png").rename(root / "cat" / odd)
    (root / "dog" / os.fsdecode(b"\xfe.png")).write_bytes(b"nothing")
    for _ in range(2):
        found = load(root, memory_mb=memory_mb, unreadable_share="0.2")
        position = found.files.index(f"cat/{odd}")
        assert found.encode(position) == (root / "cat" / odd).read_bytes()
        files.write_atomic(tmp_path / "split.json", split.write(found, split.divide(found)))
        record = json.loads((tmp_path / "split.json").read_bytes())
        named = {entry["file"] for part in ("train", "validation", "test") for entry in record[part]}
        assert named == set(found.files)
        assert record["skipped"][0]["file"] == os.fsdecode(b"dog/\xfe.png")


def test_a_class_folder_whose_name_is_not_utf_8_is_refused(pets, refuse):
    root = pets({"cat": 3, "dog": 3})
    (root / "dog").rename(root / os.fsdecode(b"d\xf6g"))
    refuse(root, "is not UTF-8; rename it, for it becomes a label")


def test_what_is_no_file_is_no_picture(pets, load):
    root = pets({"cat": 4, "dog": 4})
    (root / "cat" / "loop.png").symlink_to("loop.png")
    (root / "cat" / "nothing.png").symlink_to("no.png")
    (root / "cat" / "folder.png").mkdir()
    os.mkfifo(root / "cat" / "pipe.png")
    found = load(root)
    assert len(found.files) == 8
    assert found.skipped == []
    assert found.remarks == ["left out: folders inside class folders: cat/folder.png"]


def test_many_pictures_keep_their_order(pets, load):
    """More tasks than are ever decoded ahead."""
    root = pets({"cat": 1, "dog": 2}, size=(8, 8, 3))
    for number in range(3, 1500):
        os.link(root / "dog" / f"{number % 2:03}.png", root / "dog" / f"{number:04}.png")
    (root / "dog" / "0700.png").unlink()
    (root / "dog" / "0700.png").write_bytes(b"nothing")
    found = load(root, input="18x18x3")
    assert found.files == sorted(found.files)
    ones = {found.sha256[position]: found.pixels[position] for position in (0, 1, 2)}
    assert len(ones) == 3
    assert all(
        np.array_equal(ones[digest], picture) for digest, picture in zip(found.sha256, found.pixels, strict=True)
    )


@pytest.mark.parametrize(
    ("source", "name"), [("digits", "digits"), ("/a/Cats & Dogs/", "cats-dogs"), ("/", "model"), ("/x/Ä", "model")]
)
def test_a_model_is_named_after_its_data(source, name):
    assert data.model_name(source) == name
