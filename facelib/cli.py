"""The commands, each a few lines into the rooms: ``python -m facelib reproduce``, ``... train``, ``... compare A B``.

Nothing heavy is imported before a command needs it, so that two photos get their answer at once.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from facelib import commands as photo_commands
from facelib import runtime

SAME, DIFFERENT, ERROR = 0, 1, 2  # exit codes of compare


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted.

    Of ``compare`` 0 is the same person, 1 different people, 2 an error; of the other commands on photos see `commands`.
    """
    options = _parser().parse_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
    try:
        return options.run(options) or 0
    except (ValueError, RuntimeError, OSError) as error:  # of the rooms: each says what to do
        print(error, file=sys.stderr)
        return getattr(error, "exit_status", getattr(options, "error", 1))
    except KeyboardInterrupt:
        print("Interrupted. What is finished stays; the same command goes on from there.", file=sys.stderr)
        return 130


def reproduce(options: argparse.Namespace) -> None:
    """The notebooks of a profile in order; see `paper.reproduce.run`."""
    from facelib.paper import reproduce

    settings = dict(map(reproduce.parse_setting, options.set))
    reproduce.run(options.profile, options.only, settings, options.force)


def train(options: argparse.Namespace) -> None:
    """The training of 02_train, without the notebook; under `paddle.distributed.launch` in all its processes."""
    from facelib import training
    from facelib._paddle import paddle
    from facelib.paper import parse_setting, setup

    launched = paddle.distributed.ParallelEnv()
    together = launched.nranks > 1
    device = f"gpu:{launched.device_id}" if together and paddle.is_compiled_with_cuda() else None
    setting = setup(options.profile, dict(map(parse_setting, options.set)), device)
    recipe = replace(setting.recipe, processes=launched.nranks) if together else setting.recipe
    done = training.train(setting["run"], setting.split.train, recipe, setting.split.held_out)
    if launched.rank == 0:
        print(f"Trained with processes={recipe.processes}: {done.weights}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="facelib", description=__import__("facelib").__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    notebooks = commands.add_parser("reproduce", help="run the notebooks in order and write every figure and number")
    training = commands.add_parser("train", help="train the network of 02_train, on several machines where launched so")
    add_compare(commands)
    add_export(commands)
    photo_commands.add(commands)
    for command, run in ((notebooks, reproduce), (training, train)):
        command.set_defaults(run=run)
        about = "data and scale: demo (default), lfw, paper, or the path of a .yaml file of your own"
        command.add_argument("--profile", default="demo", help=about)
        about = "change a parameter, for numbers in figures/<profile>-changed or that of profile=NAME; may be repeated"
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=about)
    notebooks.add_argument("--only", action="append", metavar="NN", help="run this notebook alone; may be repeated")
    notebooks.add_argument("--force", action="store_true", help="run notebooks again that are up to date")
    return parser


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
    compare.set_defaults(run=compare_command, error=ERROR)


def compare_command(options: argparse.Namespace) -> int:
    """Print what `facelib.compare` says of two photos: 0 the same person, 1 different people, 2 an error."""
    from facelib.inference import decision

    if not 0 < options.prior < 1:
        raise ValueError(f"--prior is a share between 0 and 1, such as 0.5; got {options.prior:g}.")
    far = decision.FAR if options.far is None else options.far
    which = "largest" if options.largest else "only"
    found = decision.load(options.network or decision.DEFAULT).compare(
        options.a, options.b, which=which, far=far, prior=options.prior
    )
    if options.boxes:
        write_boxes(options.boxes, (options.a, options.b), found.faces)
    print(json.dumps(as_record(found)) if options.json else as_text(found))
    return SAME if found.same else DIFFERENT


def add_export(commands) -> None:
    """Add ``export`` to the subparsers of a command line."""
    about = "write a trained network as a file for other programs"
    export = commands.add_parser("export", help=about, description=f"{about}. Exit code: 0 done, 2 an error.")
    export.add_argument("name", metavar="NAME", help="a network of data/weights, or the path of its .npz file")
    export.add_argument("out", metavar="OUT", help="the .onnx file to write; of --to paddle a folder")
    about = "onnx (default; needs the extra `export`), or paddle, for Paddle's inference engine"
    export.add_argument("--to", choices=["onnx", "paddle"], default="onnx", help=about)
    about = "fp32 (default), or int8: 8-bit ONNX, its ranges taken from photos of celebfaces or LFW"
    export.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help=about)
    export.set_defaults(run=export_command, error=ERROR)


def export_command(options: argparse.Namespace) -> None:
    """Write a network of ``data/weights`` or of a file for other programs; its features are checked."""
    from facelib.inference import export

    weights = runtime.ROOT / "data" / "weights" / f"{options.name}.npz"
    weights = Path(options.name) if options.name.endswith(".npz") else weights
    if not weights.exists():
        known = ", ".join(sorted(path.stem for path in weights.parent.glob("*.npz")))
        raise FileNotFoundError(f"There is no network '{options.name}' to export. Known are: {known or 'none'}.")
    if options.precision == "int8" and options.to == "paddle":
        raise ValueError("--precision int8 is for --to onnx.")
    if not Path(options.out).absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder '{Path(options.out).parent}' to write '{options.out}' to.")
    try:
        if options.to == "paddle":
            written = export.to_paddle(weights, options.out)
        elif options.precision == "int8":
            written = export.to_int8(export.cached(weights), export.calibration_faces(), options.out)
        else:
            written = export.to_onnx(weights, options.out)
    except ModuleNotFoundError as error:
        raise ValueError(f"{error.name} is missing: pip install '.[export]' in the repository.") from error
    print(written)


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
    from facelib.inference import interface

    sides = []
    for source, found in zip(sources, faces, strict=True):
        photo = Image.fromarray(detection.drawn(detection.read_photo(source), found))
        sides.append(np.asarray(photo.resize((max(1, round(photo.width * height / photo.height)), height))))
    interface.save(path, np.hstack(sides))
