"""LFW's views are kept apart; published pair lists of other test sets, and their pickles, are read safely."""

import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from facelib.data import catalog, protocols
from facelib.data.archives import DatasetError
from facelib.data.bins import read_bin, read_parquet
from facelib.data.packed import PackedFaces
from facelib.data.pairs import match_lfw_pairs
from facelib.data.protocols import PhotoPair

LISTS = Path(os.environ.get("FACELIB_DATA") or ".") / "lfw"  # read before the tests have folders of their own
SHOWN = {"A": (250, 0, 0), "B": (0, 250, 0), "C": (0, 0, 250)}


class TestViews:
    """A set of four people; View 2 has Ann and Bo, Cem is in View 1 alone, Dan in neither."""

    VIEW2 = "2\t1\nAnn\t1\t2\nAnn\t1\tBo\t1\nBo\t1\t2\nBo\t2\tAnn\t2\n"
    TRAIN = "2\nAnn\t2\t1\nCem\t1\t2\nAnn\t1\tBo\t1\nCem\t1\tBo\t1\n"
    TEST = "1\nBo\t1\t3\nCem\t2\tAnn\t1\n"

    @pytest.fixture(autouse=True)
    def lists(self, data):
        for name, text in {"pairs": self.VIEW2, "pairsDevTrain": self.TRAIN, "pairsDevTest": self.TEST}.items():
            (data / f"{name}.txt").write_text(text)

    def test_view_1_is_without_pairs_of_view_2_in_either_order(self):
        assert [pair[:5] for pair in protocols.view1("train")] == [
            ("Cem", 1, "Cem", 2, True),
            ("Cem", 1, "Bo", 1, False),
        ]
        assert [pair[:5] for pair in protocols.view1("test")] == [
            ("Bo", 1, "Bo", 3, True),
            ("Cem", 2, "Ann", 1, False),
        ]

    def test_people_outside_view_2(self):
        names = ("Ann", "Bo", "Cem", "Dan")
        labels = np.repeat(np.arange(4), (2, 3, 2, 1))
        faces = PackedFaces(
            np.zeros((8, 1, 1, 3), np.uint8), np.arange(8), labels, names, tuple("abcdefgh"), np.full(8, 250), {}
        )
        assert protocols.outside_view2(faces).names == ("Cem", "Dan")
        assert protocols.outside_view2(faces).paths == ("f", "g", "h")

    def test_pairs_of_view_2_whose_people_view_1_lacks(self, data):
        assert protocols.view2_outside_view1() == []
        (data / "pairsDevTest.txt").write_text("1\nCem\t1\t3\nCem\t2\tDan\t1\n")
        (data / "pairsDevTrain.txt").write_text("1\nAnn\t1\t3\nCem\t2\tDan\t1\n")
        assert [pair[:5] for pair in protocols.view2_outside_view1()] == [("Bo", 1, "Bo", 2, True)]


@pytest.mark.skipif(not (LISTS / "pairs.txt").exists(), reason="LFW's lists are not under FACELIB_DATA")
class TestOfficialLists:
    @pytest.fixture(autouse=True)
    def official(self, monkeypatch):
        monkeypatch.setenv("FACELIB_DATA", str(LISTS.parent))

    def test_what_view_2_leaves_of_view_1(self):
        train, test = protocols.view1("train"), protocols.view1("test")
        assert [sum(p.genuine for p in part) for part in (train, test)] == [575, 267]
        assert sum(p.genuine for p in train + test) == 842 and sum(not p.genuine for p in train + test) == 1600

    def test_what_view_1_leaves_of_view_2(self):
        pairs = protocols.view2_outside_view1()
        assert len(pairs) == 1158 and sum(pair.genuine for pair in pairs) == 497
        assert {pair.fold for pair in pairs} == set(range(10))

    def test_people_outside_view_2(self):
        people = [line.split("\t") for line in (LISTS / "people.txt").read_text().splitlines()]
        people = [(name, int(count)) for name, count in (row for row in people if len(row) == 2)]
        labels = np.repeat(np.arange(len(people)), [count for _, count in people])
        n = len(labels)
        names = tuple(name for name, _ in people)
        faces = PackedFaces(
            np.zeros((n, 1, 1, 3), np.uint8), np.arange(n), labels, names, ("",) * n, np.full(n, 250), {}
        )
        assert (len(faces.names), n) == (5749, 13233)
        outside = protocols.outside_view2(faces)
        assert (len(outside.names), len(outside)) == (1468, 1549)


