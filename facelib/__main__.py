"""Command line: ``python -m facelib reproduce --profile demo``, ``... train --profile paper``, ``... compare A B``."""

from __future__ import annotations

import argparse
import sys

from facelib import cli


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["compare"]:
        return cli.main(arguments)

    from facelib.paper import reproduce  # which takes a second to import

    options = _parser().parse_args(arguments)
    try:
        settings = dict(map(reproduce.parse_setting, options.set))
        if options.command == "train":
            _train(options.profile, settings)
        else:
            reproduce.run(options.profile, options.only, settings, options.force)
    except (reproduce.ParameterError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    except (reproduce.NotebookError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Interrupted. What is finished stays; the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _train(profile: str, settings: dict) -> None:
    """The training of 02_train, without the notebook; under `paddle.distributed.launch` in all its processes."""
    from facelib.paper import reproduce

    [(_, given, _)] = reproduce.plan(profile, ["02"], settings)

    from facelib import runtime, training
    from facelib.data import splits

    from facelib._paddle import paddle  # isort: skip

    launched = paddle.distributed.ParallelEnv()
    runtime.use_device(f"gpu:{launched.device_id}" if launched.nranks > 1 and paddle.is_compiled_with_cuda() else None)
    split = splits.experiment(
        *(given[name] for name in ("train_set", "test_set", "min_images", "max_images")),
        *(given[name] for name in ("validation_share", "held_out_from", "seed")),
    )
    recipe = training.Recipe(
        *(given[name] for name in ("epochs", "batch_size", "learning_rate", "seed")),
        processes=launched.nranks if launched.nranks > 1 else given["processes"],
        precision=given["precision"],
    )
    done = training.train(given["run"], split.train, recipe, split.held_out)
    if launched.rank == 0:
        print(f"Trained with processes={recipe.processes}: {done.weights}")


def _parser() -> argparse.ArgumentParser:
    from facelib.paper import reproduce

    parser = argparse.ArgumentParser(prog="python -m facelib", description=__import__("facelib").__doc__)
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    command = commands.add_parser("reproduce", help="run the notebooks in order and write every figure and number")
    train = commands.add_parser("train", help="train the network of 02_train, on several machines where launched so")
    for each in (command, train):
        about = "data and scale (default: demo)"
        each.add_argument("--profile", choices=reproduce.PROFILES, default="demo", help=about)
        each.add_argument(
            "--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter; may be repeated"
        )
    cli.add_compare(commands)
    command.add_argument("--only", action="append", metavar="NN", help="run this notebook alone; may be repeated")
    command.add_argument("--force", action="store_true", help="run notebooks again that are up to date")
    return parser


if __name__ == "__main__":
    sys.exit(main())
