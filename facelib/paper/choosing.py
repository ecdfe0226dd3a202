"""The pairs that choose: networks and recipes by `development`, thresholds by `threshold_pairs`; View 2 by neither."""

from functools import lru_cache

import numpy as np

from facelib import inference, metrics, training
from facelib.benchmarks import scores
from facelib.data import archives, catalog, pairs, protocols
from facelib.data.packed import PackedFaces
from facelib.data.pairs import Pairs
from facelib.inference.embedder import EMBEDDER_VERSION
from facelib.paper.setting import Setting


def development(setting: Setting) -> tuple[PackedFaces, Pairs]:
    """Faces and pairs that choose: of LFW View 1's DevTrain without the pairs of View 2, else validation people's."""
    is_lfw = setting["test_set"] in catalog.LFW_SETS
    faces = setting.scored if is_lfw else setting.best_split.validation
    found = _dev_train(tuple(faces.paths)) if is_lfw else by_source(setting, faces)
    return faces, Pairs(found.left, found.right, found.genuine)


@lru_cache(maxsize=2)
def _dev_train(paths: tuple[str, ...]) -> Pairs:
    return pairs.match_lfw_pairs(protocols.view1("train"), paths)


def threshold_pairs(setting: Setting) -> tuple[PackedFaces, Pairs]:
    """Faces and pairs that choose a threshold for 02's network, as many of each kind, none of which judges it.

    LFW's own where LFW judges, as `lfw_chooses` says; else those of validation people, within each source.
    """
    if setting["test_set"] in catalog.LFW_SETS:
        return setting.scored, lfw_chooses(setting.scored, setting["seed"])
    return setting.split.validation, by_source(setting, setting.split.validation)


def by_source(setting: Setting, faces: PackedFaces) -> Pairs:
    """Pairs of validation people, as many of each kind, within each source."""
    return pairs.draw_by_source(faces.labels, faces.sources, setting["validation_pairs"], setting["seed"])


def lfw_chooses(faces: PackedFaces, seed: int) -> Pairs:
    """Both parts of LFW's View 1 without the pairs of View 2, 842 of each kind, as rows of its photos."""
    view1 = [*protocols.view1("train"), *protocols.view1("test")]
    return pairs.match_lfw_pairs(view1, faces.paths).balanced(seed)


def again(setting: Setting, row: dict) -> tuple[float, np.ndarray] | None:
    """Of a finished run its AUC on held-out people, and mirrored cosine distances (m,) of the pairs that judge.

    Both are kept in ``data/scores``; None where neither they nor the weights are at hand.
    """
    setting.used["runs"][f"again: {row['name']}"] = row["key"]
    name = f"again-{archives.digest([row['key'], *scored_on(setting)])}"
    if not scores.scores_file(name).exists():
        if (run := training.find_run(row["name"], row["key"])) is None:
            return None
        rows, some = setting.pairs.compact()
        vectors = inference.features(setting.scored.select(rows), run.weights, mirror=True)
        distances = metrics.cosine_distance(vectors[some.left], vectors[some.right]).astype(np.float16)
        scores.keep_scores(name, {"judging": distances, "validation_auc": np.float64(run.row["validation_auc"])})
    found = scores.read_scores(name)
    return float(found["validation_auc"]), found["judging"].astype(float)


def scored_on(setting: Setting) -> list:
    """What distances of the pairs that choose and of those that judge rest on, beside network and framing; for keys."""
    faces, choosing = development(setting)
    columns = [column.tolist() for each in (choosing, setting.pairs) for column in (each.left, each.right)]
    return [faces.key, setting.scored.key, columns, EMBEDDER_VERSION]
