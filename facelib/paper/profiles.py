"""Profiles: what the notebooks run on, read from a file, changed by the user, checked once and before any work."""

import difflib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from facelib import runtime, training
from facelib.data import catalog
from facelib.paper.setting import Setting, rules

_OF_LFW = "shipped_card students bench_recipe bench_runs bench_trains ablation paper_seeds deploy_peers".split()


class ParameterError(ValueError):
    """A parameter that there is not, or a value that it cannot have; one line for each."""

    exit_status = 2  # of the command line: wrong arguments


def shipped() -> list[str]:
    """Names of the profiles in ``notebooks/profiles``."""
    return sorted(path.stem for path in _folder().glob("*.yaml"))


def setup(profile: str = "demo", overrides: Mapping | str | None = None, device: str | None = None) -> Setting:
    """What a notebook runs on: the values of a profile, changed by ``overrides``, with all that comes of them.

    ``profile`` is a file of ``notebooks/profiles`` by its name, or the path of a YAML file of the user's own, which
    names only what differs from the profile that its ``base`` names (by default ``demo``). A relative path of a data
    set is meant from the file's folder.

    ``overrides`` are values that differ from the profile's, such as ``{"epochs": 3}``, or such a mapping as JSON or
    YAML text. With any, numbers and figures go to a folder of their own, ``figures/<profile>-changed`` or that which
    ``profile`` names here. A relative path of a data set is meant from the working directory.

    ``device`` is for Paddle, see `runtime.use_device`. ParameterError where there is no such profile or parameter, or a
    value is of the wrong type or size.
    """
    name, place, values = _values(profile)
    overrides = dict(_mapping(overrides, "overrides"))
    wanted = overrides.pop("profile", None)
    given = _checked(overrides, "overrides", Path.cwd())
    changed = {key: value for key, value in given.items() if value != values[key]}
    if name == "lfw" and {**values, **changed}["test_set"] == "lfw" and catalog.lfw_variant() != "lfw":
        # The funneled variant of LFW is aligned otherwise: its numbers get a folder of their own.
        print("LFW's deep-funneled images are not under FACELIB_DATA: the funneled variant is used instead.")
        values, place = {**values, "test_set": "lfw-funneled"}, "lfw-funneled"
    if wanted is not None:
        place = _place(wanted, name, changed)
    elif changed:
        place += "-changed"
    os.environ.pop(runtime.RECORDS, None)
    if place not in (*shipped(), "lfw-funneled"):  # what comes of one's own photos is no part of the project's data
        os.environ[runtime.RECORDS] = str(runtime.output_dir().absolute() / "figures" / place / "data")
    return Setting(place, name, _with(values, given), changed, device)


def _values(profile: str) -> tuple[str, str, dict]:
    """Name (of a file of the user's own, its path), folder of its results and values of a profile."""
    if profile in shipped():
        content = _read(_folder() / f"{profile}.yaml")
        start = {} if profile == "demo" else _values("demo")[2]
        return profile, profile, {**start, **_checked(_without(content, "profile"), f"{profile}.yaml", _folder())}
    path = Path(profile).expanduser().absolute()
    is_file = path.suffix in (".yaml", ".yml")
    if not is_file or not path.exists():
        why = f"There is no file '{path}'" if is_file else f"Unknown profile '{profile}'"
        raise ParameterError(f"{why}: there are {', '.join(shipped())}, or the path of a .yaml file.")
    content = _read(path)
    base = content.get("base", "demo")
    if base not in shipped():
        raise ParameterError(f"'{path.name}' has the base '{base}': expected one of {', '.join(shipped())}.")
    place = _place(content.get("profile", path.stem), str(path), {})
    own = _checked(_without(content, "profile", "base"), path.name, path.parent)
    return str(path), place, _with(_values(base)[2], own)


def _with(values: dict, given: dict) -> dict:
    """The values with others in their places; who is left out of a training set is not of another one.

    What rests on LFW's own pairs, and on trainings finished for them, is the demo's where other people are tested.
    """
    others = {"without": []} if given.get("train_set", values["train_set"]) != values["train_set"] else {}
    if values["test_set"] in catalog.LFW_SETS and given.get("test_set", values["test_set"]) not in catalog.LFW_SETS:
        demo = _values("demo")[2]
        others |= {name: demo[name] for name in _OF_LFW}
    return values | others | given


def _place(wanted, name: str, changed: dict) -> str:
    """A name for the folder of the results, which must not be that of other values."""
    if not isinstance(wanted, str) or not wanted or set(wanted) & set("/\\: ") or wanted.startswith("."):
        raise ParameterError(
            f"The profile's name {wanted!r} names a folder in figures/, without blanks, slashes or a point before it: "
            "take another one, such as profile=mine or mine.yaml."
        )
    if wanted in shipped() and (wanted != name or changed):
        raise ParameterError(f"figures/{wanted}/ holds the numbers of {wanted}.yaml: choose another profile=NAME.")
    return wanted


def _checked(given: dict, where: str, folder: Path) -> dict:
    """The values as they are used; every fault is told at once, a line each."""
    if faults := [f"{where}: {fault}" for name, value in given.items() for fault in _faults(name, value)]:
        raise ParameterError("\n".join(faults))
    return {name: _plain(rules()[name], value, folder) for name, value in given.items()}


def _faults(name: str, value) -> Iterator[str]:
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # a second of import for formats unused here
    from jsonschema import Draft202012Validator

    if name not in rules():
        close = difflib.get_close_matches(str(name), rules(), 1)
        yield f"there is no parameter '{name}'" + (
            f"; did you mean {close[0]}?" if close else f": there are {', '.join(sorted(rules()))}."
        )
        return
    rule = rules()[name]
    found = [error.message for error in Draft202012Validator(rule).iter_errors(value)]
    if name == "best_networks" and not found:
        found = [*_recipe_faults(value)]
    for message in found:
        yield f"{name}={value!r}: {message} ({rule['description']})."


def _recipe_faults(networks: dict[str, dict]) -> Iterator[str]:
    if networks in [_read(path).get("best_networks") for path in _folder().glob("*.yaml")]:
        return  # tested, and Paddle need not be imported for them
    for network, options in networks.items():
        try:
            training.Recipe(**options)
        except (TypeError, ValueError) as error:
            yield f"{network}: {error}"


def _plain(rule: dict, value, folder: Path):
    if rule.get("type") == "number":
        return float(value)
    if rule.get("format") == "set" and len(catalog.parts_of(value)) == 1 and value not in catalog.SETS:
        path = folder / Path(value).expanduser()
        return str(path.absolute()) if path.exists() and value not in catalog.DEMO_SETS else value
    return value


def _mapping(given: Mapping | str | None, where: str) -> Mapping:
    content: Any = given
    if isinstance(given, str):
        try:
            content = yaml.safe_load(given)
        except yaml.YAMLError as error:
            raise ParameterError(f"{where}: neither JSON nor YAML ({' '.join(str(error).split())}).") from None
    if content is not None and not isinstance(content, Mapping):
        raise ParameterError(f"{where}: expected names and values, such as {{'epochs': 3}}, got {content!r}.")
    return content or {}


def _read(path: Path) -> dict:
    return dict(_mapping(path.read_text(encoding="utf-8"), str(path)))


def _without(content: dict, *names: str) -> dict:
    return {name: value for name, value in content.items() if name not in names}


def _folder() -> Path:
    return runtime.ROOT / "notebooks" / "profiles"
