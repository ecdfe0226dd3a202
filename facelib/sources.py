"""Python source reduced to what decides the numbers, for keys that comments must not change."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def normalised_source(thing) -> str:
    """Source of a function, class or file without comments, docstrings and layout.

    A function or class is looked up by its name: line numbers are those of the file when it was imported, and wrong
    once somebody edits it while a notebook or a training that imported it still runs.
    """
    path = thing if isinstance(thing, Path) else Path(inspect.getsourcefile(thing))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not isinstance(thing, Path):
        for name in thing.__qualname__.split("."):
            named = [node for node in tree.body if isinstance(node, _WITH_DOCSTRING[1:]) and node.name == name]
            tree = named[-1]
        tree = ast.Module([tree], [])
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
