import io
import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from facelib import runtime
from facelib.data.detection import FaceError
from facelib.inference import gallery, search
from facelib.inference.decision import Weights
from facelib.inference.gallery import Gallery
from tests.inference.test_decision import CARD


class Verifier:
    """A network that sees the first byte of a photo; of b"0..." it sees no face."""

    card = CARD

    def features(self, photo, which="only"):
        if photo[:1] == b"0":
            raise FaceError("photo: no face found")
        return np.array([photo[0], which == "only"], np.float32)


@pytest.fixture
def known():
    rng = np.random.default_rng(0)
    return Gallery(CARD).adding(["ann", "ann", "bob"], ["a/1.jpg", "a/2.jpg", "b/1.jpg"], rng.normal(size=(3, 4)))


def contents(found):
    return found.people, found.photos, found.vectors.tolist()


def test_a_gallery_comes_back_as_it_was_written(known, tmp_path):
    known.save(tmp_path / "people.npz")
    assert contents(gallery.load(tmp_path / "people.npz", CARD)) == contents(known)
    assert known.vectors.dtype == np.float32 and len(known) == 3


def test_the_file_holds_no_pickle(known, tmp_path):
    known.save(tmp_path / "people.npz")
    with np.load(tmp_path / "people.npz", allow_pickle=False) as stored:
        assert all(stored[name].dtype != object for name in stored)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_nearest_photos_are_those_of_all_distances(metric):
    rng = np.random.default_rng(1)
    vectors, queries = rng.normal(size=(50, 8)).astype("f4"), rng.normal(size=(6, 8)).astype("f4")
    known = Gallery(replace(CARD, metric=metric)).adding([f"p{k}" for k in range(50)], ["x"] * 50, vectors)
    rows, distances = known.nearest(queries, 3)
    expected = cdist(queries, vectors, metric)
    np.testing.assert_array_equal(rows, np.argsort(expected, axis=1)[:, :3])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :3], atol=1e-6)


def test_an_empty_gallery_knows_nobody_and_a_small_one_all_it_has(known):
    assert Gallery(CARD).nearest(np.ones((2, 4)), 5)[0].shape == (2, 0)
    assert known.nearest(np.ones((2, 4)), 5)[0].shape == (2, 3)


