"""Layouts other than one folder per person are read through a table, from folders and from inside archives."""

import os
import shutil

import pytest

from facelib.data import archives, catalog, layouts, packing
from facelib.data.archives import DatasetError
from facelib.data.layouts import read_table, write_table


@pytest.fixture
def photos(tree):
    """A flat folder with a colour per photo, as CelebA's is laid out."""
    return tree({f"photos/{k}.png": (k, 0, 0) for k in range(6)}, name="flat")


def table(folder, rows, name="people.csv"):
    (folder / name).write_text("\n".join(["path,identity", *rows]) + "\n", encoding="utf-8")
    return folder / name


def packed(source):
    return packing.pack(source, size=8, progress=False)


class TestTable:
    ROWS = ("photos/3.png,Ann", "photos/0.png,Ann", "photos/5.png,Bo", "photos/1.png,Cem", "photos/2.png,Bo")

    def check(self, faces):
        assert faces.names == ("Ann", "Bo", "Cem")
        assert faces.paths == ("Ann/0.png", "Ann/3.png", "Bo/2.png", "Bo/5.png", "Cem/1.png")
        reds = faces.take(range(5))[:, 4, 4, 0].tolist()
        assert reds == [0, 3, 2, 5, 1]

    def test_a_flat_folder(self, photos):
        source = table(photos, self.ROWS)
        self.check(packed(source))
        self.check(catalog.load(str(source), progress=False))

    @pytest.mark.parametrize("kind", [".tar", ".tgz", ".tar.gz", ".zip"])
    def test_photos_inside_an_archive(self, photos, containers, kind):
        archive = containers(photos)[kind]
        rows = [f"{archive.name}/flat/{row}" for row in self.ROWS]
        self.check(packed(table(archive.parent, rows)))

    def test_photos_of_several_places(self, photos, containers):
        archive = containers(photos)[".zip"]
        rows = [f"{archive}/flat/{row}" for row in self.ROWS[:2]]
        rows += [f"{photos}/{row}" for row in self.ROWS[2:]]
        self.check(packed(table(photos.parent, rows)))

    def test_other_columns_a_mark_blanks_quotes_and_backslashes(self, photos):
        text = '\ufeffage,identity,path\r\n3, Ann ,photos\\3.png\r\n4,"Bo, jr.", photos/1.png\r\n'
        (photos / "windows.csv").write_text(text, encoding="utf-8", newline="")
        assert packed(photos / "windows.csv").paths == ("Ann/3.png", "Bo, jr./1.png")

    def test_an_identity_with_two_files_of_one_name(self, tree):
        root = tree(["a/1.png", "b/1.png", "b/2.png"])
        rows = ["a/1.png,Ann", "b/1.png,Ann", "b/2.png,Ann"]
        assert read_table(table(root, rows)) == {
            "Ann/a_1.png": "a/1.png",
            "Ann/b_1.png": "b/1.png",
            "Ann/2.png": "b/2.png",
        }
        odd = tree(["a_b/1.png", "a/b_1.png", "b_1.png", "a/b/1.png"], name="odd")
        with pytest.raises(DatasetError, match="'a_b/1.png' and 'a/b/1.png' of one identity need other names"):
            read_table(table(odd, ["a/b/1.png,Ann", "a_b/1.png,Ann"]))

    def test_what_is_missing_or_no_photo_is_reported(self, photos, containers):
        archive = containers(photos)[".zip"]
        (photos / "notes.txt").write_text("x")
        rows = [*self.ROWS, "gone.png,Dan", "notes.txt,Dan", f"{archive}/flat/gone.png,Eva", "photos/3.png,Ann"]
        faces = packed(table(photos, rows))
        self.check(faces)
        skipped = faces.manifest["skipped"]
        assert skipped.keys() == {"Dan/gone.png", "Dan/notes.txt", "Eva/gone.png"}
        assert "No such file" in skipped["Dan/gone.png"] and skipped["Eva/gone.png"] == "not in the archive"

    @pytest.mark.parametrize(
        "rows, said",
        [
            (["photos/1.png,Ann", "photos/1.png,Bo"], "line 3: 'photos/1.png' is already listed as 'Ann'"),
            (["photos/1.png,"], "line 2: expected a path and an identity"),
            (["photos/1.png"], "line 2: expected a path and an identity"),
            ([",Ann"], "line 2: expected a path and an identity"),
            (["photos/,Ann"], "line 2: expected a path and an identity"),
            (["photos/1.png,../Ann"], "line 2: expected a path and an identity"),
            ([], "holds no identities"),
        ],
    )
    def test_a_malformed_table(self, photos, rows, said):
        with pytest.raises(DatasetError, match=said):
            packed(table(photos, rows))

    @pytest.mark.parametrize("head", ["path;identity", "\ufeffPath;Identity", "age; Identity ;PATH"])
    def test_a_spreadsheet_s_table(self, photos, head):
        expected = packed(table(photos, ["photos/1.png,Ann", "photos/2.png,Bo"]))
        lines = ["photos/1.png;Ann", "photos/2.png;Bo"]
        if head.startswith("age"):
            lines = ["3;Ann;photos/1.png", "4;Bo;photos/2.png"]
        (photos / "sheet.csv").write_text("\r\n".join([head, *lines]) + "\r\n", encoding="utf-8")
        found = packed(photos / "sheet.csv")
        assert found.names == expected.names == ("Ann", "Bo") and found.paths == expected.paths

    def test_what_is_no_table(self, photos):
        (photos / "x.csv").write_text("file,person\n1.png,Ann\n")
        with pytest.raises(DatasetError, match=r"x.csv': the first line is to be path,identity"):
            packed(photos / "x.csv")
        (photos / "x.csv").write_text("")
        with pytest.raises(DatasetError, match="the first line is to be path,identity"):
            packed(photos / "x.csv")
        (photos / "x.csv").write_bytes(b"path,identity\n\xff\xfe,\x00\n")
        with pytest.raises(DatasetError, match="is no CSV table in UTF-8"):
            packed(photos / "x.csv")

    def test_changed_photos_are_packed_anew(self, photos, containers, encode):
        archive = containers(photos)[".zip"]
        for base in (photos, archive / "flat"):
            source = table(photos, [f"{base}/{row}" for row in self.ROWS])
            before = archives.fingerprint(source)
            assert archives.fingerprint(source) == before
            os.utime(base / "photos/3.png" if base is photos else archive, (1, 1))
            assert archives.fingerprint(source) != before
        (photos / "photos/3.png").write_bytes(encode((99, 0, 0)))
        faces = packed(table(photos, self.ROWS))
        assert faces.take([1])[0, 4, 4, 0] == 99

    def test_writing_and_reading_agree(self, tmp_path):
        rows = [("a/1.png", "Bo, jr."), (tmp_path / "2.png", 'Ann "A"')]
        made = read_table(write_table(rows, tmp_path / "new" / "t.csv"))
        assert made == {"Bo, jr./1.png": "a/1.png", 'Ann "A"/2.png': str(tmp_path / "2.png")}


