"""Faces of a set's photos as the detector frames them, found once and kept; and whether a set is framed already."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from facelib import runtime
from facelib.data import archives, detection, framing, images
from facelib.files import write_atomically

LOOSE, SAMPLE = 0.8, 32  # share of a photo's shorter side below which the frame is loose; photos that are looked at
ALIGNED_VERSION = 1  # raised when the same photos give other faces than before


def faces(
    source: str | os.PathLike, paths: Sequence[str], size: int = 64, which: str = "central", progress: bool = True
) -> dict[str, np.ndarray]:
    """Faces (size, size, 3) uint8 of some photos of a folder or archive, by path; without those where none is found.

    Parameters
    ----------
    source, paths
        As `archives.members` takes and lists them.
    which
        The face that is meant, as in `detection.choose`.
    """
    wanted = sorted(paths)
    state = [archives.fingerprint(source), wanted, size, which, detection.DETECTOR_SHA256, ALIGNED_VERSION]
    kept = runtime.cache_dir() / "aligned" / f"{archives.digest(state)}.npz"
    if not kept.exists():
        found = _found(archives.members(source), wanted, size, which, progress)
        content = io.BytesIO()
        pixels = np.stack(list(found.values())) if found else np.empty((0, size, size, 3), np.uint8)
        np.savez(content, number=[wanted.index(path) for path in found], pixels=pixels)
        write_atomically(kept, content.getvalue())
    return _read(kept, wanted)


def is_loose(source: str | os.PathLike) -> bool:
    """Whether a set's photos are yet to be framed: most show one face, in a frame smaller than the photo.

    An even sample is looked at. False where faces fill their photos, as in the published sets of crops, or where the
    detector finds too few of them.
    """
    return _is_loose(str(source), archives.fingerprint(source))


@lru_cache(maxsize=8)
def _is_loose(source: str, fingerprint: str) -> bool:
    listing, shares = archives.members(source), []
    paths = sorted(listing.images)
    for _, content in listing.read(paths[:: -(-len(paths) // SAMPLE)]):
        try:
            photo = images.decode_whole(content, detection.LONGEST)
            face = detection.choose(photo, detection.find(photo), "largest")
        except (TypeError, ValueError):  # unreadable, or without a face
            shares.append(np.inf)
        else:
            across = 1 / framing.scale(framing.similarity(face.landmarks, framing.FRAME))
            shares.append(across / min(photo.shape[:2]))
    return bool(np.median(shares) < LOOSE)


def _read(kept: Path, wanted: list[str]) -> dict[str, np.ndarray]:
    try:
        with np.load(kept) as stored:
            return {wanted[k]: face for k, face in zip(stored["number"].tolist(), stored["pixels"], strict=True)}
    except Exception as error:
        raise ValueError(f"'{kept}' is damaged ({error}): delete it, the faces are then found again.") from error


def _found(listing: archives.Listing, paths: list[str], size: int, which: str, progress: bool):
    from tqdm import tqdm

    found = {}
    bar = {"total": len(paths), "desc": "finding faces", "disable": not progress, "file": sys.stdout}
    for path, content in tqdm(listing.read(paths), **bar):
        try:
            found[path] = detection.align(images.decode_whole(content, detection.LONGEST), size, which)
        except detection.FaceError:
            continue
    return found
