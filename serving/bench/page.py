"""The report as a page: throughput and latency over connections, where the time goes, the table.

One page with everything in it, to be read without a network.
"""

from pathlib import Path
from typing import Any

import jinja2

from serving.bench.chart import chart, linear, logarithmic
from serving.bench.level import STAGES
from serving.bench.load import WARM_SECONDS
from serving.bench.report import Report, columns, counted, figure, findings, pictures, verdict

TEMPLATE = Path(__file__).with_name("page.html")
CUTS = ("p50", "p95", "p99")
REST = "rest"  # of a request's time: HTTP, the network, waiting for a thread of the server

Levels = list[dict[str, Any]]


def render(report: Report) -> str:
    """The page as HTML; `report` is that of `serving.bench.bench.measure`, with at least one level."""
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    head, rows = columns(report)
    answered = sorted((level for level in report["levels"] if level["ok"]), key=lambda level: level["connections"])
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        report=report,
        name=f"{report['model']['name']}@{report['model']['version']}",
        verdict=verdict(report),
        findings=findings(report),
        grade=_grade(report["levels"]),
        charts=_charts(answered) if answered else [],
        bars=[_bar(level) for level in answered if level["stages_ms"]],
        stages=(*STAGES, REST),
        head=head,
        rows=rows,
        facts=_facts(report),
    )


def _grade(levels: Levels) -> str:
    if not any(level["ok"] for level in levels):
        return "bad"
    return "warn" if any(level["refused"] or level["failed"] for level in levels) else "good"


def _charts(levels: Levels) -> list[dict[str, Any]]:
    """Throughput, from zero, and latency, whose axis is logarithmic: it spans decades."""
    connections, titles = [level["connections"] for level in levels], [_title(level) for level in levels]
    rates = [level["requests_per_second"] for level in levels]
    times = {cut: [level[f"{cut}_ms"] for level in levels] for cut in CUTS}
    every = [time for line in times.values() for time in line]
    return [
        {"title": "Requests a second", **chart(connections, titles, {"requests/s": rates}, linear(max(rates)))},
        {"title": "Latency in ms", **chart(connections, titles, times, logarithmic(min(every), max(every)))},
    ]


def _title(level: dict[str, Any]) -> str:
    """What is shown over a point."""
    times = ", ".join(f"{cut} {figure(level[f'{cut}_ms'])} ms" for cut in CUTS)
    return f"{counted(level['connections'], 'connection')}: {figure(level['requests_per_second'])} requests/s, {times}"


def _bar(level: dict[str, Any]) -> dict[str, Any]:
    """Shares of the median latency; the medians of the stages need not add up to it."""
    inside = [level["stages_ms"][stage] for stage in STAGES]
    times = [*inside, max(0.0, level["p50_ms"] - sum(inside))]
    parts = [
        {"stage": stage, "ms": figure(time), "percent": round(100 * time / sum(times), 2)}
        for stage, time in zip((*STAGES, REST), times, strict=True)
    ]
    return {"connections": level["connections"], "ms": figure(level["p50_ms"]), "parts": parts}


def _facts(report: Report) -> dict[str, str]:
    """What was asked, with what, from where."""
    machine, each = report["machine"], report["pictures"]["in_a_request"]
    most = max(level["generator_cores"] for level in report["levels"])
    return {
        "asked": f"POST {report['url']}",
        "answered": f"{report['model']['name']}@{report['model']['version']} in {report['model']['variant']}",
        "sha256 of the model": report["model"]["sha256"],
        "pictures": pictures(report),
        "in a request": counted(each, "picture"),
        "seconds": f"{report['seconds']:g} of each number of connections, after {WARM_SECONDS:g} that did not count",
        "load generator": f"{machine['processor']}, {counted(machine['cores'], 'core')}, {machine['system']}",
        "processor it took": f"at most {100 * most:.0f} % of one core",
    }
