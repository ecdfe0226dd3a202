"""Numbers with their intervals and origins, and what they say about each claim of the sources."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from facelib import runtime
from facelib.files import write_atomically


@dataclass(frozen=True)
class Result:
    """One number: value, 95 % interval where it has one, sample size, unit."""

    value: float
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unit: str = ""

    def __str__(self) -> str:
        text = _number(self.value, self.unit)
        if self.low is None:
            return text
        return f"{_number(self.value, '')} [{_number(self.low, '')}, {_number(self.high, '')}] {self.unit}".strip()


class Recorder:
    """Collects the numbers of one notebook and writes them into the profile's ``results.json``.

    >>> record = Recorder("04_threshold", "demo")                     # doctest: +SKIP
    >>> record("threshold.accuracy", intervals.wilson_interval(183, 200))  # doctest: +SKIP
    >>> record.save(parameters, consumed={"test": faces.key})         # doctest: +SKIP
    """

    def __init__(self, notebook: str, profile: str):
        self.notebook, self.profile = notebook, profile
        self.entries: dict[str, dict] = {}

    def __call__(self, key: str, value, low=None, high=None, n=None, unit: str = "") -> Result:
        """Record a number, or anything with ``value``, ``low``, ``high`` and ``n``; returns it for display."""
        if hasattr(value, "value"):
            value, low, high, n = value.value, value.low, value.high, value.n
        result = Result(*(_plain(x) for x in (value, low, high, n)), unit)
        self.entries[key] = {**result.__dict__, "notebook": self.notebook}
        return result

    def save(self, parameters: dict, consumed: dict[str, str]) -> pd.DataFrame:
        """Replace this notebook's entries in ``results.json`` and return them as a table.

        Parameters
        ----------
        parameters
            The values of the parameters cell.
        consumed
            Name and content key of each data set, pair list and set of weights the numbers rest on.
        """
        path = results_path(self.profile)
        stored = json.loads(path.read_text()) if path.exists() else {}
        provenance = stored.pop("_provenance", {})
        kept = {key: entry for key, entry in stored.items() if entry["notebook"] != self.notebook}
        provenance[self.notebook] = {
            "consumed": consumed,
            "parameters": parameters,
            "hardware": runtime.hardware(),
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        content = {**dict(sorted({**kept, **self.entries}.items())), "_provenance": dict(sorted(provenance.items()))}
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return table(self.entries)


def results_path(profile: str) -> Path:
    """``figures/<profile>/results.json`` in the output folder."""
    return runtime.output_dir() / "figures" / profile / "results.json"


def provenance(profile: str, notebook: str) -> dict[str, dict]:
    """Where a notebook's numbers come from: ``consumed`` (names and keys), ``parameters``, ``hardware``, ``time``.

    Raises
    ------
    FileNotFoundError
        The notebook has not been run in this profile.
    """
    path = results_path(profile)
    known = json.loads(path.read_text())["_provenance"] if path.exists() else {}
    if notebook not in known:
        raise FileNotFoundError(f"'{path}' has no numbers of {notebook} yet: run that notebook first.")
    return known[notebook]


def load(profile: str) -> dict[str, dict]:
    """Entries of a profile's ``results.json`` without provenance; empty where nothing has run."""
    path = results_path(profile)
    if not path.exists():
        return {}
    return {key: entry for key, entry in json.loads(path.read_text()).items() if key != "_provenance"}


def table(entries: dict[str, dict]) -> pd.DataFrame:
    """Entries as a table for display: key, value with interval, n."""
    rows = [{"result": key, "value": show(entry), "n": entry["n"]} for key, entry in sorted(entries.items())]
    return pd.DataFrame(rows).astype({"n": "Int64"}) if rows else pd.DataFrame(columns=["result", "value", "n"])


def show(entry: dict) -> str:
    """An entry as text: the value and its interval."""
    return str(_result(entry))


def _result(entry: dict) -> Result:
    return Result(*(entry[name] for name in ("value", "low", "high", "n", "unit")))


def _plain(x):
    if x is None:
        return None
    x = x.item() if isinstance(x, np.generic) else x
    return None if isinstance(x, float) and not math.isfinite(x) else x


def _number(x: float | None, unit: str) -> str:
    if x is None:
        return "none"
    if isinstance(x, int):
        text = f"{x:,}"
    elif abs(x) >= 10:
        text = f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"
    else:
        text = f"{x:.3f}" if abs(x) >= 0.001 or x == 0 else f"{x:.1g}"
    return f"{text} {unit}".strip()
