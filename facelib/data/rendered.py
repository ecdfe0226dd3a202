"""Folders of rendered people, which let every notebook run with nothing downloaded."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from facelib.data import drawing
from facelib.data.drawing import RELATIVES, RENDERER_VERSION, render_face
from facelib.files import sweep, whole

__all__ = ["RELATIVES", "RENDERER_VERSION", "places", "render_face", "write_people"]

MANIFEST = ".demo.json"


def write_people(
    root: str | os.PathLike,
    identities: range | Sequence[int],
    shots: int,
    seed: int = 0,
    size: int = 112,
    progress: bool = True,
) -> Path:
    """Write `shots` JPEGs of each person, as ``root/person_0007/0003.jpg``; the quality varies. Returns `root`.

    Relatives are ``root/family_0060-1/0003.jpg``: identity ``RELATIVES + 601`` is the first relative of person 60, and
    ``RELATIVES + 600`` is person 60 under another name, in other photos.

    `root` is whole or absent. One that already holds the same people, by its ``.demo.json``, is left as it is;
    FileExistsError where it holds something else.
    """
    root, identities = Path(root), [int(identity) for identity in identities]
    if len(set(identities)) < len(identities):
        raise ValueError(f"identities must differ, got {identities}")
    asked = {"identities": identities, "shots": shots, "seed": seed, "size": size, "renderer": RENDERER_VERSION}
    if _holds(root, asked):
        return root
    sweep(root.parent, f"{root.name}.")
    try:
        with whole(root) as made:
            for identity in tqdm(identities, "people", file=sys.stdout, disable=not progress):
                _write_person(made / _name(identity), identity, shots, seed, size)
            (made / MANIFEST).write_text(json.dumps(asked))
    except OSError:
        if not _holds(root, asked):  # True where another process was faster
            raise
    return root


def places(identity: int, shot: int, seed: int = 0, size: int = 112) -> tuple[np.ndarray, np.ndarray]:
    """Where `render_face` draws a face: its box (4,) from hairline to chin, and five landmarks (5, 2).

    Box and landmarks as in `detection.Face`.
    """
    p, (s, _) = drawing._person(identity, seed), drawing._shot(identity, shot, seed)
    easel = drawing._Easel(Image.new("RGB", (size, size)), s, p.width)
    corner = p.mouth_w * (1 + 0.18 * s.smile)
    marks = [-p.eye_gap, p.eye_gap, 0, -corner, corner], [p.eye_y] * 2 + [p.nose_y] + [p.mouth_y - 0.06 * s.smile] * 2
    outline, marks = (np.reshape(easel.place(each, 0, False), (-1, 2)) - 0.5 for each in (drawing._face(p), marks))
    return np.concatenate([outline.min(0), outline.max(0)]), marks


def _name(identity: int) -> str:
    family, member = divmod(identity - RELATIVES, 10)
    return f"family_{family:04d}-{member}" if family >= 0 else f"person_{identity:04d}"


def _write_person(folder: Path, identity: int, shots: int, seed: int, size: int) -> None:
    folder.mkdir(parents=True)
    for shot in range(shots):
        quality = int(drawing._shot(identity, shot, seed)[0].quality)
        render_face(identity, shot, seed, size).save(folder / f"{shot:04d}.jpg", quality=quality)


def _holds(root: Path, asked: dict) -> bool:
    """Whether root holds all that is asked for; False if there is nothing, an error otherwise."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    try:
        same = json.loads((root / MANIFEST).read_text()) == asked
    except (OSError, ValueError):
        same = False
    if same and len([*root.glob("*_*/*.jpg")]) == len(asked["identities"]) * asked["shots"]:
        return True
    raise FileExistsError(
        f"{root} holds other files, or demo people of other arguments or of an earlier renderer: "
        "choose another folder, or remove this one to have them made"
    )
