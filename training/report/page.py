"""report.html: one page with everything in it, to be read without a network."""

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import keras
import numpy as np
from markupsafe import Markup, escape

from training.data.dataset import Data
from training.data.split import Split
from training.evaluate import Evaluation
from training.learning.feed import Examples
from training.learning.finder import Finder
from training.learning.fit import Fit
from training.report import architecture, confusion, description, inline, plots, verdicts
from training.report.activity import activity
from training.report.maps import maps
from training.report.sheet import sheet
from training.report.verdicts.finding import Evidence, guessing, interval, total

MISTAKES = 18
LISTED = 20  # of what was skipped, or leaked
TEMPLATES = Path(__file__).parent / "templates"
_SETTING = re.compile(r"--[a-z-]+(?: [a-z_0-9]+=[^\s,;]+| [a-z0-9-]+(?=$|[ ,;)]))?")


@dataclass(frozen=True)
class Story:
    """Everything that the page tells of."""

    run_id: str
    config: dict[str, Any]
    data: Data
    split: Split
    model: keras.Model
    fit: Fit
    validation: Evaluation
    test: Evaluation
    folds: list[float] = field(default_factory=list)  # accuracy of each fold of a cross-validation
    finder: Finder | None = None
    environment: dict[str, Any] = field(default_factory=dict)


def render(story: Story) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "settings": _settings}
    seen = evidence(story)
    return environment.get_template("report.html").render(
        story=story,
        crisp=max(story.data.pixels.shape[1:3]) <= inline.SMALL,
        parameters=story.model.count_params(),
        time=_duration(story.fit.seconds),
        folds_deviation=float(np.std(story.folds, ddof=1)) if len(story.folds) > 1 else 0.0,
        head=_head(story),
        findings=verdicts.findings(seen),
        plots=_plots(story),
        matrix=_matrix(story, seen),
        classes=_classes(story.test.metrics["per_class"]),
        mistakes=mistakes(story),
        sheet=sheet(story.config["augment"], _examples(story, "train"), story.config["seed"]),
        activity=activity(seen.activations),
        drawing=architecture.drawing(story.model),
        layers=description.parameters(story.model),
        trainable=description.count(story.model.trainable_weights),
        maps=_maps(story),
        data=_data(story),
    )


def evidence(story: Story) -> Evidence:
    """What the verdicts are drawn from."""
    data, split = story.data, story.split
    layers = story.model.layers
    known = {data.sha256[row] for part in ("train", "validation") for row in split[part]}
    activations = story.fit.activations
    return Evidence(
        config=story.config,
        labels=data.labels,
        history=story.fit.history,
        best_epoch=story.fit.best_epoch,
        activations=replace(activations, layers=description.spoken(story.model, activations.layers)),
        rates=story.fit.rates,
        validation=story.validation.metrics,
        test=story.test.metrics,
        pictures=np.bincount(data.classes[split["train"]], minlength=len(data.labels)).tolist(),
        dropout=max((layer.rate for layer in layers if isinstance(layer, keras.layers.Dropout)), default=0.0),
        normalised=any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers),
        leaked=sum(data.sha256[row] in known for row in split["test"]),
        contradictions=len(data.contradictions),
        stopped=story.fit.stopped,
        suggestion=story.finder.suggestion if story.finder else None,
    )


def mistakes(story: Story) -> list[dict[str, Any]]:
    """The test pictures that the model was most certain of and wrong about, the worst first, at most MISTAKES."""
    positions, probabilities = story.split["test"], story.test.probabilities
    true, predicted = story.data.classes[positions], probabilities.argmax(1)
    confidence = probabilities.max(1)
    wrong = np.flatnonzero(true != predicted)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    labels = story.data.labels
    return [
        {
            "picture": inline.picture(story.data.pixels[positions[n]]),
            "file": story.data.files[positions[n]],
            "true": labels[true[n]],
            "predicted": labels[predicted[n]],
            "confidence": float(confidence[n]),
        }
        for n in worst
    ]


