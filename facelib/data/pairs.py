"""Which images are compared: drawn pairs, splits by identity, LFW's lists, leaks between sets."""

import posixpath
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np
from numpy import ndarray as Array

from facelib.files import read_text


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images by rows of one set, never twice the same, and whether both show one person."""

    left: Array  # (n,) int64
    right: Array  # (n,) int64
    genuine: Array  # (n,) bool
    fold: Array | None = None  # (n,) int64: the part of a protocol

    def __post_init__(self):
        n = len(self.left)
        for name in ("left", "right", "genuine") if self.fold is None else tuple(vars(self)):
            column, kind = np.asarray(getattr(self, name)), bool if name == "genuine" else np.int64
            if column.shape != (n,) or (n and not np.can_cast(column.dtype, kind)):
                found = f"{column.shape} {column.dtype}"
                raise ValueError(f"{name}: expected ({n},) {np.dtype(kind)}, got {found}")
            object.__setattr__(self, name, column.astype(kind))
        for k in np.flatnonzero((self.left == self.right) | (self.left < 0) | (self.right < 0)):
            rows = f"{self.left[k]} and {self.right[k]}"
            raise ValueError(f"pair {k}: expected two different rows from 0 on, got {rows}")

    def __len__(self) -> int:
        return len(self.left)

    @property
    def folds(self) -> Array:
        """`fold`, or where there is none every tenth pair: (n,)."""
        return np.arange(len(self)) % 10 if self.fold is None else self.fold

    def people(self, labels: Array) -> tuple[Array, Array]:
        """Identities of the left and the right images, (n,) each, by the labels of the set."""
        return np.asarray(labels)[self.left], np.asarray(labels)[self.right]

    def select(self, chosen: Array) -> "Pairs":
        """Some of the pairs, by their numbers or by a mask (n,)."""
        fold = None if self.fold is None else self.fold[chosen]
        return Pairs(self.left[chosen], self.right[chosen], self.genuine[chosen], fold)

    def balanced(self, seed: int) -> "Pairs":
        """As many pairs of the one kind as of the other: all of the rarer kind, and as many drawn from the other."""
        rng, kinds = np.random.default_rng(seed), [np.flatnonzero(self.genuine == kind) for kind in (True, False)]
        fewest = min(map(len, kinds))
        return self.select(np.sort(np.concatenate([rng.choice(rows, fewest, replace=False) for rows in kinds])))

    def compact(self) -> tuple[Array, "Pairs"]:
        """The rows that the pairs name, ascending, and the pairs as rows of those."""
        rows = np.union1d(self.left, self.right)
        return rows, self.among(rows)

    def among(self, rows: Array) -> "Pairs":
        """The pairs as rows of some rows, which are ascending and hold all that the pairs name."""
        left, right = np.searchsorted(rows, [self.left, self.right])
        return Pairs(left, right, self.genuine, self.fold)


def _blocks(keys: Array) -> tuple[Array, Array, Array]:
    """Rows (n,) sorted by key; where each distinct key starts among them; its number of rows."""
    order = np.argsort(keys, kind="stable")
    _, first, size = np.unique(keys[order], return_index=True, return_counts=True)
    return order, first, size


def _another(rng: np.random.Generator, number: Array, size: Array) -> Array:
    """A number below `size` other than the given one, uniformly."""
    other = rng.integers(size - 1)
    return other + (other >= number)


def _distinct(draw: Callable, count: int, exist: int, images: int, kind: str) -> list[Array]:
    """The first `count` different pairs of those that `draw(m)` yields m at a time."""
    if count > exist:
        raise ValueError(f"{count} {kind} pairs were asked for, but only {exist} exist")
    keys, more = np.empty(0, dtype=np.int64), count
    while len(keys) < count:
        low, high = np.sort(draw(more), axis=0)
        keys = np.concatenate([keys, low * images + high])
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])]
        more *= 2  # the fewer pairs are left, the more often a draw repeats one
    return list(np.divmod(keys[:count], images))


def _genuine(person: Array, count: int, rng: np.random.Generator) -> list[Array]:
    order, first, size = _blocks(person)
    first, size = first[size > 1], size[size > 1]

    def draw(m):
        k = rng.integers(len(size), size=m)
        image = rng.integers(size[k])
        return order[first[k] + [image, _another(rng, image, size[k])]]

    return _distinct(draw, count, int((size * (size - 1)).sum()) // 2, len(person), "genuine")


def _impostor(person: Array, group: Array, count: int, rng: np.random.Generator) -> list[Array]:
    order, first, size = _blocks(group * len(person) + person)  # a block: a person within a group
    _, start, people = _blocks(group[order[first]])
    group = np.repeat(np.arange(len(people)), people)  # of each block
    candidates = np.flatnonzero(people[group] > 1)

    def draw(m):
        one = rng.choice(candidates, size=m)
        begin = start[group[one]]
        two = np.array([one, begin + _another(rng, one - begin, people[group[one]])])
        return order[first[two] + rng.integers(size[two])]

    exist = int((np.add.reduceat(size, start) ** 2).sum() - (size**2).sum()) // 2
    return _distinct(draw, count, exist, len(person), "impostor")


def draw_pairs(labels: Array, genuine: int, impostor: int, seed: int | list[int], groups=None) -> Pairs:
    """Draw pairs of images of identities (n,) without repetition, the genuine ones first; ValueError if fewer exist.

    A genuine pair takes an identity, uniformly among those with two images or more, and two of its images: people with
    many images do not dominate. An impostor pair takes two identities uniformly and an image of each, within one of
    ``groups`` (n,), such as sources, drawn in proportion to its number of identities. The paper leaves open how it
    draws.
    """
    _, person = np.unique(labels, return_inverse=True)
    group = 0 * person if groups is None else np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    drawn = _genuine(person, genuine, rng), _impostor(person, group, impostor, rng)
    left, right = np.concatenate(drawn, axis=1)
    return Pairs(left, right, np.arange(genuine + impostor) < genuine)


def existing(labels: Array) -> tuple[int, int]:
    """How many genuine and how many impostor pairs there are among images of these identities, (n,)."""
    sizes = np.unique(labels, return_counts=True)[1].astype(int)
    genuine = int((sizes * (sizes - 1)).sum()) // 2
    return genuine, len(labels) * (len(labels) - 1) // 2 - genuine


def at_most(labels: Array, count: int) -> int:
    """How many pairs of each kind can be drawn among images of these identities, (n,), if ``count`` are wanted."""
    return min(count, *existing(labels))


def draw_by_source(labels: Array, sources: Array, count: int, seed: int) -> Pairs:
    """Draw pairs within each source, as many genuine as impostor ones, ``count`` of each kind and source at most.

    Where genuine pairs come mostly from one source and impostor pairs from another, as they do if the people of one
    have more photos, a score on all of them rewards telling the sources apart. ``labels`` and ``sources`` (n,) are
    those of the images; each source is a ``fold`` of the result, or left out without pairs of both kinds; ValueError if
    none is left.
    """
    labels, drawn, exist = np.asarray(labels), [], []
    for fold, source in enumerate(np.unique(sources)):
        rows = np.flatnonzero(sources == source)
        genuine, impostor = existing(labels[rows])
        exist.append(f"{genuine} genuine and {impostor} impostor pairs")
        if number := min(count, genuine, impostor):
            found = draw_pairs(labels[rows], number, number, seed)
            drawn.append((rows[found.left], rows[found.right], found.genuine, np.full(len(found), fold)))
    if not drawn:
        raise ValueError(f"no source has pairs of both kinds: {'; '.join(exist)}. More people are needed.")
    return Pairs(*map(np.concatenate, zip(*drawn, strict=True)))


class LfwPair(NamedTuple):
    """A line of one of LFW's lists; the numbers count a person's images from 1."""

    name_left: str
    number_left: int
    name_right: str
    number_right: int
    genuine: bool
    fold: int


def read_lfw_pairs(path: str | Path) -> list[LfwPair]:
    """Parse ``pairs.txt`` (View 2 of Huang et al. 2007) or ``pairsDev{Train,Test}.txt`` (View 1).

    The first line holds the number of folds, unless there is one, and of pairs of each kind in a fold. Tabs part the
    columns, or else any blanks; empty columns and lines at the end do not count. ValueError names file
    and line if a line is malformed or the number of lines is another.
    """
    header, *lines = read_text(path).rstrip().split("\n")
    if not re.fullmatch(r"\s*(\d+\s+)?[1-9]\d*\s*", header):
        raise ValueError(f"{path}, line 1: expected one or two numbers, got {header!r}")
    folds, size = map(int, f"1 {header}".split()[-2:])
    if len(lines) != 2 * folds * size:
        raise ValueError(f"{path}: line 1 promises {2 * folds * size} pairs, got {len(lines)}")
    pairs = []
    for k, line in enumerate(lines):
        genuine = k // size % 2 == 0
        try:
            columns = [column.strip() for column in line.strip().split("\t")]
            columns = columns if len(columns) == 4 - genuine else line.split()
            name, i, *rest, j = columns
            (other,) = [name, *rest] if genuine else rest
            pairs.append(LfwPair(name, int(i), other, int(j), genuine, k // (2 * size)))
        except ValueError:
            form = "name, number, number" if genuine else "name, number, name, number"
            raise ValueError(f"{path}, line {k + 2}: expected {form}, got {line!r}") from None
    return pairs


def match_lfw_pairs(records: Sequence[LfwPair], paths: Sequence[str], some: bool = False) -> Pairs:
    """Find the images of LFW's pairs, or of ``some``, among paths like ``<name>/<name>_<0001>.<any suffix>``."""
    whose = ("/".join(normalize("NFC", path).split("/")[-2:]) for path in paths)
    row = {posixpath.splitext(file)[0]: k for k, file in enumerate(whose)}
    found, missing = [], set()
    for record in records:
        sides = [normalize("NFC", f"{name}/{name}_{number:04d}") for name, number in (record[:2], record[2:4])]
        if absent := [side for side in sides if side not in row]:
            missing.update(absent)
        else:
            found.append((row[sides[0]], row[sides[1]], record.genuine, record.fold))
    if missing and not some:
        names = ", ".join(sorted(missing)[:5])
        raise FileNotFoundError(f"{len(missing)} images of the pairs are missing, such as {names}")
    return Pairs(*map(list, zip(*found, strict=True)))
