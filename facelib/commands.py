"""The commands on people's photos, whose exit codes their help tells; 2 is an error."""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from operator import methodcaller
from pathlib import Path

ERROR = 2
RATE = "false accept rate of a pair of faces: 0.1, 0.01 or 0.001 (default: of two photos 0.01, of many the smallest)"
CODES = f"0 done, 1 done but for some photos, {ERROR} an error"
OPTIONS: dict[str, dict] = {  # of several commands
    "--json": {"action": "store_true", "help": "print JSON"},
    "--network": {"metavar": "NAME", "help": "a network of data/weights, or the path of a card (.json)"},
    "--largest": {"action": "store_true", "help": "of several faces in a photo, take the largest"},
    "--far": {"type": float, "metavar": "RATE", "help": RATE},
    "--prior": {
        "type": float,
        "default": 0.5,
        "metavar": "SHARE",
        "help": "share of pairs that show one person where you ask, for identify of faces whose person is enrolled "
        "(default 0.5); moves the probability alone",
    },
    "--boxes": {"metavar": "OUT.png", "help": "also write the pictures with the faces found in them"},
}


def add(commands) -> None:
    """Add the commands to the subparsers of a command line."""
    codes = f"0 the same, 1 different, {ERROR} an error"
    each = _command(commands, compare, "say whether two photos show one person", codes, "largest far prior boxes")
    each.add_argument("a", metavar="A", help="a photo, in any usual format")
    each.add_argument("b", metavar="B", help="another one")
    each = _command(commands, embed, "print the features of photos", CODES, "largest")
    each.add_argument("photos", nargs="+", metavar="PHOTO")
    each = _command(commands, enrol, "add known people to a gallery", CODES, "largest")
    each.add_argument("gallery", metavar="GALLERY", help="its file, such as people.npz; made where there is none")
    each.add_argument("photos", nargs="*", metavar="PHOTO", help="a folder of people's folders; with --name, photos")
    each.add_argument("--name", help="whom the photos show")
    each.add_argument("--remove", metavar="NAME", help="take this person out instead")
    codes = f"0 somebody is known, 1 nobody, {ERROR} an error"
    each = _command(commands, identify, "say who is in a picture", codes, "far prior boxes")
    each.add_argument("gallery", metavar="GALLERY")
    each.add_argument("photo", metavar="PHOTO")
    each = _command(commands, cluster, "sort a folder's faces by person, without names", CODES, "far")
    each.add_argument("folder", metavar="FOLDER", help="photos, also in folders, with any number of faces each")
    about = "also a picture of each group of two or more (of 60 faces at most), in a new folder"
    each.add_argument("--sheets", metavar="OUT", help=about)


def _command(commands, run, about: str, codes: str, options: str):
    command = commands.add_parser(run.__name__, help=about, description=f"{about}. Exit code: {codes}.")
    for name in f"json network {options}".split():
        command.add_argument(f"--{name}", **OPTIONS[f"--{name}"])
    command.set_defaults(run=run, error=ERROR, parser=command)
    return command


def compare(options: argparse.Namespace) -> int:
    """What `facelib.compare` says of two photos."""
    from facelib.data import detection, images
    from facelib.inference import decision

    if not 0 < options.prior < 1:
        raise ValueError(f"--prior is a share between 0 and 1, such as 0.5; got {options.prior:g}.")
    far = decision.FAR if options.far is None else options.far
    if options.boxes:
        from facelib.inference import interface

        interface.spare(options.boxes, options.a, options.b)
    verifier = _verifier(options)
    try:
        found = verifier.compare(options.a, options.b, which=_which(options), far=far, prior=options.prior)
    except detection.FaceError:
        with suppress(images.Unreadable, FileNotFoundError):  # of the other photo
            if options.boxes:  # the picture shows why
                faces = tuple(detection.find(detection.read_photo(photo)) for photo in (options.a, options.b))
                interface.save(options.boxes, interface.side_by_side((options.a, options.b), faces))
        raise
    print(json.dumps(asdict(found), default=methodcaller("tolist")) if options.json else found, flush=True)
    if options.boxes:
        interface.save(options.boxes, interface.side_by_side((options.a, options.b), found.faces))
    return int(not found.same)


def embed(options: argparse.Namespace) -> int:
    """A line per photo: its path and the numbers of its face."""
    from facelib.inference import gallery

    (_, photos, vectors), refused = gallery.features(
        _watched(_read(options.photos)), _verifier(options), _which(options)
    )
    for photo, vector in zip(photos, vectors, strict=True):
        record = {"photo": photo, "features": [float(f"{number:.7g}") for number in vector]}
        print(json.dumps(record) if options.json else "\t".join([photo, *map(str, record["features"])]))
    return _left_out(refused) and (1 if photos else ERROR)


def enrol(options: argparse.Namespace) -> int:
    """Whom the gallery holds now."""
    from facelib.data import photofiles
    from facelib.inference import gallery

    _first(options.gallery)
    verifier, refused = _verifier(options), {}
    if not Path(options.gallery).absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder '{Path(options.gallery).parent}' to write '{options.gallery}' to.")
    if not os.access(Path(options.gallery).absolute().parent, os.W_OK):
        raise PermissionError(f"The folder of '{options.gallery}' cannot be written to: choose another one.")
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
        known, refused = gallery.enrol(options.gallery, _watched(photos), verifier, _which(options))
    people = {name: known.people.count(name) for name in sorted(set(known.people))}
    text = f"{options.gallery}: {_count(len(known), 'photo', 'photos')} of {_count(len(people), 'person', 'people')}"
    text += f"; {_count(len(refused), 'photo', 'photos')} left out" if refused else ""
    print(json.dumps({"people": people, "left_out": refused}) if options.json else text)
    return _left_out(refused)


