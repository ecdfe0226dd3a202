"""Profiles to papermill: the notebooks in order, resumable, redoing only what its inputs ask for."""

from __future__ import annotations

import ast
import hashlib
import json
import os
from pathlib import Path

from facelib import runtime
from facelib.data import archives, catalog
from facelib.paper import release, results

PROFILES = ("demo", "lfw", "paper")
OVERVIEW = "00_overview"
OPTIONAL = {"12_more_data"}  # left out where one of their data sets is not at hand


class ParameterError(ValueError):
    """A parameter that no notebook has, or of the wrong type."""


class NotebookError(RuntimeError):
    """A notebook failed; the message holds the failing cell's error."""


def notebooks(only: list[str] | None = None) -> list[Path]:
    """The numbered notebooks in the order in which they run: the overview last.

    Parameters
    ----------
    only
        Numbers or names, such as ``["03"]``; by default all.

    Raises
    ------
    FileNotFoundError
        One of ``only`` is no notebook.
    """
    found = sorted((runtime.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    found.sort(key=lambda path: path.stem == OVERVIEW)
    for wanted in only or []:
        if not any(path.stem.startswith(wanted) for path in found):
            raise FileNotFoundError(f"No notebook '{wanted}': there are {', '.join(path.stem for path in found)}.")
    return [path for path in found if not only or any(path.stem.startswith(wanted) for wanted in only)]


def default_parameters(notebook: Path) -> dict[str, object]:
    """Names and literal values of the cell tagged ``parameters``.

    Raises
    ------
    ParameterError
        The cell is missing or holds something else than literals, which papermill could not replace.
    """
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            tree = ast.parse("".join(cell["source"]))
            try:
                return {node.targets[0].id: ast.literal_eval(node.value) for node in tree.body}
            except (AttributeError, ValueError):
                raise ParameterError(f"The parameters cell of '{notebook.name}' must hold literals only.") from None
    raise ParameterError(f"'{notebook.name}' has no cell tagged 'parameters'.")


def plan(profile: str, only: list[str] | None, settings: dict[str, object]) -> list[tuple[Path, dict, dict]]:
    """Each notebook with its full parameters and with those that differ from its defaults.

    Raises
    ------
    ParameterError
        A parameter of the profile or of ``settings`` exists in no notebook or has the wrong type.
    """
    chosen = notebooks(only)
    given = {**_profile_parameters(profile), **settings}
    known: dict[str, object] = {}
    for path in notebooks():
        known.update(default_parameters(path))
    for name, value in given.items():
        if name not in known:
            raise ParameterError(f"No notebook has a parameter '{name}'. There are: {', '.join(sorted(known))}.")
        _check_type(name, value, known[name])
    steps = []
    for path in chosen:
        defaults = default_parameters(path)
        changed = {name: value for name, value in given.items() if name in defaults and value != defaults[name]}
        steps.append((path, {**defaults, **changed}, changed))
    return steps


def run(profile: str, only: list[str] | None = None, settings: dict | None = None, force: bool = False) -> None:
    """Run the notebooks of a profile in order; what is up to date is left alone.

    The executed notebooks of the plain ``demo`` profile replace the committed ones; those of other
    profiles, or with ``settings``, go to ``figures/<profile>/``.

    Raises
    ------
    NotebookError
        A cell failed. What ran before stays, and the next call goes on from there.
    """
    settings = {**_lfw_settings(profile), **(settings or {})}
    steps = plan(profile, only, settings)
    place = str(settings.get("profile", profile))  # the folder of figures/ that the numbers belong to
    print(f"profile {profile}: {len(steps)} notebooks; figures and results go to figures/{place}/")
    for number, (path, parameters, changed) in enumerate(steps, 1):
        title = f"[{number}/{len(steps)}] {path.stem}"
        stamp, inputs = _stamp(place, path), _inputs(path, parameters)
        target = _target(place, path, settings)
        if not force and path.stem != OVERVIEW and _up_to_date(place, path, stamp, inputs) and _executed(target):
            print(f"{title}: up to date")
            continue
        if path.stem in OPTIONAL and (missing := _missing_sets(parameters)):
            print(f"{title}: left out, without the data set {' and '.join(missing)} (see data/README.md)")
            continue
        print(f"{title}: running")
        _execute(path, target, changed)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(inputs)
    if profile == release.PROFILE and not settings and not only:
        release.publish()


def _lfw_settings(profile: str) -> dict[str, object]:
    # The funneled variant of LFW is aligned otherwise: its numbers get a folder of their own.
    if profile != "lfw" or catalog.lfw_variant() == "lfw":
        return {}
    print("LFW's deep-funneled images are not under FACELIB_DATA: the funneled variant is used instead.")
    return {"test_set": "lfw-funneled", "profile": "lfw-funneled"}


def parse_setting(text: str) -> tuple[str, object]:
    """``"epochs=3"`` to ``("epochs", 3)``; what is no Python literal is a string."""
    name, found, value = text.partition("=")
    if not found or not name.isidentifier():
        raise ParameterError(f"'{text}' is not of the form name=value.")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value


def _profile_parameters(profile: str) -> dict[str, object]:
    import yaml

    if profile not in PROFILES:
        raise ParameterError(f"Unknown profile '{profile}': there are {', '.join(PROFILES)}.")
    if profile == "demo":
        return {}
    return yaml.safe_load((runtime.ROOT / "notebooks" / "profiles" / f"{profile}.yaml").read_text())


def _check_type(name: str, value, default) -> None:
    if default is None or value is None:
        return
    fits = isinstance(value, type(default)) or (isinstance(default, float) and isinstance(value, int))
    if not fits or isinstance(value, bool) != isinstance(default, bool):
        raise ParameterError(
            f"Parameter '{name}' is {value!r} ({type(value).__name__}): "
            f"expected {type(default).__name__}, such as {default!r}."
        )


def _target(place: str, path: Path, settings: dict) -> Path:
    if place == "demo" and not settings:
        return runtime.output_dir() / "notebooks" / path.name
    return runtime.output_dir() / "figures" / place / path.name


def _execute(path: Path, target: Path, changed: dict) -> None:
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    working = runtime.cache_dir() / "executing" / f"{os.getpid()}-{path.name}"
    working.parent.mkdir(parents=True, exist_ok=True)
    try:
        papermill.execute_notebook(
            str(path),
            str(working),
            parameters=changed,
            kernel_name="python3",
            cwd=str(path.parent),
            coalesce_streams=True,  # of a progress bar, the last state alone
        )
    except PapermillExecutionError as error:
        raise NotebookError(
            f"{path.name} failed in cell {error.exec_count}:\n{error}\nThe notebook as far as it got: {working}"
        ) from None
    notebook = nbformat.read(working, as_version=4)
    _strip_run_metadata(notebook)
    if target.parent.name != "notebooks":  # two folders down, links to the repository's other files need a step more
        for cell in notebook.cells:
            cell.source = cell.source.replace("](../", "](../../") if cell.cell_type == "markdown" else cell.source
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(target.name + ".tmp")
    nbformat.write(notebook, temporary)
    os.replace(temporary, target)
    working.unlink()


def _strip_run_metadata(notebook) -> None:
    # papermill's bookkeeping holds paths of this machine and times, and changes on every run.
    notebook.metadata.pop("papermill", None)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for name in ("papermill", "execution"):
            cell.metadata.pop(name, None)


def _inputs(path: Path, parameters: dict) -> str:
    """Hash of what a notebook consumes: its code, parameters, the modules it uses, its data sets."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    modules = {name: _code(runtime.ROOT / "facelib" / f"{name}.py") for name in _used_modules(code)}
    named = {name: value for name, value in parameters.items() if name.endswith("_set")}
    sets = {name: [_source_stamp(part) for part in catalog.parts_of(value)] for name, value in named.items()}
    return hashlib.sha256(json.dumps([code, parameters, modules, sets], sort_keys=True).encode()).hexdigest()


def _code(path: Path) -> str:
    """A module's code without comments and layout, which change no number."""
    return ast.unparse(ast.parse(path.read_text(encoding="utf-8")))


def _missing_sets(parameters: dict) -> list[str]:
    named = {value for name, value in parameters.items() if name.endswith("_set")}
    parts = sorted({part for value in named for part in catalog.parts_of(value)})
    return [part for part in parts if _source_stamp(part) == "missing"]


def _source_stamp(name: str) -> str:
    if name in catalog.DEMO_SETS:
        return repr(catalog.DEMO_SETS[name])
    try:
        return archives.fingerprint(catalog.find(name))
    except FileNotFoundError:  # the notebook itself tells the reader what is missing
        return "missing"


def _used_modules(code: list[str]) -> list[str]:
    """Modules of this package that some code imports, directly or through another one."""
    package = runtime.ROOT / "facelib"
    waiting = [name for text in code for name in _imports("\n".join(_python_lines(text)))]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used and (package / f"{name}.py").exists():
            used.add(name)
            waiting += _imports((package / f"{name}.py").read_text(encoding="utf-8"))
    return sorted(used)


def _python_lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.lstrip().startswith(("%", "!"))]


def _imports(text: str) -> list[str]:
    names = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module == "facelib":
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("facelib."):
            names.append(node.module.split(".")[1])
    return names


def _stamp(profile: str, path: Path) -> Path:
    # In the cache and not in the tree: a fresh clone holds results but has run nothing yet.
    place = hashlib.sha256(str(runtime.output_dir().resolve()).encode()).hexdigest()[:12]
    return runtime.cache_dir() / "reproduced" / place / profile / path.stem


def _executed(notebook: Path) -> bool:
    if not notebook.exists():
        return False
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return all(cell["execution_count"] for cell in cells if cell["cell_type"] == "code")


def _up_to_date(profile: str, path: Path, stamp: Path, inputs: str) -> bool:
    if not stamp.exists() or stamp.read_text() != inputs:
        return False
    file = results.results_path(profile)
    return file.exists() and path.stem in json.loads(file.read_text())["_provenance"]
