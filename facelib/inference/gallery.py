"""A gallery of known people: enrolled from photos, kept in one file, and searched for the faces of others."""

import io
import json
import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np

from facelib.data import archives
from facelib.data.detection import FaceError
from facelib.data.images import Unreadable
from facelib.data.people import plain
from facelib.files import locked, write_atomically
from facelib.inference import search
from facelib.inference.decision import Card, Photo, Verifier
from facelib.inference.embedder import EMBEDDER_VERSION
from facelib.metrics.distances import distance

FORMAT = 1  # raised when files of another layout must not be read
AT_ONCE = 32  # photos that are enrolled between two writings of the file


@dataclass(frozen=True, eq=False)
class Gallery:
    """Features of known people's photos, all by one network. A changed gallery is another one."""

    card: Card  # of the network
    people: tuple[str, ...] = ()  # whom each feature shows
    photos: tuple[str, ...] = ()  # names of the photos
    vectors: np.ndarray = field(default_factory=lambda: np.empty((0, 0), np.float32))  # (n, d) float32

    def __len__(self) -> int:
        return len(self.people)

    def adding(self, people: Sequence[str], photos: Sequence[str], vectors: Sequence[np.ndarray]) -> "Gallery":
        """This gallery with further photos; one that a person has already, by its features, is not added again."""
        if any(not name.strip() for name in people):
            raise ValueError("A person needs a name: the one given is empty.")
        known = zip(self.people, self.photos, self.vectors, strict=True)
        rows = {}
        for name, photo, vector in (*known, *zip(map(spelt, people), photos, vectors, strict=True)):
            vector = np.asarray(vector, np.float32)
            rows.setdefault((name, vector.tobytes()), (name, photo, vector))
        if not rows:
            return self
        names, files, features = zip(*rows.values(), strict=True)
        return Gallery(self.card, names, files, np.stack(features))

    def without(self, person: str) -> "Gallery":
        """This gallery without one person; ValueError where nobody has that name."""
        kept = [row for row, name in enumerate(self.people) if name != spelt(person)]
        if len(kept) == len(self):
            names = ", ".join([*sorted(set(self.people))[:5], "..."][: len(set(self.people))]) or "nobody"
            raise ValueError(f"Nobody in the gallery is called '{person}': there are {names}.")
        people, photos = ([column[row] for row in kept] for column in (self.people, self.photos))
        return Gallery(self.card, tuple(people), tuple(photos), self.vectors[kept])

    def nearest(self, vectors: np.ndarray, k: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """The k photos nearest to each of some features (m, d): rows and distances, (m, k) each, the nearest first.

        Of more than `search.EXACT_UP_TO` photos the nearest few may be missed, and rows are -1 where none was found.
        """
        if not (k := min(k, len(self))):
            return np.empty((len(vectors), 0), np.int64), np.empty((len(vectors), 0))
        rows = self._search(np.asarray(vectors, np.float32), k)
        far = distance(np.repeat(vectors, k, axis=0), self.vectors[rows.ravel()], self.card.metric)
        return rows, np.where(rows < 0, np.inf, far.reshape(rows.shape))

    @cached_property
    def _search(self) -> search.Search:
        return search.searcher(self.vectors, self.card.metric)

    def save(self, path: str | os.PathLike) -> None:
        """Write a file that `load` reads, whole or not at all; other writers' changes since are lost: see `update`."""
        about = json.dumps({"format": FORMAT, **_made_with(self.card)})
        names = {"people": np.array(self.people, str), "photos": np.array(self.photos, str)}
        buffer = io.BytesIO()  # on a full disk numpy's archive would complain once more where nobody listens
        np.savez(buffer, vectors=self.vectors, about=np.array(about), **names)
        write_atomically(Path(path), buffer.getvalue())


def load(path: str | os.PathLike, card: Card) -> Gallery:
    """The gallery of a file; ValueError where it is damaged, or its features are another network's or metric's."""
    if not os.path.exists(path):
        raise FileNotFoundError(f"There is no gallery at '{path}': make one with `python -m facelib enrol`.")
    try:
        with np.load(io.BytesIO(Path(path).read_bytes())) as stored:  # pickles are refused
            about = json.loads(str(stored["about"]))
            people, photos = tuple(stored["people"].tolist()), tuple(stored["photos"].tolist())
            vectors = stored["vectors"]
        if about.pop("format") != FORMAT or vectors.dtype != np.float32 or vectors.ndim != 2:
            raise ValueError("another layout")
        if not len(people) == len(photos) == len(vectors) or not np.isfinite(vectors).all():
            raise ValueError("its parts do not fit")
    except Exception as error:  # what a damaged archive raises is anybody's guess
        raise ValueError(f"'{path}' is no gallery, or a damaged one ({error}): restore it, or enrol anew.") from error
    if about != _made_with(card):
        raise ValueError(
            f"'{path}' was made with the network '{about.get('network')}' and {about.get('metric')} distances, not "
            f"with the present '{card.name}' and {card.metric}: use that network (--network), or enrol the photos anew."
        )
    return Gallery(card, people, photos, vectors)


def update(path: str | os.PathLike, card: Card, change: Callable[[Gallery], Gallery]) -> Gallery:
    """Change the gallery of a file, or of none yet, while other writers wait; returns it as it is now."""
    with locked(Path(path)):
        gallery = change(load(path, card) if os.path.exists(path) else Gallery(card))
        gallery.save(path)
    return gallery


def photos_of(source: str | os.PathLike) -> Iterator[tuple[str, str, bytes | str]]:
    """Person, path and bytes (or why they cannot be read) of each photo in a folder or archive of people's folders."""
    listing = archives.members(source)
    yield from (("", path, reason) for path, reason in listing.skipped.items() if reason == archives.LOOSE)
    for path, content in listing.read(sorted(listing.images)):
        yield Path(path).parent.name, path.removeprefix(listing.root), content


def features(
    photos: Iterable[tuple[str, str, Photo]], verifier: Verifier, which: str = "only"
) -> tuple[tuple[list[str], list[str], list[np.ndarray]], dict[str, str]]:
    """People, photos and features of those photos that show one clear face, and of the others why they do not.

    Of ``photos`` the person, the name, and the photo as a file's bytes or an array; a text says why it cannot be read.
    """
    found: tuple[list[str], list[str], list[np.ndarray]] = [], [], []
    refused = {}
    for person, name, photo in photos:
        try:
            if isinstance(photo, str):
                raise Unreadable(photo)
            for column, value in zip(found, (person, name, verifier.features(photo, which)), strict=True):
                column.append(value)
        except (FaceError, Unreadable) as error:
            refused[name] = str(error).removeprefix("photo: ")
    return found, refused


def enrol(
    path: str | os.PathLike, photos: Iterable[tuple[str, str, Photo]], verifier: Verifier, which: str = "only"
) -> tuple[Gallery, dict[str, str]]:
    """Add photos of known people to the gallery of a file: what it holds now, and why photos were left out.

    ``photos`` as in `features`, such as those of `photos_of`. They are enrolled some at a time, so that what is
    done stays when something stops the rest; the file is locked while it is written alone. A photo that somebody else
    has already, by its features, is left out; so is one whose name differs from a known one in its writing alone.
    """
    gallery = load(path, verifier.card) if os.path.exists(path) else Gallery(verifier.card)  # complains before any work
    owner = {vector.tobytes(): name for name, vector in zip(gallery.people, gallery.vectors, strict=True)}
    photos, refused, took = iter(photos), {}, False
    known = {plain(name): name for name in gallery.people}
    while some := list(islice(photos, AT_ONCE)):
        found, left_out = features(some, verifier, which)
        refused |= left_out
        rows = []
        for name, photo, vector in zip(*found, strict=True):
            if (alike := known.setdefault(plain(name), spelt(name))) != spelt(name):
                refused[photo] = f"'{alike}' is enrolled already: if '{name}' is the same person, write the name so"
            elif (first := owner.setdefault(vector.tobytes(), spelt(name))) != spelt(name):
                refused[photo] = f"the same photo is enrolled as '{first}' already"
            else:
                rows.append((name, photo, vector))
        if rows:
            people, names, vectors = zip(*rows, strict=True)
            more = partial(Gallery.adding, people=people, photos=names, vectors=vectors)
            gallery, took = update(path, verifier.card, more), True
    if not took:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in list(refused.items())[:2])
        raise FaceError(f"no photo could be enrolled ({reasons or 'there is none'})")
    return gallery, refused


def spelt(name: str) -> str:
    """A name in one spelling: macOS writes accents of folder names as letters of their own, keyboards do not."""
    return unicodedata.normalize("NFC", name.strip())


def _made_with(card: Card) -> dict[str, str]:
    weights = [each.sha256 for each in card.weights]
    made = archives.digest([weights, card.mirror, card.size, card.frame, EMBEDDER_VERSION])
    return {"network": card.name, "features": made, "metric": card.metric}