class TestPublishedLayouts:
    VGG = ("train/n000002/0001_01.png", "train/n000002/0002_01.png", "train/n000005/0001_02.png")

    @pytest.mark.parametrize("kind", ["folder", ".tgz"])
    def test_vggface2(self, data, tree, containers, kind):
        root = tree([*self.VGG, "test/n000001/0001_01.png"], name="vggface2")
        if kind == "folder":
            root.rename(data / "vggface2")
        else:
            for part in ("train", "test"):
                made = shutil.make_archive(str(data / f"vggface2_{part}"), "gztar", root, part)
                assert made.endswith(f"vggface2_{part}.tar.gz")
        train, test = (catalog.load(f"vggface2-{part}", progress=False) for part in ("train", "test"))
        assert train.paths == ("n000002/0001_01.png", "n000002/0002_01.png", "n000005/0001_02.png")
        assert test.paths == ("n000001/0001_01.png",)

    def test_digiface(self, data, tree, containers):
        parts = {"subjects_0-1_2_imgs": ["0/0.png", "0/1.png", "1/0.png"], "subjects_100000_1_imgs": ["100000/0.png"]}
        (data / "digiface").mkdir()
        for name, files in parts.items():
            shutil.make_archive(str(data / "digiface" / name), "zip", tree(files, name=name))
        zipped = catalog.load("digiface", progress=False)
        assert zipped.paths == ("0/0.png", "0/1.png", "1/0.png", "100000/0.png")
        for name in parts:
            shutil.unpack_archive(data / "digiface" / f"{name}.zip", data / "digiface")
            (data / "digiface" / f"{name}.zip").unlink()
        unpacked = catalog.load("digiface", progress=False)
        assert unpacked.paths == zipped.paths
        assert unpacked.manifest["content"] == zipped.manifest["content"]

    def test_a_folder_of_archives_without_any(self, tmp_path):
        with pytest.raises(DatasetError, match="holds no archive"):
            layouts.folder_of_archives(tmp_path, tmp_path / "t.csv")


def test_faces_cut_from_one_picture_are_known_by_their_names():
    paths = ["F1-MID1/P5_face2.jpg", "F1-MID2/P5_face1.jpg", "F1-MID2/P6_face1.jpg", "F2-MID1/P5_face2.jpg", "a/1.jpg"]
    found = layouts.photographs(paths)
    assert found[0] == found[1] and len(set(found)) == 4 and found[-1] == "a/1.jpg"
