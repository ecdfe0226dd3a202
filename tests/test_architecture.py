"""The house: imports go down the staircase, private things stay in their room, and nothing grows without a reason."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import facelib

PACKAGE = Path(facelib.__file__).parent

FLOORS = {  # height of each room, or module of none, above the ground
    room: height
    for height, rooms in enumerate(
        (
            ("", "runtime", "files", "_paddle", "_rooms"),  # "" is the package itself
            ("data",),
            ("metrics",),
            ("models",),
            ("inference",),
            ("training",),
            ("benchmarks",),
            ("paper",),
            ("commands",),
            ("cli",),
            ("__main__",),
        )
    )
    for room in rooms
}

MODULE, ROOM, ALL = 250, 1495, 15295  # lines
ROOMS = {
    "data": 3940,
    "paper": 4040,
}  # of data 530 the rendered people, 790 readers of published layouts, 270 the detector

HEAVY = {"paddle", "pandas", "matplotlib", "scipy", "sklearn"}
LIGHT = ("facelib", "facelib.metrics", "facelib.data", "facelib.inference", "facelib.models")
LIGHT += ("facelib.data.images", "facelib.data.pairs", "facelib.data.archives")


class Import(NamedTuple):
    """One import, or one use of a module's private name, in a package: who, where, and of what."""

    module: str  # importing module, below the package: "data.images"
    line: int
    target: str  # imported module, likewise
    name: str | None  # what is taken from it

    room = property(lambda self: self.module.partition(".")[0])
    of_room = property(lambda self: self.target.partition(".")[0])

    def __str__(self):
        return f"{self.module}:{self.line} imports {self.target or 'the package'}{'.' + self.name if self.name else ''}"


def modules(package: Path) -> dict[str, Path]:
    """Source files of a package by dotted names below it; a room's ``__init__`` has the room's name."""
    files = {path.relative_to(package): path for path in sorted(package.rglob("*.py"))}
    return {".".join(name.with_suffix("").parts).removesuffix("__init__").rstrip("."): p for name, p in files.items()}


