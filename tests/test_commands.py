"""The commands on photos: what they print, and their exit codes."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from facelib import cli
from facelib.data import detection, rendered
from facelib.inference import decision, interface, recognition
from facelib.metrics import distance


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two rendered people with two photos each and a file that is none; a picture of both, and one of nobody."""
    root = tmp_path_factory.mktemp("photos")
    shots = {name: [np.array(rendered.render_face(n, shot, size=256)) for shot in range(3)] for name, n in PEOPLE}
    for name, pictures in shots.items():
        (root / "people" / name).mkdir(parents=True)
        for number, picture in enumerate(pictures[:2]):
            Image.fromarray(picture).save(root / "people" / name / f"{number}.png")
    (root / "people" / "ann" / "text.jpg").write_text("not a photo")
    Image.fromarray(np.hstack([shots["ann"][2], shots["bob"][2]])).save(root / "both.png")
    Image.fromarray(shots["bob"][2]).save(root / "third.png")
    Image.new("RGB", (200, 200), "gray").save(root / "nobody.png")
    return root


PEOPLE = (("ann", 104), ("bob", 111))


@pytest.fixture
def gallery(photos, tmp_path, capsys):
    path = str(tmp_path / "people.npz")
    assert cli.main(["enrol", path, str(photos / "people")]) == 1  # one file is no photo
    said = capsys.readouterr()
    assert said.out == f"{path}: 4 photos of 2 people; 1 photo left out\n"
    assert said.err == "left out ann/text.jpg: not an image that Pillow can read\n"
    return path


