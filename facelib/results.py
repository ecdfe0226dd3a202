"""Numbers with their intervals and origins, and what they say about each claim of the sources."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
import pandas as pd

from facelib import runtime

PAPER_PROFILE = "paper"  # the only profile that uses the paper's own data sets


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
        write_whole(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
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


def claims() -> pd.DataFrame:
    """``data/claims.csv``: the sources' claims, and which result answers each by which rule."""
    return pd.read_csv(runtime.ROOT / "data" / "claims.csv", dtype=str, keep_default_na=False)


def verdicts(profile: str) -> pd.DataFrame:
    """One row per claim: what the source says, what this profile measured, and the verdict.

    The rule of a claim is its ``kind`` in ``claims.csv``: ``value`` compares the claimed number with
    the measured interval (on the paper's own data; ``other data`` otherwise), ``exact`` holds for any
    data, ``positive`` asks whether the measured quantity is above zero, ``above:x`` and ``below:x`` whether
    it is above or below x; the last three by the interval. ``value:x`` and ``exact:x`` give the claimed number in the
    result's unit where the claim states it otherwise. A claim without a result is ``not run``. ``reason`` says why, or,
    of a claim with a result, which part of it is tested.
    """
    entries = load(profile)
    rows = []
    for claim in claims().to_dict("records"):
        entry = entries.get(claim["result"])
        rows.append(
            {
                "id": claim["id"],
                "claim": claim["claim"],
                "source": f"{claim['value']} {claim['unit']}".strip(),
                "ours": show(entry) if entry else "",
                "result": claim["result"],
                "tested": claim["reason"] if entry else "",
                "n": entry["n"] if entry else None,
                "verdict": _verdict(claim, _result(entry), profile) if entry else "not run",
                "where": claim["notebook"] if entry else claim["reason"] or claim["notebook"],
            }
        )
    return pd.DataFrame(rows).astype({"n": "Int64"})


def _verdict(claim: dict, result: Result, profile: str) -> str:
    rule, _, bound = claim["kind"].partition(":")
    if result.value is None:
        return "undecided"
    if rule in ("positive", "above", "below"):
        low = result.value if result.low is None else result.low
        high = result.value if result.high is None else result.high
        if rule == "below":
            low, high = float(bound) - high, float(bound) - low
        elif rule == "above":
            low, high = low - float(bound), high - float(bound)
        return "holds" if low > 0 else "fails" if high < 0 else "undecided"
    if rule not in ("exact", "value"):
        raise ValueError(f"Claim {claim['id']} has the unknown kind '{claim['kind']}' in data/claims.csv.")
    if rule == "value" and profile != PAPER_PROFILE:
        return "other data"
    claimed = float(bound or claim["value"]) * (0.01 if claim["unit"] == "%" else 1)
    if rule == "exact":
        return "agrees" if result.value == claimed else "differs"
    low, high = (result.value, result.value) if result.low is None else (result.low, result.high)
    return "agrees" if low <= claimed <= high else "differs"


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


def write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text)
    os.replace(temporary, path)