def imports(package: Path) -> list[Import]:
    """All imports within a package, those inside functions too; not those that only a type checker sees."""
    files = modules(package)
    found = []
    for module, path in files.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        here = path.parent.relative_to(package.parent).parts  # of a relative import
        bound = {}  # local name: module of the package that it stands for
        for node in _running(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    target = _below(package, alias.name)
                    if target is not None:
                        found.append(Import(module, node.lineno, target, None))
                        bound[alias.asname or alias.name] = target
            elif isinstance(node, ast.ImportFrom):
                above = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
                target = _below(package, ".".join(filter(None, (above, node.module))))
                for alias in node.names if target is not None else ():
                    whole = f"{target}.{alias.name}".lstrip(".")
                    is_module = whole in files
                    found.append(Import(module, node.lineno, *((whole, None) if is_module else (target, alias.name))))
                    if is_module:
                        bound[alias.asname or alias.name] = whole
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and (target := bound.get(ast.unparse(node.value))) is not None:
                whole = f"{target}.{node.attr}".lstrip(".")
                found.append(Import(module, node.lineno, *((whole, None) if whole in files else (target, node.attr))))
    return found


def _running(tree: ast.AST):
    """Nodes of a tree without the bodies of ``if TYPE_CHECKING:``."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield from (other, *_running(other))
        else:
            yield from (node, *_running(node))


def _below(package: Path, name: str) -> str | None:
    """``"data.images"`` of ``"facelib.data.images"``, ``""`` of ``"facelib"``, None of other packages."""
    first, _, rest = name.partition(".")
    return rest if first == package.name else None


def upwards(package: Path) -> list[str]:
    """Imports of a room from one that lies above it; on the ground they may know each other."""
    found = imports(package)
    unknown = {room for each in found for room in (each.room, each.of_room)} - set(FLOORS)
    assert not unknown, f"{unknown} have no place on the staircase: FLOORS in tests/test_architecture.py"
    return [str(each) for each in found if FLOORS[each.of_room] > FLOORS[each.room]]


def intrusions(package: Path) -> list[str]:
    """Imports and uses of another room's private modules or names; the package's own private modules are for all."""
    found = []
    for each in imports(package):
        inside = each.target.split(".")[1:] + [each.name or ""]
        private = [part for part in inside if part.startswith("_") and not part.endswith("__")]
        if private and each.room != each.of_room:
            found.append(str(each))
    return sorted(set(found))


def lengths(package: Path) -> dict[str, int]:
    """Lines of each source file."""
    files = sorted(package.rglob("*.py"))
    return {path.relative_to(package).as_posix(): len(path.read_text("utf-8").splitlines()) for path in files}


def write(package: Path, **sources: str) -> Path:
    """A made-up package: modules by name, with ``__`` for a dot."""
    for name, source in sources.items():
        path = package.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(source)
    (package / "__init__.py").touch()
    return package


def test_imports_go_down_the_staircase():
    assert not upwards(PACKAGE)


def test_private_things_stay_in_their_room():
    assert not intrusions(PACKAGE)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from house.training import loop", ["metrics.a:1 imports training.loop"]),
        ("import house.training.loop", ["metrics.a:1 imports training.loop"]),
        ("from house import training", ["metrics.a:1 imports training"]),
        ("from ..training import loop", ["metrics.a:1 imports training.loop"]),
        ("from house.training.loop import train", ["metrics.a:1 imports training.loop.train"]),
        ("def f():\n    from house.training import loop", ["metrics.a:2 imports training.loop"]),
        ("class A:\n    def f(self):\n        import house.training", ["metrics.a:3 imports training"]),
        ("try:\n    import house.training\nexcept ImportError:\n    pass", ["metrics.a:2 imports training"]),
        ("import house\nhouse.training", ["metrics.a:2 imports training"]),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import house.training", []),
        ("from house.data import b\nfrom house import runtime\nfrom . import b", []),
        ("import training\nfrom paper import training", []),
    ],
)
def test_an_arrow_upwards_is_found(tmp_path, source, found):
    package = write(tmp_path / "house", metrics__a=source, metrics__b="", data__b="", training__loop="", runtime="")
    assert upwards(package) == found


def test_modules_on_the_ground_may_know_each_other_and_no_room(tmp_path):
    package = write(
        tmp_path / "house", files="from house import runtime\nfrom house import data", runtime="", data__a=""
    )
    assert upwards(package) == ["files:2 imports data"]


def test_a_room_without_a_floor_is_named(tmp_path):
    package = write(tmp_path / "house", attic__a="from house.data import b", data__b="")
    with pytest.raises(AssertionError, match="attic"):
        upwards(package)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from house.data import _b", ["models.a:1 imports data._b"]),
        ("from house.data.b import _c, d", ["models.a:1 imports data.b._c"]),
        ("from house.data import b\nb.d()\nb._c()", ["models.a:3 imports data.b._c"]),
        ("import house.data.b\nhouse.data.b._c()", ["models.a:2 imports data.b._c"]),
        ("from house import runtime\nruntime._c", ["models.a:2 imports runtime._c"]),
        ("from house._paddle import paddle\nfrom house.models._b import _c\nfrom house.data import b\nb.__doc__", []),
    ],
)
def test_an_intruder_is_found(tmp_path, source, found):
    package = write(tmp_path / "house", models__a=source, models___b="", data___b="", data__b="", runtime="")
    write(package, _paddle="")
    assert intrusions(package) == found


def test_nothing_is_too_long():
    lines = lengths(PACKAGE)
    too_long = {name: n for name, n in lines.items() if n >= MODULE}
    assert not too_long, f"modules of {MODULE} lines or more"
    rooms = {}
    for name, n in lines.items():
        room = name.partition("/")[0]
        rooms[room] = rooms.get(room, 0) + n
    assert not {room: n for room, n in rooms.items() if n > ROOMS.get(room, ROOM)}, "rooms that are too long"
    assert sum(rooms.values()) <= ALL


def test_nothing_is_named_like_a_test():
    """pytest would collect it wherever a test imports it by its name."""
    found = []
    for module, path in modules(PACKAGE).items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            kinds = {ast.ClassDef: "Test", ast.FunctionDef: "test"}
            if type(node) in kinds and node.name.startswith(kinds[type(node)]):
                found.append(f"{module}.{node.name}")
    assert not found


def test_every_room_lists_its_names_and_has_them():
    """The tables of the rooms' ``__init__`` name modules and names that exist."""
    code = (
        "import importlib, pkgutil, facelib\n"
        "for found in pkgutil.iter_modules(facelib.__path__):\n"
        "    if found.ispkg:\n"
        "        room = importlib.import_module(f'facelib.{found.name}')\n"
        "        assert room.__doc__ and room.__all__, room\n"
        "        [getattr(room, name) for name in dir(room)]\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_light_modules_load_nothing_heavy():
    metrics = [f"facelib.{name}" for name in modules(PACKAGE) if name.startswith("metrics.")]
    code = "import importlib, sys\n"
    for name in (*LIGHT, *metrics):
        code += f"importlib.import_module('{name}')\nprint('{name}', *sorted({HEAVY} & set(sys.modules)))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == [*LIGHT, *metrics], "what stands behind a module came with it"
