"""The story of an import that cannot become a run: SavedModel or ONNX -> proof -> a published version."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from artifacts import files
from artifacts.bundle import Bundle
from artifacts.fitting import fit
from artifacts.foreign import EvidenceFor, Kind, Wanted
from artifacts.held_out import HeldOut
from artifacts.store import Store
from exporters import from_onnx, from_saved_model
from exporters.completion import Draft, complete
from exporters.parity import Reference
from exporters.variants import EVERYTHING, Order, Say

OPENERS = {Kind.SAVED_MODEL: from_saved_model.open_original, Kind.ONNX: from_onnx.open_original}
NO_SAVED_MODEL = "imported from ONNX, of which none can be made: TensorFlow Serving cannot load this version"
MISSING = {Kind.SAVED_MODEL: {}, Kind.ONNX: {"saved_model": {"absent": NO_SAVED_MODEL}}}

Page = Callable[[dict[str, Any], list[str], dict[str, Any]], str]  # config, labels, metrics -> HTML


def adopt(  # noqa: PLR0913, PLR0917 - what the command line gives
    path: Path,
    kind: Kind,
    wanted: Wanted,
    evidence_for: EvidenceFor,
    store: Store,
    name: str,
    page: Page,
    say: Say,
    order: Order = EVERYTHING,
) -> Bundle:
    """Publish a model's file as the next version of the model `name`.

    Args:
        path: the folder of a SavedModel, or an ONNX file.
        kind: which of the two.
        wanted: what the person says about the model.
        evidence_for: from the pictures' shape to what the model is proven and judged on.
        store: where it is published.
        name: of the model.
        page: renders the report.
        say: is told what is being done.
        order: which precisions.

    Raises:
        BadModel: the file is damaged, brings code that was not allowed, or is no model that can be served.
        WrongUse: the model is another than the person says.
        ParityFailed: what was made of it answers differently; nothing is published.
    """
    say(f"reading {path.name}, and looking at how it takes pictures and what it answers")
    original = OPENERS[kind](path, wanted)
    foreign, evidence = fit(original, wanted, evidence_for, say)
    by_hand = foreign.fed_by_hand(original)
    golden = replace(evidence.pictures, probabilities=by_hand(evidence.pictures.decode(*foreign.shape)))
    about = {"file": path.name, "sha256": digest(path), "kind": str(kind), **foreign.to_json()}
    origin = {"name": name, "judged_on": evidence.source, "imported": about}
    with store.staging(name) as folder:
        draft = Draft(
            name=name,
            folder=folder,
            shape=foreign.shape,
            labels=wanted.labels,
            parameters=original.parameters,
            golden=golden,
            reference=Reference.of(by_hand, evidence.test or evidence.pictures, foreign.shape, "the original"),
            training=evidence.training.decode(*foreign.shape) if evidence.training else None,
            order=order,
            held_out=HeldOut.of(evidence.test, json.loads(evidence.split)) if evidence.test else None,
        )
        say("writing SavedModel and ONNX" if kind is Kind.SAVED_MODEL else "writing ONNX")
        written = original.write(foreign, name, draft.reference.pixels, folder)
        metrics = evidence.judge(written.exports["ONNX"])
        _write_report(folder, page(origin, wanted.labels, metrics))
        run = {"run": {"id": None, "data_digest": evidence.digest, "seed": None}}
        return complete(
            draft,
            written,
            metrics=metrics,
            about={**origin, **MISSING[kind], **run},
            store=store,
            say=say,
        )


def digest(path: Path) -> str:
    """sha256 of a file, or over the names and contents of all files in a folder."""
    if path.is_file():
        return files.sha256_file(path)
    inside = sorted(each for each in path.rglob("*") if each.is_file())
    listed = [f"{each.relative_to(path).as_posix()} {files.sha256_file(each)}" for each in inside]
    return files.sha256("\n".join(listed).encode())


def _write_report(folder: Path, html: str) -> None:
    (folder / "report").mkdir()
    (folder / "report" / "import.html").write_text(html, encoding="utf-8")