def test_people_are_recognised_in_one_picture(gallery, photos, capsys, tmp_path):
    out = tmp_path / "out.png"
    assert cli.main(["identify", gallery, str(photos / "both.png"), "--boxes", str(out)]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert {line.split(",")[0] for line in lines} == {"ann", "bob"} and "4 photos in the gallery" in last
    assert Image.open(out).width >= 512
    assert cli.main(["identify", gallery, str(photos / "both.png"), "--json"]) == 0
    faces = json.loads(capsys.readouterr().out)
    assert {face["name"] for face in faces} == {"ann", "bob"} and all(len(face["box"]) == 4 for face in faces)
    assert all(face["distance"] <= face["threshold"] and 0.5 < face["probability"] <= 1 for face in faces)


def test_a_probability_at_its_highest_is_told_as_such(gallery, photos, capsys):
    enrolled = str(photos / "people" / "ann" / "0.png")
    for prior, told in (("0.01", True), ("0.9", False)):
        assert cli.main(["identify", gallery, enrolled, "--prior", prior]) == 0
        assert ("the highest probability with so many enrolled" in capsys.readouterr().out) is told
    assert cli.main(["identify", gallery, enrolled, "--prior", "0.01", "--json"]) == 0
    (face,) = json.loads(capsys.readouterr().out)
    assert face["probability"] == face["most"] < 0.9


def test_a_reader_who_has_seen_enough_is_no_error(photos):
    command = [sys.executable, "-m", "facelib", "embed", *[str(photos / "third.png")] * 3]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b"" and process.wait() == 0


def test_a_gallery_is_written_to_no_folder_that_there_is_not(photos, tmp_path, capsys):
    assert cli.main(["enrol", str(tmp_path / "none" / "g.npz"), str(photos / "people")]) == 2
    assert "There is no folder" in capsys.readouterr().err and not (tmp_path / "none").exists()


def test_nobody_known_is_an_answer(gallery, photos, capsys):
    assert cli.main(["identify", gallery, str(photos / "nobody.png")]) == 1
    assert capsys.readouterr().out == "no face found\n"


def test_one_is_no_plural(photos, tmp_path, capsys):
    assert cli.main(["enrol", str(tmp_path / "new.npz"), "--name", "Ann", str(photos / "third.png")]) == 0
    assert "1 photo of 1 person\n" in capsys.readouterr().out


def test_photos_of_one_person_are_enrolled_by_name_and_removed(gallery, photos, capsys):
    photo = str(photos / "third.png")
    assert cli.main(["enrol", gallery, "--name", "Robert", photo, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["people"] == {"Robert": 1, "ann": 2, "bob": 2}
    assert cli.main(["enrol", gallery, "--remove", "bob"]) == 0
    assert "3 photos of 2 people" in capsys.readouterr().out


def test_faces_are_sorted_without_names(photos, capsys, monkeypatch):
    """At a threshold between the people, whom the drawing makes more alike than photographs would."""
    shots = [decision.load().features(str(photos / "people" / f"{who}.png")) for who in ("ann/0", "ann/1", "bob/0")]
    same, other = (distance(shots[0][None], each[None], "cosine")[0] for each in shots[1:])
    assert same < other
    strict = recognition.strict
    between = {"threshold": float(same + other) / 2}
    monkeypatch.setattr(recognition, "strict", lambda *given: replace(strict(*given), **between))
    assert cli.main(["cluster", str(photos / "people"), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [{path.split("/")[-2] for path in group} for group in found["groups"]] in (
        [{"ann"}, {"bob"}], [{"bob"}, {"ann"}]
    )  # fmt: skip
    assert [path.split("/")[-1] for path in found["left_out"]] == ["text.jpg"]
    assert [len(boxes) for boxes in found["boxes"]] == [len(group) for group in found["groups"]]
    for folder, far, hint in ("", [], True), ("", ["--far", "0.1"], False), ("bob", [], False):
        cli.main(["cluster", str(photos / "people" / folder), *far])
        printed = capsys.readouterr()
        assert len({line.split("\t")[0] for line in printed.out.splitlines()}) == (1 if folder else 2)
        assert ("joins more faces" in printed.err) == hint


def test_each_group_of_two_faces_gets_a_sheet_of_them(photos, capsys, tmp_path):
    """Three photos of two people: each cell of the one sheet shows the face of its photo, in the printed order."""
    folder, out = tmp_path / "photos", tmp_path / "new" / "sheets"
    folder.mkdir()
    for name, source in (("0", "people/ann/0"), ("1", "people/ann/1"), ("2", "nobody"), ("3", "both")):
        (folder / f"{name}.png").write_bytes((photos / f"{source}.png").read_bytes())
    assert cli.main(["cluster", str(folder), "--far", "0.001", "--sheets", str(out)]) == 1  # one shows nobody
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    places = {tuple(map(int, re.findall(r"\d+", where))) for _, path, *place in lines for where in place}
    assert all((len(line) == 3) == line[1].endswith("3.png") for line in lines) and len(places) == 2  # it has two faces
    centres = [face.centre for face in detection.find(detection.read_photo(folder / "3.png"))]
    assert places == {tuple(centre.round().astype(int).tolist()) for centre in centres}
    groups = {number: [path for other, path, *_ in lines if other == number] for number, *_ in lines}
    assert {path.name for path in out.iterdir()} == {f"{k}.png" for k, group in groups.items() if len(group) > 1}
    sheet, verifier = np.array(Image.open(out / "1.png")), decision.load()
    cells = np.split(sheet, sheet.shape[1] // sheet.shape[0], axis=1)
    assert len(cells) == len(groups["1"]) >= 2
    for cell, path in zip(cells, groups["1"], strict=True):
        small = np.array(Image.fromarray(cell).resize((64, 64), Image.Resampling.BOX))
        shown = [vector for _, vector in verifier.everybody(path)[1]]
        assert min(distance(verifier.embedder(small[None]), each[None], "cosine")[0] for each in shown) < 0.1


def test_a_sheet_holds_sixty_faces_at_most_and_is_filled_up_with_white(photos):
    picture = detection.read_photo(photos / "third.png")
    faces = [(str(photos / "third.png"), detection.find(picture)[0])]
    assert interface.contact_sheet(faces * 3).shape == (112, 3 * 112, 3)
    sheet = interface.contact_sheet(faces * 70)
    assert sheet.shape == (8 * 112, 8 * 112, 3)
    white = [(cell == 255).all() for row in np.split(sheet, 8) for cell in np.split(row, 8, axis=1)]
    assert white == [False] * 60 + [True] * 4


@pytest.mark.parametrize("place", ["full", "photos/sheets", "full/kept.txt"])
def test_sheets_overwrite_nothing_and_are_not_sorted_next_time(photos, tmp_path, capsys, place):
    for name in ("full", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "full" / "kept.txt").write_text("kept")
    assert cli.main(["cluster", str(tmp_path / "photos"), "--sheets", str(tmp_path / place)]) == 2
    said = capsys.readouterr()
    assert "--sheets takes a new or an empty folder outside" in said.err and said.err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["kept.txt"]


def test_identify_takes_one_photo(gallery, photos, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["identify", gallery, str(photos / "both.png"), str(photos / "nobody.png")])
    assert ended.value.code == 2 and "unrecognized arguments (one photo at a time): " in capsys.readouterr().err


def test_features_are_printed(photos, capsys):
    photo = str(photos / "people" / "ann" / "0.png")
    assert cli.main(["embed", photo, "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["photo"] == photo
    np.testing.assert_allclose(record["features"], decision.load().features(photo), rtol=1e-5)
    assert cli.main(["embed", photo, str(photos / "nobody.png")]) == 1
    said = capsys.readouterr()
    path, *numbers = said.out.strip().split("\t")
    assert path == photo and list(map(float, numbers)) == record["features"] and "no face found" in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["identify", "absent.npz", "both.png"], "There is no gallery at"),
        (["identify", "GALLERY", "absent.png"], "There is no photo at"),
        (["identify", "GALLERY", "both.png", "--far", "0.5"], "choose one of"),
        (["identify", "GALLERY", "both.png", "--prior", "2"], "between 0 and 1"),
        (["identify", "GALLERY", "both.png", "--boxes", "boxes.text"], "ends in .png"),
        (["identify", "GALLERY", "both.png", "--network", "celebfaces-cosface"], "was made with the network"),
        (["identify", "GALLERY", "both.png", "--network", "nobody"], "Known are"),
        (["identify", "both.png", "GALLERY"], "comes first, then the photos"),
        (["enrol", "people", "GALLERY"], "comes first, then the photos"),
        (["identify", "TEXT", "both.png"], "is no gallery, or a damaged one"),
        (["enrol", "GALLERY"], "Give one folder"),
        (["enrol", "GALLERY", "people", "both.png"], "Give one folder"),
        (["enrol", "GALLERY", "nowhere"], "There is no folder '"),
        (["enrol", "GALLERY", "both.png"], "Say it with --name"),
        (["identify", "GALLERY", "both.png", "--boxes", "nowhere/boxes.png"], "in a folder that is there"),
        (["enrol", "GALLERY", "nobody.png", "--name", "eve"], "no photo could be enrolled (", ),
        (["enrol", "GALLERY", "both.png", "--name", "eve"], "2 faces found where one is meant"),
        (["enrol", "GALLERY", "--remove", "eve"], "Nobody in the gallery is called 'eve': there are ann, bob"),
        (["enrol", "absent.npz", "--remove", "eve"], "There is no gallery at"),
        (["enrol", "GALLERY", "both.png", "--remove", "bob"], "--remove takes nobody in"),
        (["identify", "GALLERY", "people"], "people': a folder, where a photo is meant"),
        (["identify", "GALLERY", "both.png", "--boxes", "both.png"], "would overwrite"),
        (["identify", "GALLERY", "both.png", "--boxes", "GALLERY"], "would overwrite"),
        (["compare", "nobody.png", "both.png", "--boxes", "both.png"], "would overwrite"),
        (["cluster", "EMPTY"], "There is no photo in"),
        (["cluster", "TEXTS"], "There is no photo in"),
        (["embed", "absent.png"], "cannot be read"),
        (["cluster", "nowhere"], "There is no folder"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_in_one_line(gallery, photos, tmp_path, capsys, arguments, message):
    places = {"GALLERY": gallery, "boxes.text": str(tmp_path / "boxes.text"), "absent.npz": str(tmp_path / "a.npz")}
    places["TEXT"] = str(tmp_path / "TEXTS" / "a.txt")
    for name in ("EMPTY", "TEXTS"):
        (tmp_path / name).mkdir()
        places[name] = str(tmp_path / name)
    (tmp_path / "TEXTS" / "a.txt").write_text("not a photo")
    names = ("both.png", "nobody.png", "people", "nowhere", "absent.png")
    places |= {name: str(photos / name) for name in names}
    before = (photos / "both.png").read_bytes()
    assert cli.main([places.get(each, each) for each in arguments]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out
    assert not (tmp_path / "a.npz").exists() and (photos / "both.png").read_bytes() == before
