"""What of a face's picture makes comparing harder: blur, light, size."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from facelib import runtime
from facelib.data import detection


def measured(faces: np.ndarray) -> dict[str, np.ndarray]:
    """Of faces (n, H, W, 3) uint8 three numbers each, (n,) float64.

    ``sharpness`` is the variance of the Laplacian of grey values (Pech-Pacheco et al. 2000, "Diatom autofocusing in
    brightfield microscopy"), ``brightness`` their mean, from 0 to 1, and ``size`` the longer side of the face's box as
    a share of the picture's side, nan where the detector finds none.
    """
    grey = [cv2.cvtColor(face, cv2.COLOR_RGB2GRAY) for face in faces]
    with ThreadPoolExecutor(runtime.cores()) as pool:
        found = list(pool.map(detection.look, faces))
    side = faces.shape[1]
    return {
        "sharpness": np.array([cv2.Laplacian(image, cv2.CV_64F).var() for image in grey]),
        "brightness": np.array([image.mean() / 255 for image in grey]),
        "size": np.array([max((face.side / side for face in each), default=np.nan) for each in found]),
    }


def turned(faces: np.ndarray) -> np.ndarray:
    """How far each head of faces (n, S, S, 3) uint8 is turned aside: (n,); 0 from the front, nan without a face.

    How far the nose lies from the middle between the eyes, along their line, as a share of their distance.
    """
    with ThreadPoolExecutor(runtime.cores()) as pool:
        return np.fromiter(pool.map(_turned, faces), float, len(faces))


def _turned(face: np.ndarray) -> float:
    seen = detection.look(cv2.resize(face, (160, 160), interpolation=cv2.INTER_CUBIC))
    if not seen:
        return np.nan
    left, right, nose = max(seen, key=lambda each: each.score).landmarks[:3]
    across = right - left
    return abs((nose - (left + right) / 2) @ across) / (across @ across)
