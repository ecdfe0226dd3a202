"""What a number rests on besides its data: the revision of the code, and a notebook's own parameters."""

import ast
import json
import subprocess
import sys
from pathlib import Path

from facelib import runtime


def code_cells(notebook: Path | str) -> list[str]:
    """Sources of the code cells, of a file or of its text."""
    text = notebook if isinstance(notebook, str) else notebook.read_text(encoding="utf-8")
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def python(source: str) -> str:
    """A cell's code without the lines that are IPython's own."""
    return "\n".join(line for line in source.splitlines() if not line.lstrip().startswith(("%", "!")))


def own_parameters(notebook: Path) -> dict[str, object]:
    """Names and literal values of the cell tagged ``parameters``, besides ``profile`` and ``overrides``.

    ValueError where it is missing or holds something else than literals, which papermill could not replace.
    """
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if "parameters" in cell["metadata"].get("tags", []):
            body: list = ast.parse("".join(cell["source"])).body
            try:
                values = {node.targets[0].id: ast.literal_eval(node.value) for node in body}
            except (AttributeError, ValueError):
                raise ValueError(f"The parameters cell of '{notebook.name}' must hold literals only.") from None
            return {name: value for name, value in values.items() if name not in ("profile", "overrides")}
    raise ValueError(f"'{notebook.name}' has no cell tagged 'parameters'.")


def kernel():
    """The IPython that this runs in, or None."""
    return sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None


def own_values(stem: str) -> dict[str, object]:
    """The present values of `own_parameters` in the kernel that this runs in; none outside of one."""
    notebook, shell = runtime.ROOT / "notebooks" / f"{stem}.ipynb", kernel()
    if shell is None or not notebook.exists():
        return {}
    return {name: shell.user_ns[name] for name in own_parameters(notebook) if name in shell.user_ns}


def revision(stem: str) -> str:
    """Commit of this checkout, with ``+changes`` where code or profiles or the notebook's code differ from it.

    What a run writes (figures, numbers, outputs of notebooks) does not count. ``unknown`` outside of a checkout.
    """
    top, commit = _git("rev-parse", "--show-toplevel"), _git("rev-parse", "--short=12", "HEAD")
    if not top or not commit or Path(top).resolve() != runtime.ROOT.resolve():
        return "unknown"
    notebook = f"notebooks/{stem}.ipynb"
    committed = _git("show", f"HEAD:{notebook}")
    is_changed = bool(_git("status", "--porcelain", "--", "facelib", "notebooks/profiles"))
    if (runtime.ROOT / notebook).exists():
        is_changed |= not committed or code_cells(committed) != code_cells(runtime.ROOT / notebook)
    return commit + ("+changes" if is_changed else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(runtime.ROOT), *arguments], capture_output=True, text=True)
    except OSError:  # no git
        return None
    return done.stdout.strip() if done.returncode == 0 else None
