import base64
import io
import json
import random
import re
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from serving.jobs import contact_sheet
from serving.jobs.chunk import Reading
from serving.jobs.contact_sheet import PICTURES, REJECTS, ContactSheet
from serving.jobs.parts import PART_SCHEMA, write_part
from serving.jobs.thumbnails import AS_IT_IS, SIDE, WORTH, side

MODEL = {"name": "tones", "version": 7}
SHAPE = (8, 8, 3)
NASTY = "<script>alert(1)</script>\" onerror='alert(2)' & </title></style><!--.png"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.data, self._in_data = [], [], {}, False
        self.feed(text)

    @property
    def groups(self):
        return self.data["groups"]

    @property
    def paths(self):
        return [path for group in self.groups for path in group["paths"]]

    def files(self):
        """What the page shows as pictures, as it puts them together; None where there is none."""
        for group in self.groups:
            for picture in group["pictures"]:
                yield picture and base64.b64decode(self.data["starts"][picture[0]] + picture[1], validate=True)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self._in_data = ("type", "application/json") in attrs
        assert not [name for name, _ in attrs if name.startswith("on")]

    def handle_data(self, data):
        if self._in_data:
            self.data, self._in_data = json.loads(data), False
        else:
            self.words.append(data.strip())


def accepted(path, label="cat", confidence=0.5, **more):
    return {**dict.fromkeys(PART_SCHEMA.names), "path": path, "label": label, "confidence": confidence} | more


def rejected(path, error="not_an_image: this is not a picture: no bytes"):
    return {**dict.fromkeys(PART_SCHEMA.names), "path": path, "error": error}


def render(rows, folder, most=PICTURES, parts=()):
    sheet = ContactSheet(most)
    labels = {}
    for row in rows:
        sheet.add(row)
        if not row["error"]:
            labels[row["label"]] = labels.get(row["label"], 0) + 1
    classified = sum(labels.values())
    tally = {"total": len(rows), "classified": classified, "rejected": len(rows) - classified, "labels": labels}
    return sheet.render(Reading(folder, "tones", 7, SHAPE, 40_000_000), list(parts), MODEL, tally)


def sizes(page):
    return [Image.open(io.BytesIO(data)).size for data in page.files()]


def test_within_a_label_the_least_certain_come_first_and_equals_in_order(tmp_path):
    rows = [accepted(f"{number}", confidence=share) for number, share in enumerate([0.9, 0.2, 0.5, 0.2, 1.0])]
    assert Page(render(rows, tmp_path)).paths == ["1", "3", "2", "0", "4"]


def test_labels_stand_in_the_order_of_the_summary(tmp_path):
    page = Page(render([accepted("a", "dog"), accepted("b", "cat"), accepted("c", "dog")], tmp_path))
    assert [word for word in page.words if word in ("dog", "cat")] == ["dog", "cat"] * 3  # overview, options, pictures
    assert page.paths == ["a", "c", "b"]


def test_all_of_ten_thousand_are_there_to_be_found(tmp_path):
    rows = [accepted(f"{number}", f"{number % 7}", number / 10_000) for number in range(10_000)]
    text = render(rows, tmp_path)
    page = Page(text)
    assert sorted(map(int, page.paths)) == list(range(10_000))
    assert "least certain of" not in text
    assert [len(group["confidences"]) for group in page.groups] == [len(group["paths"]) for group in page.groups]


def test_beyond_the_bound_the_least_certain_of_each_label_are_shown_and_the_page_says_so(tmp_path):
    rows = [accepted(f"cat-{number}", "cat", 1 - number / 2000) for number in range(1000)]
    rows += [accepted(f"dog-{number}", "dog", 0.5) for number in range(3)]
    rows += [accepted(f"cow-{number}", "cow", 0.9) for number in range(60)]
    text = render(rows, tmp_path, most=100)
    cats, dogs, cows = Page(text).groups
    assert cats["paths"] == [f"cat-{number}" for number in range(999, 999 - 48, -1)]
    assert (len(dogs["paths"]), cows["paths"]) == (3, [f"cow-{number}" for number in range(48)])
    assert (cats["count"], dogs["count"], cows["count"]) == (1000, 3, 60)
    assert "the 99 least certain of 1,063 are shown" in text


@pytest.mark.parametrize("seed", range(20))
def test_what_is_shown_does_not_depend_on_when_the_rest_was_left_out(tmp_path, seed, monkeypatch):
    chosen = random.Random(seed)
    rows = [
        accepted(f"{number}", chosen.choices("abcde", (50, 20, 5, 1, 0.2))[0], chosen.randrange(20) / 20)
        for number in range(500)
    ]
    in_steps = Page(render(rows, tmp_path, most=30)).groups
    monkeypatch.setattr(contact_sheet, "SPARE", 1000)
    assert Page(render(rows, tmp_path, most=30)).groups == in_steps


def test_a_page_can_have_more_labels_than_pictures(tmp_path):
    page = Page(render([accepted(f"{number}", f"{number}") for number in range(20)], tmp_path, most=10))
    assert [group["paths"] for group in page.groups] == [[f"{number}"] for number in range(20)]


def test_refused_files_are_shown_with_their_reason_up_to_a_bound(tmp_path):
    text = render([rejected(f"{number}.txt") for number in range(REJECTS + 50)], tmp_path)
    rejects = Page(text).data["rejects"]
    assert len(rejects) == REJECTS
    assert rejects[7] == ["7.txt", "this is not a picture: no bytes"]
    assert "the first of 1,050" in text


