"""The report of a model that was not trained here: where it came from, how it is fed, and what it reached."""

from pathlib import Path
from typing import Any

import jinja2

TEMPLATES = Path(__file__).parents[1] / "report" / "templates"


def render(config: dict[str, Any], labels: list[str], metrics: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        config: {"name", "judged_on", "imported": {"file", "sha256", "kind", "layout", "scaling", …}}.
        labels: in the order of the outputs.
        metrics: as in metrics.json; accuracies are None where nothing was measured.
    """
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    return environment.get_template("imported.html").render(config=config, labels=labels, metrics=metrics)
