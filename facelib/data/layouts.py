"""Sets that are not laid out as one folder per person: a table ``path,identity`` says who is on which photo.

A table is a source like a folder or an archive: `archives.members` lists its photos as ``<identity>/<file name>``, so
that packing, fingerprints and splits need to know nothing of other layouts. A reader of a layout writes a table.
"""

from __future__ import annotations

import csv
import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from facelib.data import archives
from facelib.data.images import read_file
from facelib.files import write_atomically

_IN_ARCHIVE = re.compile(r"(.+?\.(?:zip|tar|tgz|tar\.gz))/(.+)", re.IGNORECASE)


def photographs(paths: Iterable[str]) -> list[str]:
    """The photograph that each face was cut from, where its name tells, as in Families in the Wild; else its path.

    ``F0001-MID1/P00001_face2.jpg`` and ``F0001-MID2/P00001_face1.jpg`` are of one picture.
    """
    named = {path: re.fullmatch(r"([^/]+)-[^/]+/(.+)_face\d+\.\w+", path) for path in paths}
    return [f"{found[1]}/{found[2]}" if found else path for path, found in named.items()]


def read_table(table: Path) -> dict[str, str]:
    """Photos of a CSV table with the columns ``path`` and ``identity`` (others are ignored) in its first line.

    Paths are relative to the table's folder, or absolute; they may lead into an archive (``photos.zip/a/1.jpg``).

    Returns
    -------
    ``<identity>/<file name>`` of each photo, and its path as in the table. Where an identity has two files of one
    name, their folders below the common one of all photos, joined by ``_``, stand before the name.

    Raises
    ------
    DatasetError
        A column, a path or an identity is missing, or a path stands there twice; the message names the line.
    """
    rows = dict(_rows(table))
    plain = Counter(f"{identity}/{_name(path)}" for path, identity in rows.items())
    common, photos = _common(rows) if max(plain.values(), default=1) > 1 else "", {}
    for path, identity in rows.items():
        name = f"{identity}/{_name(path)}"
        if plain[name] > 1:
            name = f"{identity}/{path.removeprefix(common).strip('/').replace('/', '_')}"
        if name in photos:
            raise archives.DatasetError(f"'{table}': '{path}' and '{photos[name]}' of one identity need other names.")
        photos[name] = path
    return photos


def write_table(rows: Iterable[tuple[str | os.PathLike, str]], table: Path) -> Path:
    """Write (path, identity) of photos as a table, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("path", "identity"), *rows])
    write_atomically(table, text.getvalue())
    return table


def list_table(table: Path) -> tuple[dict[str, str], Callable[[Iterable[str]], archives.Contents]]:
    """What a table lists, and what reads it: as the other listers of `archives` do."""
    photos = read_table(table)

    def read(wanted: Iterable[str]) -> archives.Contents:
        inside: dict[Path, dict[str, str]] = {}
        for name in sorted(wanted):
            place, inner = _split(table.parent / photos[name])
            if inner:
                inside.setdefault(place, {})[inner] = name
            else:
                yield name, read_file(str(place))
        for archive, names in inside.items():
            found, read_archive = archives._lister(archive)(archive)
            there = {inner: found.get(inner, "not in the archive") for inner in names}
            yield from ((names[inner], reason) for inner, reason in there.items() if reason)
            yield from ((names[inner], data) for inner, data in read_archive(i for i in there if not there[i]))

    return dict.fromkeys(photos, ""), read


def table_states(table: Path) -> Iterator[tuple[str, str, str]]:
    """Size and time of a table; and of each of its photos by name, or of the archive that it is in."""
    states = {table: _state(table)}
    yield "", "", states[table]
    for name, path in read_table(table).items():
        place, inner = _split(table.parent / path)
        if place not in states:
            states[place] = _state(place)
        yield name, inner, states[place]


def folder_of_archives(folder: Path, table: Path) -> Path:
    """Table of a folder that holds archives of ``<identity>/<photo>``, as DigiFace-1M is published.

    Raises
    ------
    DatasetError
        There is no archive in the folder, or one of them is damaged or holds no identities.
    """
    parts = archives_in(folder)
    if not parts:
        raise archives.DatasetError(f"'{folder}' holds no archive: expected .zip or .tar files of <identity>/<photo>.")
    listings = ((part, archives.members(part)) for part in parts)
    rows = (
        (part.absolute() / path, path.removeprefix(listing.root).rpartition("/")[0])
        for part, listing in listings
        for path in sorted(listing.images)
    )
    return write_table(rows, table)


def archives_in(folder: Path) -> list[Path]:
    """The archives that lie in a folder, in the order of their names."""
    return sorted(path for path in folder.glob("*") if _IN_ARCHIVE.fullmatch(f"{path.name}/x"))


def vggface2_names(meta: Path) -> dict[str, str]:
    """Names of VGGFace2's people by their folders (``n000001``), from its ``meta/identity_meta.csv``.

    They tell who is in LFW, too (see `leaks.check_disjoint`): the folders are numbered.

    Raises
    ------
    DatasetError
        The file has no columns ``Class_ID`` and ``Name``.
    """
    with open(meta, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, skipinitialspace=True))
    if not rows or not {"Class_ID", "Name"} <= rows[0].keys():
        raise archives.DatasetError(f"'{meta}': expected a first line 'Class_ID, Name, Sample_Num, Flag, Gender'.")
    return {row["Class_ID"].strip(): row["Name"].strip() for row in rows}


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    """Path and identity of each line; a line that stands there twice counts once."""
    seen: dict[str, str] = {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            if not {"path", "identity"} <= set(reader.fieldnames or ()):
                raise archives.DatasetError(f"'{table}': the first line is to be path,identity with a comma between.")
            for row in reader:
                path = (row["path"] or "").strip().replace("\\", "/")
                identity = (row["identity"] or "").strip()
                if not _name(path) or "\0" in path or {"", ".", ".."} & set(identity.split("/")):
                    raise archives.DatasetError(f"'{table}', line {reader.line_num}: expected a path and an identity.")
                if seen.setdefault(path, identity) != identity:
                    raise archives.DatasetError(
                        f"'{table}', line {reader.line_num}: '{path}' is already listed as '{seen[path]}': one photo "
                        "shows one person."
                    )
                yield path, identity
    except (csv.Error, UnicodeDecodeError) as error:
        raise archives.DatasetError(f"'{table}' is no CSV table in UTF-8 ({error}).") from None


def _common(paths: Iterable[str]) -> str:
    try:
        return posixpath.commonpath([posixpath.dirname(path) for path in paths])
    except ValueError:  # some are absolute, some are not
        return ""


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _state(path: Path) -> str:
    try:
        found = path.stat()
    except OSError as error:  # reading it tells the reason
        return type(error).__name__
    return f"{found.st_size} {found.st_mtime_ns}"


def _split(path: Path) -> tuple[Path, str]:
    """The file that holds a photo, and where in it the photo lies; nothing if it is the photo itself."""
    inside = _IN_ARCHIVE.fullmatch(path.as_posix())
    return (Path(inside[1]), inside[2]) if inside and Path(inside[1]).is_file() else (path, "")