def test_a_job_without_a_single_picture_has_a_page(tmp_path):
    page = Page(render([rejected("a")], tmp_path))
    assert (page.groups, page.tags.count("table")) == ([], 1)


def test_labels_paths_reasons_and_folders_are_shown_as_text(tmp_path, encode):
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    name = NASTY.replace("/", "")
    (folder / name).write_bytes(encode(np.zeros((4, 4, 3), np.uint8)))
    text = render([accepted(name, NASTY), rejected(NASTY, f"bad: {NASTY}")], folder)
    page = Page(text)
    assert page.tags.count("script") == 2
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert page.paths == [name]
    assert page.data["rejects"] == [[NASTY, NASTY]]
    assert page.words.count(NASTY) == 3  # in the overview, among the options, over its pictures
    assert text.count("<script") == 2
    assert "<!--" not in text


def test_the_page_needs_nothing_from_elsewhere(tmp_path, encode):
    (tmp_path / "a").write_bytes(encode(np.zeros((4, 4, 3), np.uint8)))
    text = render([accepted("a")], tmp_path)
    assert not re.findall(r"https?://|//[a-z]|@import|url\(", text)


def test_a_large_picture_is_made_small(tmp_path, encode):
    noise = np.random.default_rng(0).integers(256, size=(600, 900, 3), dtype=np.uint8)
    (tmp_path / "a").write_bytes(encode(noise, "JPEG"))
    page = render([accepted("a", width=900, height=600)], tmp_path)
    assert sizes(Page(page)) == [(SIDE, round(SIDE * 2 / 3))]
    assert len(page) < 20_000


def test_a_thumbnail_that_was_made_before_is_taken_and_is_the_one_that_is_made_here(tmp_path, encode, classifier):
    noise = np.random.default_rng(0).integers(256, size=(200, 150, 3), dtype=np.uint8)
    for name in "ab":
        (tmp_path / name).write_bytes(encode(noise[:, :: 1 if name == "a" else -1], "JPEG"))
    reading = classifier._replace(thumbnail=side(None)).reading(tmp_path)
    made = {name: reading.decode((tmp_path / name).read_bytes()).thumbnail for name in "ab"}
    rows = [accepted(name, width=150, height=200, confidence=0.5) for name in "ab"]
    here = render(rows, tmp_path)
    write_part(tmp_path / "first", [rejected("x"), rows[0] | {"thumbnail": made["a"]}])
    write_part(tmp_path / "second", [rows[1] | {"thumbnail": made["b"]}])
    (tmp_path / "b").unlink()
    before = render([rejected("x"), *rows], tmp_path, parts=[tmp_path / "first", tmp_path / "second"])
    assert list(Page(before).files()) == list(Page(here).files()) == [made["a"], made["b"]]


def test_thumbnails_are_made_on_the_way_while_most_of_them_may_be_shown(encode, classifier, tmp_path):
    assert (side(None), side(WORTH), side(WORTH + 1)) == (SIDE, SIDE, 0)
    data = encode(np.zeros((300, 300, 3), np.uint8), "JPEG")
    assert classifier.reading(tmp_path).decode(data).thumbnail is None
    little = encode(np.zeros((SIDE, SIDE, 3), np.uint8), "JPEG")
    assert classifier._replace(thumbnail=SIDE).reading(tmp_path).decode(little).thumbnail is None


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_short_picture_is_shown_as_it_is(tmp_path, encode, kind):
    contents = [encode(np.full((20, 30, 3), 9 * number, np.uint8), kind) for number in range(9)]
    for number, data in enumerate(contents):
        (tmp_path / f"{number}").write_bytes(data)
    page = Page(render([accepted(f"{number}", width=30, height=20) for number in range(9)], tmp_path))
    assert list(page.files()) == contents
    assert len(page.data["starts"]) == 1  # the tables are in the page once
    assert kind == "PNG" or all(len(rest) < 200 for group in page.groups for _, rest in group["pictures"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_small_picture_of_many_bytes_is_made_shorter(tmp_path, encode, kind):
    noise = np.random.default_rng(0).integers(256, size=(100, 120, 3), dtype=np.uint8)
    data = encode(noise, kind, quality=95)
    assert len(data) > 2 * AS_IT_IS
    (tmp_path / "a").write_bytes(data)
    assert sizes(Page(render([accepted("a", width=120, height=100)], tmp_path))) == [(SIDE, round(SIDE * 100 / 120))]


@pytest.mark.parametrize("size", [None, (9, 9), (900, 600)])
def test_a_picture_that_is_gone_or_damaged_meanwhile_leaves_its_place(tmp_path, size):
    width, height = size or (None, None)
    (tmp_path / "damaged").write_bytes(b"\xff\xd8\xff" + bytes(AS_IT_IS + 500))
    rows = [accepted(name, width=width, height=height) for name in ("gone", "damaged")]
    page = Page(render(rows, tmp_path))
    assert page.paths == ["gone", "damaged"]
    assert list(page.files()) == [None, None]


def test_the_memory_of_a_long_job_is_bounded():
    sheet = ContactSheet(most=500)
    tracemalloc.start()
    held = []
    for rows in (1_000, 10_000):
        for number in range(rows):
            sheet.add(accepted(f"{number}", confidence=number / rows))
            sheet.add(rejected(f"{number}"))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 100_000