def _head(story: Story) -> dict[str, Any]:
    """The accuracy, how it is to be seen, and beside what."""
    test = story.test.metrics
    low, high = interval(test["accuracy"], total(test))
    frequent = int(np.argmax(np.sum(test["confusion_matrix"], axis=1)))
    return {
        "level": verdicts.judgement(test),
        "low": low,
        "high": high,
        "pictures": total(test),
        "guessing": guessing(test),
        "frequent": story.data.labels[frequent],
        "chance": 1 / len(story.data.labels),
    }


def _plots(story: Story) -> list[str]:
    fit, finder = story.fit, story.finder
    batches = max(1, len(fit.rates) // len(fit.history))
    drawn = [
        plots.curves(fit.history, "accuracy", "Accuracy", fit.best_epoch),
        plots.curves(fit.history, "loss", "Loss", fit.best_epoch),
        plots.schedule(fit.rates, fit.momenta, batches),
    ]
    return [*drawn, plots.finder(finder.rates, finder.losses, finder.suggestion)] if finder else drawn


def _matrix(story: Story, seen: Evidence) -> dict[str, Any]:
    """The confusion matrix, as cells or as a painting, and what is taken for what."""
    counts, labels = story.test.metrics["confusion_matrix"], story.data.labels
    few = len(labels) <= confusion.MOST_CELLS
    return {
        "rows": confusion.cells(counts, labels) if few else [],
        "painting": "" if few else confusion.painting(counts),
        "upright": len(labels) > 4 and max(map(len, labels)) > 3,  # noqa: PLR2004 - the columns are narrow
        "pairs": verdicts.worst_pairs(seen)[: confusion.SHOWN_PAIRS],
        "calibration": plots.reliability(story.test.metrics["calibration"]["bins"]),
    }


def _classes(per_class: dict[str, dict[str, float]]) -> list[tuple[str, dict[str, float]]]:
    """Few in their own order; of many, the poorest first."""
    rows = list(per_class.items())
    return rows if len(rows) <= confusion.MOST_CELLS else sorted(rows, key=lambda row: row[1]["recall"])


def _maps(story: Story) -> dict[str, Any]:
    """What the layers make of the picture that the network is most certain of and right about."""
    positions, probabilities = story.split["test"], story.test.probabilities
    true = story.data.classes[positions]
    given = probabilities[np.arange(len(true)), true]
    place = int(np.argmax(given))
    pixels = story.data.pixels[positions[place]]
    answer = int(probabilities[place].argmax())
    return {
        "layers": maps(story.model, pixels),
        "picture": inline.picture(pixels),
        "file": story.data.files[positions[place]],
        "answer": story.data.labels[answer],
        "confidence": float(probabilities[place, answer]),
    }


def _data(story: Story) -> dict[str, Any]:
    """How many pictures of each label are in each part, and what was found about them."""
    data, split = story.data, story.split
    counts = {part: np.bincount(data.classes[rows], minlength=len(data.labels)) for part, rows in split.items()}
    rows = [
        {"label": label, "counts": [int(counts[part][number]) for part in split]}
        for number, label in enumerate(data.labels)
    ]
    return {
        "rows": rows,
        "most": max(sum(row["counts"]) for row in rows),
        "total": sum(map(len, split.values())),
        "listed": LISTED,
        "skipped": [(entry["file"], entry["reason"]) for entry in data.skipped],
        "leaks": [(" = ".join(entry["files"]), "") for entry in data.leaks],
        "contradictions": [(" = ".join(entry["files"]), ", ".join(entry["labels"])) for entry in data.contradictions],
    }


def _examples(story: Story, part: str) -> Examples:
    return Examples(story.data.pixels, story.data.classes, story.split[part])


def _duration(seconds: float) -> str:
    """`48.2 s`, `12 min`, `3.5 h`."""
    if seconds < 100:  # noqa: PLR2004 - as a person would say it
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"  # noqa: PLR2004 - as above


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def _settings(text: str) -> Markup:
    """The text, with what can be typed set as code."""
    parts, end = [], 0
    for found in _SETTING.finditer(text):
        parts += [escape(text[end : found.start()]), Markup("<code>"), escape(found[0]), Markup("</code>")]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])
