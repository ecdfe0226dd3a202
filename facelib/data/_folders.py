"""The files of a folder of identity folders: walked, and told apart from what cannot be read."""

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facelib.data import images, people, photofiles


def list_folder(root: Path):
    """Reasons by path (empty for candidates), and how to read what is wanted, as `archives.Listing` has it."""

    def read(wanted: Iterable[str]) -> Iterator[tuple[str, bytes | str]]:
        for path in sorted(wanted):
            yield path, images.read_file(os.path.join(root, path))

    def reason(path: str, entry: os.DirEntry | str) -> str:
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


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry | str]]:
    """The files below a folder that are not hidden, by relative paths; and the folders that are left out, and why.

    Links to folders come after all else: what they lead to may have its place in the set already.
    """
    folders, links = [("", os.fspath(root))], []
    seen = {str(above): ".." for above in Path(os.path.realpath(root)).parents}
    while folders or links:
        above, folder = folders.pop() if folders else links.pop(0)
        name = above[:-1]
        if (same := seen.setdefault(os.path.realpath(folder), name)) != name:
            yield name, f"left out: a link to '{same or '.'}', which is in the set already"
            continue
        counted = any(map(people.is_system_folder, above.split("/")))
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if counted or not people.is_hidden(entry.name)]
        except OSError as error:
            if not above:
                raise
            yield name, f"folder cannot be listed ({error.strerror})"
            continue
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not _holds(entry.is_dir):
                yield above + entry.name, entry
            else:
                (links if entry.is_symlink() else folders).append((f"{above}{entry.name}/", entry.path))


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # such as a link to itself
        return False


def _fault(entry: os.DirEntry | str) -> str:
    if isinstance(entry, str):
        return entry
    return "" if _holds(entry.is_file) else state(entry)[1]  # of most files the folder tells what they are
