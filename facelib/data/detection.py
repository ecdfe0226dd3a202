"""Any photo in, aligned faces out, by YuNet; places are in pixels, x before y, 0 the centre of the first pixel."""

import hashlib
import math
import os
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facelib import runtime
from facelib.data import framing, images

# YuNet (Wu, Peng, Yu 2023, https://doi.org/10.1007/s11633-023-1423-y) as in OpenCV's model zoo; its licence lies
# beside it.
DETECTOR = runtime.ROOT / "data" / "weights" / "face_detection_yunet_2023mar_int8bq.onnx"
DETECTOR_SHA256 = "49f000ec501fef24739071fc7e68267d32209045b6822c0c72dce1da25726f10"
_LEAST_SIDE = 64  # in strips of less than 33 pixels it finds what lies elsewhere in memory
SCORE, OVERLAP, MOST = 0.7, 0.3, 5000  # least score; boxes that overlap more are one; candidates looked at

LONGEST = 2048  # pixels of the longer side of a photo that is read from a file
LOOKED_AT = 320  # pixels of the longer side in which faces are looked for
CLOSER = 1024  # the same, where none was found
# YuNet takes faces for less tilted than they are, and finds some upside down with eyes for a mouth. Where it is not
# sure, turned copies of the photo are looked at too; one has to be surer by a margin, as most photos are upright.
SURE, MARGIN, TURNS = 0.9, 0.03, tuple(range(45, 360, 45))

_MIRRORED = [1, 0, 2, 4, 3]
# `refine` looks at the face upright, in one size whatever the photo's: the frame and a margin around it. It looks again
# while landmarks move by more than _STILL of the frame's side.
_FRAME_SIDE, _LOOK_SIDE, _LOOKS, _STILL = 160, 224, 3, 0.05
SMALLEST = 32  # pixels of the photo across the frame, half of what the networks were trained on
BYSTANDER = 0.5  # a face this much smaller than the largest one is not the one that is meant
CHOICES = ("only", "largest", "central")
SEVERAL = 'cut the photo, or take the largest (--largest; in Python which="largest", in notebooks frame=largest)'


class FaceError(ValueError):
    """A photo without the one face that is needed; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face in a photo."""

    box: np.ndarray  # (4,) left, top, right, bottom
    landmarks: np.ndarray  # (5, 2) left eye, right eye, nose, left and right corner of the mouth, as seen
    score: float  # of the detector, 0 to 1

    side = property(lambda face: float((face.box[2:] - face.box[:2]).max()), doc="Longer side of the box.")
    centre = property(lambda face: (face.box[:2] + face.box[2:]) / 2, doc="Of the box, (2,).")


def read_photo(source: str | os.PathLike | bytes | np.ndarray) -> np.ndarray:
    """A photo by its path or the bytes of its file, upright; an array is taken for a photo that is."""
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[-1] != 3 or source.dtype != np.uint8 or not source.size:
            raise ValueError(f"Expected a uint8 photo of shape (H, W, 3), got {source.dtype} {source.shape}.")
        return source
    if not isinstance(source, bytes):
        path = Path(source).expanduser()
        if not path.exists():
            raise FileNotFoundError(f"There is no photo at '{source}'.")
        source = images.read_file(str(path))
        if isinstance(source, str):
            raise images.Unreadable(source)
    return images.decode_whole(source, LONGEST)


def find(photo: np.ndarray) -> list[Face]:
    """All faces of a photo, tilted ones too, the largest first. Any number of threads may call it at once."""
    faces = look(photo, LOOKED_AT)
    if _best(faces) < SURE:
        turned = max((look(photo, LOOKED_AT, turn) for turn in TURNS), key=_best)
        faces = turned if _best(turned) > _best(faces) + MARGIN else faces
    if not faces and max(photo.shape[:2]) > LOOKED_AT:
        faces = look(photo, CLOSER)
    return sorted(faces, key=lambda face: -np.prod(face.box[2:] - face.box[:2]))


