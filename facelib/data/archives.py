"""Folders and archives of identity folders: listed, checked, and read without unpacking."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from facelib.data.images import SUFFIXES, read_file

Contents = Iterator[tuple[str, bytes | str]]  # path, and the file's bytes or why it cannot be read


class DatasetError(ValueError):
    """A data set that cannot be used; the message names it and says what to do."""


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes
    ----------
    images
        Paths of the candidate images, as in the source.
    skipped
        Paths of the other files, with reasons.
    root
        The folder above all identities, with its slash: ``"lfw/"`` of ``lfw/Ann/1.jpg``.
    read
        Yields (path, bytes) of the wanted images, in the source's order; a reason in place of the
        bytes where a file cannot be read.
    folder
        Where the paths begin, if they are files of their own; None for an archive.
    """

    images: frozenset[str]
    skipped: dict[str, str]
    root: str
    read: Callable[[Iterable[str]], Contents]
    folder: Path | None


def members(source: str | os.PathLike) -> Listing:
    """List the images of a folder or archive, check its paths, and say what is skipped and why.

    Raises
    ------
    DatasetError
        The archive is damaged, unsafe or of another kind, or there is no image inside a folder.
    """
    source = Path(source)
    found, read = _lister(source)(source)
    reasons = {path: reason or _wrong_suffix(path) for path, reason in found.items()}
    root, chosen = _identity_images({path for path, reason in reasons.items() if not reason})
    if not chosen:
        raise DatasetError(
            f"'{source}' holds no identities: expected one folder per person with images in it, "
            f"found {len(found)} files, none of them an image inside a folder."
        )
    lost = {path: reason or "not inside an identity folder" for path, reason in reasons.items() if path not in chosen}
    return Listing(frozenset(chosen), lost, root, read, source if source.is_dir() else None)


def fingerprint(source: str | os.PathLike) -> str:
    """Hash of the names, sizes and times of a source's files, to tell whether anything changed.

    Raises
    ------
    FileNotFoundError
        The source does not exist.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"'{source}' does not exist: expected a folder or an archive of identity folders.")
    if source.is_file() and source.suffix.lower() == ".csv":
        from facelib.data import layouts

        return digest(sorted(layouts.table_states(source)))
    return digest(sorted(_states(source)) if source.is_dir() else _state(source)[0])


def digest(value) -> str:
    """Short hash of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, ensure_ascii=True).encode()).hexdigest()[:16]


def _lister(source: Path):
    name = source.name.lower()
    if source.is_dir():
        return _list_folder
    if name.endswith((".tar", ".tar.gz", ".tgz")):
        return _list_tar
    if name.endswith(".zip"):
        return _list_zip
    if name.endswith(".csv"):
        from facelib.data import layouts

        return layouts.list_table
    raise DatasetError(f"'{source}' is neither a folder nor a .tar, .tar.gz, .tgz or .zip archive, nor a .csv table.")


def _hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"  # the system's, not the set's


def _visible(found: dict[str, str]) -> dict[str, str]:
    return {path: reason for path, reason in found.items() if not any(map(_hidden, path.split("/")))}


def _wrong_suffix(path: str) -> str:
    return "" if path[path.rfind(".") :].lower() in SUFFIXES else "not an image suffix"


def _identity_images(paths: set[str]) -> tuple[str, set[str]]:
    """The folder above all identity folders, and the images below it.

    Images directly in that folder belong to nobody. It is searched from the images and not taken
    from the source, because an archive mostly wraps the folders into another one.
    """
    folders = {path.rpartition("/")[0] for path in paths}
    while folders:
        root = posixpath.commonpath(folders) if len(folders) > 1 else posixpath.dirname(*folders)
        if root not in folders:
            return root and root + "/", {path for path in paths if path.rpartition("/")[0] in folders}
        folders.remove(root)
    return "", set()


def _list_folder(root: Path):
    def read(wanted: Iterable[str]) -> Contents:
        for path in sorted(wanted):
            yield path, read_file(os.path.join(root, path))

    return {path: _fault(entry) for path, entry in _walk(root)}, read


