"""What the measured numbers say about each claim of the sources."""

from __future__ import annotations

import re

import pandas as pd

from facelib import runtime
from facelib.paper.results import Result, _result, load, show

PAPER_PROFILE = "paper"  # the only profile that uses the paper's own data sets


def read_claims() -> pd.DataFrame:
    """``data/claims.csv``: the sources' claims, and which result answers each by which rule."""
    return pd.read_csv(runtime.ROOT / "data" / "claims.csv", dtype=str, keep_default_na=False)


def stated(claim: str) -> dict[int, float]:
    """What a claim's table says: of each number in its text, such as a JPEG quality, the stated value."""
    row = read_claims().set_index("id").loc[claim]
    numbers = map(int, re.findall(r"\d+", row["claim"]))
    return dict(zip(numbers, map(float, row["value"].split()), strict=True))


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
    for claim in read_claims().to_dict("records"):
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
    claimed = float(bound) if bound else float(claim["value"]) * (0.01 if claim["unit"] == "%" else 1)
    if rule == "exact":
        return "agrees" if result.value == claimed else "differs"
    low, high = (result.value, result.value) if result.low is None else (result.low, result.high)
    return "agrees" if low <= claimed <= high else "differs"
