"""The settings: one frozen record, read from a mapping that is passed in, strictly.

They stand on floor 0 because every room needs the home folder and a misspelt `TINTYPE_*` name must stop every command.
`SETTINGS` is the one table: README's is checked against it by a test.
"""

import difflib
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from artifacts import redis_url
from artifacts.errors import WrongUse
from artifacts.manifest import PRECISIONS
from artifacts.pixels import MAX_PIXELS

PREFIX = "TINTYPE_"
AUTO, ALWAYS = "auto", "always"
MEGABYTE = 1_000_000  # bytes
MOST_PROCESSES = 4  # each holds the model; on more cores each runs several threads of its engine instead


@dataclass(frozen=True)
class Settings:
    """Everything that can be set from outside, resolved."""

    home: Path
    redis_url: str  # with the password of the file, where one is set
    redis_password_file: str
    folders: "Folders"
    job_days: int
    webhook_hosts: "Names"
    webhook_secret: str
    device: str
    runtime: str
    tf_serving: str
    variant: str
    batch_delay_ms: int
    api_processes: int
    deadline_ms: int
    max_body_mb: int
    max_pixels: int
    max_pictures: int
    queue_depth: int
    access_log: str
    drain_ms: int
    keys: str
    ask_keys: str
    key: str = field(repr=False)
    rate_limit: int
    rate_burst: int
    cors_origins: "Names"
    drift_seconds: int

    def environ(self) -> dict[str, str]:
        """The TINTYPE_* variables that stand for these settings: for a process that is started with them."""
        variables = {f"{PREFIX}{name}": str(getattr(self, name.lower())) for name in SETTINGS}
        if self.redis_password_file:
            variables[f"{PREFIX}REDIS_URL"] = redis_url.without_password(self.redis_url)
        return variables

    @property
    def runs(self) -> Path:
        """Where training runs lie."""
        return self.home / "runs"

    @property
    def models(self) -> Path:
        """Where exported models lie."""
        return self.home / "models"

    @property
    def jobs(self) -> Path:
        """Where folder jobs lie."""
        return self.home / "jobs"

    @property
    def keys_file(self) -> Path:
        """Where the hashes of the API keys lie."""
        return _folder(self.keys) if self.keys else self.home / "keys.json"

    @property
    def trainings(self) -> Path:
        """Where trainings that go from the pictures to production lie."""
        return self.home / "trainings"

    @property
    def cache(self) -> Path:
        """Where decoded pictures that do not fit in memory lie, and data sets that were downloaded."""
        return self.home / "cache"


class Folders(tuple[str, ...]):
    """Absolute folders of this machine, and s3://… and gs://… in the cloud; as text, separated as in PATH."""

    __slots__ = ()

    def __str__(self) -> str:
        return os.pathsep.join(self)


class Names(tuple[str, ...]):
    """Of hosts, perhaps with a port, or origins of web pages (RFC 6454); as text, separated by commas."""

    __slots__ = ()

    def __str__(self) -> str:
        return ",".join(self)


class Setting(NamedTuple):
    """One row of the table: default as text, reader of the text, what it means."""

    default: str
    read: Callable[[str], Any]
    meaning: str


def _whole(most: int, least: int = 1) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,18}", text) or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return read