def cfp(tree, folds=10):
    """Three people with two frontal and two profile photos each; in every fold a pair of each kind."""
    files, lists = {}, {"frontal": [], "profile": []}
    for person in SHOWN:
        for view, shade in (("frontal", 0), ("profile", 60)):
            for shot in (1, 2):
                path = f"Data/Images/00{ord(person) - 64}/{view}/0{shot}.png"
                files[path] = tuple(max(0, value - shade) for value in SHOWN[person])
                lists[view].append(path)
    root = tree(files, name="cfp-dataset")
    for name, paths in zip("FP", lists.values(), strict=True):
        text = "".join(f"{number} ../{path}\n" for number, path in enumerate(paths, 1))
        (root / "Protocol").mkdir(exist_ok=True)
        (root / "Protocol" / f"Pair_list_{name}.txt").write_text(text)
    for kind, same in (("FP", "1,1"), ("FF", "1,2")):
        for fold in range(1, folds + 1):
            folder = root / "Protocol" / "Split" / kind / f"{fold:02}"
            folder.mkdir(parents=True)
            (folder / "same.txt").write_text(f"{same}\n")
            (folder / "diff.txt").write_text("1,3\r\n" if fold % 2 else "5,2\n")
    return root


def shows(faces, row) -> str:
    return "ABC"[int(np.argmax(faces.take([row])[0, 4, 4]))]


