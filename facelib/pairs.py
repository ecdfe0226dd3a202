"""Which images are compared: drawn pairs, splits by identity, LFW's protocol, leaks between sets."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy import ndarray as Array


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images, as rows of one set.

    Attributes
    ----------
    left, right
        (n,) int64: rows of the two images, never the same one.
    genuine
        (n,) bool: whether both show one person.
    fold
        (n,) int64: the part of a protocol that a pair belongs to; None without a protocol.
    """

    left: Array
    right: Array
    genuine: Array
    fold: Array | None = None

    def __post_init__(self):
        for name in ("left", "right", "genuine", "fold"):
            column, kind = getattr(self, name), bool if name == "genuine" else np.int64
            if column is None and name == "fold":
                continue
            column = np.asarray(column)
            if column.shape != (len(self.left),) or not np.can_cast(column.dtype, kind):
                expected = f"({len(self.left)},) {np.dtype(kind)}"
                raise ValueError(f"{name}: expected {expected}, got {column.shape} {column.dtype}")
            object.__setattr__(self, name, column.astype(kind))
        for pair in np.flatnonzero((self.left == self.right) | (self.left < 0) | (self.right < 0)):
            rows = f"{self.left[pair]} and {self.right[pair]}"
            raise ValueError(f"pair {pair}: expected two different rows from 0 on, got {rows}")

    def __len__(self) -> int:
        return len(self.left)

    def people(self, labels: Array) -> tuple[Array, Array]:
        """Identities of the left and the right images, (n,) each, by the labels of the set."""
        labels = np.asarray(labels)
        return labels[self.left], labels[self.right]


def _blocks(keys: Array) -> tuple[Array, Array, Array]:
    """Rows (n,) sorted by key; where each distinct key starts among them and how many it has."""
    order = np.argsort(keys, kind="stable")
    _, first, size = np.unique(keys[order], return_index=True, return_counts=True)
    return order, first, size


def _another(rng: np.random.Generator, number: Array, size: Array) -> Array:
    """A number below `size` other than the given one, uniformly."""
    other = rng.integers(size - 1)
    return other + (other >= number)


def _distinct(draw: Callable, count: int, exist: int, images: int, kind: str) -> tuple[Array, Array]:
    """The first `count` different pairs among those that `draw(m)` yields m at a time."""
    if count > exist:
        raise ValueError(f"{count} {kind} pairs were asked for, but only {exist} exist")
    keys, more = np.empty(0, dtype=np.int64), count
    while len(keys) < count:
        one, other = draw(more)
        keys = np.concatenate([keys, np.minimum(one, other) * images + np.maximum(one, other)])
        keys = keys[np.sort(np.unique(keys, return_index=True)[1])]
        more *= 2  # the fewer pairs are left, the more draws repeat one
    return np.divmod(keys[:count], images)


def _genuine(person: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    order, first, size = _blocks(person)
    first, size = first[size > 1], size[size > 1]

    def draw(m):
        k = rng.integers(len(size), size=m)
        image = rng.integers(size[k])
        return order[first[k] + image], order[first[k] + _another(rng, image, size[k])]

    return _distinct(draw, count, int((size * (size - 1)).sum()) // 2, len(person), "genuine")


def _impostor(person: Array, group: Array, count: int, rng) -> tuple[Array, Array]:
    order, first, size = _blocks(group * len(person) + person)  # one block: a person in a group
    _, start, people = _blocks(group[order[first]])
    of = np.repeat(np.arange(len(people)), people)  # the group of each block
    drawn_from = np.flatnonzero(people[of] > 1)
    images = np.bincount(of, size)
    exist = int((images**2 - np.bincount(of, size.astype(float) ** 2)).sum()) // 2

    def draw(m):
        one = rng.choice(drawn_from, size=m)
        begin = start[of[one]]
        other = begin + _another(rng, one - begin, people[of[one]])
        return [order[first[k] + rng.integers(size[k])] for k in (one, other)]

    return _distinct(draw, count, exist, len(person), "impostor")


def draw_pairs(
    labels: Array, genuine: int, impostor: int, seed: int, groups: Array | None = None
) -> Pairs:
    """Draw pairs without repetition, the genuine ones first.

    A genuine pair takes an identity, uniformly among those with two images or more, and two of its
    images: people with many images do not dominate. An impostor pair takes two identities uniformly
    and an image of each. The paper does not say how it draws; this is a choice of this project.

    Parameters
    ----------
    labels
        (n,) identity of each image.
    genuine, impostor
        Number of pairs of each kind; ValueError if fewer exist.
    groups
        (n,) for example the source of each image. Impostor pairs then stay within one group; a group
        is drawn in proportion to its number of identities.
    """
    _, person = np.unique(labels, return_inverse=True)
    group = 0 * person if groups is None else np.unique(groups, return_inverse=True)[1]
    rng = np.random.default_rng(seed)
    pairs = [_genuine(person, genuine, rng), _impostor(person, group, impostor, rng)]
    left, right = np.concatenate(pairs, axis=1)
    return Pairs(left, right, np.arange(genuine + impostor) < genuine)


def split_identities(
    labels: Array, fractions: dict[str, float], seed: int, strata: Array | None = None
) -> dict[str, Array]:
    """Rows of each part, sorted; every identity lies in exactly one part.

    The parts are alike in their strata (one value per image, the same for all images of an identity)
    and, within a stratum, in the number of images per identity. Each holds its fraction of the
    identities up to rounding; ValueError if the fractions do not add up to 1 or a part stays empty.
    """
    shares = np.array(list(fractions.values()))
    if not np.isclose(shares.sum(), 1) or shares.min() <= 0:
        raise ValueError(f"fractions must be positive and add up to 1, got {fractions}")
    people, person, images = np.unique(labels, return_inverse=True, return_counts=True)
    stratum_of_image = np.unique(strata, return_inverse=True)[1] if strata is not None else 0 * person
    stratum = np.zeros(len(people), dtype=np.int64)
    stratum[person] = stratum_of_image
    for image in np.flatnonzero(stratum[person] != stratum_of_image):
        raise ValueError(f"identity {people[person[image]]} has images in more than one stratum")
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(people)), images, stratum))
    # Multiples of the golden ratio, modulo 1, spread every run of neighbours evenly over [0, 1).
    spot = (rng.random() + np.arange(len(people)) * (np.sqrt(5) - 1) / 2) % 1
    part = np.empty(len(people), dtype=np.int64)
    part[order] = np.searchsorted(np.cumsum(shares)[:-1], spot, side="right")
    rows = {name: np.flatnonzero(part[person] == k) for k, name in enumerate(fractions)}
    for name in (name for name in rows if not len(rows[name])):
        raise ValueError(f"part {name!r} stays empty: {len(people)} identities are too few")
    return rows


