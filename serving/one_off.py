"""A few pictures, once, without a server."""

from pathlib import Path
from typing import Any

import numpy as np

from artifacts import bundle as bundles
from artifacts import pixels
from artifacts.errors import BadPicture, WrongUse
from artifacts.settings import Settings
from serving.answers import TOP_K, answers
from serving.engine.variants import open_best


def predict(version: Path, images: list[Path], settings: Settings) -> dict[str, Any]:
    """What POST /predict answers for these files, from the bundle at `version`.

    Raises:
        WrongUse: a file does not exist.
        BadBundle: the model cannot be loaded.
    """
    if folders := [str(path) for path in images if path.is_dir()]:
        raise WrongUse(f"{', '.join(folders)} is a folder; use: tintype classify {folders[0]}")
    if missing := [str(path) for path in images if not path.is_file()]:
        raise WrongUse(f"there is no file {', '.join(missing)}; give the paths of pictures")
    bundle = bundles.verify(version)
    opened = open_best(bundle, settings, threads=1)
    predictions: list[dict[str, Any]] = []
    for path in images:
        prediction: dict[str, Any] = {"file": str(path)}
        try:
            picture = pixels.decode(path.read_bytes(), *bundle.shape, settings.max_pixels).pixels
        except BadPicture as error:
            prediction["error"] = {"code": error.code, "message": str(error)}
        else:
            prediction |= answers(opened.runtime.run(picture[np.newaxis]), bundle.labels, TOP_K)[0]
        predictions.append(prediction)
    return {"model": bundle.identity(opened.variant), "predictions": predictions}
