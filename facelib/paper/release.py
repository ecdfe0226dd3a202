"""What the real-face profile commits beside its figures: RESULTS.md, the README's rows, the weights, their card."""

import collections
import contextlib
import dataclasses
import fnmatch
import io
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd

from facelib import files, runtime, training
from facelib.inference import backends, decision
from facelib.paper import claims, results

PROFILE = "lfw"
# Notebooks whose runs are shipped: how the keys of their numbers begin, and the parameter that names the runs.
SHIPPED = {"02_train": ("", "run"), "14_recipes": ("best.", "best_networks")}
_SPEED = ("05_speed", "09_engine", "10_deploy")
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
PROTOCOL = {  # rows of the table of LFW's protocol: where their numbers are, and those over several trainings
    "the paper's, Euclid": ("lfw.view2.euclidean", ""),
    "the paper's, cosine": ("lfw.view2.cosine", ""),
    "the paper's, cosine, mirrored": ("paper.lfw.view2.mirror.cosine", "paper.lfw.view2.mirror.cosine.over_seeds"),
    "the paper's, cosine, mirrored and centred": ("paper.lfw.view2.mirror_centred.cosine", ""),
    "the better (14), cosine": ("kept.lfw.view2.none.cosine", ""),
    "the better, cosine, mirrored": ("kept.lfw.view2.mirror.cosine", "best.lfw.view2.mirror.cosine.over_seeds"),
    "the better, cosine, mirrored and centred": (
        "kept.lfw.view2.mirror_centred.cosine",
        "best.lfw.view2.mirror_centred.cosine.over_seeds",
    ),
}
FACES = "Faces: in brackets 95 % over people (P16: over LFW's folds, whose people are disjoint)"
TRAININGS = "Trainings against each other: in brackets 95 % over people and seeds"
_TRAININGS = ("against.", "data.people.", "data.dims.")
APART = {"P05": "over images", "P06": "over epochs", "P09": "over draws", "P21": "over trainings", "P24": "one-sided"}
OTHERS = f"Faces, with other brackets: {', '.join(f'{id} {kind}' for id, kind in APART.items())}"
TIMES = "Times: in brackets the range of the runs, of one face or pair 95 % of the calls (G13's accuracy: over folds)"
NUMBERS = {"accuracy": "accuracy, ten folds", "auc": "AUC", "eer": "EER"}
NUMBERS |= {f"tar_at_far_{far}": f"TAR at FAR {far}" for far in ("1e-2", "1e-3")}


def publish() -> None:
    """Bring RESULTS.md, the README's rows, shipped weights and model cards up to date with the profile's results."""
    provenance = json.loads(results.results_path(PROFILE).read_text(encoding="utf-8"))["_provenance"]
    for notebook, (prefix, _) in SHIPPED.items():
        if notebook in provenance:
            runs = runs_of(provenance, notebook)
            for name, key in runs.items():
                ship(name, key, prefix, [other for other in runs if other != name])
    for path in sorted(decision.weights_folder().glob("*.npz")):  # of those that were shipped by hand, the card
        if (run := training.shipped_run(path.stem)) and training.Recipe.of_run(run.row).loss == "distillation":
            files.write_atomically(path.with_suffix(".md"), model_card(path.stem, run.row["key"]))
    rates = [results.load(PROFILE).get(f"every_pair.card.far_1e-{k}.far") for k in (1, 2, 3)]
    if counted := tuple((_rounded(far["value"]), _rounded(far["low"]), _rounded(far["high"])) for far in rates if far):
        decision.write_card(dataclasses.replace(decision.read_card(decision.DEFAULT), far_of_all=counted))
    if (choices := results.results_path(PROFILE).with_name(backends.CHOICES)).exists():  # what `backend="auto"` goes by
        shutil.copyfile(choices, runtime.ROOT / "data" / "weights" / backends.CHOICES)
    for readme in runtime.ROOT.glob("README*.md"):
        text = with_table(readme.read_text(encoding="utf-8"), language=readme.stem.removeprefix("README"))
        files.write_atomically(readme, with_prints(text))
    files.write_atomically(runtime.ROOT / "RESULTS.md", results_table())


