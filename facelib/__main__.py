"""Command line: ``python -m facelib reproduce --profile demo``."""

from __future__ import annotations

import argparse
import sys

from facelib import reproduce


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 0 done, 1 failed, 2 wrong arguments, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        settings = dict(map(reproduce.parse_setting, options.set))
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m facelib", description=__import__("facelib").__doc__)
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("reproduce", help="run the notebooks in order and write every figure and number")
    command.add_argument("--profile", choices=reproduce.PROFILES, default="demo", help="data and scale (default: demo)")
    command.add_argument("--only", action="append", metavar="NN", help="run this notebook alone; may be repeated")
    command.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a parameter; may be repeated"
    )
    command.add_argument("--force", action="store_true", help="run notebooks again that are up to date")
    return parser


if __name__ == "__main__":
    sys.exit(main())
