import base64
import io
import re
import tracemalloc
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from serving.jobs.contact_sheet import AS_IT_IS, LEAST, PICTURES, REJECTS, SIDE, SMALL_PICTURES, ContactSheet
from serving.jobs.parts import SCHEMA

MODEL = {"name": "tones", "version": 7}
NASTY = "<script>alert(1)</script>\" onerror='alert(2)' & </title></style>.png"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.titles, self.sources, self.words = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        given = dict(attrs)
        if tag == "figure":
            self.titles.append(given["title"])
        if tag == "img":
            self.sources.append(given["src"])
        assert not {name for name in given if name.startswith("on")} - {"onload"}

    def handle_data(self, data):
        self.words.append(data.strip())


def accepted(path, label="cat", confidence=0.5):
    return {**dict.fromkeys(SCHEMA.names), "path": path, "label": label, "confidence": confidence}


def rejected(path, error="not_an_image: this is not a picture: no bytes"):
    return {**dict.fromkeys(SCHEMA.names), "path": path, "error": error}


def render(rows, folder, classes=2):
    sheet = ContactSheet(classes)
    labels = {}
    for row in rows:
        sheet.add(row)
        if not row["error"]:
            labels[row["label"]] = labels.get(row["label"], 0) + 1
    classified = sum(labels.values())
    tally = {"total": len(rows), "classified": classified, "rejected": len(rows) - classified, "labels": labels}
    return sheet.render(folder, MODEL, tally)


def picture_of(source):
    return Image.open(io.BytesIO(base64.b64decode(source.removeprefix("data:image/jpeg;base64,"))))


def test_within_a_label_the_least_certain_come_first_and_equals_in_order(tmp_path):
    rows = [accepted(f"{number}", confidence=share) for number, share in enumerate([0.9, 0.2, 0.5, 0.2, 1.0])]
    assert Page(render(rows, tmp_path)).titles == ["1", "3", "2", "0", "4"]


def test_labels_stand_in_the_order_of_the_summary(tmp_path):
    page = Page(render([accepted("a", "dog"), accepted("b", "cat"), accepted("c", "dog")], tmp_path))
    assert [word for word in page.words if word in ("dog", "cat")] == ["dog", "cat"] * 3  # overview, options, pictures
    assert page.titles == ["a", "c", "b"]


@pytest.mark.parametrize(("classes", "shown"), [(1, PICTURES), (2, PICTURES // 2), (1000, LEAST)])
def test_a_label_shows_a_bounded_number_the_least_certain_ones(tmp_path, classes, shown):
    rows = [accepted(f"{number}", confidence=1 - number / 2000) for number in range(1000)]
    page = Page(render(rows, tmp_path, classes))
    assert page.titles == [f"{number}" for number in range(999, 999 - shown, -1)]


def test_more_are_shown_of_pictures_that_are_small(tmp_path):
    rows = [{**accepted(f"{number}", confidence=number / 5000), "width": 32, "height": 32} for number in range(3000)]
    large = [{**accepted(f"large-{number}", confidence=1.0), "width": 640, "height": 480} for number in range(1000)]
    titles = Page(render(rows + large, tmp_path, 1)).titles
    assert titles[:SMALL_PICTURES] == [f"{number}" for number in range(SMALL_PICTURES)]
    assert len(titles) == SMALL_PICTURES + PICTURES


def test_the_page_can_be_filtered_by_label_path_and_confidence(tmp_path):
    text = render([accepted("a", NASTY, 0.25), accepted("b", "dog")], tmp_path)
    page = Page(text)
    assert (page.tags.count("section"), page.tags.count("option"), page.tags.count("form")) == (2, 3, 1)
    assert page.words.count(NASTY) == 3  # in the overview, among the options, over its pictures
    assert re.findall(r'data-confidence="([^"]+)"', text) == ["0.25", "0.5"]


def test_refused_files_are_shown_with_their_reason_up_to_a_bound(tmp_path):
    page = Page(render([rejected(f"{number}.txt") for number in range(REJECTS + 50)], tmp_path))
    assert page.tags.count("tr") == REJECTS
    assert "this is not a picture: no bytes" in page.words
    assert any("100 of 150" in word for word in page.words)


def test_a_job_without_a_single_picture_has_a_page(tmp_path):
    page = Page(render([rejected("a")], tmp_path))
    assert page.titles == []
    assert page.tags.count("tr") == 1


def test_labels_paths_reasons_and_folders_are_shown_as_text(tmp_path, encode):
    folder = tmp_path / NASTY.replace("/", "")
    folder.mkdir()
    name = NASTY.replace("/", "")
    (folder / name).write_bytes(encode(np.zeros((4, 4, 3), np.uint8)))
    text = render([accepted(name, NASTY), rejected(NASTY, f"bad: {NASTY}")], folder)
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("title") == page.tags.count("style") == 1
    assert page.titles == [name]
    assert page.words.count(NASTY) >= 3
    assert len(page.sources) == 1
    assert text.count("<script") == 1


def test_the_page_needs_nothing_from_elsewhere(tmp_path, encode):
    (tmp_path / "a").write_bytes(encode(np.zeros((4, 4, 3), np.uint8)))
    text = render([accepted("a")], tmp_path)
    assert not re.findall(r"https?://|//[a-z]|@import|url\(", text)
    assert Page(text).sources[0].startswith("data:image/jpeg;base64,")


def test_pictures_are_made_small(tmp_path, encode):
    noise = np.random.default_rng(0).integers(256, size=(600, 900, 3), dtype=np.uint8)
    (tmp_path / "a").write_bytes(encode(noise, "JPEG"))
    page = render([accepted("a")], tmp_path)
    assert picture_of(Page(page).sources[0]).size == (SIDE, SIDE * 2 // 3)
    assert len(page) < 20_000


def test_a_small_jpeg_is_shown_as_it_is_and_a_small_png_as_jpeg(tmp_path, encode):
    data = encode(np.full((20, 30, 3), 90, np.uint8), "JPEG")
    assert len(data) < AS_IT_IS
    (tmp_path / "a").write_bytes(data)
    (tmp_path / "b").write_bytes(encode(np.full((20, 30, 3), 90, np.uint8)))
    first, second = Page(render([accepted("a"), accepted("b")], tmp_path)).sources
    assert base64.b64decode(first.partition(",")[2]) == data
    assert picture_of(second).size == (30, 20)


def test_a_picture_that_is_gone_or_damaged_meanwhile_leaves_its_place(tmp_path):
    (tmp_path / "damaged").write_bytes(b"\xff\xd8\xff" + bytes(AS_IT_IS))
    page = Page(render([accepted("gone"), accepted("damaged")], tmp_path))
    assert page.titles == ["gone", "damaged"]
    assert page.sources == []


def test_the_memory_of_a_long_job_is_bounded():
    sheet = ContactSheet(2)
    tracemalloc.start()
    held = []
    for rows in (1_000, 10_000):
        for number in range(rows):
            sheet.add(accepted(f"{number}", confidence=number / rows))
            sheet.add(rejected(f"{number}"))
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 30_000
