"""Who the rendered people are, and how each shot of them is taken: numbers from seeds alone, for `drawing` to draw."""

from functools import lru_cache
from types import SimpleNamespace

import numpy as np
from PIL import ImageColor

RELATIVES = 10_000  # ten numbers from here on, and from each tenth on, are a family: see `rendered.write_people`


def palette(names: str) -> np.ndarray:
    return np.array([ImageColor.getrgb(name) for name in names.split()], float)


SKINS = palette("#f4d8c7 #efcbb3 #ebc2a2 #dfb08e #d0a07c #bb8765 #a06d4e #84553c #694232 #523329")
HAIRS = palette("#1d1a1b #35241c #57382a #7b4b2c #8f4327 #b5663a #a98352 #cfae6c #9a9794 #dcd9d4")
HAIR_ODDS = (0.12, 0.18, 0.18, 0.14, 0.10, 0.08, 0.11, 0.09)  # with light skin, but for the greys
IRISES = palette("#3a2416 #5a3820 #7d6a3a #5f8055 #5a88b0 #7b8b96")
FRAMES = palette("#26221f #7a3b2e #3c4f73 #8d7a52")
CLOTHES = palette("#2f3e5c #7b2d3b #3f6b57 #d9d4c7 #c98f3c #5f5a7a #30343a #8fb0c4 #b5654a")
WALLS = palette("#d8cfc0 #b9c7c9 #8fa39a #c9b3a3 #6f7f92 #e3e0d9 #a8aebd #59635f #d9c49a #94857b")

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
def person(identity: int, seed: int) -> SimpleNamespace:
    """Draw the traits of an identity, relatives' half from the person whom their family is named after."""
    family, member = divmod(identity - RELATIVES, 10)
    if family >= 0 and member == 0:
        return person(family, seed)
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
    p.skin = mix(SKINS[int(tone)], SKINS[int(tone) + 1], tone % 1)
    # Loosely as in life: fair hair and light eyes go with light skin, grey hair with any grown-up.
    fair, grey = tone < 4, p.kind != "child" and rng.random() < 0.12
    brown = rng.choice(8, p=HAIR_ODDS) if fair else rng.integers(3 if tone < 6 else 2)
    p.hair = HAIRS[rng.integers(8, 10) if grey else brown] * rng.uniform(0.85, 1.15)
    p.iris_colour = IRISES[rng.integers(6 if fair else 2)]
    p.brow_colour = mix(p.hair * 0.7, p.skin * 0.5, 0.35)
    p.lips = mix(p.skin * 0.86, np.array([178.0, 52, 66]), 0.28 + 0.3 * p.makeup * rng.random())
    cut = CUTS[str(rng.choice(cuts.split()))]
    p.length, part, p.top, p.drop, p.power, volume, p.curl, p.knots = cut
    p.volume, p.part = volume or p.volume, part * rng.choice([-1, 1])
    beards = "none none none stubble stubble full full goatee moustache".split()
    p.beard = str(rng.choice(beards)) if p.kind == "man" else "none"
    p.freckles = rng.normal([0, 0.22], [0.3, 0.08], (18, 2)) if fair and rng.random() < 0.25 else ()
    p.glasses, p.frame = rng.random() < 0.22, rng.choice(FRAMES)
    if family >= 0:
        elder = person(family, seed)
        vars(p).update({name: (getattr(p, name) + getattr(elder, name)) / 2 for name in TRAITS})
        p.skin, p.hair, p.lips, p.brow_colour = elder.skin, elder.hair, elder.lips, elder.brow_colour
    return p


def shot_of(identity: int, shot: int, seed: int) -> tuple[SimpleNamespace, np.random.Generator]:
    """Draw the conditions of a shot; the generator goes on to its backdrop and noise."""
    rng = np.random.default_rng([seed, identity, 1 + shot])
    s = SimpleNamespace(**{name: rng.uniform(*span) for name, span in CONDITIONS.items()})
    s.gape, s.blur = max(s.gape, 0) * (0.3 + 0.7 * max(s.smile, 0)), max(s.blur, 0)
    s.occlusion = str(rng.choice(list(OCCLUSIONS), p=list(OCCLUSIONS.values())))
    s.cloth, s.prop = rng.choice(CLOTHES, 2, replace=False)
    s.walls = rng.choice(WALLS, 3)
    return s, rng


def mix(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    return a * (1 - t) + b * t
