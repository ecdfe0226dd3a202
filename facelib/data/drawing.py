"""Portraits of people who do not exist: stable traits per identity, changing conditions per shot, always the same.

A head is drawn in *face coordinates*: x to the right, y down, z towards the viewer, origin in the middle of the face,
unit half its height. Each outline is laid on a curved face, turned by the pose and projected: features foreshorten.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

SUPER = 2  # drawn this many times larger, then averaged down: antialiasing
DEPTH = 0.5  # how far the middle of the face stands out from its rim
RENDERER_VERSION = 1  # raised when the same people and shots are drawn otherwise than before
RELATIVES = 10_000  # ten numbers from here on, and from each tenth on, are a family: see `rendered.write_people`
LIDS = (-1.0, 0.75)  # upper and lower lid, in openings of the eye


def _palette(names: str) -> np.ndarray:
    return np.array([ImageColor.getrgb(name) for name in names.split()], float)


SKINS = _palette("#f4d8c7 #efcbb3 #ebc2a2 #dfb08e #d0a07c #bb8765 #a06d4e #84553c #694232 #523329")
HAIRS = _palette("#1d1a1b #35241c #57382a #7b4b2c #8f4327 #b5663a #a98352 #cfae6c #9a9794 #dcd9d4")
HAIR_ODDS = (0.12, 0.18, 0.18, 0.14, 0.10, 0.08, 0.11, 0.09)  # with light skin, but for the greys
IRISES = _palette("#3a2416 #5a3820 #7d6a3a #5f8055 #5a88b0 #7b8b96")
FRAMES = _palette("#26221f #7a3b2e #3c4f73 #8d7a52")
CLOTHES = _palette("#2f3e5c #7b2d3b #3f6b57 #d9d4c7 #c98f3c #5f5a7a #30343a #8fb0c4 #b5654a")
WALLS = _palette("#d8cfc0 #b9c7c9 #8fa39a #c9b3a3 #6f7f92 #e3e0d9 #a8aebd #59635f #d9c49a #94857b")
WHITE, DARK = _palette("#f7f4f0 #1c1a1e")
SHADE = np.array([0.79, 0.70, 0.67])  # what shadow leaves of skin: a warm tone, grey looks dirty

# Traits of an identity: the range of each, in face units (`eye_gap` in widths of the face).
TRAITS = {
    "width": (0.70, 0.88), "jaw": (0.76, 0.96), "chin": (0.24, 0.44), "ear": (0.13, 0.19),
    "eye_y": (-0.06, 0.03), "eye_gap": (0.41, 0.50), "eye_w": (0.14, 0.19), "iris": (0.075, 0.095),
    "eye_open": (0.065, 0.115), "eye_tilt": (-0.035, 0.05), "brow_gap": (0.19, 0.27),
    "brow_w": (0.17, 0.23), "brow_thick": (0.03, 0.085), "brow_arch": (0.01, 0.07),
    "brow_tilt": (-0.025, 0.02), "nose_y": (0.27, 0.38), "nose_w": (0.10, 0.19),
    "mouth_y": (0.57, 0.67), "mouth_w": (0.20, 0.33), "lip": (0.035, 0.085), "neck": (0.42, 0.56),
    "volume": (0.08, 0.22), "hairline": (-0.06, 0.06), "shoulder": (1.15, 1.4),
    "makeup": (0.3, 1.0), "blush": (0.2, 1.0), "lens_w": (0.21, 0.27), "lens_h": (0.15, 0.20),
    "lens_square": (2.0, 5.0),
}  # fmt: skip
KINDS: dict[str, tuple[dict, str]] = {  # factors on the traits, hair cuts worn
    "man": ({"makeup": 0}, "buzz short side receding curly short side"),
    "woman": ({"jaw": 0.92, "chin": 0.8, "neck": 0.85, "brow_thick": 0.65, "lip": 1.15,
               "shoulder": 0.88}, "bob fringe long wavy bun afro curly long"),
    "child": ({"makeup": 0, "width": 1.07, "jaw": 1.04, "eye_w": 1.12, "eye_open": 1.3, "iris": 1.2,
               "nose_w": 0.75, "nose_y": 1.36, "mouth_y": 1.1, "mouth_w": 0.85, "brow_thick": 0.6,
               "neck": 0.8, "shoulder": 0.85}, "bowl short curly bunches fringe bob side"),
}  # fmt: skip
TURNS = ("woman", "man", "child", "man", "woman")
# Length (y of the tips), parting (in widths); of the hairline: top, drop to the temples, power of
# the drop; volume (0: the trait), curl of the outline, knots (x in widths, y, radius).
CUTS = {
    "buzz": (0.02, 0.0, -0.66, 0.45, 4.0, 0.05, 0.0, ()),
    "short": (0.12, 0.0, -0.60, 0.40, 3.0, 0, 0.0, ()),
    "side": (0.12, 0.50, -0.74, 0.30, 1.3, 0, 0.0, ()),
    "receding": (0.14, 0.0, -0.90, 0.75, 3.0, 0, 0.0, ()),
    "curly": (0.10, 0.0, -0.62, 0.40, 4.0, 0, 0.12, ()),
    "bowl": (0.10, 0.0, -0.36, 0.15, 6.0, 0, 0.0, ()),
    "bob": (0.72, 0.40, -0.72, 0.40, 1.2, 0, 0.0, ()),
    "fringe": (0.80, 0.0, -0.34, 0.14, 5.0, 0, 0.0, ()),
    "long": (1.70, 0.0, -0.84, 0.60, 1.1, 0, 0.0, ()),
    "wavy": (1.45, 0.35, -0.76, 0.40, 1.2, 0, 0.09, ()),
    "afro": (0.38, 0.0, -0.64, 0.40, 4.0, 0.42, 0.07, ()),
    "bun": (0.00, 0.0, -0.76, 0.55, 2.0, 0, 0.0, ((0.0, -1.28, 0.30),)),
    "bunches": (0.00, 0.0, -0.70, 0.45, 1.3, 0, 0.0, ((-1.08, -0.1, 0.3), (1.08, -0.1, 0.3))),
}
# Conditions of a shot: angles in radians, zoom and shifts in picture sizes, noise in grey levels.
CONDITIONS = {
    "yaw": (-0.42, 0.42), "pitch": (-0.22, 0.22), "roll": (-0.16, 0.16), "zoom": (0.28, 0.34),
    "shift_x": (-0.06, 0.06), "shift_y": (-0.05, 0.05), "smile": (-0.25, 1.0), "gape": (-0.6, 1.0),
    "raised": (-0.02, 0.06), "frown": (-0.03, 0.02), "gaze": (-0.04, 0.04), "eyes": (0.55, 1.15),
    "light_x": (-1.0, 1.0), "light_y": (-0.9, 0.3), "contrast": (0.1, 0.75), "gain": (0.68, 1.12),
    "warmth": (-0.09, 0.09), "blur": (-0.9, 0.9), "noise": (1.0, 7.0), "quality": (45, 95),
}  # fmt: skip
OCCLUSIONS = {"none": 0.80, "sunglasses": 0.06, "hat": 0.06, "scarf": 0.04, "mug": 0.04}


@lru_cache(maxsize=256)  # a person is drawn many times in a row; nothing changes the traits
def _person(identity: int, seed: int) -> SimpleNamespace:
    """Draw the traits of an identity, relatives' half from the person whom their family is named after."""
    family, member = divmod(identity - RELATIVES, 10)
    if family >= 0 and member == 0:
        return _person(family, seed)
    rng = np.random.default_rng([seed, identity, 0])
    p = SimpleNamespace(**{name: rng.uniform(*span) for name, span in TRAITS.items()})
    # Kinds take turns, and skins step so that five steps, from a kind to itself, make a golden
    # section: a few people are as mixed as many, and skin does not go with kind.
    p.kind = TURNS[identity % len(TURNS)]
    tone = (0.15 + 0.3236 * identity + 0.387 * seed) % 1 * (len(SKINS) - 1)
    factors, cuts = KINDS[p.kind]
    for name, factor in factors.items():
        setattr(p, name, getattr(p, name) * factor)
    p.eye_y += 0.12 * (p.kind == "child")
    p.eye_gap *= p.width
    p.skin = _mix(SKINS[int(tone)], SKINS[int(tone) + 1], tone % 1)
    # Loosely as in life: fair hair and light eyes go with light skin, grey hair with any grown-up.
    fair, grey = tone < 4, p.kind != "child" and rng.random() < 0.12
    brown = rng.choice(8, p=HAIR_ODDS) if fair else rng.integers(3 if tone < 6 else 2)
    p.hair = HAIRS[rng.integers(8, 10) if grey else brown] * rng.uniform(0.85, 1.15)
    p.iris_colour = IRISES[rng.integers(6 if fair else 2)]
    p.brow_colour = _mix(p.hair * 0.7, p.skin * 0.5, 0.35)
    p.lips = _mix(p.skin * 0.86, np.array([178.0, 52, 66]), 0.28 + 0.3 * p.makeup * rng.random())
    cut = CUTS[str(rng.choice(cuts.split()))]
    p.length, part, p.top, p.drop, p.power, volume, p.curl, p.knots = cut
    p.volume, p.part = volume or p.volume, part * rng.choice([-1, 1])
    beards = "none none none stubble stubble full full goatee moustache".split()
    p.beard = str(rng.choice(beards)) if p.kind == "man" else "none"
    p.freckles = rng.normal([0, 0.22], [0.3, 0.08], (18, 2)) if fair and rng.random() < 0.25 else ()
    p.glasses, p.frame = rng.random() < 0.22, rng.choice(FRAMES)
    if family >= 0:
        elder = _person(family, seed)
        vars(p).update({name: (getattr(p, name) + getattr(elder, name)) / 2 for name in TRAITS})
        p.skin, p.hair, p.lips, p.brow_colour = elder.skin, elder.hair, elder.lips, elder.brow_colour
    return p


