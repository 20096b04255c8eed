"""Take out of an environment what no process of `tintype serve` and `tintype worker` reads: a quarter of its bytes.

    python deploy/slim.py /opt/tintype

The image still has to start and answer after that, which tests/acceptance/compose.sh sees.
"""

import shutil
import sys
from pathlib import Path

SITE = "lib/python3.11/site-packages"
UNREAD = (
    "**/tests",  # of the libraries
    "**/*.a", "**/*.c", "**/*.h", "**/*.pxd", "**/*.pxi", "**/*.pyi", "**/*.pyx",  # what programs are built with
    "numpy/distutils", "numpy/f2py",
    "onnxruntime/quantization", "onnxruntime/tools", "onnxruntime/transformers",  # the exporters' business
    "pyarrow/include", "pyarrow/src",
    "pyarrow/*flight*", "pyarrow/*s3*",  # a network protocol, a file system: only Parquet is written
    "pyarrow/libarrow_python*.so", "pyarrow/libarrow_python*.so.*.*.*",  # the same libraries under other names
    "PIL/_avif.*", "pillow.libs/libavif-*",  # a format that is refused, and a decoder that nobody can attack
    "click_repl", "prompt_toolkit", "wcwidth",  # the shell of the command `celery`
)  # fmt: skip
KEPT = ("python*", "tintype")  # of the commands


def slim(environment: Path) -> None:
    """Take it out.

    Raises:
        SystemExit: something that is listed is not there: a library has changed, and the list has to follow.
    """
    site = environment / SITE
    for pattern in UNREAD:
        found = sorted(site.glob(pattern))
        if not found:
            sys.exit(f"nothing in {site} matches {pattern}: take it out of {__file__}")
        for path in found:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # one folder of tests may lie in another
            else:
                path.unlink(missing_ok=True)
    for path in (environment / "bin").iterdir():
        if not any(path.match(name) for name in KEPT):
            path.unlink()


if __name__ == "__main__":
    slim(Path(sys.argv[1]))
