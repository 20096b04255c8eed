"""Print what extras of pyproject.toml need, for a layer of an image that is made anew only when that changes.

    python deploy/requirements.py serve telemetry

One requirement a line, as pip's --requirement reads them.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [project["optional-dependencies"][name] for name in sys.argv[1:]]
print("\n".join(dict.fromkeys(sum(extras, project["dependencies"]))))