def _walk(root: Path) -> Iterator[tuple[str, os.DirEntry | OSError]]:
    """The visible files below a folder, by relative paths; of a folder that cannot be listed, the error."""
    folders = [("", os.fspath(root))]
    while folders:
        above, folder = folders.pop()
        try:
            with os.scandir(folder) as found:
                entries = [entry for entry in found if not _hidden(entry.name)]
        except OSError as error:
            if not above:
                raise
            yield above[:-1], error
            continue
        for entry in entries:
            if not _holds(entry.is_dir):
                yield above + entry.name, entry
            elif not _leads_back(entry):
                folders.append((f"{above}{entry.name}/", entry.path))


def _holds(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except OSError:  # such as a link to itself
        return False


def _leads_back(folder: os.DirEntry) -> bool:
    if not folder.is_symlink():
        return False
    path = Path(folder.path)
    return path.resolve() in {above.resolve() for above in path.parents}


def _states(root: Path) -> Iterator[tuple[str, str, str]]:
    for path, entry in _walk(root):
        yield path, *(("", _fault(entry)) if isinstance(entry, OSError) else _state(entry))


def _fault(entry: os.DirEntry | OSError) -> str:
    if isinstance(entry, OSError):
        return f"folder cannot be listed ({entry.strerror})"
    return "" if _holds(entry.is_file) else _state(entry)[1]  # of most files the folder tells what they are


def _state(path: str | os.PathLike) -> tuple[str, str]:
    """Size and time of a file, and why it cannot be read; the latter is empty for a usual file."""
    try:
        found = os.stat(path)
    except OSError as error:  # such as a link to nowhere
        return "", f"cannot be read ({error.strerror})"
    reason = "" if stat.S_ISREG(found.st_mode) else "not a regular file"
    return f"{found.st_size} {found.st_mtime_ns}", reason


def _list_tar(archive: Path):
    found, kept = {}, {}
    with _damage_told(archive), tarfile.open(archive) as tar:
        for position, member in enumerate(tar):
            if not member.isdir():
                name = _safe(archive, member.name)
                readable = member.isfile() or member.islnk() or member.issym()
                found[name] = "" if readable else "not a regular file"
                kept[name] = position  # of several versions of a file the last counts, as in unpacking
        _check_end(tar)

    def read(wanted: Iterable[str]) -> Contents:
        names = {kept[name]: name for name in wanted}
        with _damage_told(archive), tarfile.open(archive) as tar:
            for position, member in enumerate(tar):  # in this order: a compressed one cannot be read otherwise
                if position in names:
                    yield names[position], _content(tar, member)

    return _visible(found), read


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    try:
        file = tar.extractfile(member)
    except (KeyError, RecursionError):
        return "link to a file that is not in the archive"
    return file.read() if file else "link to a folder"


def _check_end(tar: tarfile.TarFile) -> None:
    # tarfile takes a damaged header, and the end of the file, for the end of the archive.
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it breaks off before its end mark")
    while tar.fileobj.read(1 << 20):
        pass  # gzip compares its checksum only when all is read


def _list_zip(archive: Path):
    with _damage_told(archive), zipfile.ZipFile(archive) as zipped:
        # Some programs for Windows write backslashes.
        infos = {_safe(archive, i.filename).replace("\\", "/"): i for i in zipped.infolist() if not i.is_dir()}

    def read(wanted: Iterable[str]) -> Contents:
        with _damage_told(archive), zipfile.ZipFile(archive) as zipped:
            for name in sorted(wanted, key=lambda name: infos[name].header_offset):
                yield name, zipped.read(infos[name])

    return _visible(dict.fromkeys(infos, "")), read


def _safe(archive: Path, name: str) -> str:
    path = PureWindowsPath(name)  # knows both separators, and drives
    if path.anchor or ".." in path.parts:
        raise DatasetError(
            f"'{archive}' holds the unsafe path '{name}' (absolute or with '..'). "
            "Make the archive again from inside the folder of identities."
        )
    return str(PurePosixPath(name))


@contextmanager
def _damage_told(archive: Path):
    """Turn the many errors of damaged archives into one that says what to do."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # tarfile and zipfile raise many types for damaged files
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise  # the fault of the disk or of the permissions
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DatasetError(
            f"'{archive}' is damaged or not such an archive ({reason}). "
            "Fetch it again and compare its sha256 with data/README.md."
        ) from error