def _shot(identity: int, shot: int, seed: int) -> tuple[SimpleNamespace, np.random.Generator]:
    """Draw the conditions of a shot; the generator goes on to its backdrop and noise."""
    rng = np.random.default_rng([seed, identity, 1 + shot])
    s = SimpleNamespace(**{name: rng.uniform(*span) for name, span in CONDITIONS.items()})
    s.gape, s.blur = max(s.gape, 0) * (0.3 + 0.7 * max(s.smile, 0)), max(s.blur, 0)
    s.occlusion = str(rng.choice(list(OCCLUSIONS), p=list(OCCLUSIONS.values())))
    s.cloth, s.prop = rng.choice(CLOTHES, 2, replace=False)
    s.walls = rng.choice(WALLS, 3)
    return s, rng


def _mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return a * (1 - t) + b * t


def _spline(points: Sequence[tuple[float, float]], steps: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Closed Catmull-Rom curve, mirrored in x, through the right half (k, 2) of its points."""
    b = np.array([*points, *((-x, y) for x, y in points[::-1] if x)])
    a, c, d = np.roll(b, 1, 0), np.roll(b, -1, 0), np.roll(b, -2, 0)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None, None]
    curve = b + 0.5 * t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a)))
    return tuple(curve.transpose(1, 0, 2).reshape(-1, 2).T)


def _oval(x: float, y: float, rx: float, ry: float, square: float = 2.0):
    """Superellipse around (x, y), (29,) each and closed: 2 is an ellipse, more is squarer."""
    t = np.linspace(0, 2 * np.pi, 29)
    cos, sin = (np.sign(f) * abs(f) ** (2 / square) for f in (np.cos(t), np.sin(t)))
    return x + rx * cos, y + ry * sin


def _band(x: np.ndarray, top: np.ndarray, bottom: np.ndarray):
    """Outline of the area between two curves over the same x."""
    return np.concatenate([x, x[::-1]]), np.concatenate([top, bottom[::-1]])


class _Easel:
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
        self.draw.polygon(self.place(curve, lift, flat), _ink(colour, alpha))

    def line(self, curve, colour, width: float, lift: float = 0.0, alpha: float = 1.0):
        width = max(1, round(width * self.scale))
        self.draw.line(self.place(curve, lift, False), _ink(colour, alpha), width, joint="curve")


def _ink(colour: np.ndarray, alpha: float) -> tuple[int, ...]:
    return (*np.clip(colour, 0, 255).astype(int).tolist(), round(255 * alpha))


def _backdrop(s: SimpleNamespace, rng: np.random.Generator, size: int) -> Image.Image:
    """An out-of-focus room: a few wall colours on a coarse grid, blown up smoothly."""
    coarse = rng.dirichlet([0.35] * 3, (4, 4)) @ s.walls * rng.uniform(0.8, 1.1)
    image = Image.fromarray(coarse.clip(0, 255).astype(np.uint8))
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _face(p: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    w = p.width
    return _spline([(0, -1), (0.60 * w, -0.86), (0.94 * w, -0.45), (w, 0), (p.jaw * w, 0.5),
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
        side = _mix(rx, p.width * 0.98, down**2)
    fall = middle + (p.length - middle) * down
    return np.r_[-side[::-1], x, side], np.r_[fall[::-1], y, fall]


def _hairline(p: SimpleNamespace, u: np.ndarray) -> np.ndarray:
    """Height of the hairline at u = x / width."""
    reach = abs(u - p.part) / (0.93 + abs(p.part))
    temple = 0.5 * (u / 0.93) ** 8  # closes the corner that a parting would leave open
    return np.minimum(p.top + p.hairline + p.drop * (1.3 * reach) ** p.power + temple, -0.05)


def _draw_behind(e: _Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """Hair behind the head, neck, clothes and ears."""
    for x, y, r in p.knots:
        e.fill(_oval(x * p.width, y, r, r * 1.1), p.hair * 0.8, -0.3, flat=True)
    if p.length > 0.5:
        e.fill(_mane(p, p.curl), p.hair * 0.72, -0.2, flat=True)
    n, b = p.neck, p.shoulder
    e.fill(_oval(0, 1.0, n, 0.75, 8.0), p.skin * 0.86, -0.1, flat=True)
    e.fill(_oval(0, 0.92, n * 0.98, 0.34), p.skin * SHADE * 0.95, -0.1, 0.7, flat=True)
    body = [(0, 1.52), (n * 0.7, 1.45), (n * 1.08, 1.26), (b * 0.8, 1.42), (b, 1.7), (b * 1.1, 2.6)]
    e.fill(_spline(body), s.cloth, -0.1, flat=True)
    for side in (-p.width, p.width):
        e.fill(_oval(side, 0.06, p.ear * 0.75, p.ear * 1.35), p.skin * 0.94, -0.1, flat=True)
        e.fill(_oval(side * 1.03, 0.05, p.ear * 0.4, p.ear * 0.9), p.skin * 0.80, -0.1, flat=True)


def _draw_eye(e: _Easel, p: SimpleNamespace, s: SimpleNamespace, side: int) -> None:
    """One eye and its brow; u runs from the inner (-1) to the outer (1) corner."""
    u = np.linspace(-1, 1, 15)
    opening = p.eye_open * s.eyes * (1 - 0.12 * max(s.smile, 0))

    def lid(u, k):
        return p.eye_y - p.eye_tilt * u + k * opening * (1 - abs(u) ** 2.3)

    x, upper, lower = side * (p.eye_gap + u * p.eye_w), lid(u, LIDS[0]), lid(u, LIDS[1])
    e.fill(_band(x, lid(u, -1.7) - 0.015, lid(u, 1.3)), p.skin * SHADE, alpha=0.25 + 0.3 * p.makeup)
    e.fill(_band(x, upper, lower), WHITE)
    middle = side * p.eye_gap + s.gaze
    for radius, colour in ((p.iris, p.iris_colour), (p.iris * 0.5, DARK)):
        ix, iy = _oval(middle, p.eye_y - 0.01, radius, radius)
        iu = (ix / side - p.eye_gap) / p.eye_w
        # Clipped by the lids: what lies outside the almond is pulled to its edge.
        e.fill((ix, np.clip(iy, lid(iu, LIDS[0]), lid(iu, LIDS[1]))), colour)
    if opening > 0.05:
        e.fill(_oval(middle + 0.028, p.eye_y - 0.035, 0.02, 0.02), WHITE)
    lash = (0.011 + 0.014 * p.makeup) * (2 + u)
    e.fill(_band(x, upper - lash, upper + 0.008), p.hair * 0.25)
    e.line((x, lower), p.skin * SHADE, 0.015, alpha=0.7)
    x = side * (p.eye_gap + 0.02 + u * p.brow_w)
    y = p.eye_y - p.brow_gap - s.raised - p.brow_arch * (1 - u**2) - (p.brow_tilt + s.frown) * u
    half = p.brow_thick * (0.5 - 0.32 * ((u + 1) / 2) ** 1.5)
    e.fill(_band(x, y - half, y + half), p.brow_colour)


def _draw_nose(e: _Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """The bridge in shade on the side away from the light, a tip that stands out, and nostrils."""
    w, y, shade = p.nose_w, p.nose_y, p.skin * SHADE
    bridge = -np.sign(s.light_x) * np.array([0.045, 0.075, w * 0.55, w, w * 0.35, 0.02])
    e.fill((bridge, np.array([p.eye_y, 0.1, y - 0.13, y, y, y - 0.12])), shade, 0.08, 0.30)
    tip = [(0, y - 0.13), (w * 0.45, y - 0.12), (w * 0.98, y - 0.045), (w * 0.85, y + 0.045)]
    e.fill(_spline([*tip, (w * 0.35, y + 0.05), (0, y + 0.075)]), shade, 0.1, 0.3)
    e.fill(_oval(0, y - 0.03, w * 0.5, 0.075), p.skin * 1.06, 0.16, 0.5)
    for x in (-w * 0.48, w * 0.48):
        e.fill(_oval(x, y + 0.035, w * 0.24, 0.022), p.skin * 0.42, 0.12, 0.8)


def _draw_beard(e: _Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    if p.beard in ("full", "stubble"):
        x, y = _face(p)
        x, y = np.stack([x, y])[:, y > 0.08][:, np.argsort(x[y > 0.08])]
        u = np.clip(abs(x) / p.width, 0, 1)
        drop = (p.mouth_y - 0.1) * np.clip((1 - u) / 0.35, 0, 1) ** 0.6
        cheek = 0.08 + drop - 0.1 * (1 - u**2) ** 4
        grown, dye, alpha = (1.07, 0.85, 0.93) if p.beard == "full" else (1.0, 0.5, 0.22)
        e.fill(_band(x, np.minimum(cheek, y), y * grown), p.hair * dye, alpha=alpha)
    if p.beard == "goatee":
        e.fill(_oval(0, p.mouth_y + 0.19, 0.25, 0.23, 2.4), p.hair * 0.85, alpha=0.9)
    if p.beard in ("full", "goatee", "moustache"):
        u = np.linspace(-1, 1, 15)
        y = p.mouth_y - 0.05 + 0.04 * u**2 - 0.05 * max(s.smile, 0) * u**2
        e.fill(_band(u * p.mouth_w * 1.1, y - 0.07 * (1 - u**2), y + 0.03), p.hair * 0.75, 0.03)


def _draw_mouth(e: _Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    """Lips around an opening that shows teeth; the corners follow the smile."""
    u = np.linspace(-1, 1, 17)
    x, arch = u * p.mouth_w * (1 + 0.18 * s.smile), 1 - u**2
    middle = p.mouth_y + s.smile * (0.09 * arch - 0.06)
    above, below = middle - 0.035 * s.gape * arch, middle + 0.11 * s.gape * arch
    lip = p.lip * arch**0.7
    bow = 1 - 0.35 * np.exp(-((u / 0.18) ** 2))
    e.fill(_band(x, above - lip * bow, middle), p.lips * 0.9)
    e.fill(_band(x, middle, below + 1.25 * lip), p.lips)
    e.fill(_band(x, above, below), np.array([88.0, 30, 34]))
    if s.gape > 0.25:
        e.fill(_band(x[2:-2], above[2:-2], _mix(middle, below, 0.35)[2:-2]), WHITE)
    elif s.gape < 0.1:
        e.line((x, middle), p.lips * 0.55, 0.014, alpha=0.8)


def _draw_hair(e: _Easel, p: SimpleNamespace) -> None:
    """The hair in front, from its outer edge back along the hairline, with a lighter sheen."""
    u = np.linspace(0.93, -0.93, 41)
    line, (x, y) = _hairline(p, u), _mane(p, p.curl)
    cast = _band(u[4:-4] * p.width, line[4:-4] - 0.05, line[4:-4] + 0.07)
    e.fill(cast, p.skin * SHADE * 0.8, alpha=0.28)
    lock = p.width * (1.0 if p.length > 0.5 else 0.93)
    edge = np.r_[lock, u * p.width, -lock], np.r_[p.length, line, p.length]
    e.fill((np.r_[x, edge[0]], np.r_[y, edge[1]]), p.hair)
    crown = np.stack(_mane(p, 0.0))[:, 18:36]
    fx = np.linspace(-0.6, 0.6, 18) * p.width
    fringe = np.stack([fx, _hairline(p, fx / p.width)])
    for t, width, alpha in ((0.62, 0.10, 0.22), (0.40, 0.05, 0.14)):
        e.line(_mix(fringe, crown, t), p.hair * 1.2 + 20, width, alpha=alpha)


def _draw_glasses(e: _Easel, p: SimpleNamespace, dark: bool) -> None:
    colour, y = (DARK, p.eye_y + 0.03) if dark else (p.frame, p.eye_y + 0.02)
    for side in (-1, 1):
        lens = _oval(side * (p.eye_gap + 0.01), y, p.lens_w, p.lens_h, p.lens_square)
        e.fill(lens, colour if dark else WHITE, 0.08, 0.95 if dark else 0.1)
        e.line(lens, colour, 0.032, 0.08)
        e.line((side * np.array([p.eye_gap + p.lens_w, p.width]), [y - 0.02, 0]), colour, 0.03)
    gap = p.eye_gap - p.lens_w + 0.02
    e.line((np.array([-gap, 0, gap]), y - np.array([0.02, 0.05, 0.02])), colour, 0.035, 0.08)


def _draw_occlusion(e: _Easel, p: SimpleNamespace, s: SimpleNamespace) -> None:
    u = np.linspace(-1, 1, 25)
    if s.occlusion == "sunglasses":
        _draw_glasses(e, p, dark=True)
    elif s.occlusion == "hat":
        x, brim = u * (p.width + 0.10), -0.42 + 0.06 * u**2
        dome = -0.45 - (0.75 + 0.5 * p.volume) * np.sqrt(1 - u**2)
        e.fill(_band(x, dome, brim), s.prop, flat=True)
        e.fill(_band(x * 1.03, brim - 0.13, brim + 0.08), s.prop * 0.8, 0.1)
    elif s.occlusion == "scarf":
        e.fill(_oval(0, 1.15, p.width * 1.02, 0.55, 4.0), s.prop, 0.1)
        for y in (0.78, 1.0, 1.22):
            e.line((u * p.width * 0.97, y + 0.1 * (1 - u**2)), s.prop * 0.8, 0.05, 0.1)
    elif s.occlusion == "mug":
        x = 0.25 * np.sign(s.light_x)
        e.line(_oval(x + 0.42, 0.90, 0.17, 0.2), s.prop * 0.85, 0.09, 0.4)
        e.fill(_oval(x, 0.92, 0.40, 0.42, 7.0), s.prop, 0.4, flat=True)
        e.fill(_oval(x, 0.53, 0.38, 0.06), s.prop * 0.7, 0.4, flat=True)


def _light(e: _Easel, p: SimpleNamespace, s: SimpleNamespace, solid: np.ndarray) -> np.ndarray:
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
    p = _person(identity, seed)
    s, rng = _shot(identity, shot, seed)
    backdrop = _backdrop(s, rng, size)
    canvas = backdrop.resize((size * SUPER, size * SUPER), Image.Resampling.NEAREST)
    e = _Easel(canvas, s, p.width)
    _draw_behind(e, p, s)
    e.fill(_face(p), p.skin)
    for x, y in p.freckles:
        e.fill(_oval(x, y, 0.014, 0.014), p.skin * SHADE, alpha=0.7)
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
