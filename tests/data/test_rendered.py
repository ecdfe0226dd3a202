"""The rendered people: the same each time, alike within a person, written whole or not at all."""

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelib.data import rendered, traits

PACKAGE_ROOT = Path(rendered.__file__).resolve().parent.parent.parent


def _hash_folder(root: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(root.glob("person_*/*.jpg")):
        digest.update(path.relative_to(root).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


def _fingerprint(image: Image.Image) -> np.ndarray:
    """Grey 16 x 16 thumbnail with exposure and contrast taken out, (256,)."""
    grey = np.asarray(image.convert("L").resize((16, 16), Image.Resampling.BOX), float).ravel()
    return (grey - grey.mean()) / grey.std()


@pytest.mark.parametrize("size", [48, 112])
def test_image_has_the_size_asked_for_and_is_rgb(size):
    image = rendered.render_face(3, 1, size=size)
    assert image.size == (size, size)
    assert image.mode == "RGB"
    assert np.asarray(image).std() > 10  # something is drawn


def test_same_arguments_give_same_pixels_in_any_order():
    keys = [(0, 0, 0), (0, 1, 0), (5, 0, 0), (5, 0, 1), (1049, 11, 7)]
    first = {key: rendered.render_face(*key, size=48).tobytes() for key in keys}
    again = {key: rendered.render_face(*key, size=48).tobytes() for key in reversed(keys)}
    assert first == again
    assert len(set(first.values())) == len(keys)  # each argument matters


def test_fresh_process_writes_the_same_bytes(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    rendered.write_people(ours, [0, 7, 1000], 3, size=48, progress=False)
    code = f"from facelib.data import rendered; rendered.write_people({str(theirs)!r}, [0, 7, 1000], 3, size=48)"
    subprocess.run([sys.executable, "-c", code], cwd=PACKAGE_ROOT, check=True, capture_output=True)
    assert _hash_folder(ours) == _hash_folder(theirs)


def test_size_changes_the_resolution_only():
    large = rendered.render_face(4, 2, size=128).resize((64, 64), Image.Resampling.BOX)
    small = rendered.render_face(4, 2, size=64)
    other = rendered.render_face(4, 3, size=64)
    large, small, other = (np.asarray(image, float) for image in (large, small, other))
    assert abs(large - small).mean() < 0.3 * abs(large - other).mean()


def test_shots_of_a_person_are_closer_than_people_are():
    people, shots = 24, 6
    person, shot = np.divmod(np.arange(people * shots), shots)
    images = [rendered.render_face(int(i), int(j), size=48) for i, j in zip(person, shot, strict=True)]
    prints = np.stack([_fingerprint(image) for image in images])
    distance = np.sqrt(((prints[:, None] - prints) ** 2).mean(axis=2))
    same = person[:, None] == person
    within, between = distance[same & (distance > 0)], distance[~same]
    assert within.mean() < 0.9 * between.mean()
    # Yet conditions matter: no two shots are near copies, and pixels alone do not decide.
    assert within.min() > 0.1
    assert np.quantile(within, 0.75) > np.quantile(between, 0.25)


def test_write_people_lays_out_one_folder_per_person(tmp_path):
    root = rendered.write_people(tmp_path / "deep" / "people", range(7, 9), 4, size=48, progress=False)
    assert root == tmp_path / "deep" / "people"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.jpg"))
    assert names == [f"person_{i:04d}/{shot:04d}.jpg" for i in (7, 8) for shot in range(4)]
    assert [path.name for path in root.parent.iterdir()] == ["people"]  # nothing temporary is left
    tables = set()
    for name in names:
        with Image.open(root / name) as image:
            assert (image.format, image.size, image.mode) == ("JPEG", (48, 48), "RGB")
            tables.add(tuple(image.quantization[0]))
    assert len(tables) > 4  # the quality differs from shot to shot
    drawn = np.asarray(rendered.render_face(8, 3, size=48), float)
    assert abs(np.asarray(Image.open(root / "person_0008/0003.jpg"), float) - drawn).mean() < 12


def test_whole_root_is_reused(tmp_path, monkeypatch):
    root = rendered.write_people(tmp_path / "people", range(2), 2, size=32, progress=False)
    monkeypatch.setattr(rendered, "render_face", lambda *args: pytest.fail("drawn again"))
    assert rendered.write_people(str(root), [0, 1], 2, size=32, progress=False) == root


def test_interruption_leaves_nothing_and_the_next_call_succeeds(tmp_path, monkeypatch):
    draw, drawn = rendered.render_face, []

    def interrupted(*args):
        drawn.append(args)
        if len(drawn) == 4:
            raise KeyboardInterrupt
        return draw(*args)

    monkeypatch.setattr(rendered, "render_face", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rendered.write_people(tmp_path / "people", range(3), 2, size=32, progress=False)
    assert list(tmp_path.iterdir()) == []
    root = rendered.write_people(tmp_path / "people", range(3), 2, size=32, progress=False)
    assert len(list(root.glob("*/*.jpg"))) == 6


def test_folders_of_killed_runs_are_swept_but_not_those_of_running_ones(tmp_path):
    dead, alive = tmp_path / ".people.1.part", tmp_path / ".people.2.part"
    for folder in (dead, alive):
        (folder / "person_0000").mkdir(parents=True)
    two_days_ago = time.time() - 2 * 86400
    for folder in (dead, dead / "person_0000"):
        os.utime(folder, (two_days_ago, two_days_ago))
    rendered.write_people(tmp_path / "people", [0], 1, size=32, progress=False)
    assert not dead.exists()
    assert alive.exists()


def test_result_of_a_faster_process_is_taken(tmp_path, monkeypatch):
    root, draw = tmp_path / "people", rendered.render_face

    def overtaken(*args):
        monkeypatch.setattr(rendered, "render_face", draw)
        rendered.write_people(root, [0], 1, size=32, progress=False)
        return draw(*args)

    monkeypatch.setattr(rendered, "render_face", overtaken)
    assert rendered.write_people(root, [0], 1, size=32, progress=False) == root
    assert [path.name for path in tmp_path.iterdir()] == ["people"]


def test_empty_root_is_filled(tmp_path):
    (tmp_path / "people").mkdir()
    root = rendered.write_people(tmp_path / "people", [0], 1, size=32, progress=False)
    assert (root / "person_0000/0000.jpg").is_file()


def test_foreign_root_is_an_error_and_stays_as_it_is(tmp_path):
    folder, file = tmp_path / "holiday", tmp_path / "notes"
    folder.mkdir()
    (folder / "beach.jpg").write_text("a beach")
    file.write_text("a note")
    for root in (folder, file):
        with pytest.raises(FileExistsError, match=f"{root.name}.*choose another folder"):
            rendered.write_people(root, [0], 1, size=32, progress=False)
    assert (folder / "beach.jpg").read_text() == "a beach"
    assert file.read_text() == "a note"


def test_people_have_unequal_numbers_of_photos_and_one_planted(tmp_path):
    given = {"shots": [3, 1], "planted": {5: (4, 2)}, "size": 32, "progress": False}
    root = rendered.write_people(tmp_path / "people", [4, 5], **given)
    assert [len([*root.joinpath(name).iterdir()]) for name in ("person_0004", "person_0005")] == [3, 2]
    assert (root / "person_0005/0001.jpg").read_bytes() == (root / "person_0004/0002.jpg").read_bytes()
    assert rendered.write_people(root, [4, 5], **given) == root
    with pytest.raises(FileExistsError):
        rendered.write_people(root, [4, 5], **{**given, "planted": {5: (4, 1)}})


@pytest.mark.parametrize("change", [{"identities": [1]}, {"shots": 1}, {"seed": 1}, {"size": 48}])
def test_root_made_with_other_arguments_is_an_error(tmp_path, change):
    made = {"identities": [0], "shots": 2, "seed": 0, "size": 32}
    root = rendered.write_people(tmp_path / "people", **made, progress=False)
    before = _hash_folder(root)
    with pytest.raises(FileExistsError, match="other arguments"):
        rendered.write_people(root, **{**made, **change}, progress=False)
    assert _hash_folder(root) == before


def test_root_with_a_missing_picture_is_an_error(tmp_path):
    root = rendered.write_people(tmp_path / "people", [0], 2, size=32, progress=False)
    (root / "person_0000/0001.jpg").unlink()
    with pytest.raises(FileExistsError, match="people"):
        rendered.write_people(root, [0], 2, size=32, progress=False)


def test_repeated_identity_is_refused(tmp_path):
    with pytest.raises(ValueError, match="differ"):
        rendered.write_people(tmp_path / "people", [3, 3], 1, progress=False)


def test_progress_goes_to_stdout_on_request(tmp_path, capsys):
    rendered.write_people(tmp_path / "loud", [0], 1, size=32)
    assert "people" in capsys.readouterr().out
    rendered.write_people(tmp_path / "quiet", [0], 1, size=32, progress=False)
    assert capsys.readouterr().out == ""


def test_relatives_are_more_alike_than_strangers_and_named_by_their_family(tmp_path):
    def scaled(family, member):
        person = traits.person(rendered.RELATIVES + 10 * family + member, 0)
        return np.array([(getattr(person, n) - low) / (high - low) for n, (low, high) in traits.TRAITS.items()])

    kin, others = [], []
    for family in range(60, 80):
        kin.append(np.corrcoef(scaled(family, 1), scaled(family, 2))[0, 1])
        others.append(np.corrcoef(scaled(family, 1), scaled(family + 1, 1))[0, 1])
    assert np.mean(kin) > np.mean(others) + 0.1
    first = rendered.RELATIVES + 600
    assert traits.person(first, 0) is traits.person(60, 0)
    assert rendered.render_face(first, 0, size=32).tobytes() != rendered.render_face(60, 0, size=32).tobytes()
    root = rendered.write_people(tmp_path / "people", [first, first + 1, 7], 1, size=32, progress=False)
    assert sorted(path.name for path in root.glob("*_*")) == ["family_0060-0", "family_0060-1", "person_0007"]
    assert rendered.write_people(root, [first, first + 1, 7], 1, size=32, progress=False) == root
