"""Folders of rendered people, which let every notebook run with nothing downloaded."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image
from tqdm import tqdm

from facelib.data import traits
from facelib.data.drawing import RENDERER_VERSION, outline, render_face
from facelib.data.easel import Easel
from facelib.data.traits import RELATIVES
from facelib.files import sweep, whole

__all__ = ["RELATIVES", "RENDERER_VERSION", "places", "render_face", "write_people"]

MANIFEST = ".demo.json"


def write_people(
    root: str | os.PathLike,
    identities: range | Sequence[int],
    shots: int | Sequence[int],
    planted: Mapping[int, tuple[int, int]] = MappingProxyType({}),
    *,
    seed: int = 0,
    size: int = 112,
    progress: bool = True,
) -> Path:
    """Write `shots` JPEGs of each person, as ``root/person_0007/0003.jpg``; the quality varies. Returns `root`.

    Sets of the world are not so even: `shots` may differ by person, and with ``planted={100: (7, 0)}`` person 100 has
    the first photograph of person 7 besides, as its last.

    Relatives are ``root/family_0060-1/0003.jpg``: identity ``RELATIVES + 601`` is the first relative of person 60, and
    ``RELATIVES + 600`` is person 60 under another name, in other photos.

    `root` is whole or absent. One that already holds the same people, by its ``.demo.json``, is left as it is;
    FileExistsError where it holds something else.
    """
    root, identities = Path(root), [int(identity) for identity in identities]
    if len(set(identities)) < len(identities):
        raise ValueError(f"identities must differ, got {identities}")
    counts = [shots] * len(identities) if isinstance(shots, int) else list(shots)
    photos = {who: [(who, shot) for shot in range(n)] for who, n in zip(identities, counts, strict=True)}
    for who, photo in planted.items():
        photos[who].append(photo)
    asked: dict = {"identities": identities, "shots": shots if isinstance(shots, int) else counts}
    asked |= {"seed": seed, "size": size, "renderer": RENDERER_VERSION}
    asked |= {"planted": [[who, *photo] for who, photo in planted.items()]} if planted else {}
    if _holds(root, asked, sum(map(len, photos.values()))):
        return root
    sweep(root.parent, f"{root.name}.")
    try:
        with whole(root) as made:
            for identity in tqdm(identities, "people", file=sys.stdout, disable=not progress):
                _write_person(made / _name(identity), photos[identity], seed, size)
            (made / MANIFEST).write_text(json.dumps(asked))
    except OSError:
        if not _holds(root, asked, sum(map(len, photos.values()))):  # True where another process was faster
            raise
    return root


def places(identity: int, shot: int, seed: int = 0, size: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """Where `render_face` draws a face: its box (4,) from hairline to chin, and five landmarks (5, 2).

    Box and landmarks as in `detection.Face`.
    """
    p, (s, _) = traits.person(identity, seed), traits.shot_of(identity, shot, seed)
    easel = Easel(Image.new("RGB", (size, size)), s, p.width)
    corner = p.mouth_w * (1 + 0.18 * s.smile)
    marks = [-p.eye_gap, p.eye_gap, 0, -corner, corner], [p.eye_y] * 2 + [p.nose_y] + [p.mouth_y - 0.06 * s.smile] * 2
    edge, marks = (np.reshape(easel.place(each, 0, False), (-1, 2)) - 0.5 for each in (outline(p), marks))
    return np.concatenate([edge.min(0), edge.max(0)]), marks


def _name(identity: int) -> str:
    family, member = divmod(identity - RELATIVES, 10)
    return f"family_{family:04d}-{member}" if family >= 0 else f"person_{identity:04d}"


def _write_person(folder: Path, photos: list[tuple[int, int]], seed: int, size: int) -> None:
    folder.mkdir(parents=True)
    for number, (identity, shot) in enumerate(photos):
        quality = int(traits.shot_of(identity, shot, seed)[0].quality)
        render_face(identity, shot, seed, size).save(folder / f"{number:04d}.jpg", quality=quality)


def _holds(root: Path, asked: dict, count: int) -> bool:
    """Whether root holds all that is asked for; False if there is nothing, an error otherwise."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        same = json.loads((root / MANIFEST).read_text()) == asked
    except (OSError, ValueError):
        same = False
    if same and len([*root.glob("*_*/*.jpg")]) == count:
        return True
    raise FileExistsError(
        f"{root} is damaged, or holds other files or demo people of other arguments or of an earlier renderer: "
        "choose another folder, or remove this one to have them made"
    )
