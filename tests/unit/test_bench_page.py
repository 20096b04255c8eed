import itertools
import re
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest

from serving.bench.chart import BOTTOM, LEFT, NAMES_APART, NUMBERS_APART, RIGHT, TOP, chart, linear, logarithmic
from serving.bench.page import render
from serving.bench.report import columns, figure, findings, introduction, verdict

NASTY = "<script>alert(1)</script>\" onerror='alert(2)' & </title></style></svg>"
VOID = {"meta"}


def level(connections, rate, p50=4.0, p99=9.0, **changes):
    """A level of 10 s as `serving.bench.bench.measure` reports it."""
    return {
        "connections": connections,
        "seconds": 10.0,
        "ok": round(10 * rate),
        "requests_per_second": rate,
        "p50_ms": p50,
        "p95_ms": (p50 + p99) / 2,
        "p99_ms": p99,
        "max_ms": 2 * p99,
        "refused": {},
        "failed": {},
        "said": {},
        "stages_ms": {"decode": 0.1, "wait": 1.0, "infer": 0.7},
        "generator_cores": 0.1,
        "pictures_per_second": rate,
        **changes,
    }


def nothing(connections, **changes):
    """A level at which no request succeeded."""
    times = dict.fromkeys(("p50_ms", "p95_ms", "p99_ms", "max_ms", "stages_ms"))
    return level(connections, 0, **{**times, **changes}) | times


def report(*levels, **changes):
    return {
        "url": "http://127.0.0.1:8000/predict",
        "date": "2026-11-21T12:40:36+00:00",
        "model": {"name": "digits", "version": 3, "sha256": "be2a467f" * 8, "variant": "int8"},
        "pictures": {"found": 3, "sent": 3, "skipped": 0, "mean_bytes": 1310, "in_a_request": 1},
        "connections": [each["connections"] for each in levels],
        "seconds": 10.0,
        "machine": {"processor": "A processor", "cores": 2, "system": "Linux 6.1"},
        "levels": list(levels),
        **changes,
    }


USUAL = report(level(1, 900, 1.0, 1.7), level(8, 1952, 4.0, 9.4), level(32, 2001, 15.9, 33))


class Page(HTMLParser):
    """Sees that tags are closed in their order, and gathers texts and attributes."""

    def __init__(self, html):
        super().__init__()
        self.open, self.texts, self.attributes = [], [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, _, attrs):
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data.strip())


PAGES = {
    "usual": USUAL,
    "one level": report(level(8, 1500)),
    "many levels": report(*(level(n, 100 * n) for n in range(1, 41))),
    "levels in any order": report(level(32, 2000), level(1, 900)),
    "no stages": report(level(1, 900, stages_ms=None), level(8, 1952, stages_ms=None)),
    "a level without an answer": report(level(1, 900), nothing(8, failed={"no answer": 8})),
    "no answer at all": report(nothing(1, refused={"503": 90}, said={"503": "no model"})),
    "slow": report(level(1, 0.5, 2000, 2100), level(64, 0.5, 120_000, 121_000)),
}


@pytest.mark.parametrize("made", PAGES.values(), ids=PAGES.keys())
def test_a_page_is_whole_and_asks_for_nothing_else(made):
    html = render(made)
    page = Page(html)
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "xlink:href")]
    assert links == []
    assert not re.search(r"@import|url\(|None|nan\b", html)
    for drawn in re.findall(r"<svg.*?</svg>", html, re.DOTALL):
        ET.fromstring(drawn)  # noqa: S314 - our own


def test_a_page_tells_who_what_where_and_when():
    texts = " ".join(Page(render(USUAL)).texts)
    for told in (
        "digits@3", "int8", "be2a467f" * 8, "POST http://127.0.0.1:8000/predict", "2026-11-21 12:40 UTC",
        "3 pictures of 1.3 kB", "A processor, 2 cores, Linux 6.1", "at most 10 % of one core",
    ):  # fmt: skip
        assert told in texts
    assert "prefers-color-scheme: dark" in render(USUAL)


def test_a_page_has_every_cell_of_the_table_and_a_title_over_every_point():
    page = render(USUAL)
    head, rows = columns(USUAL)
    for cell in [*head, *(cell for row in rows for cell in row)]:
        assert f">{cell}<" in page
    titles = re.findall("<title>(.*?)</title>", page)[1:]
    assert titles.count("8 connections: 1,952 requests/s, p50 4.00 ms, p95 6.70 ms, p99 9.40 ms") == 4


def test_what_a_server_says_of_itself_stays_text():
    nasty = report(level(1, 900, failed={NASTY: 1}, refused={"503": 1}, said={"503": NASTY}), url=NASTY)
    nasty["model"] = {key: NASTY if key != "version" else 1 for key in nasty["model"]}
    html = render(nasty)
    assert "<script" not in html
    assert NASTY in " ".join(Page(html).texts)