def test_large_galleries_are_searched_by_faiss_and_distances_stay_exact(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(search, "EXACT_UP_TO", 100)
    vectors = np.random.default_rng(2).normal(size=(500, 8)).astype("f4")
    known = Gallery(CARD).adding([str(k) for k in range(500)], ["x"] * 500, vectors)
    rows, distances = known.nearest(vectors[:20])
    assert rows[:, 0].tolist() == list(range(20)) and distances == pytest.approx(0, abs=1e-6)


def test_a_photo_that_is_there_already_is_not_added_again(known):
    again = known.adding(["ann", "bob"], ["copy.jpg", "copy.jpg"], [known.vectors[0], known.vectors[0]])
    assert again.people == ("ann", "ann", "bob", "bob")  # ann has that one, bob has not


def test_a_name_is_one_however_its_accents_are_stored(known):
    more = known.adding(["Zoe\u0308", " Zo\u00eb"], ["a", "b"], np.eye(2, known.vectors.shape[1], dtype=np.float32))
    assert more.people[-2:] == ("Zo\u00eb",) * 2
    assert len(more.without("Zoe\u0308")) == len(known)


def test_removing_takes_all_photos_of_a_person(known):
    assert contents(known.without("ann"))[:2] == (("bob",), ("b/1.jpg",))
    assert len(known.without("ann").without("bob")) == 0
    with pytest.raises(ValueError, match="Nobody .* 'eve': there are ann, bob"):
        known.without("eve")


def test_an_emptied_gallery_can_be_written_and_filled_again(known, tmp_path):
    known.without("ann").without("bob").save(tmp_path / "g.npz")
    assert contents(gallery.load(tmp_path / "g.npz", CARD).adding(["eve"], ["e"], np.ones((1, 4)))) == (
        ("eve",), ("e",), [[1, 1, 1, 1]]
    )  # fmt: skip


def test_a_name_cannot_be_empty():
    with pytest.raises(ValueError, match="needs a name"):
        Gallery(CARD).adding([" "], ["1.jpg"], np.ones((1, 4)))


def test_a_missing_gallery_says_how_one_is_made(tmp_path):
    with pytest.raises(FileNotFoundError, match="facelib enrol"):
        gallery.load(tmp_path / "none.npz", CARD)


@pytest.mark.parametrize(
    "other",
    [
        replace(CARD, name="another", weights=(Weights("mine.onnx", "1" * 64),)),
        replace(CARD, weights=(Weights("mine.onnx", "1" * 64),)),
        replace(CARD, metric="euclidean"),
        replace(CARD, mirror=False),
    ],
)
def test_another_network_or_metric_is_refused(known, tmp_path, other):
    known.save(tmp_path / "people.npz")
    with pytest.raises(ValueError, match=r"people.npz' was made with the network 'mine' and cosine"):
        gallery.load(tmp_path / "people.npz", other)


def test_other_thresholds_of_the_same_network_are_not_refused(known, tmp_path):
    known.save(tmp_path / "people.npz")
    assert len(gallery.load(tmp_path / "people.npz", replace(CARD, thresholds=CARD.thresholds[:1]))) == 3


def foreign(**arrays):
    content = io.BytesIO()
    np.savez(content, **arrays)
    return content.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK",
        b"not a gallery",
        foreign(x=np.ones(3)),
        foreign(about=np.array("{}"), people=[], photos=[], vectors=1),
    ],
)
def test_a_foreign_file_is_named(tmp_path, content):
    (tmp_path / "people.npz").write_bytes(content)
    with pytest.raises(ValueError, match="people.npz' is no gallery, or a damaged one"):
        gallery.load(tmp_path / "people.npz", CARD)


def test_a_pickle_is_not_run(tmp_path):
    content = foreign(about=np.array([print], object))
    (tmp_path / "people.npz").write_bytes(content)
    with pytest.raises(ValueError, match="allow_pickle"):
        gallery.load(tmp_path / "people.npz", CARD)


def test_damage_never_gives_other_features(known, tmp_path):
    """Bytes are changed and files cut all along: either that is told, or nothing that counts has changed."""
    path = tmp_path / "people.npz"
    known.save(path)
    whole, told = path.read_bytes(), 0
    for place in range(0, len(whole), 7):
        for content in (whole[:place], whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :]):
            path.write_bytes(content)
            try:
                assert contents(gallery.load(path, CARD)) == contents(known)
            except ValueError:
                told += 1
    assert told > len(whole) / 7  # every cut, and most changes


def test_enrolling_reports_what_it_leaves_out(tmp_path):
    photos = [("ann", "a/1", b"1"), ("ann", "a/2", b"0"), ("bob", "b/1", "cannot be read"), ("bob", "b/2", b"2")]
    known, refused = gallery.enrol(tmp_path / "g.npz", photos, Verifier())
    assert known.people == ("ann", "bob") and known.photos == ("a/1", "b/2")
    assert refused == {"a/2": "no face found", "b/1": "cannot be read"}
    assert contents(gallery.load(tmp_path / "g.npz", CARD)) == contents(known)
    with pytest.raises(FaceError, match="no photo could be enrolled .*a/2: no face found"):
        gallery.enrol(tmp_path / "other.npz", photos[1:2], Verifier())
    assert not (tmp_path / "other.npz").exists()


