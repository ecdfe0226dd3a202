"""The commands, each a few lines into the rooms, of which nothing heavy is imported before it is needed."""

import argparse
import json
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from facelib import commands as photo_commands
from facelib import runtime, training


def main(arguments: list[str] | None = None) -> int:
    """Run a command; exit status 0 done, 1 failed, 2 wrong arguments, 130 interrupted; of photos see `commands`."""
    if lacking := runtime.lacking():
        print(lacking, file=sys.stderr)
        return photo_commands.ERROR
    parser = _parser()
    options, rest = parser.parse_known_args((sys.argv[1:] if arguments is None else arguments) or ["--help"])
    if any(each.startswith("-") for each in rest) or rest and not hasattr(options, "photos"):
        one = " (one photo at a time)" if hasattr(options, "photo") else ""
        options.parser.error(f"unrecognized arguments{one}: {' '.join(rest)}")
    if rest:  # photos behind an option, as in `enrol people.npz --name ann 1.jpg`
        options.photos += rest
    try:
        status = options.run(options) or 0
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read the answer has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "facelib":
            raise
        how = "run facelib by the Python of its environment, which is .venv/bin/python after `make compare`"
        print(f"The package '{error.name}' is missing: {how}; without make see README.md.", file=sys.stderr)
        return getattr(options, "error", 1)
    except (ValueError, RuntimeError, OSError) as error:  # of the rooms: each says what to do
        print(error, file=sys.stderr)
        return getattr(error, "exit_status", getattr(options, "error", 1))
    except KeyboardInterrupt:
        goes_on = options.run in (reproduce, train, photo_commands.enrol)
        more = " What is finished stays; the same command goes on from there." if goes_on else ""
        print(f"Interrupted.{more}", file=sys.stderr)
        return 130
    except Exception:  # a fault of ours: the 1 of a traceback would be an answer of `compare`
        if not hasattr(options, "error"):
            raise
        traceback.print_exc()
        return options.error


def reproduce(options: argparse.Namespace) -> None:
    """The notebooks of a profile in order; see `paper.reproduce.run`."""
    from facelib.paper import reproduce

    settings = dict(map(reproduce.parse_setting, options.set))
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log shows what has been told so far
    reproduce.run(options.profile, options.only, settings, options.force)


def train(options: argparse.Namespace) -> None:
    """The training of 02_train, under `paddle.distributed.launch` in all its processes; or runs of 06_losses."""
    from facelib._paddle import paddle
    from facelib.paper import benching, parse_setting, setup

    launched = paddle.distributed.ParallelEnv()
    together = launched.nranks > 1
    device = f"gpu:{launched.device_id}" if together and paddle.is_compiled_with_cuda() else None
    setting = setup(options.profile, dict(map(parse_setting, options.set)), device)
    if options.bench:
        return benching.train_missing(setting, options.bench)
    recipe = replace(setting.recipe, processes=launched.nranks) if together else setting.recipe
    done = training.train(setting["run"], setting.split.train, recipe, setting.split.held_out)
    if launched.rank == 0:
        print(f"Trained with processes={recipe.processes}: {done.weights}")


def export(options: argparse.Namespace) -> None:
    """Write a network of ``data/weights`` or of a file for other programs; its features are checked."""
    from facelib.inference import export

    shipped, out = runtime.ROOT / "data" / "weights", Path(options.out)
    weights = Path(options.name) if options.name.endswith(".npz") else shipped / f"{options.name}.npz"
    if not weights.exists():
        known = ", ".join(sorted(path.stem for path in shipped.glob("*.npz")))
        raise FileNotFoundError(f"There is no network '{options.name}' to export. Known are: {known}.")
    if options.precision == "int8" and options.to == "paddle":
        raise ValueError("--precision int8 is for --to onnx.")
    if options.to == "onnx" and not options.out.endswith(".onnx"):
        raise ValueError(f"'{options.out}' is to end in .onnx, as --to onnx writes such a file.")
    if not out.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder '{out.parent}' to write '{options.out}' to.")
    if out.exists() and out.resolve().parent == shipped.resolve():
        raise ValueError(f"'{options.out}' is shipped, and a card knows its hash: choose another place.")
    if options.to == "paddle" and out.exists() and (out.is_file() or any(out.iterdir())):
        raise ValueError(f"--to paddle takes a new or an empty folder; got '{options.out}'.")
    try:
        if options.to == "paddle":
            written = export.to_paddle(weights, options.out)
        elif options.precision == "int8":
            written = export.to_int8(export.cached(weights), export.calibration_faces(), options.out)
        else:
            written = export.to_onnx(weights, options.out)
    except ModuleNotFoundError as error:
        how = ".venv/bin/pip install -e '.[export]' in the repository, with Paddle 2 '.[export-gpu]'"
        raise ValueError(f"{error.name} is missing: {how}.") from error
    print(json.dumps({"written": str(written)}) if options.json else written)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="facelib", description=__import__("facelib").__doc__.partition("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    notebooks = commands.add_parser("reproduce", help="run the notebooks in order and write every figure and number")
    training = commands.add_parser("train", help="train the network of 02_train, on several machines where launched so")
    photo_commands.add(commands)
    for command, run in ((notebooks, reproduce), (training, train)):
        command.set_defaults(run=run, parser=command)
        about = "data and scale: demo (default), lfw, celeba, paper, or the path of a .yaml file of your own"
        command.add_argument("--profile", default="demo", help=about)
        about = "change a parameter, for numbers in figures/<profile>-changed or that of profile=NAME; may be repeated"
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=about)
    about = "instead the next N runs of the plan in data/bench.csv that are missing; processes may do so side by side"
    training.add_argument("--bench", type=int, metavar="N", help=about)
    notebooks.add_argument("--only", action="append", metavar="NN", help="run this notebook alone; may be repeated")
    notebooks.add_argument("--force", action="store_true", help="run notebooks again that are up to date")
    about = "write a trained network as a file for other programs"
    exported = commands.add_parser("export", help=about, description=f"{about}. Exit code: 0 done, 2 an error.")
    exported.set_defaults(run=export, error=photo_commands.ERROR, parser=exported)
    exported.add_argument("--json", **photo_commands.OPTIONS["--json"])
    exported.add_argument("name", metavar="NAME", help="a network of data/weights, or the path of its .npz file")
    exported.add_argument("out", metavar="OUT", help="the .onnx file to write; of --to paddle a folder")
    about = "onnx (default; extra `export`, with Paddle 2 `export-gpu`), or paddle, for Paddle's inference engine"
    exported.add_argument("--to", choices=["onnx", "paddle"], default="onnx", help=about)
    about = "fp32 (default), or int8: 8-bit ONNX, its ranges taken from photos of celebfaces or LFW"
    exported.add_argument("--precision", choices=["fp32", "int8"], default="fp32", help=about)
    return parser
