"""What the real-face profile commits beside its figures: the README's table, the weights, their card."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence

import pandas as pd

from facelib import files, runtime
from facelib.paper import claims, results

PROFILE = "lfw"
SHIPPED = {"02_train": "", "06_losses": "best."}  # notebooks whose run is shipped, and how its results' keys begin
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def publish() -> None:
    """Bring README table, shipped weights and model cards up to date with the profile's results."""
    stored = json.loads(results.results_path(PROFILE).read_text())
    for notebook, prefix in SHIPPED.items():
        if notebook in stored["_provenance"]:
            runs = runs_of(stored, notebook)
            for name, key in runs:
                ship(name, key, prefix, [other for other, _ in runs if other != name])
    readme = runtime.ROOT / "README.md"
    files.write_atomically(readme, with_table(readme.read_text()))


def ship(name: str, key: str, prefix: str = "", others: Sequence[str] = ()) -> None:
    """Put a finished run's weights and history into ``data/weights``, and its `model_card` beside them."""
    from facelib import training

    weights = training.find_run(name, key).weights
    target = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    if weights != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, target)
        shutil.copyfile(weights.with_name("history.csv"), target.with_suffix(".csv"))
    files.write_atomically(target.with_suffix(".md"), model_card(name, key, prefix, others))


def runs_of(stored: dict, notebook: str) -> list[tuple[str, str]]:
    """Name and key of each run whose network a notebook's numbers rest on, from the content of ``results.json``."""
    consumed = stored["_provenance"][notebook]["consumed"]
    return list(zip(consumed["run"].split(), consumed["run key"].split(), strict=True))


def with_table(text: str, profile: str = PROFILE) -> str:
    """The README's text with a fresh results table between its markers.

    Raises
    ------
    ValueError
        The markers are missing.
    """
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"README.md lacks the markers {BEGIN} and {END} that the results table goes between.")
    return f"{head}{BEGIN}\n{results_table(profile)}\n{END}{tail}"