def test_what_was_enrolled_before_an_interruption_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "AT_ONCE", 2)

    def photos():
        yield from (("ann", f"{n}.jpg", bytes([n])) for n in (1, 2, 3))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gallery.enrol(tmp_path / "people.npz", photos(), Verifier())
    assert gallery.load(tmp_path / "people.npz", CARD).photos == ("1.jpg", "2.jpg")
    rest = (("ann", f"{n}.jpg", bytes([n])) for n in (1, 2, 3))
    assert gallery.enrol(tmp_path / "people.npz", rest, Verifier())[0].photos == ("1.jpg", "2.jpg", "3.jpg")


def test_a_damaged_gallery_is_told_before_photos_are_read(tmp_path):
    (tmp_path / "g.npz").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="no gallery"):
        gallery.enrol(tmp_path / "g.npz", iter(lambda: pytest.fail("a photo was read"), None), Verifier())
    assert (tmp_path / "g.npz").read_bytes() == b"damaged"


def test_people_are_the_folders_of_a_source(tree, containers):
    root = tree(["ann/1.png", "ann/2.png", "bob/1.png"])
    for source in containers(root).values():
        found = [(person, path) for person, path, _ in gallery.photos_of(source)]
        assert sorted(found) == [("ann", "ann/1.png"), ("ann", "ann/2.png"), ("bob", "bob/1.png")], source


def test_photos_in_nobodys_folder_are_told(tree):
    root = tree(["ann/1.png", "loose.png"])
    found = {path: content for _, path, content in gallery.photos_of(root)}
    assert found["loose.png"] == "not inside an identity folder" and isinstance(found["ann/1.png"], bytes)


def _enrol_some(path, start):
    for number in range(start, start + 5):
        gallery.enrol(path, [(f"person {number}", "1", bytes([number]))], Verifier())


def test_two_writers_lose_nothing(tmp_path):
    path = tmp_path / "people.npz"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_enrol_some, args=(path, start)) for start in (100, 150)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    people = gallery.load(path, CARD).people
    assert sorted(people) == sorted(f"person {n}" for n in [*range(100, 105), *range(150, 155)])


def test_a_photo_of_one_person_is_not_enrolled_as_another(tmp_path):
    photos = [("ann", "a/1", b"1"), ("bob", "b/copy", b"1"), ("bob", "b/2", b"2"), ("ann", "a/again", b"1")]
    known, refused = gallery.enrol(tmp_path / "g.npz", photos, Verifier())
    assert known.people == ("ann", "bob") and refused == {"b/copy": "the same photo is enrolled as 'ann' already"}
    with pytest.raises(FaceError, match="enrolled as 'bob' already"):
        gallery.enrol(tmp_path / "g.npz", [("cid", "c/1", b"2")], Verifier())


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of a file")
def test_a_full_disk_leaves_the_gallery_as_it_was_and_one_message(known, tmp_path):
    """In a process of its own, because the limit holds for all that it writes, and for what Python says at its end."""
    known.save(tmp_path / "people.npz")
    code = f"""
import resource, signal
import numpy as np
from facelib.inference.gallery import Gallery
from tests.inference.test_decision import CARD
more = Gallery(CARD).adding(["eve"], ["e.jpg"], np.ones((1, 99_999), "f4"))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    more.save({str(tmp_path / "people.npz")!r})
except OSError:
    print("full")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=runtime.ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("full\n", "", 0)
    assert contents(gallery.load(tmp_path / "people.npz", CARD)) == contents(known)


def test_names_that_differ_in_their_writing_alone_are_told(tmp_path):
    photos = [("Jörg Müller", "1", b"1"), ("jörg müller", "2", b"2"), ("bob", "3", b"3")]
    known, refused = gallery.enrol(tmp_path / "g.npz", photos, Verifier())
    told = "'Jörg Müller' is enrolled already: if 'jörg müller' is the same person, write the name so"
    assert known.people == ("Jörg Müller", "bob") and refused == {"2": told}
    with pytest.raises(FaceError, match="'bob' is enrolled already: if 'Bob'"):
        gallery.enrol(tmp_path / "g.npz", [("Bob", "4", b"4")], Verifier())
    assert gallery.load(tmp_path / "g.npz", CARD).people == known.people
