"""What is asked before a version goes into production: that it answers as it should, and as well as what is there.

`Gate` is the `check` of `artifacts.store.Store.deploy`.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace

from artifacts import bundle as bundles
from artifacts import files
from artifacts.aliases import PRODUCTION
from artifacts.bundle import Bundle
from artifacts.errors import BadBundle
from artifacts.settings import Settings
from artifacts.store import Store
from serving.comparison import page
from serving.comparison.comparison import Comparison, compare, place, read, scores
from serving.comparison.requirement import Finding, Requirement
from serving.engine.devices import CPU
from serving.engine.onnx import check_answers
from serving.engine.runtime import BASE
from serving.engine.variants import ONNX, Opened, open_best
from serving.errors import Incomparable, Worse

Measure = Callable[[Bundle, Bundle | None], Comparison]

log = logging.getLogger(__name__)


class Gate:
    """Lets a version pass that meets the requirement; `told` is what was found, None where there was nothing to do."""

    def __init__(self, store: Store, requirement: Requirement, measure: Measure) -> None:
        self.told: Comparison | None = None
        self._store, self._requirement, self._measure = store, requirement, measure

    def __call__(self, candidate: Bundle) -> None:
        """Let it pass.

        Raises:
            BadBundle: it is damaged, or does not answer as it should.
            Worse: it is not good enough.
            Incomparable: nobody has labelled any picture of either version.
            WrongUse: the requirement is about a class that no picture shows.
        """
        check_answers(candidate)
        if not self._requirement.clauses:
            return
        current = self._current(candidate)
        if current is None and not self._requirement.absolute:
            return
        try:
            measured = read(candidate, current) or self._measure(candidate, current)
        except BadBundle as error:
            if current is None:
                raise
            _warn(candidate, error)  # the candidate has just answered, so it is the other one
            return
        self.told = judge(candidate, current, measured, self._requirement)
        if not self.told["verdict"]["passed"]:
            raise Worse(self.told["verdict"]["sentence"])

    def _current(self, candidate: Bundle) -> Bundle | None:
        """What is in production, if it is another version and is whole: a damaged one must not keep its repair out."""
        version = self._store.aliases(candidate.name).get(PRODUCTION)
        if version is None or version == candidate.version:
            return None
        try:
            return bundles.verify(self._store.path(candidate.name, version))
        except BadBundle as error:
            _warn(candidate, error)
            return None


def _warn(candidate: Bundle, error: BadBundle) -> None:
    log.warning("%s is compared with nothing, for what is in production is damaged: %s", _name(candidate), error)


def judge(candidate: Bundle, current: Bundle | None, measured: Comparison, requirement: Requirement) -> Comparison:
    """The comparison with its verdict, written down with its page.

    Raises:
        Incomparable, WrongUse: as in `Gate`.
    """
    has, had = scores(measured["candidate"]), scores(measured["current"])
    if has is None:
        raise Incomparable(
            f"{_name(candidate)} cannot be compared: neither it nor what is in production carries labelled pictures; "
            "--require none deploys it uncompared"
        )
    findings = requirement.judge(has, had)
    verdict = {
        "require": requirement.text,
        "passed": all(found.passed for found in findings),
        "sentence": _sentence(candidate, current, measured, findings),
        "findings": [found._asdict() for found in findings],
    }
    judged = {**measured, "verdict": verdict}
    path = place(candidate, current)
    path.parent.mkdir(exist_ok=True)
    files.write_json(path, judged)
    page.write(path, judged, candidate, current)
    return judged


def measure_here(settings: Settings) -> Measure:
    """Measure in this process, on all cores of its CPU, in the variant that would answer requests."""
    variant = settings.variant if settings.runtime == ONNX else BASE
    wanted = replace(settings, runtime=ONNX, device=CPU, variant=variant)
    threads = len(os.sched_getaffinity(0))

    def load(version: Bundle) -> Opened:
        return open_best(version, wanted, threads)

    return lambda candidate, current: compare(candidate, current, load)


def _sentence(candidate: Bundle, current: Bundle | None, measured: Comparison, findings: list[Finding]) -> str:
    """What came of it, with the figures of both."""
    on = f"on the same {measured['pictures']:,} {measured['source']}"
    wrong = [found for found in findings if not found.passed] or findings[:1]
    figures = "; ".join(_figures(found, current) for found in wrong)
    if all(found.passed for found in findings):
        return f"{_name(candidate)} is good enough: {figures}, {on}"
    return (
        f"{_name(candidate)} is not good enough for production: {figures}, {on}; --require none deploys it all the same"
    )


def _figures(found: Finding, current: Bundle | None) -> str:
    has = f"{found.metric} {found.candidate:.4f}"
    had = f", {_name(current)} has {found.current:.4f}" if current and found.current is not None else ""
    bound = f", wanted {found.operator} {found.bound:.4f}" if found.bound is not None else ""
    return f"{has}{had}{bound}"


def _name(version: Bundle) -> str:
    return f"{version.name}@{version.version}"
