"""Faces of a set's photos as the detector frames them, found once and kept; and whether a set is framed already."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from facelib import runtime
from facelib.data import archives, detection, framing, images
from facelib.files import whole

LOOSE, SAMPLE = 0.8, 32  # share of a photo's shorter side below which the frame is loose; photos that are looked at
AT_ONCE = 256  # photos in memory
ALIGNED_VERSION = 1  # raised when the same photos give other faces than before


def faces(
    source: str | os.PathLike,
    paths: Sequence[str],
    size: int = 64,
    which: str = "central",
    progress: bool = True,
    crop: images.Crop | None = None,
    moved: int | None = None,
    box: bool = False,
) -> dict[str, np.ndarray]:
    """Faces (size, size, 3) uint8 of some photos of a folder or archive, by path; without those where none is found.

    Source and paths are as `archives.members` takes and lists them, ``which`` as in `detection.choose`; ``crop`` is a
    fixed square instead of the detector, ``moved`` the seed by which each photo is first moved (`framing.shaken`). With
    ``box`` the detector's box alone frames the face (`framing.crop_box`), without its landmarks.
    """
    wanted = sorted(paths)
    folder = runtime.cache_dir() / "aligned"
    state = [archives.fingerprint(source), wanted, size, which, detection.DETECTOR_SHA256, ALIGNED_VERSION]
    state += [[crop, moved]] if crop or moved is not None else []
    plain = archives.digest([state[:1], state[2:]])  # the same for another list of the set's photos
    state += [[*framing.BOX, "as found"]] if box else []
    kept = folder / f"{archives.digest(state)}.npz"
    if not kept.exists():
        what = archives.digest([state[:1], state[2:]])
        found = _of_other_lists(folder, what, {*wanted} if moved is None else set())
        rest = [path for path in wanted if path not in found]
        boxes = _boxes_of_other_lists(folder, plain) if box else {}  # of the face that is meant, as first found

        def frame(number: int, content: bytes) -> np.ndarray | None:
            if isinstance(content, str):  # the reason why it could not be read
                raise images.Unreadable(content)
            photo = images.decode_whole(content, detection.LONGEST)
            if moved is not None:
                photo = framing.shaken(photo, np.random.default_rng([moved, number]))
            try:
                if crop:
                    return images.resized(Image.fromarray(photo), size, crop)
                if box and (known := boxes.get(rest[number])) is not None:
                    return framing.crop_box(photo, known, size)
                if box:
                    return framing.crop_box(photo, detection.meant(photo, detection.find(photo), which).box, size)
                face, boxes[rest[number]] = detection.align_with_box(photo, size, which)
                return face
            except detection.FaceError:
                return None

        found |= _framed(archives.members(source), rest, frame, progress)
        number = [k for k, path in enumerate(wanted) if found[path] is not None]
        pixels = np.array([found[wanted[k]] for k in number], np.uint8).reshape(-1, size, size, 3)
        of_each = np.array([boxes.get(path, [np.nan] * 4) for path in wanted])
        with whole(kept) as temporary:
            np.savez(temporary, number=number, pixels=pixels, what=what, paths=wanted, boxes=of_each)
    return _read(kept, wanted)


def _of_other_lists(folder: Path, what: str, wanted: set[str]) -> dict[str, np.ndarray | None]:
    """Faces that were found for other lists of the same photos; None where there was none."""
    known: dict[str, np.ndarray | None] = {}
    for file in folder.glob("*.npz"):
        with suppress(Exception), np.load(file) as stored:  # damaged, or of an earlier version
            if stored["what"] == what and not wanted.isdisjoint(paths := stored["paths"].tolist()):
                faces = {paths[k]: face for k, face in zip(stored["number"], stored["pixels"], strict=True)}
                known |= {path: faces.get(path) for path in paths if path in wanted}
    return known


def _boxes_of_other_lists(folder: Path, what: str) -> dict[str, np.ndarray]:
    """Boxes (4,) that were found for lists of the same photos, by path."""
    known: dict[str, np.ndarray] = {}
    for file in folder.glob("*.npz"):
        with suppress(Exception), np.load(file) as stored:
            if stored["what"] == what:
                found = np.isfinite(stored["boxes"]).all(1)
                known |= dict(zip(stored["paths"][found].tolist(), stored["boxes"][found], strict=True))
    return known


def _framed(listing: archives.Listing, wanted: list[str], frame: Callable, progress: bool):
    """Path and face (or None) of each photo; two threads or more share the work, some photos at a time."""
    numbers = {path: number for number, path in enumerate(wanted)}
    photos = iter(tqdm(listing.read(wanted), "finding faces", len(wanted), disable=not progress, file=sys.stdout))
    with ThreadPoolExecutor(runtime.cores()) as pool:
        while some := list(islice(photos, AT_ONCE)):
            paths, contents = zip(*some, strict=True)
            found = pool.map(frame, map(numbers.get, paths), contents)
            for path in paths:
                try:
                    yield path, next(found)
                except images.Unreadable as error:
                    raise images.Unreadable(f"'{path}': {error}") from error


def is_loose(source: str | os.PathLike) -> bool:
    """Whether photos are yet to be framed: most of an even sample show a face in a frame smaller than the photo."""
    return _is_loose(str(source), archives.fingerprint(source))


@lru_cache(maxsize=8)
def _is_loose(source: str, fingerprint: str) -> bool:
    listing, shares = archives.members(source), []
    paths = sorted(listing.images)
    for _, content in listing.read(paths[:: -(-len(paths) // SAMPLE)]):
        try:
            photo = images.decode_whole(content if isinstance(content, bytes) else b"", detection.LONGEST)
            face = detection.choose(photo, detection.find(photo), "largest")
        except ValueError:  # unreadable, or without a face
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
