import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import facelib
from facelib import cli, runtime
from facelib.data import rendered
from facelib.data.detection import FaceError
from facelib.data.images import Unreadable
from facelib.inference import decision, interface
from facelib.inference.decision import Card, Weights
from facelib.metrics.calibration import FarThreshold, Logistic

CARD = Card(
    name="mine",
    weights=(Weights("mine.onnx", "0" * 64),),
    size=64,
    frame="detect",
    metric="cosine",
    mirror=True,
    trained_on="nobody",
    chosen_on="nobody either",
    thresholds=(
        FarThreshold(0.1, 0.8, 0.79, 0.81, 0.09, 0.11),
        FarThreshold(0.01, 0.6, 0.58, 0.61, 0.008, 0.012),
        FarThreshold(0.001, reason="not enough pairs"),
    ),
    tar=(0.9, 0.6, None),
    calibration=Logistic(-10.0, 7.0, 100.0, 100, 200),
)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos of one rendered person, one of another, two people in one, and nobody."""
    folder = tmp_path_factory.mktemp("photos")
    people = {"ann": (104, 0), "ann_again": (104, 1), "bob": (111, 0)}
    pictures = {name: np.array(rendered.render_face(*shot, size=256)) for name, shot in people.items()}
    pictures["both"] = np.hstack([pictures["ann"], pictures["bob"]])
    pictures["nobody"] = np.full((200, 200, 3), 120, np.uint8)
    for name, picture in pictures.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    (folder / "text.jpg").write_text("not a photo")
    return {path.stem: str(path) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("value", "far", "same"), [(0.59, 0.01, True), (0.6, 0.01, True), (0.601, 0.01, False), (0.7, 0.1, True)]
)
def test_a_pair_is_one_person_up_to_the_threshold_of_the_rate(value, far, same):
    found = decision.decide(CARD, value, far)
    assert found.same is same and found.far == far
    assert (found.threshold, found.far_low, found.far_high) == (
        (0.6, 0.008, 0.012) if far == 0.01 else (0.8, 0.09, 0.11)
    )


def test_the_prior_moves_the_probability_and_not_the_decision():
    even, rare = decision.decide(CARD, 0.65), decision.decide(CARD, 0.65, prior=0.001)
    assert even.probability == pytest.approx(1 / (1 + np.exp(-0.5)))
    assert rare.probability == pytest.approx(1 / (1 + 999 * np.exp(-0.5)))
    assert even.same is rare.same


@pytest.mark.parametrize("far", [0.05, 0.001])
def test_a_rate_without_a_threshold_lists_those_there_are(far):
    with pytest.raises(ValueError, match=r"choose one of 0.1, 0.01\."):
        decision.decide(CARD, 0.5, far)


def test_a_card_comes_back_as_it_was_written(tmp_path):
    path = decision.write_card(CARD, tmp_path)
    assert decision.read_card(str(path)) == CARD
    assert json.loads(path.read_text())["calibration"]["slope"] == -10  # plain JSON


def test_an_unknown_network_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=f"'nobody'.*{decision.DEFAULT}"):
        decision.read_card("nobody")


@pytest.mark.parametrize("content", ["", "{}", '{"name": "x"}', "[1]"])
def test_a_damaged_card_is_named(tmp_path, content):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(ValueError, match=r"broken.json' is not the card"):
        decision.read_card(str(tmp_path / "broken.json"))


def test_weights_that_are_missing_or_others_than_the_card_s_are_refused(tmp_path, photos):
    path = decision.write_card(CARD, tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mine.onnx', which 'mine' needs"):
        decision.compare(photos["ann"], photos["bob"], str(path))
    (tmp_path / "mine.onnx").write_bytes(b"something else")
    with pytest.raises(ValueError, match="not the file of its card"):
        decision.compare(photos["ann"], photos["bob"], str(path))


def test_every_shipped_card_has_its_files_and_thresholds_in_order():
    for path in decision.weights_folder().glob("*.json"):
        verifier = decision.load(path.stem)
        assert verifier.card.name == path.stem
        known = [each for each in verifier.card.thresholds if each.threshold is not None]
        assert [each.far for each in known] == sorted((each.far for each in known), reverse=True)
        assert [each.threshold for each in known] == sorted((each.threshold for each in known), reverse=True)
        assert all(each.low <= each.threshold <= each.high for each in known)
        assert all(each.far_low <= each.far <= each.far_high for each in known)
        assert verifier.card.calibration.slope < 0
        assert verifier.embedder is not None  # hashes agree


def test_photos_of_one_person_are_closer_than_those_of_two(photos):
    same = facelib.compare(photos["ann"], photos["ann_again"])
    other = facelib.compare(photos["ann"], photos["bob"])
    assert same.distance < other.distance
    assert same.probability >= other.probability  # equal where both are as sure as the card allows
    assert same.network == decision.DEFAULT and len(same.faces[0]) == len(same.faces[1]) == 1


def test_a_photo_is_the_same_as_itself_and_order_does_not_matter(photos):
    assert facelib.compare(photos["ann"], photos["ann"]).distance == pytest.approx(0, abs=1e-6)
    one, two = facelib.compare(photos["ann"], photos["bob"]), facelib.compare(photos["bob"], photos["ann"])
    assert one.distance == pytest.approx(two.distance, abs=1e-6)


def test_errors_name_the_photo(photos):
    with pytest.raises(FaceError, match="nobody.png': no face found"):
        facelib.compare(photos["ann"], photos["nobody"])
    with pytest.raises(FaceError, match="both.png': 2 faces found"):
        facelib.compare(photos["both"], photos["ann"])
    with pytest.raises(Unreadable, match="text.jpg': not an image"):
        facelib.compare(photos["ann"], photos["text"])
    assert facelib.compare(photos["both"], photos["ann"], which="largest").faces[0][1:]


def test_the_features_are_those_of_the_embedder_on_the_aligned_face(photos):
    from facelib.data import detection

    verifier = decision.load()
    face = detection.align(detection.read_photo(photos["ann"]), verifier.card.size)
    np.testing.assert_array_equal(verifier.features(photos["ann"]), verifier.embedder(face[None])[0])


def test_comparing_imports_nothing_heavy(photos):
    code = (
        "import sys, facelib\n"
        f"facelib.compare({photos['ann']!r}, {photos['bob']!r})\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=runtime.ROOT)
    heavy = {"paddle", "pandas", "matplotlib", "scipy", "sklearn", "torch", "tqdm", "nbformat", "papermill", "psutil"}
    assert not heavy & set(loaded.stdout.split())
    assert {"numpy", "cv2", "onnxruntime"} <= set(loaded.stdout.split())


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "facelib", "compare", *arguments], capture_output=True, text=True, cwd=runtime.ROOT
    )


def test_the_command_says_so_in_words_json_and_exit_code(photos, tmp_path):
    found = facelib.compare(photos["ann"], photos["bob"])
    out = tmp_path / "boxes.png"
    done = _run(photos["ann"], photos["bob"], "--boxes", str(out))
    assert done.returncode == (0 if found.same else 1) and not done.stderr
    first, second, third, *rest = done.stdout.splitlines()
    assert (
        "aims at 1 % of pairs of different people: of all those of LFW {:.3g} % [{:.3g}, {:.3g}] pass it".format(
            *(100 * rate for rate in found.far_of_all)
        )
        in second
    )
    assert bool(rest) is (found.same is not (found.probability > 0.5))
    assert first == ("same person" if found.same else "different people")
    assert f"{found.distance:.3f}" in second and f"{found.threshold:.3f}" in second
    assert f"{found.probability:.1%}" in third and found.network in third
    assert Image.open(out).size == (960, 480)

    record = json.loads(_run(photos["ann"], photos["bob"], "--json").stdout)
    assert record["distance"] == pytest.approx(found.distance, abs=1e-6) and record["same"] is found.same
    assert len(record["faces"][0][0]["landmarks"]) == 5


def test_what_was_counted_of_all_pairs_stands_beside_the_promise_where_it_was(tmp_path):
    assert decision.decide(CARD, 0.5).far_of_all is None
    counted = replace(CARD, far_of_all=((0.11, 0.1, 0.12), (0.013, 0.011, 0.017)))
    assert decision.read_card(str(decision.write_card(counted, tmp_path))) == counted
    assert decision.decide(counted, 0.5).far_of_all == (0.013, 0.011, 0.017)
    assert decision.decide(counted, 0.5, far=0.1).far_of_all == (0.11, 0.1, 0.12)


def test_one_photo_twice_exits_with_0(photos):
    assert _run(photos["ann"], photos["ann"]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ann", "nobody"], "no face found"),
        (["ann", "both"], "2 faces found where one is meant"),
        (["ann", "text"], "not an image"),
        (["ann", "absent"], "There is no photo at"),
        (["ann", "bob", "--far", "0.5"], "choose one of"),
        (["ann", "bob", "--prior", "2"], "between 0 and 1"),
        (["ann", "bob", "--network", "nobody"], "Known are"),
        (["ann", "bob", "--boxes", "boxes.text"], "ends in .png"),
        (["ann", "bob", "--boxes", "nowhere/boxes.png"], "in a folder that is there"),
    ],
)
def test_the_command_refuses_nonsense_in_one_line(photos, tmp_path, capsys, arguments, message):
    chosen = [photos.get(each, str(tmp_path / "absent.jpg")) for each in arguments[:2]]
    rest = [str(tmp_path / each) if each == "boxes.text" else each for each in arguments[2:]]
    assert cli.main(["compare", *chosen, *rest]) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and not said.out


def test_where_several_faces_are_found_the_picture_shows_them(photos, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert cli.main(["compare", photos["ann"], photos["both"], "--boxes", str(out)]) == 2
    assert "2 faces found where one is meant" in capsys.readouterr().err
    green = (np.asarray(Image.open(out)) == (0, 200, 0)).all(2)
    orange = (np.asarray(Image.open(out)) == (255, 160, 0)).all(2)
    assert green.any() and orange.any()
    assert cli.main(["compare", photos["both"], photos["text"], "--boxes", str(tmp_path / "none.png")]) == 2
    assert "2 faces found where one is meant" in capsys.readouterr().err and not (tmp_path / "none.png").exists()


def test_the_answer_comes_before_a_picture_that_cannot_be_written(photos, tmp_path, capsys, monkeypatch):
    (tmp_path / "boxes.png").write_bytes(b"kept")

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(interface, "write_atomically", full)
    assert cli.main(["compare", photos["ann"], photos["ann"], "--boxes", str(tmp_path / "boxes.png")]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("same person\n") and "No space left" in said.err
    assert (tmp_path / "boxes.png").read_bytes() == b"kept"


def test_a_copy_of_the_package_without_its_networks_says_what_to_do(photos, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(runtime, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match="a copy of the package alone.*`pip install -e .`"):
        decision.read_card("celebfaces-distilled")
    for arguments in (["compare", photos["ann"], photos["bob"]], ["reproduce"], ["--help"]):
        assert cli.main(arguments) == 2
        said = capsys.readouterr()
        assert "a copy of the package alone" in said.err and said.err.count("\n") == 1 and not said.out


def test_the_largest_face_can_be_asked_for(photos, capsys):
    assert cli.main(["compare", photos["ann"], photos["both"], "--largest"]) in (0, 1)
    assert "1 other face(s) in B left out" in capsys.readouterr().out


def test_a_card_of_one_s_own_is_used_by_its_path(tmp_path, photos):
    shipped = decision.load()
    path = decision.write_card(replace(shipped.card, name="copy"), tmp_path)
    for each in shipped.card.weights:
        (tmp_path / each.file).write_bytes((decision.weights_folder() / each.file).read_bytes())
    found = decision.compare(photos["ann"], photos["bob"], str(path))
    assert found.network == "copy"
    assert found.distance == pytest.approx(facelib.compare(photos["ann"], photos["bob"]).distance)
