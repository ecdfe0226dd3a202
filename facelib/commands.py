"""The commands on people's photos: ``embed``, ``enrol``, ``identify`` and ``cluster``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

DONE, NOT_ALL, ERROR = 0, 1, 2  # exit codes
CODES = f"Exit code: {DONE} done, {NOT_ALL} done but for some photos, {ERROR} an error."


def add(commands) -> None:
    """Add the commands to the subparsers of a command line."""
    embed = _command(commands, embed_command, "print the features of photos", CODES)
    embed.add_argument("photos", nargs="+", metavar="PHOTO")
    enrol = _command(commands, enrol_command, "add known people to a gallery", CODES)
    enrol.add_argument("gallery", metavar="GALLERY", help="its file, such as people.npz; made where there is none")
    enrol.add_argument("photos", nargs="*", metavar="PHOTO", help="a folder of people's folders; with --name, photos")
    enrol.add_argument("--name", help="whom the photos show")
    enrol.add_argument("--remove", metavar="NAME", help="take this person out instead")
    about = f"Exit code: {DONE} somebody is known, {NOT_ALL} nobody, {ERROR} an error."
    identify = _command(commands, identify_command, "say who is in a picture", about)
    identify.add_argument("gallery", metavar="GALLERY")
    identify.add_argument("photo", metavar="PHOTO")
    identify.add_argument("--boxes", metavar="OUT.png", help="also write the picture with boxes and names")
    identify.add_argument("--prior", type=float, default=0.5, metavar="SHARE", help="see compare")
    cluster = _command(commands, cluster_command, "sort a folder's faces by person, without names", CODES)
    cluster.add_argument("folder", metavar="FOLDER", help="photos, also in folders, with any number of faces each")
    for command in (identify, cluster):
        about = "false accept rate of a pair of faces: 0.1, 0.01 or 0.001; by default the strictest of the network"
        command.add_argument("--far", type=float, metavar="RATE", help=about)
    for command in (embed, enrol):
        command.add_argument("--largest", action="store_true", help="of several faces in a photo, take the largest")


def embed_command(options: argparse.Namespace) -> int:
    """A line per photo: its path and the numbers of its face."""
    from facelib.inference import gallery

    (_, photos, vectors), refused = gallery.features(_read(options.photos), _verifier(options), _which(options))
    for photo, vector in zip(photos, vectors, strict=True):
        record = {"photo": photo, "features": [float(f"{number:.7g}") for number in vector]}
        print(json.dumps(record) if options.json else "\t".join([photo, *map(str, record["features"])]))
    return _left_out(refused) and (NOT_ALL if photos else ERROR)


def enrol_command(options: argparse.Namespace) -> int:
    """Whom the gallery holds now."""
    from facelib.data import photofiles
    from facelib.inference import gallery

    verifier, refused = _verifier(options), {}
    if options.remove:
        if options.photos or options.name is not None:
            raise ValueError("--remove takes nobody in: enrol photos with a command of their own.")
        if not Path(options.gallery).exists():
            raise FileNotFoundError(f"There is no gallery at '{options.gallery}'.")
        known = gallery.update(options.gallery, verifier.card, lambda found: found.without(options.remove))
    elif options.name is None and len(options.photos) != 1:
        raise ValueError("Give one folder that has a folder per person, or --name and that person's photos.")
    elif options.name is None and not Path(options.photos[0]).exists():
        raise FileNotFoundError(f"There is no folder '{options.photos[0]}'.")
    elif options.name is None and Path(options.photos[0]).suffix.lower() in photofiles.SUFFIXES:
        raise ValueError(f"Whom does '{options.photos[0]}' show? Say it with --name, or give a folder of people.")
    else:
        photos = gallery.photos_of(options.photos[0]) if options.name is None else _read(options.photos, options.name)
        known, refused = gallery.enrol(options.gallery, photos, verifier, _which(options))
    people = {name: known.people.count(name) for name in sorted(set(known.people))}
    text = f"{options.gallery}: {len(known)} photos of {len(people)} people"
    print(json.dumps({"people": people, "left_out": refused}) if options.json else text)
    return _left_out(refused) and NOT_ALL


def identify_command(options: argparse.Namespace) -> int:
    """A line per face: who it is, and how sure."""
    from facelib.data.images import Unreadable
    from facelib.inference import gallery, interface, recognition

    verifier = _verifier(options)
    known = gallery.load(options.gallery, verifier.card)
    try:
        picture, seen = recognition.identify(known, options.photo, verifier, options.far, options.prior)
    except Unreadable as error:
        raise Unreadable(f"'{options.photo}': {error}") from error
    if options.boxes:
        interface.save(options.boxes, interface.drawn(picture, seen))
    if options.json:
        faces = [{"box": each.face.box.tolist(), "name": each.name, "nearest": each.nearest} for each in seen]
        facts = [asdict(each.decision) if each.decision else {"reason": each.reason} for each in seen]
        print(json.dumps([face | fact for face, fact in zip(faces, facts, strict=True)]))
    else:
        print("\n".join(map(interface.sentence, seen)) or "no face found")
        if any(each.name for each in seen):
            alarms = recognition.false_alarms(known, recognition.strict(verifier.card, options.far).far)
            print(f"with {len(known)} photos in the gallery up to {alarms:.1%} of strangers would get a name")
    return DONE if any(each.name for each in seen) else NOT_ALL


def cluster_command(options: argparse.Namespace) -> int:
    """A line per group of faces: its number and the photos, the largest group first."""
    from facelib.data import photofiles
    from facelib.inference import recognition
    from facelib.metrics import clustering

    folder = Path(options.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'.")
    verifier = _verifier(options)
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    heads = {path: partial(photofiles.read_head, path) for path in files}
    files = [path for path in files if photofiles.why_no_photo(path, heads[path]) != "not an image"]
    if not files:
        raise FileNotFoundError(f"There is no photo in '{folder}'.")
    photos, vectors, refused = recognition.everybody(files, verifier)
    labels = clustering.clusters(
        vectors, recognition.strict(verifier.card, options.far).threshold, verifier.card.metric
    )
    groups = [[photo for photo, label in zip(photos, labels, strict=True) if label == k] for k in sorted(set(labels))]
    if options.json:
        print(json.dumps({"groups": groups, "left_out": refused}))
    else:
        print("".join(f"{number}\t{photo}\n" for number, group in enumerate(groups, 1) for photo in group), end="")
    return _left_out(refused) and (NOT_ALL if photos else ERROR)


def _command(commands, run, about: str, codes: str):
    command = commands.add_parser(run.__name__.removesuffix("_command"), help=about, description=f"{about}. {codes}")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--network", metavar="NAME", help="a network of data/weights, or the path of a card (.json)")
    command.set_defaults(run=run, error=ERROR)
    return command


def _verifier(options: argparse.Namespace):
    from facelib.inference import decision

    return decision.load(options.network or decision.DEFAULT)


def _which(options: argparse.Namespace) -> str:
    return "largest" if options.largest else "only"


def _read(paths: list[str], person: str = "") -> Iterator[tuple[str, str, bytes | str]]:
    from facelib.data import images

    return ((person, path, images.read_file(path)) for path in paths)


def _left_out(refused: dict[str, str]) -> int:
    """Say which photos were left out and why; whether there are any."""
    for photo, reason in refused.items():
        print(f"left out {photo}: {reason}", file=sys.stderr)
    return int(bool(refused))
