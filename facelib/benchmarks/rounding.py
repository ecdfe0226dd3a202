"""What rounding costs a network: its features and accuracy in every backend, and which backends keep them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from facelib import inference, metrics
from facelib.data.packed import PackedFaces, to_input
from facelib.data.pairs import Pairs
from facelib.files import checksum
from facelib.inference import backends, export

MARGIN = 0.005  # accuracy that a backend may lose on the choosing pairs
EXACT = ("onnx", "dygraph", "inference", "openvino")  # in float32: the first stands for all, see `differences`
COLUMNS = ("network", "sha256", "backend", "accuracy", "lost", "keeps_accuracy", "single_ms")


@dataclass(frozen=True, eq=False)
class Compared:
    """Faces (n, H, W, 3) uint8, or packed ones, and pairs of them."""

    faces: np.ndarray | PackedFaces
    pairs: Pairs


@dataclass(frozen=True, eq=False)
class Candidate:
    """A network with the pairs that choose its engine and those that judge it."""

    name: str
    weights: Path
    mirror: bool
    choosing: Compared
    judging: Compared


def prepare(weights: Path, names: Sequence[str]) -> dict[str, str]:
    """Why each backend cannot run a network here, empty where it can; what has to be exported for it is."""
    reasons = {}
    for name in names:
        ending = backends.NEEDS[name].ending
        try:
            if ending:
                export.cached(weights, ending, export.calibration_faces() if "int8" in ending else None)
            reasons[name] = backends.unusable(name, weights)
        except ModuleNotFoundError as error:
            reasons[name] = f"not exported, {error.name} is missing (extra `export`)"
    return reasons


def differences(candidate: Candidate, names: Sequence[str], count: int = 256) -> pd.DataFrame:
    """Largest difference of each backend's features from those of the network as trained, ``relative`` too."""
    faces = candidate.judging.faces
    batch = to_input(faces[:count] if isinstance(faces, np.ndarray) else faces.take(np.arange(min(count, len(faces)))))
    expected = backends.network(candidate.weights, "dygraph")(batch)
    found = {name: np.abs(backends.network(candidate.weights, name)(batch) - expected).max() for name in names}
    return pd.DataFrame({"largest": found}).assign(relative=lambda table: table["largest"] / np.abs(expected).max())


def distances(candidate: Candidate, part: Compared, backend: str) -> np.ndarray:
    """Cosine distances (m,) of pairs by a network in a backend."""
    vectors = inference.features(part.faces, candidate.weights, False, candidate.mirror, backend)
    return metrics.cosine_distance(vectors[part.pairs.left], vectors[part.pairs.right])


def by_backend(names: Sequence[str], measure: Callable[[str], Any]) -> dict[str, Any]:
    """What ``measure`` says of each backend; it is asked once for all in float32."""
    exact = next((name for name in EXACT if name in names), None)
    found = {name: measure(name) for name in names if name not in EXACT or name == exact}
    return {name: found[exact if name in EXACT else name] for name in names}


def chosen(candidate: Candidate, names: Sequence[str]) -> pd.DataFrame:
    """Accuracy of each backend on the choosing pairs at the threshold best for them, and whether it keeps enough."""
    part = candidate.choosing

    def accuracy(backend: str) -> float:
        found, genuine = distances(candidate, part, backend), part.pairs.genuine
        return metrics.confusion(found, genuine, metrics.best_threshold(found, genuine)).accuracy

    table = pd.DataFrame({"accuracy": by_backend(names, accuracy)})
    table["lost"] = table["accuracy"][next(name for name in EXACT if name in names)] - table["accuracy"]
    return table.assign(keeps_accuracy=np.where(table["lost"] <= MARGIN, "yes", "no"))


def judged(candidate: Candidate, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Cosine distances (m,) of the judging pairs, by backend."""
    return by_backend(names, lambda name: distances(candidate, candidate.judging, name))


def as_choices(candidate: Candidate, table: pd.DataFrame, single_ms: dict[str, float]) -> pd.DataFrame:
    """Rows of ``backends.csv``, which `backends.choose` reads, from `chosen` and the time for one face."""
    key = checksum(candidate.weights)
    rows = table.assign(network=candidate.name, sha256=key, single_ms=pd.Series(single_ms)).rename_axis("backend")
    return rows.reset_index().sort_values("single_ms")[list(COLUMNS)].round(4)
