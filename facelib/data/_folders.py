"""The files of a folder of identity folders: walked, and told apart from what cannot be read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facelib.data import images, people, photofiles

Found = os.DirEntry | OSError | str  # a file; why its folder cannot be listed; why a folder is left out


def list_folder(root: Path):
    """Reasons by path (empty for candidates), and how to read what is wanted, as `archives.Listing` has it."""

    def read(wanted: Iterable[str]) -> Iterator[tuple[str, bytes | str]]:
        for path in sorted(wanted):
            yield path, images.read_file(os.path.join(root, path))

    def reason(path: str, entry: Found) -> str:
        return _fault(entry) or photofiles.why_no_photo(path, lambda: photofiles.read_head(os.path.join(root, path)))

    return {path: reason(path, entry) for path, entry in _walk(root)}, read


def states(root: Path) -> Iterator[tuple[str, str, str]]:
    """Path, size and time, and fault of each file that counts, to tell whether anything changed."""
    for path, entry in _walk(root):
        if not any(map(people.is_system_folder, path.split("/")[:-1])):
            yield path, *(state(entry) if isinstance(entry, os.DirEntry) else ("", _fault(entry)))


def state(path: str | os.PathLike) -> tuple[str, str]:
    """Size and time of a file, and why it cannot be read; the latter is empty for a usual file."""
    try:
        found = os.stat(path)
    except OSError as error:  # such as a link to nowhere
        return "", f"cannot be read ({error.strerror})"
    reason = "" if stat.S_ISREG(found.st_mode) else "not a regular file"
    return f"{found.st_size} {found.st_mtime_ns}", reason


def _walk(root: Path) -> Iterator[tuple[str, Found]]:
    """The files below a folder that are not hidden, by relative paths, and the folders that are left out."""
    folders = [("", os.fspath(root))]
    targets: dict[str, str] = {}  # of the links that were followed
    top = os.path.realpath(root)
    while folders:
        above, folder = folders.pop()
        counted = any(map(people.is_system_folder, above.split("/")))
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if counted or not people.is_hidden(entry.name)]
        except OSError as error:
            if not above:
                raise
            yield above[:-1], error
            continue
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not _holds(entry.is_dir):
                yield above + entry.name, entry
            elif not entry.is_symlink():
                folders.append((f"{above}{entry.name}/", entry.path))
            elif not _leads_back(entry):
                if same := _also(entry.path, top, targets, above + entry.name):
                    yield above + entry.name, f"left out: a link to '{same}', which is in the set already"
                else:
                    folders.append((f"{above}{entry.name}/", entry.path))


def _also(link: str, top: str, targets: dict[str, str], name: str) -> str:
    """Under what other name the set holds the folder that a link leads to; empty if under none."""
    target = os.path.realpath(link)
    inside = os.path.relpath(target, top)
    parts = inside.split(os.sep)
    if parts[0] != os.pardir and not any(people.is_hidden(part) or people.is_system_folder(part) for part in parts):
        return inside
    first = targets.setdefault(target, name)
    return "" if first == name else first


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # such as a link to itself
        return False


def _leads_back(folder: os.DirEntry) -> bool:
    path = Path(folder.path)
    return path.resolve() in {above.resolve() for above in path.parents}


def _fault(entry: Found) -> str:
    if isinstance(entry, str):
        return entry
    if isinstance(entry, OSError):
        return f"folder cannot be listed ({entry.strerror})"
    return "" if _holds(entry.is_file) else state(entry)[1]  # of most files the folder tells what they are
