"""A canvas with a posed head on it, and the outlines that are drawn there.

A head is drawn in *face coordinates*: x to the right, y down, z towards the viewer, origin in the middle of the face,
unit half its height. Each outline is laid on a curved face, turned by the pose and projected: features foreshorten.
"""

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageDraw

DEPTH = 0.5  # how far the middle of the face stands out from its rim


def spline(points: Sequence[tuple[float, float]], steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Closed Catmull-Rom curve, mirrored in x, through the right half (k, 2) of its points."""
    b = np.array([*points, *((-x, y) for x, y in points[::-1] if x)])
    a, c, d = np.roll(b, 1, 0), np.roll(b, -1, 0), np.roll(b, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = b + 0.5 * t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a)))
    return tuple(curve.transpose(1, 0, 2).reshape(-1, 2).T)


def oval(x: float, y: float, rx: float, ry: float, square: float = 2.0):
    """Superellipse around (x, y), (29,) each and closed: 2 is an ellipse, more is squarer."""
    t = np.linspace(0, 2 * np.pi, 29)
    cos, sin = (np.sign(f) * abs(f) ** (2 / square) for f in (np.cos(t), np.sin(t)))
    return x + rx * cos, y + ry * sin


def band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray):
    """Outline of the area between two curves over the same x."""
    return np.concatenate([x, x[::-1]]), np.concatenate([top, bottom[::-1]])


class Easel:
    """A canvas with a posed head on it: takes outlines in face coordinates."""

    def __init__(self, canvas: Image.Image, s: SimpleNamespace, width: float):
        self.draw, self.width = ImageDraw.Draw(canvas, "RGBA"), width
        self.scale = s.zoom * canvas.width  # pixels per face unit
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (s.yaw, s.pitch, s.roll))
        turn = np.array([[cy, 0, sy], [-sp * sy, cp, sp * cy]])  # (2, 3), orthographic
        self.matrix = self.scale * np.array([[cr, -sr], [sr, cr]]) @ turn
        self.centre = canvas.width * np.array([[0.5 + s.shift_x], [0.5 + s.shift_y]])

    def place(self, curve, lift: float, flat: bool) -> list[float]:
        """Pixels x0, y0, x1, ... of a curve on the face, or on the plane z = lift if flat."""
        x, y = np.asarray(curve)
        bulge = 0 if flat else np.maximum(1 - (x / self.width) ** 2 - (y / 1.2) ** 2, 0)
        points = np.array([x, y, lift + DEPTH * np.sqrt(bulge) + 0 * x])
        return (self.matrix @ points + self.centre).T.ravel().tolist()

    def fill(self, curve, colour, lift: float = 0.0, alpha: float = 1.0, flat: bool = False):
        self.draw.polygon(self.place(curve, lift, flat), ink(colour, alpha))

    def line(self, curve, colour, width: float, lift: float = 0.0, alpha: float = 1.0):
        width = max(1, round(width * self.scale))
        self.draw.line(self.place(curve, lift, False), ink(colour, alpha), width, joint="curve")


def ink(colour: np.ndarray, alpha: float) -> tuple[int, ...]:
    return (*np.clip(colour, 0, 255).astype(int).tolist(), round(255 * alpha))
