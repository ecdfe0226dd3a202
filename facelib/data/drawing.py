"""Portraits of people who do not exist: traits and conditions of a shot (`traits`) made a picture, always the same."""

from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from facelib.data.easel import Easel, band, oval, spline
from facelib.data.traits import mix, palette, person, shot_of

SUPER = 2  # drawn this many times larger, then averaged down: antialiasing
RENDERER_VERSION = 1  # raised when the same people and shots are drawn otherwise than before
LIDS = (-1.0, 0.75)  # upper and lower lid, in openings of the eye
WHITE, DARK = palette("#f7f4f0 #1c1a1e")
SHADE = np.array([0.79, 0.70, 0.67])  # what shadow leaves of skin: a warm tone, grey looks dirty


def _backdrop(s: SimpleNamespace, rng: np.random.Generator, size: int) -> Image.Image:
    """An out-of-focus room: a few wall colours on a coarse grid, blown up smoothly."""
    coarse = rng.dirichlet([0.35] * 3, (4, 4)) @ s.walls * rng.uniform(0.8, 1.1)
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.BICUBIC)


def outline(p: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the face's rim."""
    w = p.width
    return spline([(0, -1), (0.60 * w, -0.86), (0.94 * w, -0.45), (w, 0), (p.jaw * w, 0.5),
                    (p.chin * 1.25, 0.91), (0, 1)])  # fmt: skip


def _mane(p: SimpleNamespace, curl: float) -> tuple[np.ndarray, np.ndarray]:
    """Outer edge of the hair, from the left tip over the crown to the right tip, (52,) each."""
    rx, top, middle = p.width + 0.02 + 0.5 * p.volume, -1 - p.volume, -0.15
    angle, down = np.linspace(np.pi, 0, 40), np.linspace(0, 1, 7)[1:]
    ripple = 1 + curl * abs(np.sin(6 * angle))
    x, y = rx * np.cos(angle) * ripple, middle + (top - middle) * np.sin(angle) * ripple
    if p.length > 0.5:
        side = rx * (1 + 0.1 * np.sin(np.pi * down) + curl * abs(np.sin(9 * down)))
    else:  # short hair closes in on the ears
        side = mix(rx, p.width * 0.98, down**2)
    fall = middle + (p.length - middle) * down
    return np.r_[-side[::-1], x, side], np.r_[fall[::-1], y, fall]


def _hairline(p: SimpleNamespace, u: np.ndarray) -> np.ndarray:
    """Height of the hairline at u = x / width."""
    reach = abs(u - p.part) / (0.93 + abs(p.part))
    temple = 0.5 * (u / 0.93) ** 8  # closes the corner that a parting would leave open
    return np.minimum(p.top + p.hairline + p.drop * (1.3 * reach) ** p.power + temple, -0.05)


def _draw_behind(e: Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """Hair behind the head, neck, clothes and ears."""
    for x, y, r in p.knots:
        e.fill(oval(x * p.width, y, r, r * 1.1), p.hair * 0.8, -0.3, flat=True)
    if p.length > 0.5:
        e.fill(_mane(p, p.curl), p.hair * 0.72, -0.2, flat=True)
    n, b = p.neck, p.shoulder
    e.fill(oval(0, 1.0, n, 0.75, 8.0), p.skin * 0.86, -0.1, flat=True)
    e.fill(oval(0, 0.92, n * 0.98, 0.34), p.skin * SHADE * 0.95, -0.1, 0.7, flat=True)
    body = [(0, 1.52), (n * 0.7, 1.45), (n * 1.08, 1.26), (b * 0.8, 1.42), (b, 1.7), (b * 1.1, 2.6)]
    e.fill(spline(body), s.cloth, -0.1, flat=True)
    for side in (-p.width, p.width):
        e.fill(oval(side, 0.06, p.ear * 0.75, p.ear * 1.35), p.skin * 0.94, -0.1, flat=True)
        e.fill(oval(side * 1.03, 0.05, p.ear * 0.4, p.ear * 0.9), p.skin * 0.80, -0.1, flat=True)


def _draw_eye(e: Easel, p: SimpleNamespace, s: SimpleNamespace, side: int) -> None:
    """One eye and its brow; u runs from the inner (-1) to the outer (1) corner."""
    u = np.linspace(-1, 1, 15)
    opening = p.eye_open * s.eyes * (1 - 0.12 * max(s.smile, 0))

    def lid(u, k):
        return p.eye_y - p.eye_tilt * u + k * opening * (1 - abs(u) ** 2.3)

    x, upper, lower = side * (p.eye_gap + u * p.eye_w), lid(u, LIDS[0]), lid(u, LIDS[1])
    e.fill(band(x, lid(u, -1.7) - 0.015, lid(u, 1.3)), p.skin * SHADE, alpha=0.25 + 0.3 * p.makeup)
    e.fill(band(x, upper, lower), WHITE)
    middle = side * p.eye_gap + s.gaze
    for radius, colour in ((p.iris, p.iris_colour), (p.iris * 0.5, DARK)):
        ix, iy = oval(middle, p.eye_y - 0.01, radius, radius)
        iu = (ix / side - p.eye_gap) / p.eye_w
        # Clipped by the lids: what lies outside the almond is pulled to its edge.
        e.fill((ix, np.clip(iy, lid(iu, LIDS[0]), lid(iu, LIDS[1]))), colour)
    if opening > 0.05:
        e.fill(oval(middle + 0.028, p.eye_y - 0.035, 0.02, 0.02), WHITE)
    lash = (0.011 + 0.014 * p.makeup) * (2 + u)
    e.fill(band(x, upper - lash, upper + 0.008), p.hair * 0.25)
    e.line((x, lower), p.skin * SHADE, 0.015, alpha=0.7)
    x = side * (p.eye_gap + 0.02 + u * p.brow_w)
    y = p.eye_y - p.brow_gap - s.raised - p.brow_arch * (1 - u**2) - (p.brow_tilt + s.frown) * u
    half = p.brow_thick * (0.5 - 0.32 * ((u + 1) / 2) ** 1.5)
    e.fill(band(x, y - half, y + half), p.brow_colour)


def _draw_nose(e: Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """The bridge in shade on the side away from the light, a tip that stands out, and nostrils."""
    w, y, shade = p.nose_w, p.nose_y, p.skin * SHADE
    bridge = -np.sign(s.light_x) * np.array([0.045, 0.075, w * 0.55, w, w * 0.35, 0.02])
    e.fill((bridge, np.array([p.eye_y, 0.1, y - 0.13, y, y, y - 0.12])), shade, 0.08, 0.30)
    tip = [(0, y - 0.13), (w * 0.45, y - 0.12), (w * 0.98, y - 0.045), (w * 0.85, y + 0.045)]
    e.fill(spline([*tip, (w * 0.35, y + 0.05), (0, y + 0.075)]), shade, 0.1, 0.3)
    e.fill(oval(0, y - 0.03, w * 0.5, 0.075), p.skin * 1.06, 0.16, 0.5)
    for x in (-w * 0.48, w * 0.48):
        e.fill(oval(x, y + 0.035, w * 0.24, 0.022), p.skin * 0.42, 0.12, 0.8)


def _draw_beard(e: Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    if p.beard in ("full", "stubble"):
        x, y = outline(p)
        x, y = np.stack([x, y])[:, y > 0.08][:, np.argsort(x[y > 0.08])]
        u = np.clip(abs(x) / p.width, 0, 1)
        drop = (p.mouth_y - 0.1) * np.clip((1 - u) / 0.35, 0, 1) ** 0.6
        cheek = 0.08 + drop - 0.1 * (1 - u**2) ** 4
        grown, dye, alpha = (1.07, 0.85, 0.93) if p.beard == "full" else (1.0, 0.5, 0.22)
        e.fill(band(x, np.minimum(cheek, y), y * grown), p.hair * dye, alpha=alpha)
    if p.beard == "goatee":
        e.fill(oval(0, p.mouth_y + 0.19, 0.25, 0.23, 2.4), p.hair * 0.85, alpha=0.9)
    if p.beard in ("full", "goatee", "moustache"):
        u = np.linspace(-1, 1, 15)
        y = p.mouth_y - 0.05 + 0.04 * u**2 - 0.05 * max(s.smile, 0) * u**2
        e.fill(band(u * p.mouth_w * 1.1, y - 0.07 * (1 - u**2), y + 0.03), p.hair * 0.75, 0.03)


def _draw_mouth(e: Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """Lips around an opening that shows teeth; the corners follow the smile."""
    u = np.linspace(-1, 1, 17)
    x, arch = u * p.mouth_w * (1 + 0.18 * s.smile), 1 - u**2
    middle = p.mouth_y + s.smile * (0.09 * arch - 0.06)
    above, below = middle - 0.035 * s.gape * arch, middle + 0.11 * s.gape * arch
    lip = p.lip * arch**0.7
    bow = 1 - 0.35 * np.exp(-((u / 0.18) ** 2))
    e.fill(band(x, above - lip * bow, middle), p.lips * 0.9)
    e.fill(band(x, middle, below + 1.25 * lip), p.lips)
    e.fill(band(x, above, below), np.array([88.0, 30, 34]))
    if s.gape > 0.25:
        e.fill(band(x[2:-2], above[2:-2], mix(middle, below, 0.35)[2:-2]), WHITE)
    elif s.gape < 0.1:
        e.line((x, middle), p.lips * 0.55, 0.014, alpha=0.8)


def _draw_hair(e: Easel, p: SimpleNamespace) -> None:
    """The hair in front, from its outer edge back along the hairline, with a lighter sheen."""
    u = np.linspace(0.93, -0.93, 41)
    line, (x, y) = _hairline(p, u), _mane(p, p.curl)
    cast = band(u[4:-4] * p.width, line[4:-4] - 0.05, line[4:-4] + 0.07)
    e.fill(cast, p.skin * SHADE * 0.8, alpha=0.28)
    lock = p.width * (1.0 if p.length > 0.5 else 0.93)
    edge = np.r_[lock, u * p.width, -lock], np.r_[p.length, line, p.length]
    e.fill((np.r_[x, edge[0]], np.r_[y, edge[1]]), p.hair)
    crown = np.stack(_mane(p, 0.0))[:, 18:36]
    fx = np.linspace(-0.6, 0.6, 18) * p.width
    fringe = np.stack([fx, _hairline(p, fx / p.width)])
    for t, width, alpha in ((0.62, 0.10, 0.22), (0.40, 0.05, 0.14)):
        e.line(mix(fringe, crown, t), p.hair * 1.2 + 20, width, alpha=alpha)


def _draw_glasses(e: Easel, p: SimpleNamespace, dark: bool) -> None:
    colour, y = (DARK, p.eye_y + 0.03) if dark else (p.frame, p.eye_y + 0.02)
    for side in (-1, 1):
        lens = oval(side * (p.eye_gap + 0.01), y, p.lens_w, p.lens_h, p.lens_square)
        e.fill(lens, colour if dark else WHITE, 0.08, 0.95 if dark else 0.1)
        e.line(lens, colour, 0.032, 0.08)
        e.line((side * np.array([p.eye_gap + p.lens_w, p.width]), [y - 0.02, 0]), colour, 0.03)
    gap = p.eye_gap - p.lens_w + 0.02
    e.line((np.array([-gap, 0, gap]), y - np.array([0.02, 0.05, 0.02])), colour, 0.035, 0.08)


def _draw_occlusion(e: Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    u = np.linspace(-1, 1, 25)
    if s.occlusion == "sunglasses":
        _draw_glasses(e, p, dark=True)
    elif s.occlusion == "hat":
        x, brim = u * (p.width + 0.10), -0.42 + 0.06 * u**2
        dome = -0.45 - (0.75 + 0.5 * p.volume) * np.sqrt(1 - u**2)
        e.fill(band(x, dome, brim), s.prop, flat=True)
        e.fill(band(x * 1.03, brim - 0.13, brim + 0.08), s.prop * 0.8, 0.1)
    elif s.occlusion == "scarf":
        e.fill(oval(0, 1.15, p.width * 1.02, 0.55, 4.0), s.prop, 0.1)
        for y in (0.78, 1.0, 1.22):
            e.line((u * p.width * 0.97, y + 0.1 * (1 - u**2)), s.prop * 0.8, 0.05, 0.1)
    elif s.occlusion == "mug":
        x = 0.25 * np.sign(s.light_x)
        e.line(oval(x + 0.42, 0.90, 0.17, 0.2), s.prop * 0.85, 0.09, 0.4)
        e.fill(oval(x, 0.92, 0.40, 0.42, 7.0), s.prop, 0.4, flat=True)
        e.fill(oval(x, 0.53, 0.38, 0.06), s.prop * 0.7, 0.4, flat=True)


def _light(e: Easel, p: SimpleNamespace, s: SimpleNamespace, solid: np.ndarray) -> np.ndarray:
    """Factor on each pixel, (size, size, 3): Lambert's law on an ellipsoid, blush, exposure, tint.

    `solid`, (size, size), is 1 on the person; the backdrop, 0, gets the exposure and tint alone.
    """
    steps = (np.arange(len(solid), dtype=np.float32) + 0.5) * SUPER
    inverse = np.linalg.inv(e.matrix[:, :2]).astype(np.float32)
    px, py = steps - np.float32(e.centre[0, 0]), steps[:, None] - np.float32(e.centre[1, 0])
    x, y = (row[0] * px + row[1] * py for row in inverse)
    nx, ny = x / (p.width + 0.1), y / 1.15
    across = nx**2 + ny**2
    nz = np.sqrt(np.maximum(1 - across, 0))
    towards = (s.light_x * nx + s.light_y * ny + 0.8 * nz) / np.sqrt(across + nz**2) / 1.28
    shading = 1 + solid * s.contrast * (np.maximum(towards, -0.4) - 0.55)
    blush = p.blush * np.exp(-((abs(x) - 0.5 * p.width) ** 2 + (y - 0.36) ** 2) / 0.035)
    factors = [shading, shading * (1 - 0.09 * blush), shading * (1 - 0.08 * blush)]
    return s.gain * np.stack(factors, axis=2) * (1 + s.warmth * np.float32([1.0, 0.1, -1.0]))


def render_face(identity: int, shot: int, seed: int = 0, size: int = 112) -> Image.Image:
    """Draw one photograph of one person: RGB, (size, size) pixels; the face takes about 0.6 of the height.

    Traits depend on (identity, seed), conditions on all three numbers, which are not negative, and neither on ``size``.
    """
    p = person(identity, seed)
    s, rng = shot_of(identity, shot, seed)
    backdrop = _backdrop(s, rng, size)
    canvas = backdrop.resize((size * SUPER, size * SUPER), Image.Resampling.NEAREST)
    e = Easel(canvas, s, p.width)
    _draw_behind(e, p, s)
    e.fill(outline(p), p.skin)
    for x, y in p.freckles:
        e.fill(oval(x, y, 0.014, 0.014), p.skin * SHADE, alpha=0.7)
    _draw_beard(e, p, s)
    _draw_mouth(e, p, s)
    _draw_eye(e, p, s, -1)
    _draw_eye(e, p, s, 1)
    _draw_nose(e, p, s)
    _draw_hair(e, p)
    if p.glasses and s.occlusion != "sunglasses":
        _draw_glasses(e, p, dark=False)
    _draw_occlusion(e, p, s)
    image = canvas.reduce(SUPER)
    solid = np.asarray(ImageChops.difference(image, backdrop)).any(axis=2).astype(np.float32)
    lit = (np.asarray(image, np.float32) * _light(e, p, s, solid)).clip(0, 255).astype(np.uint8)
    blurred = Image.fromarray(lit).filter(ImageFilter.GaussianBlur(s.blur * size / 112))
    noisy = np.asarray(blurred, np.float32)
    noisy = noisy + s.noise * rng.standard_normal(noisy.shape, np.float32)
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
