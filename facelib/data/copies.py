"""People of one set whose photographs another set holds, too: left out, and remembered."""

from __future__ import annotations

import json

import numpy as np

from facelib import runtime
from facelib.data import leaks
from facelib.data.archives import DatasetError, digest
from facelib.data.packed import PackedFaces
from facelib.files import write_atomically

VERSION = 1  # raised when `leaks.near_duplicates` finds others


def without_copies(faces: PackedFaces, others: PackedFaces) -> PackedFaces:
    """Leave out everybody of whom a photograph is a near-duplicate of one of the others (`leaks.near_duplicates`).

    Not that photograph alone: whoever is on it is in the other set. What was found is kept in the cache; finding it
    compares every photo with every other one, some minutes for CelebA and LFW.
    """
    record = runtime.cache_dir() / "copies" / f"{digest([VERSION, faces.key, others.key])}.json"
    if not record.exists():
        write_atomically(record, json.dumps(_copied(faces, others)))
    names = set(json.loads(record.read_text(encoding="utf-8")))
    kept = np.array([name not in names for name in faces.names])[faces.labels]
    if not kept.any():
        raise DatasetError(
            f"'{faces.manifest['source']}' holds nobody of whom '{others.manifest['source']}' has no photograph, too."
        )
    return faces.select(kept)


def _copied(faces: PackedFaces, others: PackedFaces) -> list[str]:
    found, _ = leaks.near_duplicates(faces.pixels, others.pixels)  # the maps, which need no memory
    label_of = dict(zip(faces.rows.tolist(), faces.labels.tolist(), strict=True))
    theirs = np.isin(found["j"], others.rows)  # a map holds the photos that a selection leaves out, too
    rows = {int(row) for row in found["i"][theirs]} & label_of.keys()
    return sorted({faces.names[label_of[row]] for row in rows})
