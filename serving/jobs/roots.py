"""What jobs over HTTP may read: folders and manifests below the roots that TINTYPE_FOLDERS allows."""

import os
from pathlib import Path

from serving.jobs import cloud
from serving.jobs.cloud import CloudFolder
from serving.jobs.folders import Folder, exists, to_folder
from serving.jobs.manifest import MANIFESTS

Place = tuple[Folder, str]  # a folder, and the name of a manifest in it, or nothing


def find_folder(root: str, text: str) -> Place | None:
    """A folder below a root; None when it is not there, or leads out.

    Raises:
        NotNow: it is out of reach.
    """
    folder = _inside(root, text)
    return (folder, "") if folder and exists(folder) else None


def find_manifest(root: str, text: str) -> Place | None:
    """A manifest below a root; None when it is not there, is no manifest, or leads out.

    Raises:
        NotNow: it is out of reach.
    """
    found = _inside(root, text)
    if isinstance(found, CloudFolder):
        return _manifest_in_cloud(found.url)
    return (found.parent, found.name) if found and found.is_file() and found.suffix in MANIFESTS else None


def _inside(root: str, text: str) -> Folder | None:
    """Where a path leads, links followed; None when that is outside of the root."""
    if cloud.is_cloud(root):
        return to_folder(cloud.address(root, text)) if cloud.is_inside(root, text) else None
    if "\0" in text:
        return None
    real = Path(os.path.realpath(root))
    path = Path(os.path.realpath(real / text))
    return path if path == real or real in path.parents else None


def _manifest_in_cloud(url: str) -> Place | None:
    folder, _, name = url.rpartition("/")
    if not name.endswith(MANIFESTS) or folder.endswith("/"):  # the second: a bucket itself
        return None
    (found,) = CloudFolder(folder).look([(name, "")])
    return None if found.problem else (CloudFolder(folder), name)
