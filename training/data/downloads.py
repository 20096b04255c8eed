"""Files of known content from the network: whole and checked, or absent."""

import hashlib
import http.client
import os
import urllib.request
from pathlib import Path

from tqdm import tqdm

from artifacts import files
from artifacts.errors import BadData

TIMEOUT = 30  # seconds without a byte
CHUNK = 1 << 18  # bytes


def fetch(base: str, file: str, md5: str, home: Path) -> Path:
    """Bring `base`/`file` to `home`, unless it is there; its path.

    Raises:
        BadData: it cannot be had, or it is not the file that was promised.
    """
    target = home / file
    if target.is_file():
        return target
    home.mkdir(parents=True, exist_ok=True)
    with files.locked(home):  # two trainings need it at once: the second waits, and finds it
        if not target.is_file():
            _download(f"{base}/{file}", md5, target)
    return target


def _download(url: str, md5: str, target: Path) -> None:
    part = target.with_name(f".{target.name}.part")  # of a download that was killed: it is written over
    try:
        came = _stream(url, part)
        if came != md5:
            raise BadData(
                f"{url} is not the official file: its md5 differs; try again, or give a local copy with --data-dir"
            )
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise BadData(f"{url} cannot be downloaded ({reason}); give a local copy with --data-dir") from error
    finally:
        part.unlink(missing_ok=True)
    files.fsync(target.parent)


def _stream(url: str, part: Path) -> str:
    """Write what comes to `part`, and bring it to the disk; its md5."""
    digest = hashlib.md5(usedforsecurity=False)
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, part.open("wb") as out:  # noqa: S310 - our own URLs
        length = int(answer.headers.get("Content-Length") or 0)
        title = f"downloading {part.name.removeprefix('.').removesuffix('.part')}"
        with tqdm(total=length or None, desc=title, unit="B", unit_scale=True, disable=None, leave=False) as bar:
            while chunk := answer.read(CHUNK):
                out.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
            if out.tell() < length:
                raise OSError(f"it ended after {out.tell():,} of {length:,} bytes")
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest()
