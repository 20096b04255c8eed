import shutil

import numpy as np
import pytest

from artifacts import files, pixels
from artifacts.errors import BadData, WrongUse
from training import config, data, presets, split

PRESET = presets.read("cnn")


@pytest.fixture
def pets(tmp_path, encode):
    """A folder to be filled: `pets({"cat": 3})`, or `pets({"train/cat": 3, "test/cat": 2})`."""
    rng = np.random.default_rng(0)

    def fill(counts, kind="PNG"):
        for folder, count in counts.items():
            (tmp_path / "pets" / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                picture = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
                path = tmp_path / "pets" / folder / f"{number:03}.{kind.lower().replace('jpeg', 'jpg')}"
                path.write_bytes(encode(picture, kind))
        return tmp_path / "pets"

    return fill


def load(path, **overrides):
    recipe = config.resolve(PRESET, overrides)
    return data.load(str(path), lambda native: config.at_input(recipe, PRESET, native), None)


def refuse(path, *words):
    with pytest.raises(BadData) as caught:
        split.divide(load(path))
    for word in words:
        assert word in str(caught.value)


def test_pictures_are_what_the_one_decoder_makes_of_them(pets):
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


def test_without_an_input_the_preset_decides(pets):
    assert load(pets({"cat": 4, "dog": 4})).pixels.shape == (8, 28, 28, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_each_format_is_found(pets, kind):
    assert len(load(pets({"cat": 3, "dog": 3}, kind)).files) == 6


def test_a_folder_is_divided_70_15_15(pets):
    divided = split.divide(load(pets({"cat": 40, "dog": 20})))
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 42, "validation": 9, "test": 9}


@pytest.mark.parametrize("name", ["validation", "val", "valid"])
def test_the_folders_own_parts_are_kept(pets, name):
    found = load(pets({f"{part}/{label}": 5 for part in ("train", name, "test") for label in ("cat", "dog")}))
    divided = split.divide(found)
    for part, rows in divided.items():
        begin = name if part == "validation" else part
        assert [found.files[row] for row in rows] == [
            f"{begin}/{label}/{number:03}.png" for label in ("cat", "dog") for number in range(5)
        ]


def test_a_missing_part_is_cut_from_train(pets):
    root = pets({"train/cat": 20, "train/dog": 20, "test/cat": 4, "test/dog": 4})
    found = load(root)
    divided = split.divide(found)
    assert {part: len(rows) for part, rows in divided.items()} == {"train": 34, "validation": 6, "test": 8}
    assert all(found.files[row].startswith("train/") for row in divided["validation"])


def test_the_share_of_a_part_that_is_given_cannot_be_set(pets):
    root = pets({"train/cat": 20, "train/dog": 20, "test/cat": 4, "test/dog": 4})
    with pytest.raises(
        WrongUse, match="test_share cannot be set: the data set has its own test pictures; leave it out"
    ):
        split.divide(load(root, test_share="0.2"))
    assert len(split.divide(load(root, validation_share="0.25"))["validation"]) == 10


def test_unreadable_pictures_are_skipped_and_listed(pets):
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


def test_more_than_a_tenth_unreadable_is_refused(pets):
    root = pets({"cat": 10, "dog": 10})
    for number in range(3):
        (root / "cat" / f"{number:03}.png").write_bytes(b"nothing")
    refuse(root, "3 of 20 pictures", "at most 10%", "cat/000.png: this is not a picture: 7 bytes")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(WrongUse, match=r"there is no folder .*none'; DATA is digits, mnist, or a folder"):
        data.load(str(tmp_path / "none"), lambda native: native, None)


def test_a_folder_without_classes_is_refused(pets):
    root = pets({"cat": 3})
    refuse(root / "cat", "has no class folders", "cat/*.jpg")


def test_a_single_class_is_refused(pets):
    refuse(pets({"cat": 3}), "has only one class folder, 'cat'", "at least two")


def test_an_empty_class_is_refused(pets):
    refuse(pets({"cat": 3, "dog": 0}), "the class folder", "dog is empty", "dog/*.jpg")


def test_classes_that_differ_between_the_parts_are_refused(pets):
    root = pets({"train/cat": 3, "train/dog": 3, "test/cat": 3, "test/bird": 3})
    refuse(
        root,
        "no readable pictures of bird in train; no readable pictures of dog in test; every part must hold",
    )


def test_a_divided_folder_without_train_is_refused(pets):
    refuse(pets({"test/cat": 3, "test/dog": 3}), "has test and no train", "train/class/*.jpg")


def test_two_validation_folders_are_refused(pets):
    root = pets({f"{part}/{label}": 3 for part in ("train", "val", "validation") for label in ("cat", "dog")})
    refuse(root, "more than one validation folder", "keep one")


def test_a_class_with_too_few_pictures_is_refused(pets):
    sentence = "the class 'dog' has 2 pictures to divide into train, validation and test; at least 3 are needed"
    refuse(pets({"cat": 9, "dog": 2}), sentence)


def test_links_do_not_lead_out_of_the_folder(pets, tmp_path):
    root = pets({"cat": 4, "dog": 4})
    shutil.copytree(root / "cat", tmp_path / "outside")
    (root / "bird").symlink_to(tmp_path / "outside")
    (root / "cat" / "secret.png").symlink_to(tmp_path / "outside" / "000.png")
    (root / "cat" / "twin.png").symlink_to(root / "cat" / "000.png")
    found = load(root)
    assert found.labels == ["cat", "dog"]
    assert "cat/secret.png" not in found.files
    assert "cat/twin.png" in found.files


def test_local_copies_belong_to_mnist_alone(pets, tmp_path):
    with pytest.raises(WrongUse, match="--data-dir holds local copies of mnist"):
        data.load(str(pets({"cat": 3, "dog": 3})), lambda _: None, tmp_path)


@pytest.mark.parametrize(
    ("source", "name"), [("digits", "digits"), ("/a/Cats & Dogs/", "cats-dogs"), ("/", "model"), ("/x/Ä", "model")]
)
def test_a_model_is_named_after_its_data(source, name):
    assert data.model_name(source) == name
