"""How a room hands out its public names: each is imported from its module when it is first asked for."""

import importlib
import sys
from collections.abc import Callable
from typing import Any

HOMES: dict[str, dict[str, str]] = {}  # of each room that was imported, the module of each name


def hand_out(room: str, names: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of a room; ``names``: of each module, with blanks between."""
    homes = HOMES[room] = {name: module for module, of_module in names.items() for name in of_module.split()}

    def __getattr__(name: str):
        if name in homes:
            value = getattr(importlib.import_module(f"{room}.{homes[name]}"), name)
        elif name in names:
            value = importlib.import_module(f"{room}.{name}")
        else:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        setattr(sys.modules[room], name, value)  # found at once from now on
        return value

    return __getattr__, lambda: sorted({*homes, *names}), sorted(homes)
