"""Faces that are computed, as a packed set like any other."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from facelib import runtime
from facelib.data import packing
from facelib.data.archives import digest
from facelib.data.packed import FORMAT, PackedFaces


def store(name: str, made_of: list, size: int, faces: Iterable[tuple[str, np.ndarray]]) -> PackedFaces:
    """Pack computed (path, (size, size, 3) uint8); a set of the same ``made_of`` (as JSON) is not computed again."""
    arguments = {"format": FORMAT, "size": size, "crop": None, "made_of": made_of}
    key = digest([packing.LAYOUT, arguments])

    def write(folder: Path) -> None:
        with open(folder / "pixels.u8", "wb") as pixels:
            packed = [(path, key, size) for path, face in faces if pixels.write(face.tobytes())]
        packing._write_index(folder, Path(name), packed, np.zeros(len(packed), np.uint64), {}, "", arguments)

    return packing._opened(runtime.cache_dir() / "packed" / f"{name}-{key}", write)
