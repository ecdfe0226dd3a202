"""Sets that are not laid out as one folder per person: a table ``path,identity`` says who is on which photo.

A table is a source like a folder or an archive: `archives.members` lists its photos as ``<identity>/<file name>``, so
that packing, fingerprints and splits need to know nothing of other layouts. A reader of a layout writes a table.
"""

import csv
import io
import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
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
    """Photos of a CSV table, by commas or semicolons, with the columns ``path`` and ``identity`` (others are ignored).

    Paths are relative to the table's folder, or absolute; they may lead into an archive (``photos.zip/a/1.jpg``).
    Returns ``<identity>/<file name>`` of each photo, and its path as in the table. Where an identity has two files of
    one name, their folders below the common one of all photos, joined by ``_``, stand before the name.
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
    state = cache(archives.state)
    yield "", "", state(table)[0]
    for name, path in read_table(table).items():
        place, inner = _split(table.parent / path)
        yield name, inner, state(place)[0]


def folder_of_archives(folder: Path, table: Path) -> Path:
    """Table of a folder that holds archives of ``<identity>/<photo>``, as DigiFace-1M is published."""
    parts = archives_in(folder)
    if not parts:
        raise archives.DatasetError(f"'{folder}' holds no archive: expected .zip or .tar files of <identity>/<photo>.")
    rows = []
    for part, listing in zip(parts, map(archives.members, parts), strict=True):
        names = ((path, path.removeprefix(listing.root).rpartition("/")[0]) for path in sorted(listing.images))
        rows += [(part.absolute() / path, person) for path, person in names]
    return write_table(rows, table)


def archives_in(folder: Path) -> list[Path]:
    """The archives that lie in a folder, in the order of their names."""
    return sorted(path for path in folder.glob("*") if _IN_ARCHIVE.fullmatch(f"{path.name}/x"))


def _rows(table: Path) -> Iterator[tuple[str, str]]:
    """Path and identity of each line; a line that stands there twice counts once."""
    seen: dict[str, str] = {}
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            reader = csv.DictReader(file, delimiter=";" if ";" in first and "," not in first else ",")
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if not {"path", "identity"} <= set(reader.fieldnames):
                raise archives.DatasetError(f"'{table}': the first line is to be path,identity or path;identity.")
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


def _split(path: Path) -> tuple[Path, str]:
    """The file that holds a photo, and where in it the photo lies; nothing if it is the photo itself."""
    inside = _IN_ARCHIVE.fullmatch(path.as_posix())
    return (Path(inside[1]), inside[2]) if inside and Path(inside[1]).is_file() else (path, "")
