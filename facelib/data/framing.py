"""The frame that faces are brought into; places in a photo are in pixels, x before y, 0 the centre of the first."""

import cv2
import numpy as np

# Where the networks' training faces have left eye, right eye, nose and corners of the mouth (left as seen), as
# fractions of the side of the square: the mean of what `detection.refine` finds in 3,000 celebfaces photos with grey
# around them, and of its mirror image. (With replicated edges faces look 4 % smaller, which suits LFW View 1 less.)
FRAME = np.array([[0.331, 0.354], [0.669, 0.354], [0.5, 0.5415], [0.356, 0.695], [0.644, 0.695]])

# Centre and height of the detector's box in that square: the mean over 517 photos of LFW's people outside View 2.
BOX = np.array([0.5016, 0.4771, 0.9296])


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation, one scale and shift that bring points (n, 2) closest to others, by least squares: (2, 3) float64.

    Umeyama (1991), "Least-squares estimation of transformation parameters between two point patterns", without a
    reflection. In the plane, with points as complex numbers, the rotation and scale are one regression coefficient.
    ValueError where all source points are one.
    """
    centre, goal = source.mean(0), target.mean(0)
    points, goals = (source - centre) @ [1, 1j], (target - goal) @ [1, 1j]
    spread = np.vdot(points, points).real
    if not spread > 0:
        raise ValueError("The points to be moved are one and the same.")
    turn = np.vdot(points, goals) / spread
    rotation = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return np.column_stack([rotation, goal - rotation @ centre])


def crop(photo: np.ndarray, landmarks: np.ndarray, size: int = 64) -> np.ndarray:
    """A face by its landmarks (5, 2), brought into the frame: (size, size, 3) uint8."""
    return warp(photo, similarity(landmarks, FRAME * size - 0.5), size)


def crop_box(photo: np.ndarray, box: np.ndarray, size: int = 64) -> np.ndarray:
    """A face by its box (left, top, right, bottom) alone, moved and scaled but not turned: (size, size, 3) uint8."""
    factor = BOX[2] * size / (box[3] - box[1])
    away = BOX[:2] * size - 0.5 - factor * (box[:2] + box[2:]) / 2
    return warp(photo, np.column_stack([factor * np.eye(2), away]), size)


def warp(photo: np.ndarray, move: np.ndarray, size: int) -> np.ndarray:
    """A square of a photo after a `similarity` (2, 3): (size, size, 3) uint8. Beyond the photo its edge is repeated."""
    times = max(1, round(1 / scale(move)))  # so many pixels of the photo, across, make one: their mean, against aliases
    enlarged = move * times + [[0, 0, (times - 1) / 2]]
    kind = cv2.INTER_CUBIC if times == 1 else cv2.INTER_LINEAR
    large = cv2.warpAffine(photo, enlarged, (size * times,) * 2, flags=kind, borderMode=cv2.BORDER_REPLICATE)
    return large if times == 1 else cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def shaken(photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo moved by up to 4 % of its sides (LFW: 10 pixels), turned by up to 5 degrees, scaled by up to 10 %."""
    height, width = photo.shape[:2]
    turn, scale = rng.uniform(-5, 5), rng.uniform(0.9, 1.1)
    move = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), turn, scale)
    move[:, 2] += rng.uniform(-0.04, 0.04, 2) * [width, height]
    return cv2.warpAffine(photo, move, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


def moved(points: np.ndarray, move: np.ndarray) -> np.ndarray:
    """Points (n, 2) after a move (2, 3) as `similarity` gives it: (n, 2)."""
    return points @ move[:, :2].T + move[:, 2]


def scale(move: np.ndarray) -> float:
    """By how much a similarity (2, 3) enlarges."""
    return float(np.hypot(move[0, 0], move[1, 0]))
