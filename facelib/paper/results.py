"""Numbers with their intervals and origins, and what they say about each claim of the sources."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from facelib import runtime
from facelib.files import locked, write_atomically
from facelib.paper.origins import own_values, revision

if TYPE_CHECKING:
    from facelib.paper.setting import Setting


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
        if self.low is None or math.isnan(self.low):
            return text
        return f"{_number(self.value, '')} [{_number(self.low, '')}, {_number(self.high, '')}] {self.unit}".strip()

    @property
    def percent(self) -> str:
        """A share in percent, by three digits, without the sign."""
        numbers = [f"{100 * each:.3g}" for each in (self.value, self.low, self.high) if each is not None]
        return numbers[0] if len(numbers) < 3 or math.isnan(self.low) else f"{numbers[0]} [{', '.join(numbers[1:])}]"


class Recorder:
    """Collects the numbers of one notebook and writes them into the ``results.json`` of its setting.

    >>> record = Recorder("04_threshold", setup("demo"))                     # doctest: +SKIP
    >>> record("threshold.accuracy", intervals.wilson_interval(183, 200))  # doctest: +SKIP
    >>> record.save()                                                      # doctest: +SKIP
    """

    def __init__(self, notebook: str, setting: Setting):
        from facelib.paper import standins

        self.notebook, self.setting = notebook, setting
        self.entries: dict[str, dict] = {}
        path = runtime.ROOT / "notebooks" / f"{notebook}.ipynb"
        self._missing = standins.missing_sets(setting, path) if path.exists() else []  # sets that are not at hand
        standins.install(setting, path)

    def __call__(self, key: str, value, low=None, high=None, n=None, unit: str = "") -> Result:
        """Record a number, or anything with ``value``, ``low``, ``high`` and ``n``; returns it for display.

        Ends that are nan are none in the file, which says then that the interval is undefined.
        """
        if hasattr(value, "value"):
            value, low, high, n = value.value, value.low, value.high, value.n
        result = Result(_plain(value), _plain(low), _plain(high), _plain(n), unit)
        self.entries[key] = {**result.__dict__, "notebook": self.notebook}
        if low is None or result.low is not None:
            return result
        self.entries[key]["undefined"] = True
        return replace(result, low=math.nan, high=math.nan)

    def result(self, key: str) -> Result:
        """A number that was recorded under this key, the committed one where the photos for it are not at hand."""
        if key not in self.entries and self._missing:
            return _result(stored(self.setting, key))
        return _result(self.entries[key])

    def save(self) -> pd.DataFrame:
        """Replace this notebook's entries in ``results.json``, with what they rest on, and return them as a table.

        That is every parameter, set, run and number of another notebook that the setting has handed out, the values of
        the notebook's own parameters cell, the revision of the code, and the machine. Where photos are not at hand,
        numbers that were not recorded anew stay, and what they rest on.
        """
        origin = self._origin()
        path = results_path(self.setting.place)
        with locked(path):
            known = _read(path)
            provenance = known.pop("_provenance", {})
            if self._missing:
                old = provenance or _committed(self.setting).get("_provenance", {})
                origin = _joined(old.get(self.notebook, {}), origin) | {"without": self._missing}
            kept = {key: entry for key, entry in known.items() if self._missing or entry["notebook"] != self.notebook}
            entries = dict(sorted({**kept, **self.entries}.items()))
            content = {**entries, "_provenance": dict(sorted({**provenance, self.notebook: origin}.items()))}
            write_atomically(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return table(self.entries)

    def _origin(self) -> dict:
        self.setting.note_sets()
        consumed = {kind: dict(sorted(used.items())) for kind, used in self.setting.used.items() if used}
        parameters = consumed.pop("parameters", {}) | own_values(self.notebook)
        return {
            "consumed": consumed,
            "parameters": dict(sorted(parameters.items())),
            "profile": Path(self.setting.profile).name,
            "revision": revision(self.notebook),
            "hardware": runtime.hardware(),
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }


def results_path(place: str) -> Path:
    """``figures/<place>/results.json`` in the output folder."""
    return runtime.output_dir() / "figures" / place / "results.json"


def provenance(place: str, notebook: str) -> dict[str, dict]:
    """Where a notebook's numbers come from: ``consumed``, ``parameters``, ``revision``, ``hardware``, ``time``.

    FileNotFoundError where the notebook has not been run in this profile.
    """
    path = results_path(place)
    known = _read(path).get("_provenance", {})
    if notebook not in known:
        raise FileNotFoundError(f"'{path}' has no numbers of {notebook} yet: run that notebook first.")
    return known[notebook]


def used_before(place: str, parameter: str):
    """The value of a parameter in the newest numbers of a folder; None where there are none."""
    origins = sorted(
        _read(results_path(place)).get("_provenance", {}).values(), key=lambda origin: origin.get("time", "")
    )
    values = [origin["parameters"][parameter] for origin in origins if parameter in origin.get("parameters", {})]
    return values[-1] if values else None


def load(place: str | Setting) -> dict[str, dict]:
    """Entries of a ``results.json`` without provenance; empty where nothing has run.

    Of a setting of the user's own those alone that were made with its parameters, sets among them; a line tells which
    others there are.
    """
    setting = None if isinstance(place, str) else place
    content = _read(results_path(place if isinstance(place, str) else place.place))
    others, values = set(), setting.values if setting and setting.place != setting.profile else {}
    for notebook, origin in content.pop("_provenance", {}).items():
        made_with = origin.get("parameters", {})
        if changed := sorted(name for name in values.keys() & made_with.keys() if values[name] != made_with[name]):
            others.add(notebook)
            print(f"Left out: numbers of {notebook}, an earlier run's with other values of {', '.join(changed)}.")
    return {key: entry for key, entry in content.items() if entry["notebook"] not in others}


def stored(setting: Setting, key: str) -> dict:
    """The entry of a key: that of the setting's own results, else the profile's committed one; KeyError without any."""
    own = load(setting.place)
    return own[key] if key in own else _committed(setting)[key]


def _committed(setting: Setting) -> dict[str, dict]:
    if setting.changed:  # they are those of other parameters
        return {}
    return _read(runtime.ROOT / "figures" / setting.profile / "results.json")


def _joined(old: dict, new: dict) -> dict:
    """The origin of numbers of which some are old: what either rests on."""
    kinds = old.get("consumed", {}) | new["consumed"]
    consumed = {kind: old.get("consumed", {}).get(kind, {}) | new["consumed"].get(kind, {}) for kind in kinds}
    return new | {"consumed": consumed, "parameters": old.get("parameters", {}) | new["parameters"]}


def _read(path: Path) -> dict:
    """The content of a ``results.json``, empty where there is none; ValueError where it is damaged."""
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or not all(isinstance(entry, dict) for entry in content.values()):
            raise ValueError("not the numbers of notebooks")
    except ValueError as error:
        raise ValueError(
            f"'{path}' is damaged, as by a merge that left its marks ({error}). Restore it, as with "
            "`git checkout -- results.json` in its folder, or delete it and run `python -m facelib reproduce` again."
        ) from None
    return content


def table(entries: dict[str, dict]) -> pd.DataFrame:
    """Entries as a table for display: key, value with interval, n."""
    rows = [{"result": key, "value": show(entry), "n": entry["n"]} for key, entry in sorted(entries.items())]
    return pd.DataFrame(rows).astype({"n": "Int64"}) if rows else pd.DataFrame(columns=["result", "value", "n"])


def show(entry: dict) -> str:
    """An entry as text: the value and its interval."""
    return str(_result(entry))


def _result(entry: dict) -> Result:
    found = Result(*(entry[name] for name in ("value", "low", "high", "n", "unit")))
    return replace(found, low=math.nan, high=math.nan) if entry.get("undefined") else found


def _plain(x):
    if x is None:
        return None
    x = x.item() if isinstance(x, np.generic) else x
    return None if isinstance(x, float) and not math.isfinite(x) else x


def _number(x: float | None, unit: str) -> str:
    if x is None:
        return f"none {unit}".strip()
    if isinstance(x, int):
        text = f"{x:,}"
    elif abs(x) >= 10:
        text = f"{x:,.0f}" if abs(x) >= 1000 else f"{x:.4g}"
    else:
        text = f"{x:.3f}" if abs(x) >= 0.001 or x == 0 else f"{x:.1g}"
    return f"{text} {unit}".strip()