def results_table(profile: str = PROFILE) -> str:
    """Markdown table of every claim that the profile has measured, and a count of the rest."""
    rows = claims.verdicts(profile)
    measured = rows[rows["verdict"] != "not run"]
    lines = [
        f"Profile `{profile}`. In brackets 95 % intervals; of start-up and of G07 the range of the runs, of inference "
        "95 % of the calls, of P24 a one-sided bound. *Other data* marks a number that the source measured on other "
        "faces than ours: it is context, neither confirmed nor refuted. Each claim's rule is in `data/claims.csv`.",
        "",
        "| | claim | source | ours | measured as | n | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in measured.to_dict("records"):
        n = "" if pd.isna(row["n"]) else f"{row['n']:,}"
        measured_as = f"`{row['result']}`" + (f": {row['tested']}" if row["tested"] else "")
        cells = (row["id"], row["claim"], row["source"], row["ours"], measured_as, n, row["verdict"])
        lines.append(f"| {' | '.join(cells)} |")
    if threshold := results.load(profile).get("threshold.value"):
        lines += [
            "",
            f"Ours of P12 to P15 and P23 are at the threshold {results.show(threshold)}, chosen on validation people.",
        ]
    if timed := _machines(profile, measured):
        lines += ["", f"Times and ratios were measured on: {timed}."]
    rest = len(rows) - len(measured)
    lines += ["", f"{rest} further claims are not run yet; `00_overview` lists them with the reason.", ""]
    return "\n".join(lines + _protocol_table(results.load(profile)))


def _machines(profile: str, measured: pd.DataFrame) -> str:
    """The CPUs behind the claims about speed."""
    machines = {}
    for claim in measured[measured["where"].isin(["05_speed", "09_engine"])].to_dict("records"):
        hardware = results.provenance(profile, claim["where"])["hardware"]
        machine = f"{hardware['cpu']}, {hardware['threads']} threads, math path {hardware['cpu math path']}"
        machines.setdefault(machine, []).append(claim["id"])
    return "; ".join(f"{machine} ({', '.join(ids)})" for machine, ids in machines.items())


def _protocol_table(entries: dict[str, dict]) -> list[str]:
    names = {"accuracy": "accuracy, ten folds", "auc": "AUC", "eer": "EER"}
    names |= {f"tar_at_far_{far}": f"TAR at FAR {far}" for far in ("1e-2", "1e-3")}
    if "lfw.view2.cosine.accuracy" not in entries:
        return []
    columns = {
        "the paper's recipe, Euclid": "lfw.view2.euclidean",
        "the paper's, cosine": "lfw.view2.cosine",
        "a better recipe (06), cosine": "best.lfw.view2.cosine",
    }
    is_centred = bool(entries.get("best.centred", {}).get("value"))
    if is_centred:
        columns["the same, not centred"] = "best.lfw.view2.plain.cosine"
    columns = {name: prefix for name, prefix in columns.items() if f"{prefix}.accuracy" in entries}
    lines = ["LFW's standard protocol (View 2, 6,000 pairs):", "", f"| | {' | '.join(columns)} |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for key, name in names.items():
        cells = [results.show(entries[f"{prefix}.{key}"]) for prefix in columns.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    if seeds := entries.get("best.lfw.view2.seeds"):
        said = f"Of the better recipe means over {seeds['value']} seeds; in brackets of its accuracy the interval, "
        said += "of the rest their range."
        if is_centred:
            said += " Its features are centred because validation people say so, by a small margin; that centring "
            said += "gains more on these pairs was known before (06)."
            gains = [entries.get(f"families.centred_minus_plain.{name}") for name in ("same_framing", "framing_of_06")]
            if all(gains):
                same, other = map(results.show, gains)
                said += f" On the families of 12 centring changes the AUC by {same} in the framing trained on, "
                said += f"by {other} in another."
        lines += ["", said]
    for name, chosen in (("most_accurate", "the most accurate"), ("far_1e-2", "with a FAR of 1e-2")):
        if value := entries.get(f"best.threshold.{name}.value"):
            far, recall = (results.show(entries[f"best.threshold.{name}.{rate}"]) for rate in ("far", "recall"))
            threshold = f"Threshold of its cosine distance {chosen} on validation pairs: {results.show(value)}"
            lines += ["", f"{threshold}; on these pairs FAR {far}, TAR {recall}."]
    return lines


def model_card(name: str, key: str, prefix: str = "", others: Sequence[str] = ()) -> str:
    """Markdown card of a shipped run: data, recipe, numbers, limits, terms.

    ``prefix`` begins the keys of its results, which are those of the network together with ``others``.
    """
    from facelib import training

    row = training.find_run(name, key).row
    entries = results.load(PROFILE)
    measured = {
        f"LFW View 2, {metric}, {label}": f"{prefix}lfw.view2.{metric.lower()}.{number}"
        for label, number in (("accuracy", "accuracy"), ("TAR at FAR 1e-2", "tar_at_far_1e-2"))
        for metric in ("Euclidean", "cosine")
    }
    options = json.loads(row["options"])
    if not prefix and options.get("loss") != "distillation":
        measured["training accuracy"] = "train.accuracy"
        measured["accuracy on held-out images of the training people"] = "train.held_out_accuracy"
    found = {label: entries[result] for label, result in measured.items() if result in entries}
    numbers = [f"| {label} | {results.show(entry)} |" for label, entry in found.items()]
    if options.get("loss") == "distillation":
        auc = float(row["validation_auc"])
        numbers.append(f"| AUC of people held out, mean over the sources, cosine without mirroring | {auc:.4f} |")
    use, mean = "`facelib.embedding.Embedder` loads it.", ""
    if seeds := entries.get(f"{prefix}lfw.view2.seeds"):
        loaded = ", ".join(f'"data/weights/{file}.npz"' for file in (name, *others))
        is_centred = entries.get("best.centred", {}).get("value")
        centred = ",\nminus the mean feature of the collection at hand" if is_centred else ""
        use = f"Meant for `facelib.embedding.Embedder([{loaded}], mirror=True)`{centred}."
        together = f" of {1 + len(others)} networks together" if others else ""
        mean = f"\n  The numbers below are means over {seeds['value']} seeds{together}, of which this is one."
        mean += "\n  In brackets the interval over the folds (accuracy) and the range of the seeds (TAR)."
    return f"""# {name}

{_network(options)}
{use}

- **File**: `{name}.npz`, NumPy arrays under the names of `paddle.vision.models.resnet18`, those of a linear end
  under `neck`; float16, batch-norm statistics float32; sha256 `{row["weights_sha256"]}`.
  Training history: `{name}.csv`.
- **Data**: {int(row["images"]):,} images of {int(row["identities"]):,} people of celebfaces, a subset of CelebA
  (Liu et al. 2015), as aligned crops: eyes at a third and two thirds of the width, .365 of the height. Other
  framings cost accuracy.{_outside(options)}
{_recipe(row, options)}
  Run `{key}` of `data/runs.csv`.{mean}

| number (profile `{PROFILE}`) | value |
|---|---|
{chr(10).join(numbers)}

**Limits.** Trained on celebrities' photos of the web, mostly adults facing the camera; its error rates on other
people are unknown and likely differ between groups. Far from what identity checks need: `04_threshold` has the
false accepts of the paper's recipe, `06_losses` those of the better one. **Terms.** Trained on data released for
non-commercial research; use the weights for that alone.
"""


def _network(options: dict) -> str:
    width = options.get("width", 64)
    text = "ResNet-18" + (f" of width {width}" if width != 64 else "")
    if options.get("backbone") == "resnet18-fine":
        text += ", with 3 x 3 filters first and no max-pooling,"
    if (neck := options.get("neck")) in ("linear", "plain"):
        end = "a linear layer" + (" and batch norm" if neck == "linear" else "")
        return f"{text} with {end} at its end:\na 64 x 64 RGB face to {options.get('features', 512)} features."
    return f"{text} without its last layer: a 64 x 64 RGB face to {8 * width} non-negative features."


def _outside(options: dict) -> str:
    """What a network knows that its photos did not tell it."""
    if options.get("loss") != "distillation":
        return ""
    from facelib.training import distillation

    return f"""
- **Outside knowledge**: it learned to give the features of a teacher, SFace (Zhong et al. 2021), and no labels. The
  teacher is `{distillation.TEACHER}` of OpenCV's model zoo (Apache-2.0, sha256
  `{distillation.TEACHER_SHA256}`). What photos it saw, and whether
  LFW's people are among them, is not known here."""


def _recipe(row: dict, options: dict) -> str:
    rate = float(row["learning_rate"])
    text = f"the paper's. Cross-entropy over the identities, Adam at {rate:g}, no augmentation"
    if options:
        named = {"loss": "softmax", "optimizer": "adam", "augmentation": "none"} | options
        text = f"learning rate {rate:g}, {', '.join(f'{name} {value}' for name, value in named.items())}"
    text += f", batches of {row['batch_size']}, {row['epochs']} epochs, pixels in [-1, 1], seed {row['seed']}."
    if options:
        text += f" Weights of epoch {row['best_epoch']}."
    return textwrap.fill(text, 110, initial_indent="- **Recipe**: ", subsequent_indent="  ")
