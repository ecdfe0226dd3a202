"""How well a detector finds faces, beside another one's boxes and landmarks."""

import json
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from facelib.data import detection, images
from facelib.data.detection import Face


def evaluate(archive: str | os.PathLike, find: Callable[[np.ndarray], list[Face]] = detection.find) -> dict[str, float]:
    """How well faces are found in photos whose boxes and landmarks are known.

    Parameters
    ----------
    archive
        A tar of photos with a ``detections.json`` beside them: file name to a list of ``box`` (left, top, right,
        bottom) and ``landmarks``.
    find
        The detector.

    Returns
    -------
    ``faces`` (how many are known), ``recall`` and ``precision`` (boxes that overlap by half of their union count as
    one), ``landmark_error`` and ``refined_landmark_error`` (mean distance of the five, over the distance of the eyes)
    and ``ms``, the median time per photo of ``find``.
    """
    known = found = right = 0
    errors, refined, times = [], [], []
    for photo, faces in _known_faces(archive):
        begin = time.perf_counter()
        seen = find(photo)
        times.append(1000 * (time.perf_counter() - begin))
        known, found, free = known + len(faces), found + len(seen), list(faces)
        for face in sorted(seen, key=lambda face: -face.score):
            match = max(free, key=lambda other: _overlap(face.box, other.box), default=None)
            if match is None or _overlap(face.box, match.box) < 0.5:
                continue
            free.remove(match)
            right += 1
            errors.append(_error(face, match))
            refined.append(_error(detection.refine(photo, face), match))
    return {
        "faces": known,
        "recall": right / known,
        "precision": right / max(1, found),
        "landmark_error": float(np.mean(errors)),
        "refined_landmark_error": float(np.mean(refined)),
        "ms": float(np.median(times)),
    }


def _known_faces(archive: str | os.PathLike) -> Iterator[tuple[np.ndarray, list[Face]]]:
    with tarfile.open(archive) as tar:
        files = {Path(member.name).name: member for member in tar if member.isfile()}
        for name, faces in json.load(tar.extractfile(files["detections.json"])).items():
            known = [Face(np.array(face["box"]), np.array(face["landmarks"]), face["score"]) for face in faces]
            yield images.decode_whole(tar.extractfile(files[name]).read(), detection.LONGEST), known


def _overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection of two boxes over their union."""
    common = np.prod(np.maximum(0, np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])))
    return float(common / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - common))


def _error(face: Face, known: Face) -> float:
    distances = np.linalg.norm(face.landmarks - known.landmarks, axis=1)
    return float(distances.mean() / np.linalg.norm(known.landmarks[1] - known.landmarks[0]))
