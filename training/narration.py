"""What a training tells a person while it works, on standard error, above the bar."""

import sys

from tqdm import tqdm

from training.config import write_shape
from training.data.dataset import Data
from training.data.split import Split

SHOWN = 5  # of the pictures that were left out, or that leak


def say(sentence: str) -> None:
    """One line."""
    tqdm.write(sentence, file=sys.stderr)


def announce(data: Data, divided: Split, preset: str) -> None:
    """Say what is about to be done, what is left out, and what is wrong with the pictures."""
    recipe = data.recipe
    parts = ", ".join(f"{len(rows):,} {part}" for part, rows in divided.items())
    size = write_shape(recipe.input)
    say(f"{len(data.files):,} pictures of {len(data.labels)} classes: {parts}; as {size}")
    say(f"preset {preset}: epochs {recipe.epochs}, batches of {recipe.batch_size}, {recipe.optimizer}")
    for remark in data.remarks:
        say(remark)
    for left_out in data.skipped[:SHOWN]:
        say(f"left out: {left_out['file']}: {left_out['reason']}")
    if len(data.skipped) > SHOWN:
        say(f"left out: {len(data.skipped) - SHOWN} more, all listed in split.json")
