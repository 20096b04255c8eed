"""What a load test came to, in sentences and figures: the same on the terminal and on the page."""

from collections import Counter
from typing import Any

NEARLY = 0.95  # of the most requests a second: fewer connections that reach it are enough
LIMIT = 0.8  # of a core: beyond it the load generator itself may be what was measured
NOTHING = "–"

Report = dict[str, Any]


def introduction(report: Report) -> str:
    """Who answers, and what is sent."""
    who = report["model"]
    model = f"{who['name']}@{who['version']} in {who['variant']} (sha256 {who['sha256'][:12]}…)"
    return f"{model} answers at {report['url']}; sending {pictures(report)}"


def pictures(report: Report) -> str:
    """`256 pictures of 1.3 kB, of 10,000 files, 2 of them no pictures`."""
    sent = report["pictures"]
    of = f", of {sent['found']:,} files" if sent["found"] > sent["sent"] else ""
    skipped = f", {sent['skipped']:,} of them no pictures" if sent["skipped"] else ""
    return f"{counted(sent['sent'], 'picture')} of {sent['mean_bytes'] / 1000:,.1f} kB{of}{skipped}"


def verdict(report: Report) -> str:
    """The most requests a second, and the fewest connections that come near it."""
    levels = [level for level in report["levels"] if level["ok"]]
    if not levels:
        return "No request succeeded."
    most = max(levels, key=lambda level: level["requests_per_second"])
    near = [level for level in levels if level["requests_per_second"] >= NEARLY * most["requests_per_second"]]
    enough = min(near, key=lambda level: level["connections"])
    sentence = f"{_reached(most)}."
    if enough is not most:
        share = 100 * enough["requests_per_second"] / most["requests_per_second"]
        sentence += f" {enough['connections']:,} are enough for {share:.0f} % of that, with a p99 of {_ms(enough)}."
    return sentence


def _reached(level: dict[str, Any]) -> str:
    rate, clients = figure(level["requests_per_second"]), counted(level["connections"], "connection")
    return f"{rate} requests/s over {clients}, with a p99 of {_ms(level)}"


def _ms(level: dict[str, Any]) -> str:
    return f"{figure(level['p99_ms'])} ms"


def findings(report: Report) -> list[str]:
    """What a person has to know before trusting the figures."""
    return [*_refusals(report["levels"]), *_limits(report["levels"]), *_missing(report)]


def _refusals(levels: list[dict[str, Any]]) -> list[str]:
    counts: Counter[str] = Counter()
    said: dict[str, str] = {}
    for level in levels:
        counts.update(level["refused"])
        counts.update(level["failed"])
        said = level["said"] | said
    return [
        f"{reason} for {counted(count, 'request')}{f': {said[reason]}' if said.get(reason) else ''}"
        for reason, count in counts.most_common()
    ]


def _limits(levels: list[dict[str, Any]]) -> list[str]:
    reached = [level for level in levels if level["generator_cores"] > LIMIT]
    if not reached:
        return []
    most = max(reached, key=lambda level: level["generator_cores"])
    taken = f"over {counted(most['connections'], 'connection')} it took {100 * most['generator_cores']:.0f} % of a core"
    return [f"the load generator is the limit; run it elsewhere, or several at once: {taken}"]


def _missing(report: Report) -> list[str]:
    whole = [level["connections"] for level in report["levels"] if level["seconds"] >= report["seconds"]]
    if len(whole) == len(report["connections"]):
        return []
    return [f"interrupted: {len(whole)} of {counted(len(report['connections']), 'level')} measured to the end"]


def columns(report: Report) -> tuple[list[str], list[list[str]]]:
    """The table: its head, and a row a level."""
    levels, pictures = report["levels"], report["pictures"]["in_a_request"] > 1
    stages = next((list(level["stages_ms"]) for level in levels if level["stages_ms"]), [])
    head = ["connections", "requests/s", *(["pictures/s"] if pictures else []), "p50 ms", "p95 ms", "p99 ms", "max ms"]
    head += [*(f"{stage} ms" for stage in stages), "not 200"]
    return head, [_row(level, stages, pictures=pictures) for level in levels]


def _row(level: dict[str, Any], stages: list[str], *, pictures: bool) -> list[str]:
    rates = [level["requests_per_second"], *([level["pictures_per_second"]] if pictures else [])]
    times = [level[f"{cut}_ms"] for cut in ("p50", "p95", "p99", "max")]
    inside = [(level["stages_ms"] or {}).get(stage) for stage in stages]
    bad = {**level["refused"], **level["failed"]}
    words = ", ".join(f"{count:,} × {reason}" for reason, count in bad.items())
    return [f"{level['connections']:,}", *map(figure, [*rates, *times, *inside]), words or "0"]


def counted(count: int, noun: str) -> str:
    """`1 picture`, `2,000 pictures`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def figure(value: float | None) -> str:
    """Three digits, or all before the point: `5,120`, `38.2`, `1.93`."""
    if not value:
        return NOTHING if value is None else "0"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2  # noqa: PLR2004
    return f"{value:,.{digits}f}"