def _rounded(rate: float) -> float:
    return float(f"{rate:.6g}")  # engines differ in the ninth digit


def runs_of(provenance: dict, notebook: str) -> dict[str, str]:
    """Key of each run that a notebook ships, by its name, from the provenance in ``results.json``."""
    origin = provenance[notebook]
    named = origin["parameters"][SHIPPED[notebook][1]]
    return {name: origin["consumed"]["runs"][name] for name in ([named] if isinstance(named, str) else named)}


def ship(name: str, key: str, prefix: str = "", others: Sequence[str] = ()) -> None:
    """Put a finished run's weights and history into ``data/weights``, and its `model_card` beside them."""
    weights = training.find_run(name, key).weights
    target = runtime.ROOT / "data" / "weights" / f"{name}.npz"
    if weights != target:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(weights, target)
        shutil.copyfile(weights.with_name("history.csv"), target.with_suffix(".csv"))
    files.write_atomically(target.with_suffix(".md"), model_card(name, key, prefix, others))


def with_table(text: str, profile: str = PROFILE, language: str = "") -> str:
    """A README's text (of ``README.zh.md``, the language is ``.zh``) with fresh rows between its markers.

    ValueError where these are missing.
    """
    head, _, rest = text.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        raise ValueError(f"The README lacks the markers {BEGIN} and {END} that the results table goes between.")
    return f"{head}{BEGIN}\n{headline(profile, language)}{END}{tail}"


def with_prints(text: str) -> str:
    """The README's text, its first snippet of Python with what it prints now, after ``# prints``."""
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        exec(snippet[1], {})
    fresh = re.sub(r"# prints.*", f"# prints {told.getvalue().strip()}", snippet[1])
    return text[: snippet.start(1)] + fresh + text[snippet.end(1) :]


def headline(profile: str = PROFILE, language: str = "") -> str:
    """Markdown of at most ten rows: what a reader wants to know first, and what `facelib.compare` promises."""
    card, entries = decision.read_card(decision.DEFAULT), results.load(profile)
    kept = {}  # how many of the card's three rates lie in what was measured
    for key in (f"card.{card.name}", "every_pair.card"):
        fars = {k: entries.get(f"{key}.far_1e-{k}.far", {}) for k in (1, 2, 3)}
        kept[key] = sum(far["low"] <= 10**-k <= far["high"] for k, far in fars.items() if far.get("low") is not None)
    return _filled(f"headline{language}.md", entries, profile=profile, card=card, kept=kept)


def results_table(profile: str = PROFILE) -> str:
    """Markdown of every claim that the profile has measured, a count of the rest, and LFW's protocol."""
    rows, entries = claims.verdicts(profile), results.load(profile)
    measured = rows[rows["verdict"] != "not run"]
    timed, apart = measured["where"].isin(_SPEED), measured["id"].isin(APART)
    trained = measured["result"].map(lambda keys: any(key.startswith(_TRAININGS) for key in keys.split("; "))) & ~apart
    tables = {FACES: measured[~timed & ~apart & ~trained], TRAININGS: measured[trained]}
    tables |= {OTHERS: measured[apart], TIMES: measured[timed]}
    protocol = {name: keys for name, keys in PROTOCOL.items() if f"{keys[0]}.accuracy" in entries}
    return _filled(
        "results.md",
        entries,
        profile=profile,
        tables={title: rows.to_dict("records") for title, rows in tables.items()},
        waiting=len(rows) - len(measured),
        machines=_machines(profile, measured[timed]),
        protocol=protocol,
        numbers=NUMBERS,
        bare=without_interval(entries),
    )