def identify(options: argparse.Namespace) -> int:
    """A line per face: who it is, and how sure."""
    from facelib.data.images import Unreadable
    from facelib.inference import gallery, interface, recognition

    _first(options.gallery)
    interface.spare(options.boxes, options.photo, options.gallery)
    verifier = _verifier(options)
    known = gallery.load(options.gallery, verifier.card)
    try:
        picture, seen = recognition.identify(known, options.photo, verifier, options.far, options.prior)
    except Unreadable as error:
        raise Unreadable(f"'{options.photo}': {error}") from error
    named = any(each.name for each in seen)
    if options.json:
        faces = [{"box": each.face.box.tolist(), "name": each.name, "nearest": each.nearest} for each in seen]
        facts = [asdict(each.decision) if each.decision else {"reason": each.reason} for each in seen]
        print(json.dumps([face | fact for face, fact in zip(faces, facts, strict=True)]))
    else:
        places = [f", {interface.where(each.face)}" * (len(seen) > 1) for each in seen]
        print("\n".join(map(str.__add__, map(interface.sentence, seen), places)) or "no face found")
        if named:
            alarms = "{:.1%} [{:.1%}, {:.1%}]".format(*recognition.false_alarms(known, verifier.card, options.far))
            size = _count(len(known), "photo", "photos")
            print(f"with {size} in the gallery some {alarms} of strangers would get a name", flush=True)
    if options.boxes:
        interface.save(options.boxes, interface.drawn(picture, seen))
    return int(not named)


def cluster(options: argparse.Namespace) -> int:
    """A line per face, of the largest group first: the group's number, the photo, and where in it if it has several."""
    from facelib.data import photofiles
    from facelib.inference import interface, recognition
    from facelib.metrics import clustering

    folder = Path(options.folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder '{folder}'.")
    out = options.sheets and Path(options.sheets)
    if out and (out.is_file() or out.is_dir() and any(out.iterdir()) or folder.resolve() in out.resolve().parents):
        raise ValueError(f"--sheets takes a new or an empty folder outside '{folder}'; got '{out}'.")
    verifier = _verifier(options)
    files = [str(path) for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".")]
    files = [p for p in files if photofiles.why_no_photo(p, partial(photofiles.read_head, p)) != "not an image"]
    if not files:
        raise FileNotFoundError(f"There is no photo in '{folder}'.")
    faces, vectors, refused = recognition.everybody(_watched(files), verifier)
    used = recognition.strict(verifier.card, options.far)
    labels = clustering.clusters(vectors, used.threshold, verifier.card.metric, [photo for photo, _ in faces])
    groups = [[face for face, label in zip(faces, labels, strict=True) if label == k] for k in sorted(set(labels))]
    if options.json:
        photos, boxes = [[p for p, _ in group] for group in groups], [[f.box.tolist() for _, f in g] for g in groups]
        print(json.dumps({"groups": photos, "boxes": boxes, "left_out": refused}))
    else:
        shown = Counter(photo for photo, _ in faces)
        for number, group in enumerate(groups, 1):
            for photo, face in group:
                print(number, photo, *[interface.where(face)] * (shown[photo] > 1), sep="\t")
        many = f"{_count(len(faces), 'face', 'faces')} in {_count(len(groups), 'group', 'groups')}"
        looser = [each.far for each in verifier.card.thresholds if each.threshold and each.far > used.far]
        more = f"; --far {min(looser):g} joins more faces, rightly or not" if looser and len(groups) > 1 else ""
        print(f"{many}{more}", file=sys.stderr)
    if out:
        interface.contact_sheets(out, groups)
    return _left_out(refused) and (1 if faces else ERROR)


def _verifier(options: argparse.Namespace):
    from facelib.inference import decision

    return decision.load(options.network or decision.DEFAULT)


def _first(gallery: str) -> None:
    """ValueError where photos stand before the gallery."""
    from facelib.data import photofiles

    if Path(gallery).is_dir() or Path(gallery).suffix.lower() in photofiles.SUFFIXES:
        raise ValueError(f"'{gallery}' is no gallery: its file, such as people.npz, comes first, then the photos.")


def _which(options: argparse.Namespace) -> str:
    return "largest" if options.largest else "only"


def _read(paths: list[str], person: str = "") -> Iterator[tuple[str, str, bytes | str]]:
    from facelib.data import images

    return ((person, path, images.read_file(path)) for path in paths)


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _watched(photos: Iterable) -> Iterable:
    """The same, with a bar on the screen where it takes longer than a moment."""
    from tqdm import tqdm

    return tqdm(photos, unit=" photos", delay=1, leave=False, disable=None, file=sys.stderr)


def _left_out(refused: dict[str, str]) -> int:
    """Say which photos were left out and why, and once what to do about several faces; whether there are any."""
    from facelib.data.detection import SEVERAL

    for photo, reason in refused.items():
        print(f"left out {photo}: {reason.removesuffix(f': {SEVERAL}')}", file=sys.stderr)
    if any(reason.endswith(SEVERAL) for reason in refused.values()):
        print(f"where several faces were found: {SEVERAL}", file=sys.stderr)
    return int(bool(refused))
