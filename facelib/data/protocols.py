"""Verification protocols: which pairs of LFW may choose, and the pair lists of other test sets as published."""

import posixpath
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facelib import runtime
from facelib.data import catalog, layouts, packing
from facelib.data.archives import DatasetError, digest
from facelib.data.images import Crop
from facelib.data.packed import PackedFaces
from facelib.data.pairs import LfwPair, Pairs, read_lfw_pairs
from facelib.files import read_text

FOLDS = 10  # of every protocol here
LISTS = {"calfw": "pairs_CALFW.txt", "cplfw": "pairs_CPLFW.txt", "agedb-30": "agedb_30_pair.txt"}
PHOTOS = ("", "aligned images", "images", "images&landmarks/images")  # where photos lie below a list
# Who is on a photo, by its name in CFP (001/frontal/01.jpg), AgeDB (7_Name_35_f.jpg), CALFW and CPLFW (Name_0001.jpg).
NAMED = (
    r"(?:.*/)?([^/]+)/(?:frontal|profile)/[^/]+",
    r"(?:.*/)?\d+_([^/]+)_\d+_[mf]\.\w+",
    r"(?:.*/)?([^/]*[^\d/])_\d+\.\w+",
)


class PhotoPair(NamedTuple):
    """Two photos by their paths below the protocol's folder; whether they show one person; the part of the test."""

    left: str
    right: str
    genuine: bool
    fold: int


def view1(part: str) -> list[LfwPair]:
    """LFW's View 1, for choices: ``"train"`` (pairsDevTrain.txt) or ``"test"`` (pairsDevTest.txt).

    Without the genuine pairs that View 2 holds, too: of 1,100 + 1,100 pairs 575 + 1,100 are left, and of 500 + 500
    267 + 500. Most of their photos occur in View 2 in other pairs, as its authors allow (Huang et al. 2007).
    """
    judged = {_photos(pair) for pair in _view("pairs.txt")}
    return [pair for pair in _view(f"pairsDev{part.capitalize()}.txt") if _photos(pair) not in judged]


def view2_outside_view1() -> list[LfwPair]:
    """The pairs of View 2 whose people do not occur in View 1: 497 genuine and 661 impostor ones, in ten folds."""
    chosen = people((*_view("pairsDevTrain.txt"), *_view("pairsDevTest.txt")))
    return [pair for pair in _view("pairs.txt") if not chosen & people([pair])]


def outside_view2(faces: PackedFaces) -> PackedFaces:
    """LFW's people who do not occur in View 2, to choose thresholds on: 1,468 people, 1,549 photos of all of LFW."""
    return faces.without(people(_view("pairs.txt")))


def load(
    protocol: str, folder: Path, crop: Crop | None = None, photos: str | None = None, progress: bool = True
) -> tuple[PackedFaces, Pairs]:
    """Pack the photos of a protocol (``crop`` as for `packing.pack`), and find its pairs among them.

    It is ``"cfp-fp"`` or ``"cfp-ff"`` (Sengupta et al. 2016), ``"agedb-30"`` (Moschoglou et al. 2017), ``"calfw"``
    (Zheng et al. 2017) or ``"cplfw"`` (Zheng and Deng 2018). Its lists lie in ``folder``, its photos in ``photos``
    below that, by default the first of `PHOTOS` that holds one of them.
    """
    records = read(protocol, folder)
    paths = sorted({path for record in records for path in record[:2]})
    inner = photos if photos is not None else next((p for p in PHOTOS if (folder / p / paths[0]).exists()), "")
    places = [str((folder / inner / path).absolute()) for path in paths]
    rows = list(zip(places, _names(paths, records), strict=True))
    table = runtime.cache_dir() / "tables" / digest(rows) / f"{protocol}.csv"
    if not table.exists():
        layouts.write_table(rows, table)
    faces = packing.pack(table, crop=crop, progress=progress)
    packed = {place: name for name, place in layouts.read_table(table).items()}
    row_of = {name: row for row, name in enumerate(faces.paths)}
    found = {path: row_of.get(packed[place]) for path, place in zip(paths, places, strict=True)}
    if missing := [path for path, row in found.items() if row is None]:
        raise FileNotFoundError(
            f"{len(missing)} photos of {protocol} are missing or cannot be read below '{folder / inner}', such as "
            f"{', '.join(missing[:3])}."
        )
    left, right = [found[r.left] for r in records], [found[r.right] for r in records]
    return faces, Pairs(left, right, [r.genuine for r in records], [r.fold for r in records])


def read(protocol: str, folder: Path) -> list[PhotoPair]:
    """The pairs of a protocol from its published lists (see `load`)."""
    if protocol in ("cfp-fp", "cfp-ff"):
        return _cfp(folder / "Protocol", protocol[-2:].upper())
    if protocol not in LISTS:
        raise DatasetError(f"'{protocol}' is none of the protocols {', '.join(['cfp-fp', 'cfp-ff', *LISTS])}.")
    return (_agedb if protocol == "agedb-30" else _two_lines)(folder / LISTS[protocol])