def without_interval(entries: dict[str, dict]) -> dict[str, dict[str, int]]:
    """By the reasons of ``data/no_interval.csv``, how many numbers without an interval each of its patterns has.

    Of a number without a reason, the reason is empty and the pattern its key.
    """
    rules = pd.read_csv(runtime.ROOT / "data" / "no_interval.csv").itertuples(index=False)
    known, found = [*map(tuple, rules)], collections.defaultdict(collections.Counter)
    for key in [key for key, entry in entries.items() if entry["low"] is None]:
        pattern, why = next((rule for rule in known if fnmatch.fnmatchcase(key, rule[0])), (key, ""))
        found[why][pattern] += 1
    return found


def model_card(name: str, key: str, prefix: str = "", others: Sequence[str] = ()) -> str:
    """Markdown card of a shipped run: data, recipe, numbers, limits, terms.

    ``prefix`` begins the keys of its results, which are those of the network together with ``others``.
    """
    row, eight_bits = training.find_run(name, key).row, decision.weights_folder() / f"{name}.int8.onnx"
    entries, options = results.load(PROFILE), json.loads(row["options"])
    is_distilled = options.get("loss") == "distillation"
    if is_distilled:  # of compare's network as the notebook that decides has them, of others as the one that compares
        kind = name.removeprefix(decision.DEFAULT).lstrip("-")
        begin = f"distil.{kind}" if kind else "decide"
        numbers = {
            f"LFW View 2, cosine, framed by the detector, {label}": f"{begin}.lfw.view2.{number}"
            for label, number in (("accuracy", "accuracy"), ("AUC", "auc"), ("TAR at FAR 1e-2", "tar_at_far_1e-2"))
        }
        numbers["LFW View 2, accuracy lost in 8 bits"] = f"{begin if kind else 'deploy'}.onnx_int8.accuracy_lost"
    elif prefix:
        numbers = {"LFW View 2, cosine, mirrored, accuracy": f"{prefix}lfw.view2.mirror.cosine.accuracy"}
        numbers["the same of this training, TAR at FAR 1e-2"] = "kept.lfw.view2.mirror.cosine.tar_at_far_1e-2"
    else:
        numbers = {
            f"LFW View 2, {metric}, {label}": f"lfw.view2.{metric.lower()}.{number}"
            for label, number in (("accuracy", "accuracy"), ("TAR at FAR 1e-2", "tar_at_far_1e-2"))
            for metric in ("Euclidean", "cosine")
        }
    if not prefix and not is_distilled:
        numbers["training accuracy"] = "train.accuracy"
        numbers["accuracy on held-out images of the training people"] = "train.held_out_accuracy"
    return _filled(
        "card.md",
        entries,
        profile=PROFILE,
        name=name,
        key=key,
        row=row,
        others=list(others),
        numbers=numbers,
        options=options,
        options_told={"loss": "softmax", "optimizer": "adam", "augmentation": "none"} | options,
        width=options.get("width", 64),
        rate=f"{float(row['learning_rate']):g}",
        seeds=entries.get(f"{prefix}lfw.view2.seeds", {}).get("value"),
        teacher=training.distillation if is_distilled else None,
        eight_bits=files.checksum(eight_bits) if eight_bits.exists() else "",
        card=decision.read_card(name) if (decision.weights_folder() / f"{name}.json").exists() else None,
    )


def _filled(template: str, entries: dict[str, dict], **values) -> str:
    """A file of ``templates`` with its values; in it ``show(key)`` is a number with its interval."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).with_name("templates")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["count_of"] = lambda n: "" if pd.isna(n) else f"{int(n):,}"
    values |= {"entries": entries, "show": lambda key: results.show(entries[key])}
    return environment.get_template(template).render(values)


def _machines(profile: str, timed: pd.DataFrame) -> dict[str, list[str]]:
    """The claims about speed, by the machine that they were measured on."""
    machines: dict[str, list[str]] = {}
    for claim in timed.to_dict("records"):
        hardware = results.provenance(profile, claim["where"])["hardware"]
        machine = f"{hardware['cpu']}, {hardware['threads']} threads, math path {hardware['cpu math path']}"
        machines.setdefault(machine, []).append(claim["id"])
    return machines
