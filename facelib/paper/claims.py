"""What the measured numbers say about each claim of the sources."""

import re

import pandas as pd

from facelib import runtime
from facelib.paper.results import _result, load, show
from facelib.paper.setting import Setting

PAPER_PROFILE = "paper"  # the only profile that uses the paper's own data sets
WORDS = ("agrees", "differs", "holds", "fails", "undecided", "equal", "by construction", "other data", "not run")


def read_claims() -> pd.DataFrame:
    """``data/claims.csv``: the sources' claims, and which result answers each by which rule."""
    return pd.read_csv(runtime.ROOT / "data" / "claims.csv", dtype=str, keep_default_na=False)


def stated(claim: str) -> dict[int, float]:
    """What a claim's table says: of each number in its text, such as a JPEG quality, the stated value."""
    row = read_claims().set_index("id").loc[claim]
    numbers = map(int, re.findall(r"\d+", row["claim"]))
    return dict(zip(numbers, map(float, row["value"].split()), strict=True))


def verdicts(place: str | Setting) -> pd.DataFrame:
    """One row per claim: what the source says, what was measured (see `results.load`), and the verdict, of `WORDS`.

    The test of a claim is its ``kind`` in ``claims.csv``: ``value`` compares the claimed number with the measured
    interval on the paper's own data, on others it is ``other data``; ``construction:x`` is no measurement, the code
    makes it x. ``above:x`` and ``below:x`` are a direction or a bar, judged by the whole interval (a count has none),
    and ``positive`` is ``above:0``. ``equal:x`` is an equivalence within x. ``value:x`` gives the claimed number in the
    result's unit. A claim of several parts has a kind, a result and so a verdict of each, with ``;`` between them; one
    without its results is ``not run``. ``reason`` says why, or of a claim with a result, what is tested and whose the
    bar is.
    """
    entries, profile = load(place), place if isinstance(place, str) else place.place
    rows = []
    for claim in read_claims().to_dict("records"):
        found = [entries[name] for name in claim["result"].split("; ") if name in entries]
        kinds = claim["kind"].split("; ")
        is_run = bool(claim["result"]) and len(found) == len(kinds)
        words = [_verdict(kind, claim, entry, profile) for kind, entry in zip(kinds, found, strict=False)]
        rows.append(
            {
                "id": claim["id"],
                "claim": claim["claim"],
                "source": f"{claim['value']} {claim['unit']}".strip(),
                "ours": "; ".join(show(entry) for entry in found) if is_run else "",
                "result": claim["result"],
                "tested": claim["reason"] if is_run else "",
                "n": found[0]["n"] if is_run else None,
                "verdict": "; ".join(words) if is_run else "not run",
                "where": claim["notebook"] if is_run else ": ".join(filter(None, (claim["notebook"], claim["reason"]))),
            }
        )
    return pd.DataFrame(rows).astype({"n": "Int64"})


def _verdict(kind: str, claim: dict, entry: dict, profile: str) -> str:
    result = _result(entry)
    rule, _, bound = "above:0".partition(":") if kind == "positive" else kind.partition(":")
    if rule not in ("value", "construction", "above", "below", "equal"):
        raise ValueError(f"Claim {claim['id']} has the unknown kind '{kind}' in data/claims.csv.")
    if rule == "value" and profile != PAPER_PROFILE:
        return "other data"
    claimed = float(bound) if bound else float(claim["value"]) * (0.01 if claim["unit"] == "%" else 1)
    if result.value is None:
        return "differs" if rule == "value" else "undecided"
    if entry.get("undefined"):
        return "undecided"
    if rule == "construction":
        return "by construction" if result.value == claimed else "differs"
    low, high = (result.value, result.value) if result.low is None else (result.low, result.high)
    if rule == "value":
        return "agrees" if low <= claimed <= high else "differs"
    if rule == "equal":
        inside, outside = max(-low, high) <= claimed, min(-low, high) < -claimed
        return "equal" if inside else "fails" if outside else "undecided"
    low, high = (low - claimed, high - claimed) if rule == "above" else (claimed - high, claimed - low)
    if result.low is None:
        return "holds" if low > 0 else "fails"
    return "holds" if low > 0 else "fails" if high < 0 else "undecided"