def _folder(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("a folder; ~ stands for that of a person whom this machine knows") from None


def _folders(text: str) -> Folders:
    return Folders(_root(each) for each in re.split(f"{os.pathsep}(?!//)", text) if each)


def _root(text: str) -> str:
    if "://" not in text:
        return str(_folder(text))
    if not re.fullmatch("(s3|gs)://[^/]+(/.*)?", text):
        raise ValueError("folders, s3://bucket/prefix or gs://bucket/prefix")
    return text.rstrip("/")


def _hosts(text: str) -> Names:
    found = Names(each.strip().lower() for each in text.split(",") if each.strip())
    if not all(re.fullmatch(r"[a-z0-9._-]+(:[0-9]{1,5})?", each) for each in found):
        raise ValueError("names of hosts separated by commas, such as hooks.example.org,127.0.0.1:9000")
    return found


def _processes(text: str) -> int:
    return min(len(os.sched_getaffinity(0)), MOST_PROCESSES) if text == "auto" else _whole(256)(text)


def _redis_url(text: str) -> str:
    if text and not re.fullmatch("(redis|rediss|unix)://.+", text):
        raise ValueError("an address like redis://[user:password@]host:6379/0")
    return text


def _host_and_port(text: str) -> str:
    if text and not re.fullmatch(r"\S+:[0-9]{1,5}", text):
        raise ValueError("host:port, for example localhost:8500")
    return text


def _origins(text: str) -> Names:
    origins = Names(each.strip() for each in text.split(",") if each.strip())
    if not all(re.fullmatch("https?://[a-z0-9.:\\[\\]-]+", each) for each in origins):
        raise ValueError("origins such as https://app.example.org, in small letters, separated by commas; * is none")
    return origins


def _one_of(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(" or ".join(allowed))
        return text

    return read


SETTINGS = {
    "HOME": Setting("./var", _folder, "folder of `runs/`, `models/`, `jobs/`, `trainings/`, `cache/`"),
    "REDIS_URL": Setting(
        "", _redis_url, "unset: one process, no Redis; `redis://…`: the web processes and the workers meet there"
    ),
    "REDIS_PASSWORD_FILE": Setting(
        "", str, "file with the password of `TINTYPE_REDIS_URL`, so that it stands in no environment"
    ),
    "FOLDERS": Setting(
        "",
        _folders,
        "roots that jobs over HTTP may read, also `s3://…`, `gs://…`, separated as in PATH; unset: they may read none",
    ),
    "JOB_DAYS": Setting(
        "0", _whole(36_500, least=0), "days after which a folder job that is over is deleted with its files; 0: never"
    ),
    "WEBHOOK_HOSTS": Setting(
        "",
        _hosts,
        "`hooks.example.org,intranet:9000`: hosts that may be told of a job's end; unset: there are no webhooks",
    ),
    "WEBHOOK_SECRET": Setting(
        "", str, "file of the secret, `whsec_` and base64, with which webhooks are signed; for the workers as well"
    ),
    "DEVICE": Setting(
        AUTO,
        _one_of(AUTO, "cpu", "cuda", "tensorrt"),
        "`auto`: a GPU if ONNX Runtime can use one; or `cpu`, `cuda`, `tensorrt`, which must then be there",
    ),
    "RUNTIME": Setting(
        "onnx",
        _one_of("onnx", "saved_model", "tf_serving"),
        "`onnx`: ONNX Runtime; `saved_model`: TensorFlow in the process; `tf_serving`: a TensorFlow Serving host",
    ),
    "TF_SERVING": Setting("", _host_and_port, "`host:8500`: where TensorFlow Serving answers gRPC"),
    "VARIANT": Setting(
        AUTO,
        _one_of(AUTO, *PRECISIONS),
        "`auto`: the fastest that passed the gate; or `fp32`, `fp16`, `int8`",
    ),
    "BATCH_DELAY_MS": Setting(
        "0", _whole(10_000, least=0), "milliseconds that an engine waits for a batch to fill; 0: it takes what waits"
    ),
    "API_PROCESSES": Setting(
        "auto", _processes, "web processes of `tintype serve`, each with its own engine; `auto`: one a core, at most 4"
    ),
    "DEADLINE_MS": Setting("10000", _whole(3_600_000), "milliseconds after which a request is answered with 504"),
    "MAX_BODY_MB": Setting("32", _whole(10_000), "largest request body, in megabytes"),
    "MAX_PIXELS": Setting(str(MAX_PIXELS), _whole(1_000_000_000), "largest picture, in pixels"),
    "MAX_PICTURES": Setting("256", _whole(100_000), "most pictures in one request"),
    "QUEUE_DEPTH": Setting("1024", _whole(1_000_000), "pictures that may wait for the engine; beyond that, 429"),
    "ACCESS_LOG": Setting("-", str, "one JSON line a request: `-` for standard output, `off`, or the path of a file"),
    "DRAIN_MS": Setting(
        "1000",
        _whole(600_000, least=0),
        "milliseconds from SIGTERM, when `/health/ready` turns false, until no new connection is taken",
    ),
    "KEYS": Setting(
        "", str, "file of hashed API keys, which `tintype keys` writes; unset: `keys.json` in the home folder"
    ),
    "ASK_KEYS": Setting(
        AUTO,
        _one_of(AUTO, ALWAYS),
        "`auto`: the API asks for keys unless only this machine can reach it; `always`: also then, as behind a proxy",
    ),
    "KEY": Setting("", str, "the API key that `bench`, `classify`, `jobs` and `job` send to a server"),
    "RATE_LIMIT": Setting(
        "0", _whole(1_000_000, least=0), "requests a second that each API key may make; 0: any number"
    ),
    "RATE_BURST": Setting(
        "0", _whole(1_000_000, least=0), "requests that a key may make at once after a pause; 0: those of one second"
    ),
    "CORS_ORIGINS": Setting(
        "", _origins, "origins of web pages that may use the API, separated by commas; unset: none but its own"
    ),
    "DRIFT_SECONDS": Setting(
        "3600",
        _whole(31_536_000),
        "seconds of the sliding window whose pictures are compared with a bundle's reference",
    ),
}


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings.

    Raises:
        WrongUse: an unknown TINTYPE_* name (the nearest known one is named), or a value that makes no sense.
    """
    given = {name.removeprefix(PREFIX): text for name, text in environ.items() if name.startswith(PREFIX) and text}
    for name in sorted(given.keys() - SETTINGS.keys()):
        raise WrongUse(_unknown(name))
    values = {}
    for name, setting in SETTINGS.items():
        try:
            values[name.lower()] = setting.read(given.get(name, setting.default))
        except ValueError as error:
            raise WrongUse(f"{PREFIX}{name} must be {error}; received {given[name]!r}") from None
    if file := values["redis_password_file"]:
        try:
            values["redis_url"] = redis_url.with_password(values["redis_url"], file)
        except ValueError as error:
            raise WrongUse(f"{PREFIX}REDIS_PASSWORD_FILE {error}") from None
    return Settings(**values)


def _unknown(name: str) -> str:
    near = difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0)[0]
    return f"{PREFIX}{name} is not a setting; did you mean {PREFIX}{near}?"