def hold_out_images(
    labels: Array, rows: Array, seed: int, per_identity: int = 1, min_images: int = 5,
    eligible: Array | None = None,
) -> tuple[Array, Array]:
    """Split rows into kept ones and held-out single images of people who stay.

    `per_identity` random images are held out of every identity with at least `min_images` among
    `rows`; only images with `eligible` (n,) True, one entry per label, count and are taken.
    """
    if not 0 < per_identity < min_images:
        raise ValueError(f"min_images {min_images} must exceed per_identity {per_identity} > 0")
    labels, rows = np.asarray(labels), np.asarray(rows)
    pool = rows if eligible is None else rows[np.asarray(eligible)[rows]]
    pool = np.random.default_rng(seed).permutation(pool)
    order, first, size = _blocks(labels[pool])
    rank = np.arange(len(pool)) - np.repeat(first, size)
    held = np.sort(pool[order[(rank < per_identity) & np.repeat(size >= min_images, size)]])
    return rows[~np.isin(rows, held)], held


class LfwPair(NamedTuple):
    """A line of one of LFW's pair lists; the numbers count a person's images from 1."""

    name_left: str
    number_left: int
    name_right: str
    number_right: int
    genuine: bool
    fold: int


def read_lfw_pairs(path: str | Path) -> list[LfwPair]:
    """Parse ``pairs.txt`` (Huang et al. 2007, View 2) or ``pairsDev{Train,Test}.txt`` (View 1).

    The first line holds the number of folds, if there are several, and of pairs of each kind per
    fold. ValueError with file and line for a malformed line, or if the number of lines is another.
    """
    header, *lines = Path(path).read_text(encoding="utf-8").rstrip("\n").split("\n")
    numbers = header.split()
    if len(numbers) not in (1, 2) or not all(number.isdecimal() for number in numbers):
        raise ValueError(f"{path}, line 1: expected the number of folds and pairs, found {header!r}")
    per_kind, folds = int(numbers[-1]), int(numbers[0]) if len(numbers) == 2 else 1
    if len(lines) != 2 * folds * per_kind:
        raise ValueError(f"{path}: expected {2 * folds * per_kind} pairs by its first line, found {len(lines)}")
    return [_lfw_pair(path, index, line, per_kind) for index, line in enumerate(lines)]


def _lfw_pair(path, index: int, line: str, per_kind: int) -> LfwPair:
    fold, within = divmod(index, 2 * per_kind)
    genuine = within < per_kind
    try:
        fields = line.split("\t")
        if genuine:
            name, i, j = fields
            return LfwPair(name, int(i), name, int(j), genuine, fold)
        one, i, other, j = fields
        return LfwPair(one, int(i), other, int(j), genuine, fold)
    except ValueError:
        form = "name, number, number" if genuine else "name, number, name, number"
        raise ValueError(f"{path}, line {index + 2}: expected {form}, found {line!r}") from None


def match_lfw_pairs(records: Sequence[LfwPair], paths: Sequence[str]) -> Pairs:
    """Rows of the images that LFW's pairs name, in a set with these paths.

    Paths end in ``<name>/<name>_<number, 4 digits>`` and any suffix. FileNotFoundError names the first
    images that are missing.
    """
    files = (PurePosixPath(unicodedata.normalize("NFC", path)) for path in paths)
    row = {f"{file.parent.name}/{file.stem}": k for k, file in enumerate(files)}

    def key(name, number):
        return unicodedata.normalize("NFC", f"{name}/{name}_{number:04d}")

    left = [key(record.name_left, record.number_left) for record in records]
    right = [key(record.name_right, record.number_right) for record in records]
    missing = sorted({*left, *right} - row.keys())
    if missing:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise FileNotFoundError(f"{len(missing)} images of the pairs are not in the set: {some}")
    return Pairs(
        np.array([row[image] for image in left], dtype=np.int64),
        np.array([row[image] for image in right], dtype=np.int64),
        np.array([record.genuine for record in records], dtype=bool),
        np.array([record.fold for record in records], dtype=np.int64),
    )


def check_disjoint(names_a: Iterable[str], names_b: Iterable[str]) -> list[str]:
    """Names of a that b has too, sorted; case, spaces, underscores and Unicode form do not matter."""

    def plain(name):
        folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
        return re.sub(r"[\s_]+", "", folded)

    others = {plain(name) for name in names_b}
    return sorted({name for name in names_a if plain(name) in others})
