"""What goes wrong with a photo of a face, each by a severity; faces are (H, W, 3) uint8 RGB, framed as `framing.FRAME`.

Each function takes one face and how much of it is done, and returns another face of the same size.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy import ndarray as Face

CORRUPTIONS_VERSION = 1  # raised when the same photo is made worse in another way
GREY = (128, 128, 128)
# Areas that something covers, as left, top, right, bottom in fractions of the sides.
AREAS = {
    "top": (0, 0, 1, 0.3),
    "bottom": (0, 0.62, 1, 1),
    "eyes": (0.16, 0.26, 0.84, 0.44),
    "mouth": (0.28, 0.6, 0.72, 0.8),
}
# Corners of a surgical mask from the ridge of the nose round the chin, and where its folds lie.
MASK: tuple[tuple[float, float], ...] = (
    (0.17, 0.5),
    (0.36, 0.47),
    (0.5, 0.42),
    (0.64, 0.47),
    (0.83, 0.5),
    (0.79, 0.75),
    (0.65, 0.92),
    (0.5, 0.97),
)
MASK += tuple((1 - x, y) for x, y in MASK[6:4:-1])
_FOLDS = (0.58, 0.68, 0.78)


def jpeg(face: Face, quality: int) -> Face:
    """Saved as JPEG of a quality of 1 to 100, with halved colour as most programs save it."""
    _, data = cv2.imencode(".jpg", face[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def pixels(face: Face, side: int) -> Face:
    """Taken with so many pixels a side: made smaller by the mean of areas, and enlarged again."""
    return resize(resize(face, side), len(face))


def rotate(face: Face, degrees: float) -> Face:
    """Turned around its middle, counter-clockwise; beyond the border the edge goes on."""
    return _moved(face, degrees=degrees)


def shift(face: Face, share: float) -> Face:
    """Framed too far to one side, by a share of the side."""
    return _moved(face, right=share)


def scale(face: Face, factor: float) -> Face:
    """Framed so that the face is so many times as large."""
    return _moved(face, factor=factor)


def blur(face: Face, share: float) -> Face:
    """Out of focus: a Gaussian whose standard deviation is a share of the side."""
    return cv2.GaussianBlur(face, (0, 0), share * len(face), borderType=cv2.BORDER_REPLICATE)


def brightness(face: Face, factor: float) -> Face:
    """So many times as much light; what would be brighter than white is white."""
    return cv2.convertScaleAbs(face, alpha=factor)


def greyscale(face: Face, share: float = 1) -> Face:
    """With so much of its colour gone."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    return cv2.addWeighted(grey, share, face, 1 - share, 0)


def cover(face: Face, area: str) -> Face:
    """Behind a grey patch: one of `AREAS`."""
    left, top, right, bottom = (round(place * len(face)) for place in AREAS[area])
    return cv2.rectangle(face.copy(), (left, top), (right - 1, bottom - 1), GREY, -1)


def mask(face: Face, reach: float = 1) -> Face:
    """Behind a drawn surgical mask, pulled up to a share of its height; at 0.7 it leaves the nose free."""
    up = np.array(MASK)
    up[:, 1] = np.maximum(up[:, 1], 0.97 - reach * (0.97 - min(up[:, 1])))
    drawn = cv2.fillPoly(face.copy(), [_places(face, up)], (174, 205, 219), cv2.LINE_AA)
    for fold in _FOLDS:
        if fold > min(up[:, 1]):
            ends = _places(face, [(0.22, fold), (0.5, fold + 0.03), (0.78, fold)])
            cv2.polylines(drawn, [ends], False, (140, 172, 190), max(1, len(face) // 64), cv2.LINE_AA)
    return drawn


CORRUPTIONS: dict[str, Callable[..., Face]] = {
    "jpeg": jpeg,
    "pixels": pixels,
    "rotation": rotate,
    "shift": shift,
    "scale": scale,
    "blur": blur,
    "brightness": brightness,
    "greyscale": greyscale,
    "cover": cover,
    "mask": mask,
}
SEVERITIES: dict[str, Sequence] = {  # what the notebook tries, the mildest first
    "jpeg": (90, 70, 50, 30, 20, 10),
    "pixels": (128, 64, 48, 36, 24, 12, 8),
    "rotation": (5, 10, 20, 40),
    "shift": (0.03, 0.06, 0.12),
    "scale": (0.9, 1.1, 0.75, 1.25),
    "blur": (0.01, 0.02, 0.04),
    "brightness": (1.5, 0.5, 0.25),
    "greyscale": (1,),
    "cover": ("top", "bottom", "mouth", "eyes"),
    "mask": (0.7, 1),
}


def corrupt(faces: np.ndarray, kind: str, severity) -> np.ndarray:
    """Faces (n, S, S, 3) uint8 with one of `CORRUPTIONS` done to each; KeyError where there is none of that name."""
    change = CORRUPTIONS[kind]
    return np.stack([change(face, severity) for face in faces]) if len(faces) else faces


def resize(face: Face, side: int) -> Face:
    """The face with (side, side) pixels: each the mean of its area where that is smaller, else cubic in between."""
    if side == len(face):
        return face
    return cv2.resize(face, (side, side), interpolation=cv2.INTER_AREA if side < len(face) else cv2.INTER_CUBIC)


def _moved(face: Face, degrees: float = 0, right: float = 0, factor: float = 1) -> Face:
    middle = (len(face) - 1) / 2
    move = cv2.getRotationMatrix2D((middle, middle), degrees, factor)
    move[0, 2] += right * len(face)
    return cv2.warpAffine(face, move, face.shape[1::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _places(face: Face, points) -> np.ndarray:
    return np.round(np.asarray(points) * len(face) - 0.5).astype(np.int32)