def refine(photo: np.ndarray, face: Face) -> Face:
    """The face with the mean of landmarks from closer looks at it: upright, in one size, and mirrored too."""
    goal = framing.FRAME * _FRAME_SIDE + (_LOOK_SIDE - _FRAME_SIDE - 1) / 2
    for _ in range(_LOOKS):
        move = framing.similarity(face.landmarks, goal)
        look = framing.warp(photo, move, _LOOK_SIDE)
        seen, mirrored = _nearest(look, goal), _nearest(look[:, ::-1], goal)
        if seen is None or mirrored is None:
            break
        mirrored = mirrored[_MIRRORED] * [-1, 1] + [_LOOK_SIDE - 1, 0]
        landmarks = framing.moved((seen + mirrored) / 2, cv2.invertAffineTransform(move))
        shift = np.linalg.norm(framing.moved(landmarks, move) - framing.moved(face.landmarks, move), axis=1).mean()
        face = Face(face.box, landmarks, face.score)
        if shift < _STILL * _FRAME_SIDE:
            break
    return face


def choose(photo: np.ndarray, faces: list[Face], which: str = "only") -> Face:
    """The face that is meant, refined; FaceError where it is missing, too small or cut off; see `meant`."""
    return usable(photo, meant(photo, faces, which))


def meant(photo: np.ndarray, faces: list[Face], which: str = "only") -> Face:
    """The face that is meant of those that `find` found; FaceError where there is none, or no saying which.

    ``which`` is ``"only"``: a photo may show one face, beside bystanders less than half as large; ``"largest"``; or
    ``"central"``, which is nearest to the middle, as in LFW's photos.
    """
    if which not in CHOICES:
        raise ValueError(f"Unknown choice '{which}': expected one of {', '.join(CHOICES)}.")
    if not faces:
        raise FaceError(
            "no face found: use a photo, sharper or cut closer to the face, in which eyes, nose and mouth can be seen"
        )
    several = sum(face.side > BYSTANDER * max(each.side for each in faces) for face in faces)
    if several > 1 and which == "only":
        raise FaceError(f"{several} faces found where one is meant: {SEVERAL}")
    middle = (np.array(photo.shape[1::-1]) - 1) / 2
    return min(faces, key=lambda face: np.linalg.norm(face.centre - middle)) if which == "central" else faces[0]


def usable(photo: np.ndarray, face: Face) -> Face:
    """The face, refined; FaceError where it is too small or cut off."""
    face = refine(photo, face)
    across = 1 / framing.scale(framing.similarity(face.landmarks, framing.FRAME))
    if across < SMALLEST:
        raise FaceError(f"the face is {across:.0f} pixels across, at least {SMALLEST} are needed: use a larger photo")
    if (face.landmarks < -0.5).any() or (face.landmarks > np.array(photo.shape[1::-1]) - 0.5).any():
        raise FaceError("the face is cut off by the photo's edge: use a photo that shows eyes, nose and mouth")
    return face


def align(photo: np.ndarray, size: int = 64, which: str = "only") -> np.ndarray:
    """The one face of a photo, framed as the networks were trained: (size, size, 3) uint8; see `choose`."""
    return align_with_box(photo, size, which)[0]


def align_with_box(photo: np.ndarray, size: int = 64, which: str = "only") -> tuple[np.ndarray, np.ndarray]:
    """The same, and the face's box (4,)."""
    face = choose(photo, find(photo), which)
    return framing.crop(photo, face.landmarks, size), face.box


def drawn(photo: np.ndarray, faces: list[Face]) -> np.ndarray:
    """A copy of the photo with boxes and landmarks, the first face's in green, other ones' in orange."""
    canvas = photo.copy()
    line = max(1, round(max(photo.shape[:2]) / 300))
    for number, face in enumerate(faces):
        colour = (255, 160, 0) if number else (0, 200, 0)
        left, top, right, bottom = (int(round(place)) for place in face.box)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, line)
        for x, y in face.landmarks:
            cv2.circle(canvas, (int(round(x)), int(round(y))), 2 * line, colour, -1)
    return canvas


