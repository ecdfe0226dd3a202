"""The networks that are deployed, with the pairs that choose and judge, and the engines they are timed in."""

from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from facelib.benchmarks import rounding, serving
from facelib.benchmarks.rounding import EXACT, Candidate, Compared
from facelib.data import pairs, protocols, rendered
from facelib.inference import backends, decision
from facelib.paper import deciding, results
from facelib.paper.setting import Setting
from facelib.training import distillation

STARTS = {"light": "compare: ONNX Runtime", "dygraph": "Paddle", "inference": "Paddle's engine", "torch": "PyTorch"}


def candidates(setting: Setting) -> dict[str, Candidate]:
    """By the begin of their keys: the networks with a card, in the profile that judges them, and that of 02."""
    done = setting.run
    if not setting["shipped_card"]:
        validation = setting.split.validation
        drawn = validation.labels, validation.sources, setting["validation_pairs"], setting["seed"]
        choosing = Compared(validation, pairs.draw_by_source(*drawn))
        return {
            "deploy": Candidate(
                done.row["name"], done.weights, False, choosing, Compared(setting.split.test, setting.pairs)
            )
        }
    view1 = pairs.match_lfw_pairs([*protocols.view1("train"), *protocols.view1("test")], setting.scored.paths)
    found = {"deploy": _shipped(setting, decision.DEFAULT, view1)}
    found["distil.small"] = _shipped(setting, f"{decision.DEFAULT}-small", view1)
    whole = [Compared(setting.scored, chosen) for chosen in (view1, setting.pairs)]
    return found | {"deploy.paper": Candidate(done.row["name"], done.weights, False, *whole)}


def _shipped(setting: Setting, name: str, view1: pairs.Pairs) -> Candidate:
    card = decision.read_card(name)
    setting.used["cards"][name] = deciding.card_key(card)
    parts = [Compared(*deciding.framed_pairs(setting, chosen, card.size)[1:3]) for chosen in (view1, setting.pairs)]
    return Candidate(name, decision.weights_folder() / f"{name}.npz", card.mirror, *parts)


def megabytes(weights: Path, backend: str) -> float:
    """Size of the file that a backend runs; the network as trained for those of Paddle and PyTorch."""
    return (backends.file_of(weights, backend) if backend in backends.NEEDS else Path(weights)).stat().st_size / 1e6


def jobs(
    setting: Setting, networks: dict[str, Candidate], usable: dict[str, list[str]]
) -> tuple[dict[str, list[Path]], dict[str, str]]:
    """What `benchmarks.latency` is to time; and why any of ``deploy_peers`` is left out."""
    found = {name: [each.weights for key, each in networks.items() if name in usable[key]] for name in backends.NEEDS}
    missing = {}
    for name in setting["deploy_peers"]:
        if name == "sface":
            try:
                found[name] = [distillation.teacher_file()]
            except FileNotFoundError as error:
                missing[name] = str(error)
        elif find_spec("torch"):
            found[name] = [each.weights for each in networks.values()]
        else:
            missing[name] = "PyTorch is not installed (extra `peers`)"
    return {name: files for name, files in found.items() if files}, missing


def by_network(times: pd.DataFrame, networks: dict[str, Candidate]) -> dict[tuple[str, str], pd.DataFrame]:
    """Rows of `benchmarks.latency` by the begin of their keys and engine, indexed by round."""
    keys = {str(each.weights): key for key, each in networks.items()}
    times = times.rename(columns={"batch_ms": "batch64_ms"}).set_index("round")
    return {(keys.get(file, "peer"), engine): rows for (file, engine), rows in times.groupby(["weights", "engine"])}


def fastest(timed: dict[tuple[str, str], pd.DataFrame], key: str) -> pd.Series:
    """Milliseconds for one face of our best float32 backend, the one with the smallest median, by round."""
    ours = [rows["single_ms"] for (network, name), rows in timed.items() if network == key and name in EXACT]
    return min(ours, key=pd.Series.median)


def over_peer(timed: dict[tuple[str, str], pd.DataFrame], key: str) -> pd.Series | None:
    """PyTorch's milliseconds for one face, in its better layout, over those of `fastest`; None without PyTorch."""
    theirs = [rows["single_ms"] for (network, name), rows in timed.items() if network == key and "torch" in name]
    return min(theirs, key=pd.Series.median) / fastest(timed, key) if theirs else None


def overview(entries: dict[str, dict], networks: dict[str, Candidate], files: dict[str, list[Path]]) -> pd.DataFrame:
    """Times, size and accuracy of every engine that has been recorded, a row for each network in it."""
    rows = []
    for key, name in ((key, name) for name in files for key in (*networks, "peer")):
        if f"{key}.{name}.single_ms" not in entries:
            continue
        weights = networks[key].weights if key in networks else files[name][0]
        shown = {call: round(entries[f"{key}.{name}.{call}_ms"]["value"], 2) for call in ("single", "pair", "batch64")}
        accuracy = "peer.sface.lfw.view2.accuracy" if name == "sface" else f"{key}.{name}.accuracy"
        told = {"accuracy": accuracy, "lost by rounding": f"{key}.{name}.accuracy_lost"}
        told = {column: results.show(entries[each]) if each in entries else "" for column, each in told.items()}
        network = networks[key].name if key in networks else ""
        rows.append(
            [serving.SERVED[name], network, *shown.values(), round(megabytes(weights, name), 2), *told.values()]
        )
    columns = ["engine", "network", "1 face", "2 faces", "64 faces", "MB", "accuracy", "lost by rounding"]
    return pd.DataFrame(rows, columns=columns).sort_values(["network", "1 face"]).set_index(["network", "engine"])


def about_eight_bits(entries: dict[str, dict], networks: dict[str, Candidate], choices: pd.DataFrame) -> str:
    """What ONNX Runtime's 8 bits save and cost, and whether rows of `rounding.as_choices` ask for more, in words."""
    told = []
    for key, each in networks.items():
        if (prefix := f"{key}.onnx_int8") + ".time_saved" in entries:
            saved, lost = (entries[f"{prefix}.{name}"] for name in ("time_saved", "accuracy_lost"))
            told.append(
                f"8 bits save **{saved['value']:.0%}** of the time for one face ({saved['low']:.0%} to "
                f"{saved['high']:.0%}) and cost **{results.show(lost)}** of the accuracy of {each.name}"
            )
    lost = choices.loc[choices["backend"].str.endswith("int8"), "lost"].max()  # NaN of none
    if told:
        so = "has to be tried" if lost > rounding.MARGIN else "is not needed"
        told.append(f"On the pairs that choose they lose {lost:.4f} at most: fine-tuning with the rounding {so}")
    return ". ".join(told or ["8 bits were not measured here"]) + "."


def starts(setting: Setting, folder: str | Path) -> pd.DataFrame:
    """Processes that decide on two rendered photos of 256 pixels: `serving.deciding` of each of `STARTS` at hand."""
    photos = [Path(folder) / f"{shot}.png" for shot in (0, 1)]
    for shot, path in enumerate(photos):
        rendered.render_face(104, shot, size=256).save(path)
    asked = {"light", *setting["deploy_backends"], *(["torch"] if "torch" in setting["deploy_peers"] else [])}
    asked -= set() if find_spec("torch") else {"torch"}
    count = setting["deploy_starts"]
    runs = {name: count if name == "light" else max(1, count // 4) for name in STARTS if name in asked}
    return serving.deciding(list(runs), photos, runs)