class TestCfp:
    def test_frontal_and_profile(self, tree):
        root = cfp(tree)
        records = protocols.read("cfp-fp", root)
        assert len(records) == 20 and [r.fold for r in records] == [k // 2 for k in range(20)]
        assert records[0] == PhotoPair("Data/Images/001/frontal/01.png", "Data/Images/001/profile/01.png", True, 0)
        assert records[1] == PhotoPair("Data/Images/001/frontal/01.png", "Data/Images/002/profile/01.png", False, 0)
        assert records[3][:2] == ("Data/Images/003/frontal/01.png", "Data/Images/001/profile/02.png")
        faces, pairs = protocols.load("cfp-fp", root, progress=False)
        assert faces.names == ("001", "002", "003") and "001/001_frontal_01.png" in faces.paths
        assert pairs.genuine.tolist() == [True, False] * 10 and pairs.fold.tolist() == [k // 2 for k in range(20)]
        seen = {
            (shows(faces, i), shows(faces, j), g)
            for i, j, g in zip(pairs.left, pairs.right, pairs.genuine, strict=True)
        }
        assert seen == {("A", "A", True), ("A", "B", False), ("C", "A", False)}
        assert protocols.load("cfp-fp", root, progress=False)[0].key == faces.key

    def test_frontal_and_frontal(self, tree):
        records = protocols.read("cfp-ff", cfp(tree))
        assert records[0][:2] == ("Data/Images/001/frontal/01.png", "Data/Images/001/frontal/02.png")

    def test_where_the_set_lies_does_not_change_its_key(self, tree, tmp_path):
        root = cfp(tree)
        before = protocols.load("cfp-fp", root, progress=False)[0]
        root.rename(tmp_path / "elsewhere")
        assert protocols.load("cfp-fp", tmp_path / "elsewhere", progress=False)[0].key == before.key

    def test_malformed_lists(self, tree):
        root = cfp(tree)
        same = root / "Protocol/Split/FP/03/same.txt"
        same.write_text("1,2\n1,99\n")
        with pytest.raises(DatasetError, match=r"03/same.txt': of the photos 1 and 99 one is not in its Pair_list"):
            protocols.read("cfp-fp", root)
        same.write_text("1 2\n")
        with pytest.raises(DatasetError, match=r"03/same.txt', line 1: expected two numbers with a comma"):
            protocols.read("cfp-fp", root)
        same.unlink()
        with pytest.raises(FileNotFoundError, match="same.txt"):
            protocols.read("cfp-fp", root)


class TestLfwRelatives:
    """CALFW lists all genuine pairs first and names their folds; CPLFW's marks may be 0 and 1 alone."""

    def written(self, tree, name, pairs, place="aligned images"):
        root = tree(
            {os.path.join(place, f"{p}_000{k}.jpg"): colour for p, colour in SHOWN.items() for k in (1, 2)}, name=name
        )
        lines = [f"{photo} {mark}\n" for left, right, mark in pairs for photo in (left, right)]
        (root / f"pairs_{name.upper()}.txt").write_text("".join(lines))
        return root

    def test_calfw(self, tree):
        genuine = [("A_0001.jpg", "A_0002.jpg", fold) for fold in range(1, 11) for _ in range(2)]
        impostor = [("A_0001.jpg", "B_0001.jpg", 0), ("C_0002.jpg", "B_0002.jpg", 0)] * 10
        root = self.written(tree, "calfw", genuine + impostor)
        records = protocols.read("calfw", root)
        assert [r.fold for r in records] == [k // 2 for k in range(20)] * 2
        faces, pairs = protocols.load("calfw", root, progress=False)
        assert faces.names == ("A", "B", "C") and len(faces) == 5
        assert pairs.genuine.tolist() == [True] * 20 + [False] * 20
        seen = {
            (shows(faces, i), shows(faces, j), g)
            for i, j, g in zip(pairs.left, pairs.right, pairs.genuine, strict=True)
        }
        assert seen == {("A", "A", True), ("A", "B", False), ("C", "B", False)}

    @pytest.mark.parametrize("place", ["aligned images", "images", "images&landmarks/images", ""])
    def test_cplfw_and_where_its_photos_lie(self, tree, place):
        pairs = [("A_0001.jpg", "A_0002.jpg", 1), ("A_0001.jpg", "B_0001.jpg", 0)] * 10
        root = self.written(tree, "cplfw", pairs, place)
        faces, found = protocols.load("cplfw", root, progress=False)
        assert found.fold.tolist() == [k // 2 for k in range(20)]
        assert found.genuine.tolist() == [True, False] * 10 and faces.names == ("A", "B")

    def test_photos_of_ones_own_framing(self, tree, encode):
        pairs = [("A_0001.jpg", "A_0002.jpg", 1), ("A_0001.jpg", "B_0001.jpg", 0)]
        root = self.written(tree, "cplfw", pairs)
        (root / "cropped").mkdir()
        for photo in ("A_0001.jpg", "A_0002.jpg", "B_0001.jpg"):
            (root / "cropped" / photo).write_bytes(encode((77, 77, 77)))
        faces, _ = protocols.load("cplfw", root, photos="cropped", progress=False)
        assert (faces.take(range(3)) == 77).all()

    def test_photos_that_are_missing(self, tree):
        root = self.written(tree, "calfw", [("A_0001.jpg", "A_0002.jpg", 1), ("A_0001.jpg", "B_0009.jpg", 0)])
        with pytest.raises(
            FileNotFoundError, match="1 photos of calfw are missing .*aligned images', such as B_0009.jpg"
        ):
            protocols.load("calfw", root, progress=False)

    @pytest.mark.parametrize(
        "text, said",
        [
            ("A_0001.jpg 1\nA_0002.jpg 2\n", "expected two lines for each pair, with one number"),
            ("A_0001.jpg 1\n", "expected two lines for each pair"),
            ("A_0001.jpg\nA_0002.jpg 1\n", "line 1: expected a photo and a number, got 'A_0001.jpg'"),
        ],
    )
    def test_malformed_lists(self, tmp_path, text, said):
        (tmp_path / "pairs_CALFW.txt").write_text(text)
        with pytest.raises(DatasetError, match=said):
            protocols.read("calfw", tmp_path)

    def test_an_unknown_protocol(self, tmp_path):
        with pytest.raises(DatasetError, match="'ijb-c' is none of the protocols cfp-fp, cfp-ff, calfw"):
            protocols.read("ijb-c", tmp_path)


class TestAgeDb:
    def test_names_tell_people(self, tree):
        files = {f"{k}_{p}_{20 + k}_f.png": colour for k, (p, colour) in enumerate([*SHOWN.items()] * 2)}
        root = tree(files, name="agedb")
        lines = ["0_A_20_f.png 3_A_23_f.png 1", "0_A_20_f.png 1_B_21_f.png 0", "2_C_22_f.png 4_B_24_f.png -1"] * 10
        (root / "agedb_30_pair.txt").write_text("\n".join(lines) + "\n")
        faces, pairs = protocols.load("agedb-30", root, progress=False)
        assert faces.names == ("A", "B", "C") and len(faces) == 5
        assert pairs.genuine.tolist() == [True, False, False] * 10
        assert pairs.fold.tolist() == [k // 3 for k in range(30)]

    def test_else_genuine_pairs_tell(self, tree):
        root = tree([f"{k}.png" for k in range(6)], name="agedb")
        (root / "agedb_30_pair.txt").write_text("0.png 1.png 1\n1.png 2.png 1\n3.png 4.png 0\n4.png 5.png 1\n")
        faces, pairs = protocols.load("agedb-30", root, progress=False)
        left, right = pairs.people(faces.labels)
        assert (left == right).tolist() == pairs.genuine.tolist() and len(faces.names) == 3


class TestBin:
    def written(self, path, value, protocol=pickle.HIGHEST_PROTOCOL):
        path.write_bytes(pickle.dumps(value, protocol))
        return path

    def photos(self, encode, people, format="JPEG"):
        return [encode(Image.new("RGB", (112, 112), SHOWN[person]), format) for person in people]

    @pytest.mark.parametrize("outer", [tuple, list])
    def test_faces_and_pairs(self, tmp_path, encode, outer):
        path = self.written(tmp_path / "lfw.bin", outer([self.photos(encode, "AAABCC" * 5), [True, False, True] * 5]))
        faces, pairs = read_bin(path)
        assert faces.shape == (30, 64, 64, 3) and faces.dtype == np.uint8
        assert np.argmax(faces[:6, 32, 32], axis=1).tolist() == [0, 0, 0, 1, 2, 2]
        assert pairs.genuine.tolist() == [True, False, True] * 5
        assert (pairs.left.tolist(), pairs.right.tolist()) == (list(range(0, 30, 2)), list(range(1, 30, 2)))
        assert np.bincount(pairs.fold).tolist() == [2, 1] * 5 and (np.diff(pairs.fold) >= 0).all()

    def test_a_crop(self, tmp_path, encode):
        image = Image.new("RGB", (100, 100), "white")
        image.paste((0, 0, 250), (20, 30, 80, 90))
        path = self.written(tmp_path / "x.bin", ([encode(image)] * 2, [True]))
        faces, _ = read_bin(path, 32, (0.2, 0.3, 0.8, 0.9))
        assert faces.shape == (2, 32, 32, 3) and (faces[:, 2:-2, 2:-2] == (0, 0, 250)).all()

    def test_as_python_2_wrote_it(self, tmp_path, encode):
        """Its strings were bytes: SHORT_BINSTRING and BINSTRING, which Python 3 does not write."""
        photo = self.photos(encode, "A", "PNG")[0]
        string = b"T" + len(photo).to_bytes(4, "little") + photo
        (tmp_path / "2.bin").write_bytes(b"\x80\x02](" + string + string + b"e](\x88e\x86.")
        faces, pairs = read_bin(tmp_path / "2.bin")
        assert (faces == SHOWN["A"]).all() and pairs.genuine.tolist() == [True]

    def test_code_is_never_run(self, tmp_path):
        class Trap:
            def __reduce__(self):
                return os.mkdir, (str(tmp_path / "ran"),)

        for number, value in enumerate([Trap(), ([Trap()], [True]), ([b"x", b"y"], [Trap()])]):
            path = self.written(tmp_path / f"{number}.bin", value)
            with pytest.raises(DatasetError, match=r"expected a pickle of .*\(it asks for posix.mkdir\)"):
                read_bin(path)
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        "value, said",
        [
            (([b"x"] * 3, [True, False]), "half as many booleans, got 3 and 2"),
            (([b"x"] * 2, [1]), "half as many booleans"),
            (([b"x", "y"], [True]), "list of images as bytes"),
            (([np.zeros(3, np.uint8)] * 2, [True]), r"it asks for numpy"),
            (([b"x"] * 2, [np.bool_(True)]), r"it asks for numpy"),
            (([], []), "expected a pickle"),
            ({"a": 1}, "expected a pickle"),
            (5, "expected a pickle"),
            (([b"x"] * 2, [True]), "image 0: not an image that Pillow can read"),
        ],
    )
    def test_what_is_no_test_set(self, tmp_path, value, said):
        with pytest.raises(DatasetError, match=said):
            read_bin(self.written(tmp_path / "x.bin", value))

    def test_damaged_files(self, tmp_path, encode):
        whole = self.written(tmp_path / "x.bin", (self.photos(encode, "AB"), [False])).read_bytes()
        rng = np.random.default_rng(0)
        for _ in range(300):
            content = bytearray(whole)
            content[rng.integers(len(content))] = rng.integers(256)
            (tmp_path / "x.bin").write_bytes(content[: rng.integers(1, len(content) + 1)])
            try:
                read_bin(tmp_path / "x.bin")
            except DatasetError as error:
                assert "\n" not in str(error)
        with pytest.raises(FileNotFoundError):
            read_bin(tmp_path / "none.bin")


class TestParquet:
    """Look-alikes of the files on the Hugging Face hub: ``image1, image2, target``."""

    @pytest.fixture
    def columns(self, encode):
        left, right = ([encode(Image.new("RGB", (112, 112), SHOWN[who])) for who in some] for some in ("ABC", "ACC"))
        return {"image1": left, "image2": right, "target": [1, 0, 1]}

    def written(self, path, columns):
        pytest.importorskip("pyarrow")
        pd.DataFrame(columns).to_parquet(path)
        return path

    @pytest.mark.parametrize("struct", [True, False])
    @pytest.mark.parametrize("label, kind", [("target", int), ("is_same", bool)])
    def test_faces_and_pairs(self, tmp_path, columns, struct, label, kind):
        marks = [kind(mark) for mark in columns.pop("target")]
        if struct:
            columns = {name: [{"bytes": x, "path": None} for x in some] for name, some in columns.items()}
        others = {"id": [7, 8, 9], "feature": [[0.5, 0.5]] * 3}
        faces, pairs = read_parquet(self.written(tmp_path / "x.parquet", others | columns | {label: marks}), 32)
        assert faces.shape == (6, 32, 32, 3) and faces.dtype == np.uint8
        assert np.argmax(faces[:, 16, 16], axis=1).tolist() == [0, 0, 1, 2, 2, 2]
        assert pairs.genuine.tolist() == [True, False, True] and pairs.fold.tolist() == [0, 3, 6]
        assert (pairs.left.tolist(), pairs.right.tolist()) == ([0, 2, 4], [1, 3, 5])

    @pytest.mark.parametrize(
        "change, said",
        [
            ({"image2": ["a.jpg", "b.jpg", "c.jpg"]}, "two columns of images"),
            ({"image2": [{"bytes": None, "path": "a.jpg"}] * 3}, "two columns of images"),
            ({"target": [1, 2, 3]}, "one of 0 and 1, got image1, image2, target"),
            ({"other": [0, 0, 1]}, "one of 0 and 1"),
            ({"image1": [b"x"] * 3}, "image 0: not an image that Pillow can read"),
        ],
    )
    def test_what_is_no_test_set(self, tmp_path, columns, change, said):
        with pytest.raises(DatasetError, match=said):
            read_parquet(self.written(tmp_path / "x.parquet", columns | change))

    def test_damaged_and_missing_files(self, tmp_path, columns):
        path = self.written(tmp_path / "x.parquet", columns)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(DatasetError, match="expected a parquet file"):
            read_parquet(path)
        with pytest.raises(FileNotFoundError):
            read_parquet(tmp_path / "none.parquet")

    def test_an_empty_file(self, tmp_path):
        empty = self.written(tmp_path / "x.parquet", {"image1": [], "image2": [], "target": []})
        with pytest.raises(DatasetError, match="two columns of images"):
            read_parquet(empty)

    def test_without_pyarrow(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        (tmp_path / "x.parquet").write_bytes(b"PAR1")
        with pytest.raises(ImportError, match=r"x.parquet': parquet is read by pyarrow: pip install pyarrow"):
            read_parquet(tmp_path / "x.parquet")


def test_view_1_pairs_are_found_among_packed_photos(data, tree):
    photos = tree(
        [f"{name}/{name}_000{k}.png" for name in ("Ann", "Bo", "Cem") for k in (1, 2, 3)], name="lfw-deepfunneled"
    )
    photos.rename(data / "lfw-deepfunneled")
    for name, text in {"pairs": TestViews.VIEW2, "pairsDevTrain": TestViews.TRAIN}.items():
        (data / f"{name}.txt").write_text(text)
    faces = catalog.load("lfw", False)
    pairs = match_lfw_pairs(protocols.view1("train"), faces.paths)
    assert [faces.paths[row] for row in pairs.left] == ["Cem/Cem_0001.png"] * 2
