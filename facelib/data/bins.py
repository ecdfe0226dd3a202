"""Test sets of encoded photos, whose pairs come two after another: ``.bin`` files (pickles, read safely), parquet."""

import pickle
from pathlib import Path

import numpy as np

from facelib.data import images
from facelib.data.archives import DatasetError
from facelib.data.images import Crop
from facelib.data.pairs import Pairs

FOLDS = 10


class _Plain(pickle.Unpickler):
    """Reads what needs no import; a pickle that names any class or function, which could run anything, is refused."""

    def find_class(self, module, name):
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_bin(path: Path, size: int = 64, crop: Crop | None = None) -> tuple[np.ndarray, Pairs]:
    """Faces and pairs of a ``.bin`` file, as face-recognition projects pass LFW, CFP-FP, AgeDB-30, CALFW, CPLFW on.

    The file is a pickle of two lists: of encoded images, two after another for each pair, and of booleans. It does not
    say who is on them, so that intervals can be over pairs alone. Returns faces (2n, size, size, 3) uint8, framed by
    ``crop`` as in `images.decode`, and the n pairs, dealt in order to ten folds.
    """
    return _decoded(path, *_lists(path), size, crop)


def read_parquet(path: Path, size: int = 64, crop: Crop | None = None) -> tuple[np.ndarray, Pairs]:
    """The same of a parquet file as on the Hugging Face hub: a row per pair, such as ``image1, image2, target``.

    Two columns hold images, bytes or structs with a field ``bytes``; one of 0 and 1, or booleans, says whether both
    show one person. Others are left alone. ImportError without pyarrow.
    """
    import pandas as pd

    try:
        table = pd.read_parquet(path, engine="pyarrow")
    except FileNotFoundError:
        raise
    except ImportError:
        raise ImportError(f"'{path}': parquet is read by pyarrow: pip install pyarrow.") from None
    except Exception as error:  # a damaged file can raise several kinds
        raise DatasetError(f"'{path}': expected a parquet file ({' '.join(str(error).split())}).") from None
    held = {name: [x.get("bytes") if isinstance(x, dict) else x for x in column] for name, column in table.items()}
    sides = [column for column in held.values() if {type(item) for item in column} == {bytes}]
    marks = [column for name, column in held.items() if table[name].dtype.kind in "bui" and {*column} <= {0, 1}]
    if len(sides) != 2 or len(marks) != 1:
        found = ", ".join(map(str, held)) or "none"
        raise DatasetError(f"'{path}': expected two columns of images as bytes and one of 0 and 1, got {found}.")
    photos = [photo for pair in zip(*sides, strict=True) for photo in pair]
    return _decoded(path, photos, [*map(bool, marks[0])], size, crop)


def _decoded(path: Path, photos: list[bytes], genuine: list[bool], size: int, crop: Crop | None):
    faces = np.empty((len(photos), size, size, 3), np.uint8)
    for row, photo in enumerate(photos):
        try:
            faces[row] = images.decode(photo, size, crop).pixels
        except images.Unreadable as reason:
            raise DatasetError(f"'{path}', image {row}: {reason}.") from None
    rows = np.arange(len(genuine))
    return faces, Pairs(2 * rows, 2 * rows + 1, genuine, rows * FOLDS // len(genuine))


def _lists(path: Path) -> tuple[list[bytes], list[bool]]:
    expected = "expected a pickle of a list of images as bytes and a list of half as many booleans"
    try:
        with open(path, "rb") as file:
            photos, genuine = _Plain(file, encoding="bytes").load()
    except OSError:
        raise
    except Exception as error:  # a pickle can be damaged in many ways
        raise DatasetError(f"'{path}': {expected} ({str(error) or type(error).__name__}).") from None
    kinds = [(photos, bytes), (genuine, bool)]
    if not all(isinstance(held, list) and {type(item) for item in held} == {kind} for held, kind in kinds):
        raise DatasetError(f"'{path}': {expected}.")
    if len(photos) != 2 * len(genuine):
        raise DatasetError(f"'{path}': {expected}, got {len(photos)} and {len(genuine)}.")
    return photos, genuine
