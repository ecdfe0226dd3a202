"""Committed rows of detectors stand in where photos or a detector are missing."""

import pandas as pd
import pytest

from facelib import runtime
from facelib.benchmarks import detection
from facelib.data import catalog
from facelib.paper import detecting, setup


@pytest.fixture
def setting(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_OUTPUT", str(tmp_path))
    return setup("lfw")


def committed():
    return pd.read_csv(runtime.ROOT / "figures" / "lfw" / "detect.csv", index_col="detector").drop(columns="set")


def test_where_the_photos_are_missing_all_rows_are_the_committed_ones(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACELIB_DATA", str(tmp_path))
    pd.testing.assert_frame_equal(detecting.detectors(setting), committed())
    assert "Committed results, not computed here (wild or" in capsys.readouterr().out
    kept = setting.table("detect").set_index("detector")
    pd.testing.assert_frame_equal(kept, committed().assign(set="wild"))


def test_committed_rows_are_of_their_set_alone(monkeypatch):
    setting = type("Setting", (dict,), {"keep": lambda *_: None})(detect_set="of_mine")
    monkeypatch.setattr(detecting.catalog, "missing", lambda name: False)
    monkeypatch.setattr(detecting.catalog, "source", lambda name: name)
    monkeypatch.setattr(detecting.detection, "press", lambda source: [])
    assert detecting.detectors(setting).empty


def test_a_detector_that_is_not_installed_keeps_its_row(setting, monkeypatch, capsys):
    row = {"faces": 4, "found": 3, "right": 2, "eye_error": 0.25, "refined": 0.125, "ms": 1.0}
    monkeypatch.setattr(catalog, "missing", lambda name: [])
    monkeypatch.setattr(catalog, "source", lambda name: name)
    monkeypatch.setattr(detection, "press", lambda source: [("1.jpg", None, [])])
    monkeypatch.setattr(detection, "judge", lambda photos, find: (row, None))
    monkeypatch.setattr(detection, "detectors", lambda: {"compare": None})
    table = detecting.detectors(setting)
    assert table.loc["compare"].to_dict() == row
    assert table.loc["mtcnn_640"].to_dict() == committed().loc["mtcnn_640"].to_dict()
    assert "compare" not in capsys.readouterr().out.partition(": ")[2]


def test_disagreements_are_counted_in_words():
    counts = {("missed", "no face"): 5, ("missed", "a face"): 2, ("extra", "a face"): 6}
    seen = pd.Series({("compare", *key): count for key, count in counts.items()}).sort_index().to_frame("boxes")
    told = detecting.in_words(seen)
    assert "Of 7 known boxes" in told and "**5** show no face" in told
    assert "of 6 that it alone has **6** show one" in told


def test_every_disagreement_that_is_counted_has_been_looked_at(setting):
    """As many boxes as the committed counts say, for the detectors that were looked at."""
    seen, table = detecting.by_eye(setting)["boxes"], committed()
    for name in seen.index.unique("detector"):
        row = table.loc[name]
        boxes = seen.loc[name].groupby("kind").sum()
        assert boxes["missed"] == row["faces"] - row["right"] and boxes["extra"] == row["found"] - row["right"]
