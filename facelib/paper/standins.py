"""What of a notebook needs photos that are not at hand, and the committed results that stand in its place."""

import ast
import dis
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from facelib import runtime
from facelib.data import catalog
from facelib.paper.origins import code_cells, kernel, python
from facelib.paper.setting import Setting, rules

# What a `Setting` hands out of the sets, without their parameters being named in the notebook.
_TRAIN = {"split", "best_split", "experiment", "over_seeds"}
_TEST = _TRAIN | {"scored", "pairs"}


def is_set(parameter: str) -> bool:
    """Whether a parameter names a data set."""
    return rules().get(parameter, {}).get("format") == "set"


def missing_sets(setting: Setting, notebook: Path) -> list[str]:
    """Known data sets that a notebook asks for and that are neither at hand nor can be fetched or drawn.

    It asks by the name of a parameter, or by what a `Setting` hands out of a set. What a user names by a path is not
    among them: where that is missing, it is an error.
    """
    return sorted({name for source in code_cells(notebook) for name in _missing(setting, ast.parse(python(source)))})


@dataclass(frozen=True)
class StandIn:
    """What stands in for a part of a notebook."""

    notebook: Path  # the committed one with the profile's results
    missing: list[str]  # sets that are not at hand
    cells: list[str]  # sources of the code cells that cannot run without them

    def __call__(self, lines: list[str]) -> list[str]:
        """IPython's transformer of a cell's lines: those that cannot run become a call of `show`."""
        source = "".join(lines).strip()
        return [f"_stand_in.show({self.cells.index(source)})\n"] if source in self.cells else lines

    def show(self, number: int) -> None:
        """Display what one of the cells shows in the committed notebook, marked as such."""
        import nbformat
        from IPython.display import publish_display_data

        old = nbformat.read(self.notebook, as_version=4).cells
        known = {cell.source: cell.outputs for cell in old if cell.cell_type == "code"}
        past = [each for each in known.get(self.cells[number], []) if not each.get("metadata", {}).get("committed")]
        why = f"{' and '.join(self.missing)} not at hand, see data/README.md"
        says = f"*{'Committed result, not' if past else 'Not'} computed here ({why}).*"
        publish_display_data({"text/markdown": says}, {"committed": True})
        for each in past:
            if each.output_type == "stream":
                print(each.text, end="")
            else:
                publish_display_data(each.data, each.metadata)


def install(setting: Setting, notebook: Path) -> None:
    """From here on, cells of the running notebook whose photos are missing show the committed results."""
    shell = kernel()
    if shell is not None and notebook.exists():
        others = [each for each in shell.input_transformers_cleanup if not isinstance(each, StandIn)]
        found = stand_in(setting, notebook)
        shell.user_ns["_stand_in"] = found
        shell.input_transformers_cleanup[:] = others + ([found] if found else [])


def stand_in(setting: Setting, notebook: Path) -> StandIn | None:
    """What stands in where photos are missing; None if none is, with changed parameters, or nothing committed."""
    committed = runtime.ROOT / "figures" / setting.profile / notebook.name
    missing = missing_sets(setting, notebook)
    if setting.changed or not missing or not committed.exists():
        return None
    return StandIn(committed, missing, cells_without_photos(setting, notebook))


def cells_without_photos(setting: Setting, notebook: Path) -> list[str]:
    """Sources of the code cells that ask for one of `missing_sets`, or need what such a cell makes.

    A number that such a cell records is known nevertheless, by `results.Recorder.result`.
    """
    found: list[str] = []
    unmade: set[str] = set()
    for source in code_cells(notebook):
        tree = ast.parse(python(source))
        needed, made = _names(compile(tree, notebook.name, "exec"))
        if needed & unmade or _missing(setting, tree):
            found.append(source)
            unmade |= made | _filled(tree)
        else:
            unmade -= made
    return found


def _missing(setting: Setting, code: ast.AST) -> set[str]:
    nodes = list(ast.walk(code))
    asked = {node.attr for node in nodes if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "setting"}
    texts = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    named = {name for name in texts if is_set(name)}
    named |= {"test_set"} if asked & _TEST else set()
    named |= {"train_set"} if asked & _TRAIN else set()
    return {
        part
        for name in named & setting.values.keys()
        for part in catalog.missing(setting.values[name])
        if part in catalog.SETS
    }


def _names(code: CodeType) -> tuple[set[str], set[str]]:
    """Names that code needs before it makes them, and those that it makes; instructions stand as they are evaluated."""
    needed: set[str] = set()
    made: set[str] = set()
    for each in dis.get_instructions(code):
        if isinstance(each.argval, CodeType):  # of a comprehension or lambda
            needed |= _names(each.argval)[0] - made
        elif each.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            needed |= {each.argval} - made
        elif each.opname == "STORE_NAME":
            made.add(each.argval)
    return needed, made


def _filled(tree: ast.AST) -> set[str]:
    """Names of tables and lists into which a cell puts something."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store)]
    return {node.value.id for node in nodes if isinstance(node.value, ast.Name)}
