"""save, import: models from and for elsewhere."""

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts import run as runs
from artifacts.errors import WrongUse
from artifacts.foreign import AUTO, SCALINGS, Evidence, EvidenceFor, Kind, Shape, Wanted, kind
from artifacts.settings import Settings
from artifacts.store import Store, check_name
from commands import ALLOW_CODE, Add
from commands.home import check_writable
from printing import print_json, print_note

if TYPE_CHECKING:
    from artifacts.bundle import Bundle

WARNING = "loading a model runs its code: import only files from people whom you trust"


def add_to(add: Add) -> None:
    """Add the commands of this file."""
    save = add("save", _save, "write a run's model to a .keras or HDF5 file, proven to answer the same")
    save.add_argument("run", metavar="RUN", help="path or id of a run, or `latest`")
    save.add_argument("file", type=Path, metavar="FILE", help="ends in .keras, or in .h5 for the older HDF5")
    save.add_argument("--force", action="store_true", help="replace the file when it exists")
    save.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)
    bring = add("import", _import, "make a run or an exported version of a model that was trained elsewhere")
    bring.add_argument("file", type=Path, metavar="FILE", help=".keras, .h5 or .onnx, or the folder of a SavedModel")
    bring.add_argument("--labels", type=Path, required=True, metavar="L.txt", help="a label a line, in output order")
    bring.add_argument("--size", type=_size, metavar="H,W", help="of the pictures (default: the model's own)")
    bring.add_argument("--channels", type=int, choices=(1, 3), help="grey or RGB (default: the model's own)")
    bring.add_argument("--name", metavar="MODEL", help="name of the model (default: that of the file)")
    bring.add_argument("--data", metavar="DATA", help="labelled pictures to judge it on, as for `tintype train`")
    bring.add_argument("--data-dir", type=Path, metavar="DIR", help="where the files of a named data set lie")
    bring.add_argument(
        "--scaling",
        choices=(AUTO, *SCALINGS),
        default=AUTO,
        help="how pictures were scaled for it: none (0 to 255), unit (0 to 1), signed (-1 to 1), caffe or torch (the "
        "modes of Keras's preprocess_input), auto (by its layers or, with --data, whichever is most accurate)",
    )
    bring.add_argument("--logits", action="store_true", help="its outputs are logits: add a softmax or sigmoid")
    bring.add_argument("--allow-code", action="store_true", help=ALLOW_CODE)


def _save(arguments: argparse.Namespace, settings: Settings) -> None:
    run = runs.find(settings.runs, arguments.run)
    from training.importing.saved import save

    print_note("loading Keras")
    saved = save(run, arguments.file, force=arguments.force, allow_code=arguments.allow_code)
    if arguments.json:
        accuracy = {"before": saved.before, "after": saved.after}
        print_json({"file": str(saved.path), "pictures": saved.pictures, "accuracy": accuracy})
        return
    print(f"read back, it gives the same probabilities, bit for bit, on {saved.pictures} held-out pictures")
    if saved.before is None:
        print("its accuracy is not known: nobody has labelled those pictures")
    else:
        print(f"accuracy on them: {saved.before:.4f} before, {saved.after:.4f} after")
    print(saved.path)


def _import(arguments: argparse.Namespace, settings: Settings) -> None:
    check_writable(settings)
    found = kind(arguments.file)
    name = check_name(arguments.name or _plain(arguments.file))
    wanted = Wanted(
        labels=_labels(arguments.labels),
        size=arguments.size,
        channels=arguments.channels,
        scaling=arguments.scaling,
        logits=arguments.logits,
        allow_code=arguments.allow_code,
    )
    evidence_for = partial(_evidence, arguments, settings, wanted.labels)
    print_note(WARNING)
    if found in (Kind.KERAS, Kind.HDF5):
        _show_run(arguments, _run(arguments.file, found, wanted, evidence_for, settings, name))
        return
    print_note("loading TensorFlow")
    from exporters.adopt import adopt
    from training.importing.page import render

    say = print_note if arguments.json else print
    bundle = adopt(arguments.file, found, wanted, evidence_for, Store(settings.models), name, render, say)
    _show_bundle(arguments, bundle)


def _run(  # noqa: PLR0913, PLR0917 - what the command line gives
    file: Path, found: Kind, wanted: Wanted, evidence_for: EvidenceFor, settings: Settings, name: str
) -> runs.Run:
    from training import backend

    print_note("loading Keras")
    backend.load()
    from training.importing.imported import import_keras

    return import_keras(file, found, wanted, evidence_for, runs=settings.runs, name=name)


def _evidence(arguments: argparse.Namespace, settings: Settings, labels: list[str], shape: Shape) -> Evidence:
    from training.importing.evidence import generated, labelled

    if arguments.data is None:
        return generated(shape)
    return labelled(arguments.data, shape, labels, arguments.data_dir, settings.cache)


def _show_run(arguments: argparse.Namespace, run: runs.Run) -> None:
    metrics = run.metrics()
    if arguments.json:
        print_json({"run": str(run.path), "id": run.id, "metrics": metrics})
        return
    _show_metrics(metrics)
    print(f"report: {run.report_file}")
    print(f"export it: tintype export {run.id}")
    print(run.path)


def _show_bundle(arguments: argparse.Namespace, bundle: "Bundle") -> None:
    if arguments.json:
        print_json({"bundle": str(bundle.path), **bundle.manifest})
        return
    _show_metrics(bundle.manifest["metrics"])
    print(f"{bundle.name}@{bundle.version} is exported; put it into production: tintype deploy {bundle.name}")
    print(bundle.path)


def _show_metrics(metrics: dict[str, Any]) -> None:
    for split in ("validation", "test"):
        accuracy, loss = metrics[split]["accuracy"], metrics[split]["loss"]
        if accuracy is None:
            print("accuracy not measured: give labelled pictures with --data to measure it")
            return
        print(f"{split} accuracy {accuracy:.4f}, loss {loss:.4f}")


def _labels(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise WrongUse(f"--labels {path} cannot be read ({error.strerror}); give a file with a label a line") from None
    except UnicodeDecodeError as error:
        raise WrongUse(f"--labels {path} is not UTF-8 text ({error}); it holds a label a line") from None
    labels = [line.strip() for line in lines]
    while labels and not labels[-1]:
        labels.pop()
    if empty := [number for number, label in enumerate(labels, 1) if not label]:
        raise WrongUse(f"--labels {path} has nothing on line {empty[0]}; it holds a label a line, in output order")
    if twice := sorted({label for label in labels if labels.count(label) > 1}):
        raise WrongUse(f"--labels {path} has {', '.join(twice)} more than once; each output needs a label of its own")
    if len(labels) < 2:  # noqa: PLR2004 - one label needs no model
        raise WrongUse(f"--labels {path} has {len(labels)} labels; at least two are needed to tell them apart")
    return labels


def _plain(file: Path) -> str:
    from training.data.sources import model_name

    return model_name(str(file.resolve().with_suffix("")))


def _size(text: str) -> tuple[int, int]:
    from training.readers import shape

    try:
        height, width, _ = shape(text.replace(",", "x") + "x3")
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be height,width such as 28,28; received {text!r}") from None
    return height, width
