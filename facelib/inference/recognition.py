"""Who is in a picture: each of its faces, looked up in a gallery."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from facelib.data.detection import Face
from facelib.data.images import Unreadable
from facelib.inference.decision import Card, Decision, Photo, Share, Verifier, decide
from facelib.inference.gallery import Gallery
from facelib.metrics.calibration import FarThreshold


@dataclass(frozen=True, eq=False)
class Seen:
    """A face in a picture, and who it may be."""

    face: Face
    name: str | None = None  # None where nobody is near enough
    nearest: str | None = None  # who comes closest,
    decision: Decision | None = None  # and how close
    reason: str = ""  # why a face cannot be compared


def identify(
    gallery: Gallery, photo: Photo, verifier: Verifier, far: float | None = None, prior: float = 0.5
) -> tuple[np.ndarray, list[Seen]]:
    """Who is in a picture: the picture upright, and each of its faces, the largest first.

    A face gets the name of the nearest enrolled photo if that is within the card's threshold; what of a thousand
    strangers would be taken for somebody grows with the gallery, so that the threshold is the strictest there is.
    ``far`` is as in `decision.decide` of *pairs* of faces, not of searches. ``prior`` is the
    share of faces whose person is enrolled, each of k people as probably as any other: for one of them it is prior / k.
    """
    card = verifier.card
    far = strict(card, far).far  # complains before any work
    pixels, faces = verifier.everybody(photo)
    people, found = max(1, len(set(gallery.people))), []
    for face, vector in faces:
        if isinstance(vector, str):
            found.append(Seen(face, reason=vector))
            continue
        rows, far_away = gallery.nearest(vector[None])
        if not rows.size or rows[0, 0] < 0:  # an empty gallery, or one whose index found nobody
            found.append(Seen(face))
        else:
            decided = decide(card, far_away[0, 0], far, prior / people)
            nearest = gallery.people[rows[0, 0]]
            found.append(Seen(face, nearest if decided.same else None, nearest, decided))
    return pixels, found


def strict(card: Card, far: float | None = None) -> FarThreshold:
    """The card's threshold for a false accept rate, by default the smallest that it has one for."""
    return card.threshold(
        min(each.far for each in card.thresholds if each.threshold is not None) if far is None else far
    )


def false_alarms(gallery: Gallery, card: Card, far: float | None = None) -> Share:
    """Share of strangers who would be taken for somebody if the gallery's photos erred independently, and interval.

    By the rate that the card's threshold has on all impostor pairs of LFW's photos, else by the one that it aims at.
    """
    limit = strict(card, far)
    rates = card.measured(limit) or (limit.far, limit.far_low, limit.far_high)
    found, low, high = (1 - (1 - rate) ** len(gallery) for rate in rates)
    return found, low, high


def everybody(paths: Iterable[str], verifier: Verifier) -> tuple[list[tuple[str, Face]], np.ndarray, dict[str, str]]:
    """All faces of some photos, each with its photo, their features (n, d), and of other photos why they show none."""
    found, vectors, refused = [], [], {}
    for path in paths:
        try:
            _, faces = verifier.everybody(path)
        except (Unreadable, FileNotFoundError) as error:
            refused[path] = str(error)
            continue
        usable = [(face, vector) for face, vector in faces if not isinstance(vector, str)]
        found += [(path, face) for face, _ in usable]
        vectors += [vector for _, vector in usable]
        if not usable:
            refused[path] = "; ".join(reason for _, reason in faces) or "no face found"
    return found, np.stack(vectors) if vectors else np.empty((0, 0), np.float32), refused
