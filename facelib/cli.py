"""Commands on photos: ``python -m facelib compare A B``. Imports nothing heavy, so that an answer takes no time."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

SAME, DIFFERENT, ERROR = 0, 1, 2  # exit codes


def main(arguments: list[str]) -> int:
    """Run one of these commands and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m facelib")
    add_compare(parser.add_subparsers(required=True, metavar="command", dest="command"))
    options = parser.parse_args(arguments)
    return options.run(options)


def add_compare(commands) -> None:
    """Add ``compare`` to the subparsers of a command line."""
    compare = commands.add_parser(
        "compare",
        help="say whether two photos show one person",
        description="Say whether two photos show one person. Exit code: 0 the same, 1 different, 2 an error.",
    )
    compare.add_argument("a", metavar="A", help="a photo, in any usual format")
    compare.add_argument("b", metavar="B", help="another one")
    compare.add_argument("--json", action="store_true", help="print one line of JSON")
    compare.add_argument("--boxes", metavar="OUT.png", help="also write both photos with the faces found in them")
    compare.add_argument("--network", metavar="NAME", help="a network of data/weights, or the path of a card (.json)")
    compare.add_argument("--largest", action="store_true", help="of several faces in a photo, take the largest")
    compare.add_argument("--far", type=float, metavar="RATE", help="false accept rate: 0.1, 0.01 (default) or 0.001")
    about = "share of pairs that show one person where you ask (default 0.5); moves the probability alone"
    compare.add_argument("--prior", type=float, default=0.5, metavar="SHARE", help=about)
    compare.set_defaults(run=compare_command)


def compare_command(options: argparse.Namespace) -> int:
    """Print what `facelib.compare` says of two photos: 0 the same person, 1 different people, 2 an error."""
    from facelib.inference import decision

    try:
        if not 0 < options.prior < 1:
            raise ValueError(f"--prior is a share between 0 and 1, such as 0.5; got {options.prior:g}.")
        far = decision.FAR if options.far is None else options.far
        which = "largest" if options.largest else "only"
        found = decision.load(options.network or decision.DEFAULT).compare(
            options.a, options.b, which=which, far=far, prior=options.prior
        )
        if options.boxes:
            write_boxes(options.boxes, (options.a, options.b), found.faces)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return ERROR
    print(json.dumps(as_record(found)) if options.json else as_text(found))
    return SAME if found.same else DIFFERENT


def as_record(found) -> dict:
    """A comparison as plain values, the faces as boxes, landmarks and scores."""
    record = {name: value for name, value in asdict(found).items() if name != "faces"}
    record["faces"] = [
        [{"box": f.box.tolist(), "landmarks": f.landmarks.tolist(), "score": f.score} for f in faces]
        for faces in found.faces
    ]
    return record


def as_text(found) -> str:
    """A comparison in three lines; one more where the answers disagree, or other faces were left out."""
    sign = "<=" if found.same else ">"
    far, low, high = (f"{100 * rate:.3g}" for rate in (found.far, found.far_low, found.far_high))
    lines = [
        "same person" if found.same else "different people",
        f"{found.metric} distance {found.distance:.3f} {sign} {found.threshold:.3f}, the threshold that takes {far} % "
        f"[{low}, {high}] of pairs of two people for one",
        f"probability of one person {found.probability:.1%} if {found.prior:.0%} of the pairs you ask about show one; "
        f"network {found.network}",
    ]
    if found.same is not (found.probability > 0.5):
        lines.append("the threshold and the probability disagree: take the pair for undecided, or compare other photos")
    for name, faces in zip("AB", found.faces, strict=True):
        if len(faces) > 1:
            lines.append(f"{len(faces) - 1} other face(s) in {name} left out")
    return "\n".join(lines)


def write_boxes(path: str, sources: tuple, faces: tuple, height: int = 480) -> None:
    """Write both photos side by side as one picture, the compared faces in green, others in orange."""
    import numpy as np
    from PIL import Image

    from facelib.data import detection

    sides = []
    for source, found in zip(sources, faces, strict=True):
        photo = Image.fromarray(detection.drawn(detection.read_photo(source), found))
        sides.append(np.asarray(photo.resize((max(1, round(photo.width * height / photo.height)), height))))
    try:
        Image.fromarray(np.hstack(sides)).save(path)
    except ValueError:
        raise ValueError(f"'{path}' cannot be written: choose a name that ends in .png or .jpg.") from None
