"""Profiles to papermill: the notebooks in order, resumable, redoing only what its inputs ask for."""

import ast
import hashlib
import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path

import yaml

from facelib import files, runtime
from facelib.data import catalog
from facelib.paper import inputs, profiles, release, results, standins
from facelib.paper.origins import own_parameters
from facelib.paper.profiles import ParameterError
from facelib.paper.setting import Setting

OVERVIEW = "00_overview"
_TOLD = {"DatasetError", "DamagedArchive", "Unreadable", "OSError"} | {
    each.__name__ for each in OSError.__subclasses__()
}


class NotebookError(RuntimeError):
    """A notebook failed; the message holds the failing cell's error."""


@dataclass(frozen=True)
class Step:
    """A notebook to run: its file, the values of its own parameters, and what papermill sets in it."""

    notebook: Path
    own: dict[str, object]
    injected: dict[str, object]


def notebooks(only: list[str] | None = None) -> list[Path]:
    """The numbered notebooks in the order in which they run.

    That is by number, but for two things: a notebook that names another one in its code, to read its results, comes
    after it, and the overview is the last. ``only`` are numbers or names, such as ``["03"]``, by default all;
    ParameterError where one of them is no notebook.
    """
    waiting = sorted(
        (runtime.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"), key=lambda p: (p.stem == OVERVIEW, p.stem)
    )
    stems = {path.stem for path in waiting}
    for wanted in only or []:
        if wanted not in stems | {stem[:2] for stem in stems}:
            raise ParameterError(f"No notebook '{wanted}': there are {', '.join(path.stem for path in waiting)}.")
    needs = {path: inputs.strings(path) & stems - {path.stem} for path in waiting}
    found: list[Path] = []
    while waiting:
        done = {path.stem for path in found}
        ready = [path for path in waiting if needs[path] <= done] or waiting[:1]  # two that name each other
        found.append(ready[0])
        waiting.remove(ready[0])
    return [path for path in found if not only or path.stem in only or path.stem[:2] in only]


def plan(profile: str, only: list[str] | None, settings: dict[str, object]) -> tuple[Setting, list[Step]]:
    """What the notebooks run on, and each of them with its parameters.

    ParameterError where the profile or ``settings`` hold a parameter that there is not, or a value that it cannot have.
    """
    own = {path: own_parameters(path) for path in notebooks()}
    theirs = {name for values in own.values() for name in values}
    overrides = {name: value for name, value in settings.items() if name not in theirs}
    setting = profiles.setup(profile, overrides)
    changed = {path: _changed(path, own[path], settings) for path in notebooks(only)}
    if any(changed.values()) and "profile" not in overrides and not setting.changed:
        overrides["profile"] = f"{setting.place}-changed"
        setting = profiles.setup(profile, overrides)
    shared: dict[str, object] = {"profile": setting.profile} if setting.profile != "demo" else {}
    if given := setting.changed | {name: overrides[name] for name in ("profile",) if name in overrides}:
        shared["overrides"] = given
    return setting, [Step(path, own[path] | mine, shared | mine) for path, mine in changed.items()]


def _changed(path: Path, own: dict, settings: dict) -> dict[str, object]:
    """The settings that change a notebook's own parameters."""
    given = {name: settings[name] for name in own if name in settings}
    for name, value in given.items():
        if own[name] is not None and type(value) is not type(own[name]):
            raise ParameterError(f"{name}={value!r}: {path.stem} has {own[name]!r} in its parameters cell.")
    return {name: value for name, value in given.items() if value != own[name]}


def run(profile: str, only: list[str] | None = None, settings: dict | None = None, force: bool = False) -> None:
    """Run the notebooks of a profile in order; what is up to date is left alone.

    The executed notebooks of the plain ``demo`` profile replace the committed ones; all others go to the folder of
    their figures: ``figures/<profile>/``, or another one with ``settings`` (see `profiles.setup`). NotebookError where
    a cell failed: what ran before stays, and the next call goes on from there.
    """
    setting, steps = plan(profile, only, settings or {})
    many = f"{len(steps)} notebook{'s' * (len(steps) != 1)}"
    print(f"profile {setting.place}: {many}; figures and results go to figures/{setting.place}/")
    if setting.changed and "profile" not in (settings or {}):
        print(f"  (not the profile's own folder, because of {', '.join(setting.changed)}; --set profile=NAME names it)")
    _look_for_own_sets(setting)
    if not force:
        _keep_other_results(setting)
    with files.locked(_stamp(setting, Path("all")), "waiting for another run of this profile to end"):
        for number, step in enumerate(steps, 1):
            _take(setting, step, f"[{number}/{len(steps)}] {step.notebook.stem}", force)
    if setting.place == release.PROFILE and not only and runtime.output_dir() == runtime.ROOT:
        release.publish()
    if not only:
        print(f"done; the findings are in {os.path.relpath(_target(setting, notebooks([OVERVIEW])[0]), runtime.ROOT)}")


def _take(setting: Setting, step: Step, title: str, force: bool) -> None:
    path, target = step.notebook, _target(setting, step.notebook)
    if not force and path.stem != OVERVIEW and _executed(target) and _up_to_date(setting, step):
        return print(f"{title}: up to date")
    if missing := standins.missing_sets(setting, path):
        without = f"without {' and '.join(missing)} (see data/README.md)"
        if not (stand_in := standins.stand_in(setting, path)):
            return print(f"{title}: left out, {without}; {_kept(target)}")
        print(f"{title}: {without} {len(stand_in.cells)} of its cells show committed results")
    if inputs.has_no_set_of_the_user(setting, path):
        return print(f"{title}: left out, because none of the sets that it is about is yours")
    print(f"{title}: running")
    _execute(path, target, step.injected)
    files.write_atomically(_stamp(setting, path), _state(setting, step) + files.checksum(target))


def _look_for_own_sets(setting: Setting) -> None:
    """FileNotFoundError for a set of the user's that is not there; a word where rendered people stand beside one."""
    sets = {name: catalog.parts_of(value) for name, value in setting.values.items() if standins.is_set(name)}
    for part in {part for parts in sets.values() for part in parts} - {*catalog.SETS, *catalog.DEMO_SETS}:
        catalog.find(part)
    drawn = [name for name in ("train_set", "test_set") if not {*sets[name]}.isdisjoint(catalog.DEMO_SETS)]
    for name in drawn if len(drawn) == 1 or _is_named(setting) else []:
        print(f"  ({name}={setting.values[name]} are rendered people: --set {name}=PATH names others)")


def _is_named(setting: Setting) -> bool:
    """Whether the folder of the results has a name of the user's."""
    return setting.place not in profiles.shipped() and not setting.place.endswith("-changed")


def _keep_other_results(setting: Setting) -> None:
    """ParameterError where a folder that the user has named holds numbers of other sets."""
    for name in ("train_set", "test_set") if _is_named(setting) else ():
        known, asked = results.used_before(setting.place, name) or setting[name], setting[name]
        if known != asked:
            raise ParameterError(
                f"figures/{setting.place}/ holds numbers of {name}={known}, and this run has {name}={asked}: give that "
                "set again, choose another profile=NAME, or let --force put the new numbers in their place."
            )


def parse_setting(text: str) -> tuple[str, object]:
    """``"epochs=3"`` to ``("epochs", 3)``: a Python literal, else YAML as in a profile, else the text itself."""
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise ParameterError(f"'{text}' is not of the form name=value.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        try:
            return name, yaml.safe_load(value) if value else ""
        except yaml.YAMLError:
            return name, value


def _target(setting: Setting, path: Path) -> Path:
    folder = runtime.output_dir() / "notebooks" if setting.place == "demo" else setting.figures
    return folder / path.name


def _execute(path: Path, target: Path, injected: dict) -> None:
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    working = runtime.cache_dir() / "executing" / f"{os.getpid()}-{path.name}"
    working.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(path),
            str(working),
            parameters=injected,
            kernel_name="python3",
            cwd=str(path.parent),
            coalesce_streams=True,  # of a progress bar, the last state alone
            extra_arguments=["--log-level=CRITICAL"],  # a kernel that Ctrl-C stops tells of its closed socket else
        )
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # the interrupted cell is no news
        raise
    except DeadKernelError:
        raise NotebookError(
            f"{path.name}: its process was killed, perhaps for want of memory. The same command goes on from there."
        ) from None
    except PapermillExecutionError as error:
        if error.ename in _TOLD:  # says what to do; where in the code it was met does not
            raise NotebookError(f"{path.name}: {error.evalue}") from None
        raise NotebookError(
            f"{path.name} failed in cell {error.exec_count}:\n{error}\nThe notebook as far as it got: {working}"
        ) from None
    notebook = nbformat.read(working, as_version=4)
    for part in (notebook, *notebook.cells):  # papermill's bookkeeping: paths of this machine, and times
        for name in ("papermill", "widgets", "execution"):
            part.metadata.pop(name, None)
    for cell in notebook.cells if target.parent.name != "notebooks" else []:
        cell.source = _linked(cell.source, target) if cell.cell_type == "markdown" else cell.source
    files.write_atomically(target, nbformat.writes(notebook) + "\n")
    working.unlink()


def _linked(text: str, target: Path) -> str:
    """A cell's links, from two folders down; the overview, which is the last, leads to the form of one left out."""
    text = text.replace("](../", "](../../")
    for name in [path.name for path in notebooks() if target.stem == OVERVIEW]:
        text = text if (target.parent / name).exists() else text.replace(f"]({name})", f"](../../notebooks/{name})")
    return text


def _kept(target: Path) -> str:
    return f"its committed numbers stay in {target.parent.name}/" if target.exists() else "it has no numbers here"


def _stamp(setting: Setting, path: Path) -> Path:
    # In the cache and not in the tree: a fresh clone holds results but has run nothing yet.
    tree = hashlib.sha256(str(runtime.output_dir().resolve()).encode()).hexdigest()[:12]
    return runtime.cache_dir() / "reproduced" / tree / setting.place / f"{path.stem}.json"


def _state(setting: Setting, step: Step) -> str:
    return json.dumps(inputs.declared(step.notebook, setting, step.own), indent=1, sort_keys=True)


def _executed(notebook: Path) -> bool:
    if not notebook.exists():
        return False
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")


def _up_to_date(setting: Setting, step: Step) -> bool:
    stamp, state = _stamp(setting, step.notebook), _state(setting, step)
    done = state + files.checksum(_target(setting, step.notebook))  # what was executed still lies there
    return state != "null" and stamp.exists() and stamp.read_text(encoding="utf-8") == done
