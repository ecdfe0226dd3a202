"""The paper's profile from end to end, on a few rendered people in the layout of its data sets."""

import json

import pytest

from facelib.data import rendered
from facelib.paper import profiles, reproduce, standins

SMALL = {
    "epochs": 1,
    "batch_size": 16,
    "validation_share": 0.3,
    "held_out_from": 6,
    "paper_pairs": 10,
    "all_pairs": 60,
    "validation_pairs": 20,
    "draws": 5,
    "replicates": 20,
    "figure_people": [0, 1, 2],
    "timed_images": 12,
    "startup_runs": 1,
    "repeats": 2,
    "warm_up": 1,
    "batch": 4,
    "best_networks": {
        "small-cosface": {"epochs": 1, "width": 8, "neck": "linear", "loss": "cosface"},
        "small-softmax": {"epochs": 1, "width": 8},
    },
    "engine_batch_size": 4,
    "engine_steps": 1,
    "engine_rounds": 1,
    "augmented_images": 5,
    "scale_people": 4,
    "scale_images": 40,
    "scale_steps": 1,
    "scale_batch_size": 8,
}


@pytest.mark.slow
def test_paper_profile_runs_every_notebook(tmp_path, monkeypatch):
    for variable, folder in {"DATA": "data", "CACHE": "cache", "OUTPUT": "out"}.items():
        monkeypatch.setenv(f"FACELIB_{variable}", str(tmp_path / folder))
    # vggface2/train/n000001/0001_01.jpg and facecap/1/1.jpg in the originals
    rendered.write_people(tmp_path / "data" / "vggface2" / "train", range(8), 6, progress=False)
    rendered.write_people(tmp_path / "data" / "facecap", range(100, 106), 6, progress=False)
    reproduce.run("paper", settings=SMALL)
    place = tmp_path / "out" / "figures" / "paper-changed"
    stored = json.loads((place / "results.json").read_text())
    assert stored["data.train.identities"]["value"] == 6 and stored["data.test.images"]["value"] == 36
    setting = profiles.setup("paper")
    could = {path.stem for path in reproduce.notebooks() if not standins.missing_sets(setting, path)}
    assert set(stored["_provenance"]) == could - {reproduce.OVERVIEW} and len(could) >= 10
    drawn = {path.name for path in place.glob("*.png")}
    assert {f"figure_{number}.png" for number in range(1, 9)} | {"startup.png"} <= drawn


def test_paper_profile_without_its_data_says_what_is_missing(tmp_path, monkeypatch, capsys):
    for variable in ("DATA", "CACHE", "OUTPUT"):
        monkeypatch.setenv(f"FACELIB_{variable}", str(tmp_path))
    reproduce.run("paper", only=["01"])
    assert "01_data: left out, without facecap and vggface2 (see data/README.md)" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="https://aistudio.baidu.com/datasetdetail/107435"):
        _ = profiles.setup("paper").split
