"""What of a notebook needs photos that are not at hand, and the committed results that stand in its place."""

from __future__ import annotations

import ast
import dis
from dataclasses import dataclass
from pathlib import Path
from types import CodeType

from facelib import runtime
from facelib.data import catalog
from facelib.paper.origins import code_cells, python
from facelib.paper.setting import Setting, rules

# What a `Setting` hands out of the sets, without their parameters being named in the notebook.
_TRAIN = {"split", "best_split", "experiment", "over_seeds"}
_TEST = _TRAIN | {"scored", "pairs"}
_SKIP = "skip-execution"  # nbclient's tag


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
    """What stands in for a part of a notebook.

    Attributes
    ----------
    notebook
        The committed one with the profile's results.
    missing
        The sets that are not at hand.
    cells
        Sources of the code cells that cannot run without them.
    """

    notebook: Path
    missing: list[str]
    cells: list[str]

    def skip(self, notebook) -> None:
        """Tag the cells of a notebook that papermill is to leave out."""
        for cell in notebook.cells:
            if cell.cell_type == "code" and cell.source in self.cells:
                cell.metadata["tags"] = [*cell.metadata.get("tags", []), _SKIP]

    def show(self, executed) -> None:
        """Give the cells that were left out the outputs that they have in the committed notebook, marked as such."""
        import nbformat

        old = nbformat.read(self.notebook, as_version=4).cells
        known = {cell.source: cell.outputs for cell in old if cell.cell_type == "code"}
        why = f"{' and '.join(self.missing)} not at hand, see data/README.md"
        for count, cell in enumerate((cell for cell in executed.cells if cell.cell_type == "code"), 1):
            cell.execution_count = count
            if _SKIP in cell.metadata.get("tags", []):
                cell.metadata.tags.remove(_SKIP)
                past = known.get(cell.source, [])
                says = f"*{'Committed result, not' if past else 'Not'} computed here ({why}).*"
                mark = nbformat.v4.new_output("display_data", {"text/markdown": says}, metadata={"committed": True})
                cell.outputs = [mark, *(each for each in past if not each.get("metadata", {}).get("committed"))]


def stand_in(setting: Setting, notebook: Path) -> StandIn | None:
    """What stands in where photos are missing; None without committed results, or with changed parameters."""
    committed = runtime.ROOT / "figures" / setting.profile / notebook.name
    if setting.changed or not committed.exists():
        return None
    return StandIn(committed, missing_sets(setting, notebook), cells_without_photos(setting, notebook))


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
