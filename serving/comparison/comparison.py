"""Two versions on the same pictures: figures, per class, and the answers that changed.

What stands in `models/<name>/comparisons/<candidate>-<current>.json`:

    schema_version, created, name, source, pictures, left_out, remarks[]
    candidate, current {version, sha256, variant, scores {accuracy, loss, per_class}}     current is null without one
    labels {added[], removed[]}
    changed {broken, mended, otherwise, chance, shown[{place, file, is, was, now, kind}]}
    verdict {require, passed, sentence, findings[]}    of the requirement that it was judged by last

Versions are sealed, so what was measured once is not measured again as long as both sha256 agree.
"""

import json
import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifacts import pixels
from artifacts.bundle import Bundle
from serving.comparison.pictures import Chosen, choose
from serving.comparison.scores import Answers, Scores
from serving.engine.variants import Opened

SCHEMA_VERSION = 1
FOLDER = "comparisons"
SECONDS = 60.0  # that both together may take to answer
LEAST = 200  # pictures, if there are as many
TOGETHER = 32  # pictures in a turn
SHOWN = 48  # of each kind of changed answer
BROKEN, MENDED, OTHERWISE = "broken", "mended", "otherwise"  # wrong only now; right only now; wrong in another way

Comparison = dict[str, Any]
Open = Callable[[Bundle], Opened]


class Side(NamedTuple):
    """One of the two, loaded."""

    bundle: Bundle
    opened: Opened


def compare(candidate: Bundle, current: Bundle | None, load: Open) -> Comparison:
    """Measure both on the same pictures; without `current`, the candidate alone.

    `load` opens a version in the variant that would answer requests.

    Raises:
        BadBundle: one of them is damaged, or does not answer as it should.
    """
    chosen = choose(candidate, current)
    sides = [Side(each, load(each)) for each in (candidate, current) if each]
    asked = _ask(sides, chosen)
    chosen = chosen.part(len(asked[0]))
    answers = [Answers.of(given, side.bundle.labels, chosen.truth) for given, side in zip(asked, sides, strict=True)]
    told = [_told(side, given, chosen.truth) for side, given in zip(sides, answers, strict=True)]
    return {
        "schema_version": SCHEMA_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": candidate.name,
        "source": chosen.source,
        "pictures": len(chosen),
        "left_out": chosen.left_out,
        "remarks": chosen.remarks,
        "candidate": told[0],
        "current": told[1] if current else None,
        "labels": _labels(candidate, current),
        "changed": _changed(chosen, *answers) if current else None,
        "verdict": None,
    }


def place(candidate: Bundle, current: Bundle | None) -> Path:
    """The file of a comparison; its page lies beside it, as .html."""
    return place_of(candidate.path.parent, candidate.version, current.version if current else None)


def place_of(home: Path, candidate: int, current: int | None) -> Path:
    """The same, by the folder of the model and the numbers of the versions."""
    against = "" if current is None else f"-{current}"
    return home / FOLDER / f"{candidate}{against}.json"


def read(candidate: Bundle, current: Bundle | None) -> Comparison | None:
    """What was measured before, of these very two; None when it was not, or the file is damaged."""
    try:
        known: Comparison = json.loads(place(candidate, current).read_bytes())
        sha256 = [side and side["sha256"] for side in (known["candidate"], known["current"])]
        same = sha256 == [candidate.sha256, current and current.sha256]
        return known if same and known["schema_version"] == SCHEMA_VERSION else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def scores(side: dict[str, Any] | None) -> Scores | None:
    """The figures of a side; None where there is no such version, or no picture to judge it by."""
    return Scores(**side["scores"]) if side and side["scores"] else None


def _ask(sides: list[Side], chosen: Chosen) -> list[NDArray[np.float32]]:
    """The probabilities of each side, (N, its classes), of as many pictures as there is time for."""
    end = time.monotonic() + SECONDS
    answers: list[list[NDArray[np.float32]]] = [
        [np.empty((0, len(side.bundle.labels)), np.float32)] for side in sides
    ]  # fmt: skip
    for start in range(0, len(chosen), TOGETHER):
        if start >= LEAST and time.monotonic() > end:
            break
        some = chosen.encoded[start : start + TOGETHER]
        decoded = {shape: _decoded(some, shape) for shape in {side.bundle.shape for side in sides}}
        for side, given in zip(sides, answers, strict=True):
            given.extend(_batches(side.opened, decoded[side.bundle.shape]))
    return [np.concatenate(given) for given in answers]


def _batches(opened: Opened, pictures: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    size = opened.best_batch
    return [opened.runtime.run(pictures[start : start + size]) for start in range(0, len(pictures), size)]


def _decoded(encoded: list[bytes], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.stack([pixels.decode(data, *shape).pixels for data in encoded])


def _told(side: Side, answers: Answers, truth: list[str]) -> dict[str, Any]:
    version = {"version": side.bundle.version, "sha256": side.bundle.sha256, "variant": side.opened.variant}
    return {**version, "scores": asdict(Scores.of(answers, truth)) if truth else None}


def _labels(candidate: Bundle, current: Bundle | None) -> dict[str, list[str]]:
    """Which labels only one of them knows."""
    has, had = set(candidate.labels), set(current.labels if current else candidate.labels)
    return {"added": sorted(has - had), "removed": sorted(had - has)}


def _changed(chosen: Chosen, candidate: Answers, current: Answers) -> dict[str, Any]:
    """The answers that are not the same, the surest ones first."""
    shown: list[dict[str, Any]] = []
    for number in np.argsort(-candidate.confidences, kind="stable").tolist():
        true, now, was = chosen.truth[number], candidate.labels[number], current.labels[number]
        if now != was:
            shown.append(
                {
                    "kind": BROKEN if was == true else MENDED if now == true else OTHERWISE,
                    "place": number,
                    "file": chosen.names[number],
                    "is": true,
                    "was": {"label": was, "confidence": round(float(current.confidences[number]), 6)},
                    "now": {"label": now, "confidence": round(float(candidate.confidences[number]), 6)},
                }
            )
    counts = Counter(each["kind"] for each in shown)
    kinds = {kind: counts[kind] for kind in (BROKEN, MENDED, OTHERWISE)}
    first = [each for kind in kinds for each in [one for one in shown if one["kind"] == kind][:SHOWN]]
    return {**kinds, "chance": _chance(counts[BROKEN], counts[MENDED]), "shown": first}


def _chance(broken: int, mended: int) -> float:
    """How likely two equal models differ as much as this, or more: the two-sided sign test, as in McNemar's exact one.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 12, 1947.
    """
    total, fewer = broken + mended, min(broken, mended)
    if not total:
        return 1.0
    tail = sum(math.comb(total, count) for count in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**total))