def _cfp(folder: Path, kind: str) -> list[PhotoPair]:
    """CFP's pairs, frontal-profile ("FP") or frontal-frontal, from its folder ``Protocol``.

    ``Pair_list_{F,P}.txt`` number the photos (``1 ../Data/Images/001/frontal/01.jpg``);
    ``Split/<kind>/<01 to 10>/{same,diff}.txt`` hold two numbers a line (``1,2``).
    """
    pairs, sides = [], []
    for side in ("F", kind[1]):
        lines = _lines(folder / f"Pair_list_{side}.txt", r"\s*(\d+)\s+(\S+)\s*", "a number and a path")
        sides.append({number: posixpath.normpath(f"Protocol/{path}") for number, path in lines})
    for fold in range(FOLDS):
        for name, genuine in (("same", True), ("diff", False)):
            file = folder / "Split" / kind / f"{fold + 1:02}" / f"{name}.txt"
            for left, right in _lines(file, r"\s*(\d+)\s*,\s*(\d+)\s*", "two numbers with a comma between them"):
                if left not in sides[0] or right not in sides[1]:
                    raise DatasetError(f"'{file}': of the photos {left} and {right} one is not in its Pair_list.")
                pairs.append(PhotoPair(sides[0][left], sides[1][right], genuine, fold))
    return pairs


def _two_lines(file: Path) -> list[PhotoPair]:
    """CALFW's and CPLFW's pairs: two lines each, of a photo and a number that is 0 for an impostor pair.

    The numbers of genuine pairs are the folds if they differ; the list does not say the fold of an impostor pair.
    Pairs without one are dealt in order to ten folds of one size, as published results do.
    """
    lines = _lines(file, r"\s*(\S.*?)\s+(\d+)\s*", "a photo and a number")
    if len(lines) % 2 or any(one[1] != other[1] for one, other in zip(lines[::2], lines[1::2], strict=True)):
        raise DatasetError(f"'{file}': expected two lines for each pair, with one number.")
    marks = np.array([int(mark) for _, mark in lines[::2]])
    folds = np.zeros(len(marks), int)
    for kind in (marks > 0, marks == 0):
        folds[kind] = np.arange(kind.sum()) * FOLDS // max(1, kind.sum())
    if len({*marks} - {0}) > 1:
        folds[marks > 0] = marks[marks > 0] - 1
    photos = [photo for photo, _ in lines]
    return list(map(PhotoPair, photos[::2], photos[1::2], (marks > 0).tolist(), folds.tolist()))


def _agedb(file: Path) -> list[PhotoPair]:
    """AgeDB-30's pairs in the form that is passed on: two photos and 1, or 0 or -1 for an impostor pair, per line."""
    lines = _lines(file, r"\s*(\S+)\s+(\S+)\s+(1|0|-1)\s*", "two photos, and 1, 0 or -1")
    return [PhotoPair(a, b, mark == "1", k * FOLDS // len(lines)) for k, (a, b, mark) in enumerate(lines)]


def _lines(file: Path, form: str, expected: str) -> list[tuple[str, ...]]:
    """Fields of each line that is not blank."""
    fields = []
    for number, line in enumerate(read_text(file).splitlines(), 1):
        found = re.fullmatch(form, line)
        if line.strip() and not found:
            raise DatasetError(f"'{file}', line {number}: expected {expected}, got {line!r}.")
        fields += [found.groups()] if found else []
    return fields


def _names(paths: Sequence[str], records: Sequence[PhotoPair]) -> list[str]:
    """Who is on each photo, by its name; where that does not tell, whoever genuine pairs link is one person."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    named = [next(filter(None, (re.fullmatch(form, path) for form in NAMED)), None) for path in paths]
    if all(named):
        return [name[1] for name in named]
    row = {path: k for k, path in enumerate(paths)}
    left, right = np.array([(row[r.left], row[r.right]) for r in records if r.genuine]).reshape(-1, 2).T
    links = coo_matrix((np.ones(len(left)), (left, right)), (len(paths), len(paths)))
    return [f"{number:05}" for number in connected_components(links, directed=False)[1]]


def _view(name: str) -> list[LfwPair]:
    return read_lfw_pairs(catalog.lfw_pairs_file(name))


def _photos(pair: LfwPair) -> frozenset:
    return frozenset({(pair.name_left, pair.number_left), (pair.name_right, pair.number_right)})


def people(pairs: Iterable[LfwPair]) -> set[str]:
    """Names of all whom some pairs show."""
    return {name for pair in pairs for name in (pair.name_left, pair.name_right)}
