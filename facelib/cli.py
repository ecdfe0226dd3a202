"""The commands, each a few lines into the rooms: ``python -m facelib reproduce``, ``... train``."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, RuntimeError, OSError) as error:  # of the rooms: each says what to do
        print(error, file=sys.stderr)
        return getattr(error, "exit_status", 1)
    except KeyboardInterrupt:
        print("Interrupted. What is finished stays; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


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
    for command, run in ((notebooks, reproduce), (training, train)):
        command.set_defaults(run=run)
        about = "data and scale: demo (default), lfw, paper, or the path of a .yaml file of your own"
        command.add_argument("--profile", default="demo", help=about)
        about = "change a parameter, for numbers in figures/<profile>-changed or that of profile=NAME; may be repeated"
        command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=about)
    notebooks.add_argument("--only", action="append", metavar="NN", help="run this notebook alone; may be repeated")
    notebooks.add_argument("--force", action="store_true", help="run notebooks again that are up to date")
    return parser
