"""Python source reduced to what decides the numbers, for keys that comments must not change."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path

_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def normalised_source(thing) -> str:
    """Source of a function, class or file without comments, docstrings and layout."""
    text = thing.read_text(encoding="utf-8") if isinstance(thing, Path) else inspect.getsource(thing)
    tree = ast.parse(textwrap.dedent(text))
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
