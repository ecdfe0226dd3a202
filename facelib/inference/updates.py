"""A gallery and a network that change in use: photos arrive in a log, and bad batches are rolled back."""

import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from facelib.metrics.distances import l2_normalise

LEVEL = 0.01  # p-value below which a network is released, and a batch rolled back
Batch = tuple[Sequence[str], np.ndarray]  # names (n,) and features (n, d) of photos

_SCHEMA = """
CREATE TABLE IF NOT EXISTS batches (
    number INTEGER PRIMARY KEY, time TEXT DEFAULT CURRENT_TIMESTAMP, reverts INTEGER REFERENCES batches
);
CREATE TABLE IF NOT EXISTS photos (batch INTEGER REFERENCES batches, name TEXT NOT NULL, feature BLOB NOT NULL);
"""
_SCHEMA += "".join(
    f"CREATE TRIGGER IF NOT EXISTS no_{change}_{table} BEFORE {change} ON {table} "
    "BEGIN SELECT RAISE(ABORT, 'the log of photos is only ever added to'); END;\n"
    for table in ("batches", "photos")
    for change in ("UPDATE", "DELETE")
)


class Log:
    """Photos in the order of their arrival, in an SQLite file in which nothing is ever changed, but taken back."""

    def __init__(self, path: str | os.PathLike = ":memory:"):
        self._base = sqlite3.connect(path)
        self._base.executescript(_SCHEMA)

    def append(self, names: Sequence[str], features: np.ndarray) -> int:
        """Add a batch, whole or not at all, and return its number; features are (n, d), n > 0, by one network."""
        features = np.asarray(features, "<f4")
        if features.ndim != 2 or not 0 < len(names) == len(features):
            raise ValueError(f"Expected a name for each row of features (n, d), got {len(names)} and {features.shape}.")
        before = self._base.execute("SELECT length(feature) / 4 FROM photos LIMIT 1").fetchone()
        if before and before[0] != features.shape[1]:
            raise ValueError(f"The log holds features of {before[0]} numbers, these have {features.shape[1]}.")
        with self._base as base:
            number = base.execute("INSERT INTO batches DEFAULT VALUES").lastrowid
            rows = ((number, str(name), one.tobytes()) for name, one in zip(names, features, strict=True))
            base.executemany("INSERT INTO photos VALUES (?, ?, ?)", rows)
        return number

    def revert(self, number: int) -> None:
        """Say that a batch does not count; ValueError where there is none that does."""
        if number not in self.numbers():
            raise ValueError(f"The log has no batch {number} that counts: there are {self.numbers()}.")
        with self._base as base:
            base.execute("INSERT INTO batches (reverts) VALUES (?)", (number,))

    def numbers(self) -> list[int]:
        """The batches that count, in the order of their arrival."""
        found = self._base.execute(
            "SELECT number FROM batches WHERE reverts IS NULL AND number NOT IN "
            "(SELECT reverts FROM batches WHERE reverts IS NOT NULL) ORDER BY number"
        )
        return [number for (number,) in found]

    def __iter__(self) -> Iterator[Batch]:
        """The batches that count, in order."""
        for number in self.numbers():
            query = "SELECT name, feature FROM photos WHERE batch = ? ORDER BY rowid"
            names, features = zip(*self._base.execute(query, (number,)), strict=True)
            yield names, np.stack([np.frombuffer(one, "<f4") for one in features])


def gallery(batches: Iterable[Batch]) -> Batch:
    """Each person with the mean of their normalised features: names (k,), sorted, and (k, d) float64."""
    names, features = zip(*batches, strict=True)
    people, rows = np.unique(np.concatenate(names), return_inverse=True)
    sums = np.zeros((len(people), features[0].shape[1]))
    np.add.at(sums, rows, l2_normalise(np.concatenate(features)))
    return people, sums / np.bincount(rows)[:, None]


def recognised(enrolled: Batch, names: Sequence[str], features: np.ndarray) -> np.ndarray:
    """Of each photo whether the most similar person of a gallery, by the cosine, is the one it shows: (n,) bool."""
    people, centres = enrolled
    nearest = (l2_normalise(features) @ l2_normalise(centres).T).argmax(1)
    return np.asarray(people)[nearest] == np.asarray(names)


def p_value(new: np.ndarray, old: np.ndarray) -> float:
    """How likely ``new`` would be right as much oftener than ``old`` as it is, were neither better; one-sided.

    The exact test of McNemar (1947): of the cases in which one alone is right, half would be the new one's. ``new`` and
    ``old`` (n,) bool say of each case whether it was decided right.
    """
    from scipy.stats import binom

    gained, lost = (new & ~old).sum(), (old & ~new).sum()
    return float(binom.sf(gained - 1, gained + lost, 0.5))


@dataclass(frozen=True)
class Step:
    """A batch of a stream: its number in the log, what share of control photos it let recognise, what came of it."""

    number: int
    tried: float  # share of the control photos that are recognised with the batch
    p_worse: float
    reverted: bool
    accuracy: float  # share that are recognised when it has been taken up or rolled back


def follow(log: Log, stream: Iterable[Batch], control: Batch, level: float = LEVEL) -> Iterator[Step]:
    """Take up the batches of a stream in order; one after which fewer control photos are recognised is rolled back.

    ``control`` are names and features of photos that are never enrolled; worse is what `p_value` calls so at ``level``.
    """
    before = np.zeros(len(control[0]), bool)
    if log.numbers():
        before = recognised(gallery(log), *control)
    for batch in stream:
        number = log.append(*batch)
        after = recognised(gallery(log), *control)
        worse = p_value(before, after)
        if worse < level:
            log.revert(number)
        else:
            before = after
        yield Step(number, float(after.mean()), worse, worse < level, float(before.mean()))
