"""What follows when the files in full precision are written: proof, reduced precisions, figures, report, publishing."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from artifacts.bundle import Bundle
from artifacts.census import LABEL, census
from artifacts.held_out import HeldOut
from artifacts.pictures import Pictures
from artifacts.store import Store
from exporters import comparisons, encoded, report, triton, variants
from exporters.activation_map import Map
from exporters.manifest import describe
from exporters.parity import TOLERANCE, Predict, Reference, Verdict, prove
from exporters.to_onnx import open_onnx
from exporters.variants import BASE, FILES, Order, Say, Variants


@dataclass(frozen=True)
class Draft:
    """A version in the making.

    `golden`: the pictures that go with it, with the original model's answers; `training`: uint8 (N, height, width,
    channels), to calibrate int8 by, or None; `held_out`: by which it is compared with other versions, or None.
    """

    name: str
    folder: Path
    shape: tuple[int, int, int]
    labels: list[str]
    parameters: int
    golden: Pictures
    reference: Reference
    training: NDArray[np.uint8] | None
    order: Order
    held_out: HeldOut | None


class Written(NamedTuple):
    """The files in full precision: what runs them, by name ("SavedModel" may be missing), and the second output."""

    exports: dict[str, Predict]
    activation_map: Map | None


def complete(  # noqa: PLR0913 - what the two ways to a version differ in
    draft: Draft,
    written: Written,
    *,
    metrics: dict[str, Any],
    about: dict[str, Any],
    store: Store,
    say: Say,
) -> Bundle:
    """Publish the next version of a model.

    Args:
        draft: the version, whose folder holds the files in full precision.
        written: those files.
        metrics: the model's, as in metrics.json.
        about: what the manifest says of where the model came from; its `saved_model` says why there is none.
        store: where it is published.
        say: is told what is being done.

    Raises:
        ParityFailed: the files in full precision answer otherwise than the original; nothing is published.
    """
    count = f"{len(draft.reference.pixels):,} pictures"
    say(f"proving that {' and '.join(written.exports)} answer as {draft.reference.original} on {count}")
    verdict = prove(draft.reference, written.exports)
    entry = variants.base(draft.order, verdict)
    say(_told(verdict))
    made = variants.reduce(draft.folder, entry, draft.order, draft.reference, draft.training, say)
    variants.measure(draft.folder, draft.shape, made, say)
    _write_golden(draft, made)
    if draft.held_out and draft.held_out.pictures.encoded:
        draft.held_out.save(draft.folder)
    described = describe(
        labels=draft.labels,
        shape=draft.shape,
        metrics=metrics,
        parameters=draft.parameters,
        order=draft.order,
        variants=made,
        activation_map=written.activation_map,
        saved_model=_saved_model(draft) if "SavedModel" in written.exports else {},
    )
    manifest = {**described, **_census(draft, metrics), **about}
    page = report.render(draft.name, manifest)
    (draft.folder / "report" / "export.html").write_text(page, encoding="utf-8")
    beside = {"config.pbtxt": triton.config(draft.name, draft.shape, len(draft.labels), entry["best_batch"])}
    comparisons.begin(store.root / draft.name, draft.name)
    return store.publish(draft.name, draft.folder, manifest, beside)


def _write_golden(draft: Draft, made: Variants) -> None:
    """The golden pictures, with the answers of each variant that does not answer as the original does."""
    pixels = draft.golden.decode(*draft.shape)
    differing = [name for name, entry in made.made.items() if name != BASE or "allowed" in entry]
    answers = {name: open_onnx(draft.folder / FILES[name])(pixels) for name in differing}
    replace(draft.golden, answers=answers).save(draft.folder / "golden.npz")


def _census(draft: Draft, metrics: dict[str, Any]) -> dict[str, Any]:
    """What held-out pictures are like, for a server to compare its own with; nothing where there are only made-up ones.

    The pictures that were kept have the labels in turn: their shares are those of the whole part, where it was judged.
    """
    held_out = draft.reference
    if held_out.areas is None or not (held_out.classes >= 0).any():
        return {}
    counted = census(held_out.pixels, held_out.expected, held_out.areas, draft.labels)
    if matrix := metrics["test"].get("confusion_matrix"):
        predicted = np.sum(matrix, axis=0).tolist()
        counted.bins[LABEL] = Counter({label: n for label, n in zip(draft.labels, predicted, strict=True) if n})
    return {"census": counted.to_json()}


def _saved_model(draft: Draft) -> dict[str, Any]:
    expected = draft.golden.probabilities
    if expected is None:
        raise ValueError("golden pictures without answers")
    return {"encoded": encoded.measure(draft.folder, draft.golden, draft.shape, expected)}


def _told(verdict: Verdict) -> str:
    if verdict.fault:
        return f"{verdict.fault}; allowed by --allow"
    return f"parity: the largest difference is {verdict.parity.max_difference:.1e} (at most {TOLERANCE:.0e})"
