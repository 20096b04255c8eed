"""The sub-commands, one file a room. Each imports its room only when it is called.

A command takes the parsed arguments and the settings, prints what it made as its last line, and raises a TintypeError.
"""

import argparse
from collections.abc import Callable

from artifacts.held_out import REQUIREMENT

Add = Callable[..., argparse.ArgumentParser]  # (name, command, what it does) -> the parser of its arguments
ALLOW_CODE = "let the Lambda layers, or other code that the model brings, run; only if you trust whoever made it"
REQUIRE = (
    "what it has to reach beside the version in production, on the same held-out pictures: METRIC OP [current ±] "
    f"NUMBER, joined by `and`; or `none` (default: {REQUIREMENT})"
)