_own = threading.local()


def _detector(size: tuple[int, int]) -> cv2.FaceDetectorYN:
    """This thread's detector, one for closer looks and one for other images: another size costs it a millisecond."""
    kind = "closer" if size == (_LOOK_SIDE, _LOOK_SIDE) else "other"
    if not hasattr(_own, kind):
        content = DETECTOR.read_bytes()  # OpenCV itself cannot open every path on Windows
        if hashlib.sha256(content).hexdigest() != DETECTOR_SHA256:
            raise ValueError(f"'{DETECTOR}' is damaged: restore it, for example with `git checkout`.")
        model, no_config = np.frombuffer(content, np.uint8), np.empty(0, np.uint8)
        setattr(_own, kind, cv2.FaceDetectorYN.create("onnx", model, no_config, size, SCORE, OVERLAP, MOST))
    detector = getattr(_own, kind)
    detector.setInputSize(size)
    return detector


def _detect(image: np.ndarray) -> np.ndarray:
    """(n, 15) of an RGB image as it is: left, top, width, height, five landmarks, score."""
    below, beside = (max(0, _LEAST_SIDE - side) for side in image.shape[:2])
    bgr = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    bgr = cv2.copyMakeBorder(bgr, 0, below, 0, beside, cv2.BORDER_REPLICATE)
    found = _detector(bgr.shape[1::-1]).detect(bgr)[1]
    return np.empty((0, 15)) if found is None else found.astype(np.float64)


def look(photo: np.ndarray, longest: int = LOOKED_AT, turn: int = 0) -> list[Face]:
    """Faces of a copy of the photo turned by so many degrees and at most so large, in places of the photo."""
    height, width = photo.shape[:2]
    cosine, sine = math.cos(math.radians(turn)), math.sin(math.radians(turn))
    sides = np.array([[abs(cosine), abs(sine)], [abs(sine), abs(cosine)]]) @ [width, height]
    scale = min(1.0, longest / sides.max())
    size = max(1, round(scale * width)), max(1, round(scale * height))
    if turn == 0:
        look = photo if scale == 1 else cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
        back = np.array([[1 / scale, 0, 0], [0, 1 / scale, 0]])
    else:
        how = {"dsize": None if min(size) > 1 else size, "fx": scale, "fy": scale, "interpolation": cv2.INTER_AREA}
        small = photo if scale == 1 else cv2.resize(photo, **how)
        rotation = np.array([[cosine, -sine], [sine, cosine]])
        move = np.column_stack([rotation, scale * (sides / 2 - rotation @ [width / 2, height / 2])])
        size = tuple(np.ceil(scale * sides).astype(int).tolist())
        look = cv2.warpAffine(small, move, size, borderMode=cv2.BORDER_REPLICATE)
        back = cv2.invertAffineTransform(move) / scale
    return [_face(row, back) for row in _detect(look)]


def _best(faces: list[Face]) -> float:
    return max((face.score for face in faces), default=0.0)


def _face(row: np.ndarray, back: np.ndarray) -> Face:
    size = row[2:4] * framing.scale(back)
    (centre,) = framing.moved(row[None, :2] + row[None, 2:4] / 2, back)
    landmarks = framing.moved(row[4:14].reshape(5, 2), back)
    return Face(np.concatenate([centre - size / 2, centre + size / 2]), landmarks, float(row[14]))


def _nearest(look: np.ndarray, goal: np.ndarray) -> np.ndarray | None:
    """Landmarks of the face that is nearest to where one is expected, if one is near."""
    landmarks = _detect(look)[:, 4:14].reshape(-1, 5, 2)
    away = np.linalg.norm(landmarks - goal, axis=2).mean(1)
    return landmarks[away.argmin()] if len(away) and away.min() < _FRAME_SIDE / 4 else None