def test_the_bars_share_out_the_median_latency():
    html = render(report(level(1, 900, 4.0, stages_ms={"decode": 0.5, "wait": 1.0, "infer": 2.0})))
    assert re.findall(r'width: ([\d.]+)%" title="(.*?)"', html) == [
        ("12.5", "decode: 0.50 ms"), ("25.0", "wait: 1.00 ms"), ("50.0", "infer: 2.00 ms"), ("12.5", "rest: 0.50 ms"),
    ]  # fmt: skip


def test_the_verdict_names_the_fewest_connections_that_come_near_the_most():
    assert verdict(USUAL) == (
        "2,001 requests/s over 32 connections, with a p99 of 33.0 ms. "
        "8 are enough for 98 % of that, with a p99 of 9.40 ms."
    )
    assert verdict(report(level(1, 900))) == "900 requests/s over 1 connection, with a p99 of 9.00 ms."
    assert verdict(report(nothing(1, failed={"connection refused": 3}))) == "No request succeeded."


def test_findings_count_what_was_not_answered_with_200_over_all_levels():
    made = report(
        level(8, 900, refused={"429": 2}, said={"429": "the queue is full"}, failed={"connection closed": 1}),
        level(32, 900, refused={"429": 1500}, said={"429": "later"}),
    )
    assert findings(made) == [
        "429 for 1,502 requests: the queue is full",
        "connection closed for 1 request",
    ]
    assert [row[-1] for row in columns(made)[1]] == ["2 × 429, 1 × connection closed", "1,500 × 429"]


def test_findings_say_when_the_load_generator_is_the_limit():
    (finding,) = findings(report(level(1, 900, generator_cores=0.8), level(8, 9000, generator_cores=0.97)))
    assert "the load generator is the limit; run it elsewhere" in finding
    assert "over 8 connections it took 97 % of a core" in finding


def test_findings_say_when_it_was_interrupted():
    made = report(level(1, 900), level(8, 1952, seconds=3.2), connections=[1, 8, 32])
    assert findings(made) == ["interrupted: 1 of 3 levels measured to the end"]


def test_the_table_has_a_column_for_pictures_only_where_there_are_several():
    several = report(level(1, 900, pictures_per_second=3600))
    several["pictures"]["in_a_request"] = 4
    assert columns(several)[0][:3] == ["connections", "requests/s", "pictures/s"]
    assert columns(several)[1][0][:3] == ["1", "900", "3,600"]
    assert "pictures/s" not in columns(USUAL)[0]


def test_the_introduction_says_what_was_left_out():
    pictures = {"found": 10_000, "sent": 256, "skipped": 2, "mean_bytes": 1310, "in_a_request": 1}
    assert introduction(report(level(1, 900), pictures=pictures)) == (
        "digits@3 in int8 (sha256 be2a467fbe2a…) answers at http://127.0.0.1:8000/predict; "
        "sending 256 pictures of 1.3 kB, of 10,000 files, 2 of them no pictures"
    )


def test_figures_have_three_digits():
    assert list(map(figure, [0, 1.934, 38.21, 5120.4, None])) == ["0", "1.93", "38.2", "5,120", "–"]


@pytest.mark.parametrize("most", [0.3, 1, 7, 99, 100, 2001, 91_262])
def test_a_linear_axis_has_few_round_ticks_from_zero(most):
    ticks, place = linear(most)
    assert 2 <= len(ticks) <= 6
    assert (ticks[0], place(0), place(ticks[-1])) == (0, 0, 1)
    assert 0.5 <= place(most) <= 1


@pytest.mark.parametrize(("least", "most"), [(0.9, 107), (1, 1), (5, 5), (0.016, 0.2), (2, 99_000), (1, 1000)])
def test_a_logarithmic_axis_encloses_its_values_between_round_ticks(least, most):
    ticks, place = logarithmic(least, most)
    assert 2 <= len(ticks) <= 10
    assert (place(ticks[0]), place(ticks[-1])) == (0, 1)
    assert 0 <= place(least) <= place(most) < 1


def test_a_chart_stays_within_its_edges_and_its_texts_apart():
    connections = list(range(1, 41))
    lines = {name: [float(n + extra) for n in connections] for name, extra in (("p50", 0), ("p95", 0.1), ("p99", 0.2))}
    drawn = chart(connections, ["over"] * 40, lines, logarithmic(1, 40.2))
    points = [point for line in drawn["lines"] for point in line["points"]]
    assert all(LEFT <= point["x"] <= RIGHT and TOP <= point["y"] <= BOTTOM for point in points)
    labels = sorted(line["label"] for line in drawn["lines"])
    assert all(after - before >= NAMES_APART - 0.01 for before, after in itertools.pairwise(labels))
    xs = [x for x, _ in drawn["numbers"]]
    assert all(after - before >= NUMBERS_APART for before, after in itertools.pairwise(xs))
    assert drawn["numbers"][0] == (LEFT, "1")
