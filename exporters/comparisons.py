"""The page that an export's links to until `serving` writes it: the list of a model's versions that were compared."""

from pathlib import Path

import jinja2

from artifacts import files

TEMPLATES = Path(__file__).parent / "templates"
INDEX = "comparisons/index.html"  # in the model's folder


def begin(home: Path, name: str) -> None:
    """Write the page of the model `name`, whose folder is `home`, unless it is there."""
    index = home / INDEX
    if index.exists():
        return
    index.parent.mkdir(parents=True, exist_ok=True)
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True)
    files.write_new(index, environment.get_template("comparisons.html").render(name=name))
