"""The front door: the `tintype` command. Each sub-command imports its room only when it is called."""

import argparse
import errno
import os
import sys
import traceback
from collections.abc import Callable

from artifacts import settings as settings_module
from artifacts.errors import TintypeError, UnknownModel
from artifacts.settings import Settings
from commands import bench, deploying, jobs, keys, model_files, retrain, serving, store, training

FAILED = 1
INTERRUPTED = 130  # as shells count a death by SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 failed, 2 wrong use."""
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None where the shell has closed it
            stream.reconfigure(errors="backslashreplace")  # a path need not be UTF-8
    arguments = _parser().parse_args(argv)
    try:
        arguments.command(arguments, settings_module.read(os.environ))
        if sys.stdout:
            sys.stdout.flush()
    except UnknownModel as error:
        where = os.environ.get("TINTYPE_HOME") or "./var"
        return _fail(f"{error} (looked in {where}, which TINTYPE_HOME sets)", error.exit_code, arguments)
    except TintypeError as error:
        return _fail(str(error), error.exit_code, arguments)
    except BrokenPipeError:  # `tintype models | head`: the reader has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return _fail("interrupted", INTERRUPTED, arguments)
    except OSError as error:
        return _fail(_trouble(error), FAILED, arguments)
    except Exception as error:  # noqa: BLE001 - a defect, shown without its traceback unless asked for
        return _fail(f"a defect: {type(error).__name__}: {error}; --debug shows where", FAILED, arguments)
    return 0


def _trouble(error: OSError) -> str:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"the disk is full{where}; free some space and run the same command again"
    return f"{error.strerror or error}{where}"


def _fail(sentence: str, code: int, arguments: argparse.Namespace) -> int:
    if arguments.debug:
        traceback.print_exc()
    print(f"tintype: {sentence}", file=sys.stderr)
    return code


def _demo(arguments: argparse.Namespace, settings: Settings) -> None:
    from demo import demo

    demo(settings, main, arguments.port, once=arguments.once)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("tintype", description="Train, export and serve image classifiers.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, command: Callable[..., None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        added.set_defaults(command=command)
        added.add_argument("--debug", action="store_true", help="show a traceback when something fails")
        if name not in ("serve", "worker", "demo"):
            added.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        return added

    for room in (training, model_files, store, retrain, deploying, serving, jobs, keys, bench):
        room.add_to(add)
    demo = add("demo", _demo, "go from nothing to a served model and a classified folder")
    demo.add_argument("--once", action="store_true", help="stop after one prediction instead of staying up")
    demo.add_argument("--port", type=serving.port, default=None, help="default: 8000, or the next free one")
    return parser


if __name__ == "__main__":
    sys.exit(main())
