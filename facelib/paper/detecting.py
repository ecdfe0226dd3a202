"""Detectors beside each other, and what each way of framing a face is worth to a network."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd

from facelib import metrics, runtime
from facelib.benchmarks import detection, robustness
from facelib.data import aligned, archives, catalog, framing
from facelib.data.pairs import Pairs
from facelib.files import kept_array
from facelib.inference import decision
from facelib.metrics import Bootstrap
from facelib.paper import deciding
from facelib.paper.setting import Setting
from facelib.training import distillation

WAYS: dict[str, dict] = {"centre": {}, "box": {"box": True}, "aligned": {}}  # a fixed square, box, landmarks


def detectors(setting: Setting) -> pd.DataFrame:
    """A row of `detection.judge` for each detector on the photos of ``detect_set``, whose faces are known.

    Of real photos they are kept as ``detect.csv``. The committed rows stand in for detectors that are not installed,
    and for all where the photos are not at hand.
    """
    name, kept = setting["detect_set"], runtime.ROOT / "figures" / "lfw" / "detect.csv"
    if name in catalog.DEMO_SETS:
        photos, committed = [*detection.drawn(catalog.DEMO_SETS[name][0])], {}
    else:
        committed = pd.read_csv(kept, index_col="detector").to_dict("index") if kept.exists() else {}
        photos = [] if catalog.missing(name) and committed else [*detection.press(catalog.source(name))]
    rows = {detector: detection.judge(photos, find)[0] for detector, find in detection.detectors().items() if photos}
    if stand_in := sorted(committed.keys() - rows.keys()):
        print(f"Committed results, not computed here ({name} or the extra `peers` not at hand): {', '.join(stand_in)}.")
    table = pd.DataFrame.from_dict(committed | rows, "index").rename_axis("detector")
    if name not in catalog.DEMO_SETS:
        setting.keep("detect", table.reset_index())
    return table


def by_eye(setting: Setting) -> pd.DataFrame:
    """What a look at a set's known faces that a detector disputes has found, counted (``data/detections.csv``)."""
    seen = pd.read_csv(runtime.ROOT / "data" / "detections.csv")
    return seen[seen["set"] == setting["detect_set"]].groupby(["detector", "kind", "by_eye"]).size().to_frame("boxes")


def in_words(seen: pd.DataFrame) -> str:
    """What `by_eye` says of `compare`'s detector."""
    if "compare" not in seen.index:
        return "The faces of this profile were drawn: where one is, is no question."
    boxes = seen.loc["compare", "boxes"]
    none, real = boxes.get(("missed", "no face"), 0), boxes.get(("extra", "a face"), 0)
    return (
        f"Of {boxes['missed'].sum()} known boxes that `compare` does not have **{none}** show no face, and of "
        f"{boxes['extra'].sum()} that it alone has **{real}** show one."
    )


def by_framing(setting: Setting) -> tuple[dict[tuple[str, str], np.ndarray], Bootstrap | None]:
    """How far the first ``robust_pairs`` test pairs of each kind lie from the threshold of the other folds, (m,).

    By network (``ours``, that of `compare`, and ``sface``) and one of `WAYS`. Both see the same squares of 128 pixels,
    each in its own size. SFace's distances are kept in ``data/scores``; without them and the extra ``teacher`` it is
    left out. Nothing where a network wants faces as packed, or photos have no fixed square.
    """
    card, crop = decision.read_card(decision.DEFAULT), setting.scored.manifest["crop"]
    if not setting["shipped_card"] or card.frame != "detect" or not crop:
        return {}, None
    setting.used["cards"] = {card.name: deciding.card_key(card)}
    of, most = setting.pairs, setting["robust_pairs"]
    some = of.select(np.sort(np.concatenate([np.flatnonzero(kind)[:most] for kind in (of.genuine, ~of.genuine)])))
    rows = np.unique([some.left, some.right])
    chosen = Pairs(*(np.searchsorted(rows, side) for side in (some.left, some.right)), some.genuine, some.fold)
    faces, source = setting.scored.select(rows), catalog.source(setting["test_set"])
    paths = [archives.members(source).root + path for path in faces.paths]

    def pixels(way: str) -> np.ndarray:
        how = {"crop": tuple(crop)} if way == "centre" else WAYS[way]
        found = aligned.faces(source, paths, robustness.SIDE, **how)
        return np.stack([found[path] for path in paths])

    def distances(way: str, embed) -> np.ndarray:
        found = embed(pixels(way))
        return metrics.distance(found[chosen.left], found[chosen.right], card.metric)

    embed = decision.load(card.name).embedder
    found = {("ours", way): distances(way, lambda photos: embed(robustness.small(photos, card.size))) for way in WAYS}
    state = [faces.key, chosen.left.tolist(), chosen.right.tolist(), [*framing.BOX_MIDDLE, framing.BOX_SIDE]]
    sees = partial(distillation.teacher_sees, count=len(faces), progress=True)
    for way in WAYS:
        file = f"data/scores/sface-{archives.digest([*state, aligned.ALIGNED_VERSION, way])}.npy"
        kept = runtime.ROOT / file
        try:
            kept = kept if kept.exists() else runtime.output_dir() / file
            found["sface", way] = kept_array(kept, lambda way=way: distances(way, sees).astype(np.float32))
        except FileNotFoundError as missing:  # the teacher
            print(f"Left out: {missing}")
            break
    fold = np.unique(chosen.fold, return_inverse=True)[1]
    over_people = Bootstrap(chosen, faces.labels, setting["replicates"], setting["seed"])
    limits = {key: metrics.ten_fold(far, chosen.genuine, chosen.fold).thresholds[fold] for key, far in found.items()}
    return {key: far - limits[key] for key, far in found.items()}, over_people
