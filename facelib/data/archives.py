"""Folders and archives of identity folders: listed, checked, and read without unpacking."""

import hashlib
import json
import os
import posixpath
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from facelib.data import people
from facelib.data._containers import INSTEAD, Contents, DamagedArchive, DatasetError, list_tar, list_zip
from facelib.data._folders import list_folder, state, states

__all__ = ["DamagedArchive", "DatasetError", "Listing", "digest", "fingerprint", "members"]

LOOSE = "not inside an identity folder"  # why a photo is skipped


@dataclass(frozen=True)
class Listing:
    """What a source holds; ``read`` yields (path, bytes) of wanted images, or a reason in place of the bytes."""

    images: frozenset[str]  # paths of the candidates, as in the source
    skipped: dict[str, str]  # paths of other files, with reasons; the system's folders, with their number of files
    root: str  # the folder above all identities, with its slash: "lfw/" of "lfw/Ann/1.jpg"
    read: Callable[[Iterable[str]], Contents]
    folder: Path | None  # where the paths begin, if they are files of their own; None for an archive


def members(source: str | os.PathLike) -> Listing:
    """List the images of a folder or archive, check its paths, and say what is skipped and why.

    A file with an image's suffix is a candidate, one with another or none if it begins as an image does. DatasetError
    where an archive is damaged, unsafe, encrypted or of another kind, or no image lies inside a folder.
    """
    return _kept(Path(source), fingerprint(source)) if os.path.isfile(source) else _listed(Path(source))


@lru_cache(maxsize=2)
def _kept(source: Path, fingerprint: str) -> Listing:
    return _listed(source)


def _listed(source: Path) -> Listing:
    found, read = _lister(source)(source)
    reasons, of_the_system = people.without_the_systems(found)
    root, chosen = _identity_images({path for path, reason in reasons.items() if not reason})
    if not chosen:
        most = Counter(reason or "a photo, but in no person's folder" for reason in reasons.values()).most_common(1)
        raise DatasetError(
            f"'{source}' holds no identities: expected one folder per person with images in it, "
            f"found {len(reasons)} files, none of them an image inside a folder{f' ({most[0][0]})' if most else ''}."
        )
    lost = {path: reason or LOOSE for path, reason in reasons.items() if path not in chosen}
    return Listing(frozenset(chosen), lost | of_the_system, root, read, source if source.is_dir() else None)


def fingerprint(source: str | os.PathLike) -> str:
    """Hash of the names, sizes and times of a source's files, to tell whether anything changed."""
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"'{source}' does not exist: expected a folder or an archive of identity folders.")
    if source.is_file() and source.suffix.lower() == ".csv":
        from facelib.data import layouts

        return digest(sorted(layouts.table_states(source)))
    return digest(sorted(states(source)) if source.is_dir() else state(source)[0])


def digest(value) -> str:
    """Short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:16]


def _lister(source: Path):
    name = source.name.lower()
    if source.is_dir():
        return list_folder
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return list_tar
    if name.endswith(".zip"):
        return list_zip
    if name.endswith(".csv"):
        from facelib.data import layouts

        return layouts.list_table
    raise DatasetError(
        f"'{source}' is neither a folder nor a .tar, .tar.gz, .tgz or .zip archive, nor a .csv table. {INSTEAD}"
    )


def _identity_images(paths: set[str]) -> tuple[str, set[str]]:
    """The folder above all identity folders, which an archive mostly wraps into another one; the images below it."""
    folders = {path.rpartition("/")[0] for path in paths}
    while folders:
        root = posixpath.commonpath(folders) if len(folders) > 1 else posixpath.dirname(*folders)
        if root not in folders:
            return root and root + "/", {path for path in paths if path.rpartition("/")[0] in folders}
        folders.remove(root)
    return "", set()
