"""What a notebook's numbers rest on, as one value that changes when they may: code, parameters, sets, runs, results."""

import ast
import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

from facelib import _rooms, inference, runtime, training
from facelib.data import archives, catalog
from facelib.paper import results
from facelib.paper.deciding import card_key
from facelib.paper.origins import code_cells, python
from facelib.paper.setting import Setting, rules
from facelib.paper.standins import is_set


def declared(notebook: Path, setting: Setting, own: dict[str, object]) -> dict | None:
    """The present state of what the last run of a notebook declared; None where it has not run.

    What is declared is what the run was handed out (see `setting.Setting`): its parameters, the files of its data sets,
    the weights of its runs, finished runs of the bench, numbers and runs of other notebooks; beside that the code.
    Timings count only where another notebook reads them. ``own`` are the values of its own parameters cell.
    """
    try:
        origin = results.provenance(setting.place, notebook.stem)
    except FileNotFoundError:
        return None
    if "revision" not in origin:  # of a version that declared less
        return None
    consumed = origin["consumed"]
    values = setting.values | own
    given: dict[str, Any] = {name: values.get(name) for name in origin["parameters"]}
    some = {"cards": {name: _card(name) for name in consumed.get("cards", {})}}
    some["bench"] = {name: _finished(setting) for name in consumed.get("bench", {})}
    return {kind: each for kind, each in some.items() if each} | {
        "code": code_hash(notebook, ["training"] if consumed.get("runs") else []),
        "parameters": given,
        "sets": {value: source_stamp(value) for name, value in given.items() if is_set(name)},
        "weights": _weights(consumed.get("runs", {}), consumed.get("weights", {})),
        "results": {stem: _present(setting.place, stem, read) for stem, read in consumed.get("results", {}).items()},
    }


def source_stamp(name: str) -> list[str]:
    """Names, sizes and times of a set's files, or how its people are drawn; ``missing`` where it is not there."""

    def stamp(part: str) -> str:
        if part in catalog.DEMO_SETS:
            return repr(catalog.DEMO_SETS[part])
        try:
            return archives.fingerprint(catalog.find(part))
        except FileNotFoundError:  # the notebook itself tells the reader what is missing
            return "missing"

    return [stamp(part) for part in catalog.parts_of(name)]


def strings(notebook: Path) -> set[str]:
    """Every text in a notebook's code: names of parameters and of other notebooks among them."""
    nodes = (node for source in code_cells(notebook) for node in ast.walk(ast.parse(python(source))))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def has_no_set_of_the_user(setting: Setting, notebook: Path) -> bool:
    """Whether the user's own faces are asked about and a notebook would show other ones, not beside theirs."""
    mine = ("train_set", "test_set")
    if not setting.is_of_the_user:
        return False
    others = [name for name in strings(notebook) if is_set(name) and name not in mine and "beside" not in rules()[name]]
    known = {*catalog.DEMO_SETS, *catalog.SETS}
    return any(part in known for name in others for part in catalog.parts_of(setting.values[name]))


def code_hash(notebook: Path, rooms: list[str]) -> str:
    """Hash of a notebook's code, of the modules that it uses and of whole rooms, without comments and layout."""
    sources = [ast.unparse(ast.parse(python(source))) for source in code_cells(notebook)]
    whole = [f"from facelib import {room}; used({room})" for room in rooms]
    modules = {name: ast.unparse(_tree(_file(name))) for name in used_modules(sources + whole)}
    return hashlib.sha256(json.dumps([sources, modules], sort_keys=True).encode()).hexdigest()


def used_modules(sources: list[str]) -> list[str]:
    """Modules of this package, such as ``metrics.curves``, that some code imports, directly or through another one.

    A name that a room hands out counts as the module that it comes from, a room that is passed on as all its modules.
    What `setting` imports to train counts only where `declared` finds a run.
    """
    waiting = [name for source in sources for name in _imported(ast.parse(python(source)))]
    used: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name not in used and _file(name).exists():
            used.add(name)
            tree = _tree(_file(name))
            if name == "paper.setting":
                tree.body = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
            waiting += _imported(tree) + _run_by_path(_file(name))
    return sorted(used)


def _imported(tree: ast.AST) -> list[str]:
    rooms: dict[str, str] = {}
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "facelib":
            rooms |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("facelib."):
            inside = node.module.removeprefix("facelib.")
            found += [inside, *(_home(inside, alias.name) for alias in node.names)]
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in rooms]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in rooms:
            found.append(_home(rooms[node.value.id], node.attr))
            names.remove(node.value.id)
    return found + list(rooms.values()) + [module for name in names for module in _modules(rooms[name])]


def _home(room: str, name: str) -> str:
    """The module of a room that a name comes from; a name that is a module is its own."""
    if not (runtime.ROOT / "facelib" / room / "__init__.py").exists():
        return room  # a module and none of the rooms
    importlib.import_module(f"facelib.{room}")
    return f"{room}.{_rooms.HOMES[f'facelib.{room}'].get(name, name)}"


def _modules(room: str) -> list[str]:
    return [f"{room}.{path.stem}" for path in sorted((runtime.ROOT / "facelib" / room).glob("*.py"))]


def _run_by_path(path: Path) -> list[str]:
    """Programs of the same folder that a module starts by their file names."""
    names = {node.value for node in ast.walk(_tree(path)) if isinstance(node, ast.Constant)}
    programs = [name for name in names if isinstance(name, str) and name.endswith(".py")]
    return [f"{path.parent.name}.{name.removesuffix('.py')}" for name in programs]


def _file(module: str) -> Path:
    return runtime.ROOT / "facelib" / f"{module.replace('.', '/')}.py"


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _weights(keys: dict[str, str], recorded: dict[str, str]) -> dict[str, str]:
    """Hash of the weights that each run has now; what is not at hand now counts as unchanged."""
    if not recorded:
        return {}
    runs = {name: training.find_run(name, keys[name]) for name in recorded}
    return {name: run.row["weights_sha256"] if run else recorded[name] for name, run in runs.items()}


def _card(name: str) -> str | None:
    """What a shipped network's card says now; None where it is gone."""
    try:
        return card_key(inference.decision.read_card(name))
    except FileNotFoundError:
        return None


def _finished(setting: Setting) -> str:
    from facelib.paper import benching

    return benching.state(benching.plan(setting))


def _present(place: str, stem: str, read: dict) -> dict:
    """What another notebook's numbers and runs are now, of those that were read."""
    entries, origin = results.load(place), results.provenance(place, stem)
    runs = origin["consumed"].get("runs", {})
    now = {key: entries.get(key, {}).get("value") for key in read if key != "runs"}
    return now | ({"runs": {name: runs.get(name) for name in read["runs"]}} if "runs" in read else {})
