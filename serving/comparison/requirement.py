"""What a candidate has to reach: `accuracy >= current - 0.005`, read by a small parser and never evaluated as code.

requirement   none, or clauses joined by `and`
clause        METRIC OP BOUND          OP: >= > <= <
METRIC        accuracy, loss; recall[LABEL], precision[LABEL], f1[LABEL] of one class, with [*] of each class,
              and without brackets their mean over the classes
BOUND         current, current + NUMBER, current - NUMBER (of the version in production), or NUMBER
"""

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from artifacts.errors import WrongUse
from artifacts.held_out import REQUIREMENT
from serving.comparison.scores import PER_CLASS, Scores

NONE = "none"
WHOLE = ("accuracy", "loss")
EACH = "*"
LONGEST = 1000  # characters
_DECIMALS = 9  # 0.9 - 0.895 is more than 0.005 to a computer
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
_CLAUSE = re.compile(
    r" *(?P<metric>[a-z0-9_]+) *(?:\[(?P<label>[^\[\]]+)\])? *(?P<operator>>=|<=|>|<) *"
    rf"(?:(?P<current>current)(?: *(?P<sign>[+-]) *(?P<shift>{_NUMBER}))?|(?P<number>{_NUMBER})) *(?P<rest>and\b|$)"
)


class Finding(NamedTuple):
    """What a clause came to, for one metric of one class or of all."""

    metric: str  # as a person reads it: accuracy, recall of cat
    operator: str
    candidate: float
    current: float | None
    bound: float | None  # None: there is no version in production to hold it against
    passed: bool


@dataclass(frozen=True)
class Clause:
    """One comparison."""

    metric: str
    label: str | None
    operator: str
    relative: bool
    number: float

    def findings(self, candidate: Scores, current: Scores | None) -> Iterator[Finding]:
        """One, or with `[*]` one for each class.

        Raises:
            WrongUse: no picture shows the class.
        """
        for label in candidate.per_class if self.label == EACH else [self.label]:
            has = candidate.figure(self.metric, label)
            had = None if current is None else current.figure(self.metric, label)
            bound = self._bound(had)
            name = self.metric if label is None else f"{self.metric} of {label}"
            passed = bound is None or _OPERATORS[self.operator](round(has, _DECIMALS), round(bound, _DECIMALS))
            yield Finding(name, self.operator, has, had, bound, passed)

    def _bound(self, current: float | None) -> float | None:
        if not self.relative:
            return self.number
        return None if current is None else current + self.number


@dataclass(frozen=True)
class Requirement:
    """All clauses have to hold; of `none` there are none."""

    text: str
    clauses: tuple[Clause, ...]

    @property
    def absolute(self) -> bool:
        """Whether it says something about a version that nothing is in production beside."""
        return any(not clause.relative for clause in self.clauses)

    def judge(self, candidate: Scores, current: Scores | None) -> list[Finding]:
        """What each clause came to; of a version in production there may be none.

        Raises:
            WrongUse: a clause is about a class that no picture shows.
        """
        return [found for clause in self.clauses for found in clause.findings(candidate, current)]


def parse(text: str) -> Requirement:
    """Read a requirement.

    Raises:
        WrongUse: it is none.
    """
    written = text.strip()
    if written == NONE:
        return Requirement(NONE, ())
    if len(written) > LONGEST:
        raise WrongUse(f"a requirement has at most {LONGEST} characters; received {len(written)}")
    clauses, place = [], 0
    while True:
        found = _CLAUSE.match(written, place)
        if not found:
            raise WrongUse(_wrong(written, place))
        clauses.append(_clause(found, written))
        place = found.end()
        if not found["rest"]:
            return Requirement(written, tuple(clauses))


def _clause(found: re.Match[str], text: str) -> Clause:
    metric, label = found["metric"], found["label"] and found["label"].strip()
    if metric not in (*WHOLE, *PER_CLASS):
        known = ", ".join([*WHOLE, *(f"{name}[LABEL]" for name in PER_CLASS)])
        raise WrongUse(f"there is no metric {metric!r} in {text!r}; the metrics are: {known}")
    if label and metric in WHOLE:
        raise WrongUse(f"{metric} is one figure for all classes; leave out [{label}] in {text!r}")
    if not found["current"]:
        return Clause(metric, label, found["operator"], relative=False, number=float(found["number"]))
    shift = float(found["shift"] or 0) * (-1 if found["sign"] == "-" else 1)
    return Clause(metric, label, found["operator"], relative=True, number=shift)


def _wrong(text: str, place: int) -> str:
    return (
        f"a requirement reads like {REQUIREMENT!r}, {'recall[cat] >= 0.9 and loss <= current'!r}, or {NONE!r}; "
        f"received {text!r}, which cannot be read from {text[place : place + 40]!r} on"
    )
