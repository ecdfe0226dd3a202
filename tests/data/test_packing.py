"""Packing: the same set from every container, once, whole or not at all; selections stay aligned."""

import dataclasses
import errno
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelib import files, runtime
from facelib.data import _workers, archives, images, packed, packing
from facelib.data.archives import DatasetError

ROOT = Path(__file__).parent.parent.parent


def pack(source, **options):
    return packing.pack(source, **{"size": 8, "progress": False, **options})


def colours(faces) -> dict[str, tuple]:
    """Path -> the one colour of its pixels."""
    taken = faces.take(np.arange(len(faces)))
    assert (taken == taken[:, :1, :1]).all()
    return {path: tuple(pixels[0, 0]) for path, pixels in zip(faces.paths, taken, strict=True)}


def consistent(faces) -> bool:
    """Whether labels are grouped, without gaps, and name the folder of each path."""
    folders = [path.rpartition("/")[0] for path in faces.paths]
    return (
        sorted(set(faces.labels)) == list(range(len(faces.names)))
        and [faces.names[label] for label in faces.labels] == folders
        and len(set(faces.names)) == len(faces.names)
        and len(faces.rows) == len(faces.labels) == len(faces.paths) == len(faces.widths) == len(faces)
    )


@pytest.fixture
def undecodable(monkeypatch):
    """From here on no image may be decoded."""

    def undecodable():
        monkeypatch.setattr(images, "decode", lambda *arguments: pytest.fail("an image was decoded"))

    return undecodable


LAYOUTS = {
    "vggface2": "train/n{0:06d}/{1:04d}_01.jpg",
    "facecap": "{0}/{1}.jpg",
    "celebfaces": "celebfaces/{0}/{1}.jpg",
    "lfw": "lfw-deepfunneled/Person_{0}/Person_{0}_{1:04d}.jpg",
}


class TestContainers:
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_all_give_the_same(self, tree, containers, encode, colour, layout):
        chosen = {(person, shot): colour(7 * person + shot) for person in (2, 10, 11) for shot in (1, 2, 9)}
        files = {
            LAYOUTS[layout].format(*which): encode(Image.new("RGB", (16, 16), c), "JPEG", quality=98)
            for which, c in chosen.items()
        }
        packed = {kind: pack(source) for kind, source in containers(tree(files)).items()}
        first = packed.pop("folder")
        # Names sort as text: "10" before "2".
        people = sorted({Path(path).parent.name for path in files})
        assert list(first.names) == people
        assert [Path(path).name for path in first.paths if Path(path).parent.name == people[0]] == sorted(
            Path(path).name for path in files if Path(path).parent.name == people[0]
        )
        assert list(first.labels) == [0] * 3 + [1] * 3 + [2] * 3
        for (person, shot), expected in chosen.items():
            (path,) = (p for p in files if p == LAYOUTS[layout].format(person, shot))
            row = next(i for i, p in enumerate(first.paths) if path.endswith(p))
            assert abs(first.take([row])[0].astype(int) - expected).max() <= 3
        assert consistent(first)
        for kind, faces in packed.items():
            assert faces.names == first.names and faces.paths == first.paths, kind
            assert np.array_equal(faces.labels, first.labels), kind
            assert np.array_equal(faces.widths, first.widths), kind
            assert np.array_equal(faces.take(range(9)), first.take(range(9))), kind
            assert faces.key == first.key, kind

    def test_pixels_are_what_pillow_resizes_to(self, tree, encode):
        noise = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
        faces = packing.pack(tree({"ann/1.png": encode(Image.fromarray(noise))}), progress=False)
        assert faces.pixels.shape == (1, 64, 64, 3) and faces.pixels.dtype == np.uint8
        assert np.array_equal(faces.take([0])[0], np.asarray(Image.fromarray(noise).resize((64, 64))))

    def test_awkward_names_in_every_container(self, tree, containers):
        nfc, nfd = unicodedata.normalize("NFC", "Jos\u00e9"), unicodedata.normalize("NFD", "Jos\u00e9")
        folders = [
            "a",
            "a-b",
            "b/c d",
            "a.b",
            "B",
            "\u738b\u5c0f\u660e",
            f"{nfc} S\u00e1nchez",
            nfd,
            "faces",
            "faces2",
        ]
        root = tree([f"{folder}/{name}.png" for folder in folders for name in ("1", "10", "2", "1 b", "1-b")])
        expected = {path: colour for path, colour in colours(pack(root)).items()}
        assert len(expected) == len(set(expected.values())) == 50
        for path, colour in expected.items():
            assert Image.open(root / path).getpixel((0, 0)) == colour
        for kind, source in containers(root).items():
            faces = pack(source)
            assert consistent(faces) and sorted(faces.names) == sorted(folders), kind
            assert (np.diff(faces.labels) >= 0).all(), kind
            assert colours(faces) == expected, kind
            assert faces.key == pack(root).key, kind

    def test_names_that_are_no_valid_text(self, tree, undecodable):
        root = tree(["ann/1.png"])
        os.rename(root / "ann", os.fsencode(root) + b"/Jos\xe9")
        (root / os.fsdecode(b"Jos\xe9") / os.fsdecode(b"\xe9.txt")).write_bytes(b"x")
        first = pack(root)
        undecodable()
        again = pack(root)
        assert os.fsencode(again.names[0]) == b"Jos\xe9"
        assert [os.fsencode(path) for path in again.manifest["skipped"]] == [b"Jos\xe9/\xe9.txt"]
        assert again.key == first.key and len(again.key) == 16

    def test_one_image_per_person(self, tree):
        faces = pack(tree([f"{person}/1.png" for person in "abcde"]))
        assert len(faces) == len(faces.names) == 5
        assert len(faces.filter(1)) == 5
        with pytest.raises(
            DatasetError, match="Each person of 'faces' has one photo.* Add photos, or train on another"
        ):
            faces.filter(min_images=2)

    def test_one_person(self, tree):
        faces = pack(tree(["ann/1.png", "ann/2.png"]))
        assert faces.names == ("ann",) and faces.paths == ("ann/1.png", "ann/2.png")

    def test_relative_sources(self, tree, monkeypatch):
        root = tree(["ann/1.png", "bob/1.png"])
        monkeypatch.chdir(root)
        faces = pack(".")
        assert faces.names == ("ann", "bob") and faces.manifest["source"] == "faces"


class TestKey:
    def test_it_is_the_same_for_a_copy_elsewhere(self, tree, tmp_path):
        root = tree(["ann/1.png", "bob/1.png"])
        copy = tmp_path / "elsewhere" / "other name"
        shutil.copytree(root, copy)
        assert pack(copy).key == pack(root).key

    def test_it_differs_for_other_selections_sizes_crops_and_contents(self, tree):
        files = [f"{person}/{shot}.png" for person in "ab" for shot in range(3)]
        root = tree(files)
        faces = pack(root)
        others = [
            faces.select([0, 1]),
            faces.select([1, 0]),
            faces.select([0, 2]),
            faces.filter(max_images=1),
            pack(root, size=9),
            pack(root, crop=(0, 0, 1, 0.5)),
            pack(tree(files, name="other colours")),
            pack(tree(["c" + path for path in files], name="renamed")),
        ]
        assert len({faces.key, *(other.key for other in others)}) == 9

    def test_it_is_the_same_however_a_selection_was_made(self, tree):
        faces = pack(tree([f"{person}/{shot}.png" for person in "ab" for shot in range(3)]))
        assert faces.filter(max_images=2).key == faces.select([0, 1, 3, 4]).key
        assert faces.select(range(6)).key == faces.filter().key == faces.key


class TestSelections:
    @pytest.fixture
    def faces(self, tree):
        """People with 1, 2, 3 and 4 images."""
        return pack(tree([f"p{count}/{shot}.png" for count in (1, 2, 3, 4) for shot in range(count)]))

    def test_counts(self, faces):
        assert faces.names == ("p1", "p2", "p3", "p4")
        assert faces.images_per_identity.tolist() == [1, 2, 3, 4]
        assert faces.positions.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2, 3]

    @pytest.mark.parametrize("least, most", [(1, None), (2, None), (1, 2), (3, 2), (4, 4), (1, 1), (4, 9)])
    def test_filter(self, faces, least, most):
        kept = faces.filter(least, most)
        expected = [
            path
            for path in faces.paths
            if int(path[1]) >= least and int(path[3]) < (most or 99)  # p3/2.png: person with 3, third image
        ]
        assert list(kept.paths) == expected
        assert consistent(kept)
        assert colours(kept) == {path: colours(faces)[path] for path in expected}

    def test_filter_of_a_shuffled_selection(self, faces):
        shuffled = faces.select(np.random.default_rng(0).permutation(10))
        kept = shuffled.filter(2, 2)
        assert kept.images_per_identity.tolist() == [2, 2, 2]
        # The first two of each person in the order of the selection.
        for name in kept.names:
            mine = [path for path in shuffled.paths if path.startswith(name)]
            assert [path for path in kept.paths if path.startswith(name)] == mine[:2]
        assert colours(kept).items() <= colours(faces).items()

    def test_filter_that_leaves_nobody(self, faces):
        with pytest.raises(DatasetError, match=r"'faces' has 5 images or more \(the most is 4\)"):
            faces.filter(5)

    @pytest.mark.parametrize(
        "indices",
        [
            [3, 1, 9],
            np.array([9, 0, 0, 4]),
            range(2, 5),
            (1, 2),
            [-1, -10],
            np.arange(10) % 3 == 0,
            [True, False] * 5,
            np.zeros(10, bool),
            [],
        ],
        ids=str,
    )
    def test_select_keeps_all_aligned(self, faces, indices):
        expected = np.array(faces.paths)[np.array(indices, dtype=None if len(indices) else int)]
        chosen = faces.select(indices)
        assert list(chosen.paths) == list(expected)
        assert consistent(chosen)
        assert colours(chosen).items() <= colours(faces).items()
        assert np.array_equal(chosen.widths, np.full(len(expected), 8))
        assert len(chosen.key) == 16

    def test_a_selection_of_a_selection(self, faces):
        twice = faces.select([9, 7, 5, 3, 1]).select([4, 0])
        assert twice.paths == ("p2/0.png", "p4/3.png")
        assert consistent(twice) and colours(twice).items() <= colours(faces).items()

    def test_an_index_out_of_range_is_an_error(self, faces):
        with pytest.raises(IndexError):
            faces.select([10])

    def test_take_copies(self, faces):
        taken = faces.take([2, 0])
        assert taken.shape == (2, 8, 8, 3) and taken.dtype == np.uint8 and type(taken) is np.ndarray
        expected = colours(faces)
        assert tuple(taken[0, 0, 0]) == expected[faces.paths[2]]
        taken[:] = 0
        assert colours(faces) == expected
        assert faces.take([]).shape == (0, 8, 8, 3)

    @pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the system does not tell what is mapped")
    def test_taking_images_maps_none_of_them_into_memory(self, faces):
        def resident():
            lines = Path("/proc/self/smaps").read_text().splitlines()
            start = next(k for k, line in enumerate(lines) if str(faces.pixels.filename) in line)
            return next(line.split()[1] for line in lines[start:] if line.startswith("Rss:"))

        assert faces.take([0, 1]).any() and resident() == "0"
        assert faces.pixels[2].sum() and resident() != "0"

    def test_a_file_that_was_cut_off_is_an_error(self, faces):
        os.truncate(faces.pixels.filename, 8 * 8 * 3)
        with pytest.raises(DatasetError, match="cut off"):
            faces.take([0, 1, 2])

    def test_the_packed_pixels_cannot_be_changed(self, faces):
        assert isinstance(faces.pixels, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            faces.pixels[0] = 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            faces.rows = None


class TestJoin:
    @pytest.fixture
    def sets(self, tree):
        return {
            "one": pack(tree({"ann/1.png": (9, 0, 0), "ann/2.png": (8, 0, 0), "bob/1.png": (7, 0, 0)}, "one")),
            "two": pack(tree({"ann/1.png": (0, 5, 0), "cid/1.png": (0, 4, 0)}, "two")),
        }

    def test_every_face_is_there_under_the_name_of_its_set(self, sets):
        joined = packing.join(sets)
        assert consistent(joined) and joined.names == ("one/ann", "one/bob", "two/ann", "two/cid")
        expected = {f"{name}/{path}": colour for name, faces in sets.items() for path, colour in colours(faces).items()}
        assert colours(joined) == expected

    def test_of_selections_only_what_is_selected(self, sets):
        joined = packing.join({"one": sets["one"].select([2, 0]), "two": sets["two"].select([1])})
        assert colours(joined) == {"one/ann/1.png": (9, 0, 0), "one/bob/1.png": (7, 0, 0), "two/cid/1.png": (0, 4, 0)}

    def test_its_key_follows_the_parts(self, sets):
        keys = {packing.join(chosen).key for chosen in (sets, {"one": sets["one"]}, {"two": sets["one"]})}
        assert len(keys) == 3 and packing.join(sets).key in keys

    def test_other_processes_can_open_it(self, sets):
        joined = packing.join(sets)
        assert colours(pickle.loads(pickle.dumps(joined))) == colours(joined)

    @pytest.mark.parametrize("file", ["pixels.u8", "index.npz", "paths.json", "manifest.json"])
    @pytest.mark.parametrize("damage", ["emptied", "halved", "lost", "zeroed"])
    def test_a_damaged_one_is_joined_again(self, sets, cache, file, damage):
        expected = colours(packing.join(sets))
        (path,) = (cache / "packed").glob(f"joined-*/{file}")
        data = path.read_bytes()
        path.unlink()
        if damage != "lost":
            path.write_bytes({"emptied": b"", "halved": data[: len(data) // 2], "zeroed": bytes(len(data))}[damage])
        assert colours(packing.join(sets)) == expected

    def test_faces_of_different_sizes_are_an_error(self, sets, tree):
        large = pack(tree({"eve/1.png": (1, 1, 1)}, "large"), size=16)
        with pytest.raises(DatasetError, match="8 and 16 pixels"):
            packing.join({**sets, "large": large})


class TestToInput:
    def test_values_by_hand(self):
        faces = np.zeros((2, 2, 3, 3), np.uint8)
        faces[1, 0, 2] = 255, 51, 102
        result = packed.to_input(faces)
        assert result.shape == (2, 3, 2, 3) and result.dtype == np.float32 and result.flags.c_contiguous
        assert (result[0] == -1).all()
        # 51 is a fifth of 255, 102 two fifths: -1 + 2 / 5 and -1 + 4 / 5.
        assert np.allclose(result[1, :, 0, 2], [1, -0.6, -0.2], atol=1e-7)
        assert result[1, 0, 0, 2] == 1

    def test_every_value_keeps_its_place_and_can_be_undone(self):
        faces = np.random.default_rng(0).integers(0, 256, (3, 4, 5, 3), np.uint8)
        result = packed.to_input(faces)
        assert np.array_equal(np.rint((result.transpose(0, 2, 3, 1) + 1) * 127.5), faces)
        assert result.min() >= -1 and result.max() <= 1

    def test_of_no_image(self):
        assert packed.to_input(np.zeros((0, 64, 64, 3), np.uint8)).shape == (0, 3, 64, 64)


class TestManifest:
    def test_what_it_tells(self, tree, encode):
        whole = encode((1, 2, 3))
        photo = encode(Image.radial_gradient("L"), "JPEG")
        root = tree(
            {
                "ann/1.png": whole,
                "ann/2.png": b"",
                "ann/3.jpg": photo[: len(photo) // 2],
                "bob/1.jpg": encode((4, 5, 6)),  # a PNG, in spite of its suffix
                "bob/2.jpg": b"a text, in spite of its suffix",
                "bob/notes.txt": b"x",
                "stray.png": whole,
                "carl/1.png": whole[:20],
            }
        )
        (root / "bob" / "3.png").symlink_to("gone.png")
        faces = pack(root, crop=(0, 0, 1, 0.5))
        assert faces.names == ("ann", "bob") and faces.paths == ("ann/1.png", "bob/1.jpg")
        assert colours(faces) == {"ann/1.png": (1, 2, 3), "bob/1.jpg": (4, 5, 6)}
        told = faces.manifest
        assert (told["source"], told["images"], told["identities"], told["size"]) == ("faces", 2, 2, 8)
        assert told["crop"] == [0, 0, 1, 0.5] and len(told["content"]) == 16
        reasons = told["skipped"]
        assert reasons.pop("carl/1.png") in ("truncated file", "not an image that Pillow can read")
        assert reasons == {
            "ann/2.png": "empty file",
            "ann/3.jpg": "truncated file",
            "bob/2.jpg": "not an image that Pillow can read",
            "bob/3.png": "cannot be read (No such file or directory)",
            "bob/notes.txt": "not an image",
            "stray.png": "not inside an identity folder",
        }

    def test_no_readable_image_is_an_error_with_reasons(self, tree, cache):
        root = tree({"ann/1.png": b"", "bob/1.png": b"text"})
        with pytest.raises(DatasetError, match=r"Not one image of '.*faces' could be read \(ann/1.png: empty file"):
            pack(root)
        assert [path.suffix for path in (cache / "packed").iterdir()] == [".lock"]

    def test_equal_files_have_equal_digests(self, tree):
        faces = pack(tree({"ann/1.png": (1, 1, 1), "ann/2.png": (2, 2, 2), "bob/1.png": (1, 1, 1)}))
        assert faces.digests.dtype == np.uint64
        assert len(set(faces.digests)) == 2 and faces.digests[0] == faces.digests[2]
        assert np.array_equal(faces.select([2, 1]).digests, faces.digests[[2, 1]])
        whole = hashlib.sha256((tree({}) / "ann" / "1.png").read_bytes()).hexdigest()
        assert f"{faces.digests[0]:016x}" == whole[:16]

    @pytest.mark.parametrize(
        "widths, sources",
        [
            ({"a": (112, 112), "b": (64, 64), "c": (64,)}, {0, 1}),  # two collections of people
            ({"a": (112, 64), "b": (64, 112), "c": (64, 112)}, {0}),  # of each person a large photo and a small one
            ({"a": (112,), "b": (64,)}, {0, 1}),
            ({"a": (1, 2, 3, 4, 5)}, {0}),
        ],
    )
    def test_widths_are_sources_where_they_part_the_people(self, tree, encode, widths, sources):
        files = {
            f"{name}/{n}.png": encode(Image.new("RGB", (width, 9), (width, n, ord(name))))
            for name, those in widths.items()
            for n, width in enumerate(those)
        }
        faces = pack(tree(files))
        assert set(faces.sources) == sources
        assert set(faces.select([0, 1]).sources) <= sources  # the whole set decides, not what is left of it
        assert set(packing.join({"x": faces}).sources) == sources

    def test_a_few_people_of_two_widths_do_not_unmake_sources(self):
        labels = np.repeat(np.arange(40), 2)
        widths = np.where(labels < 20, 64, 112)
        widths[[1, 3]] = 112
        assert packed.widths_part_people(widths, labels)
        widths[:20] = np.tile([64, 112], 10)
        assert not packed.widths_part_people(widths, labels)

    def test_widths_are_those_of_the_files(self, tree, encode):
        files = {f"ann/{width}.png": encode(Image.new("RGB", (width, 9))) for width in (112, 64, 30)}
        faces = pack(tree(files))
        assert faces.widths.dtype == np.int64
        assert dict(zip(faces.paths, faces.widths, strict=True)) == {f"ann/{w}.png": w for w in (112, 64, 30)}

    @pytest.mark.parametrize(
        "crop", [(0.5, 0, 0.5, 1), (0, 0.8, 1, 0.2), (0, 0, 250, 250), (-0.1, 0, 1, 1), (0, 0, 1, float("nan"))]
    )
    def test_an_impossible_crop_is_an_error(self, tree, crop):
        with pytest.raises(ValueError, match="is not left, top, right, bottom as fractions from 0 to 1"):
            pack(tree(["ann/1.png"]), crop=crop)


class TestReuse:
    def test_nothing_is_decoded_again(self, tree, containers, undecodable):
        made = containers(tree(["ann/1.png", "bob/1.png"]))
        first = {kind: pack(source) for kind, source in made.items()}
        undecodable()
        for kind, source in made.items():
            again = pack(source)
            assert again.key == first[kind].key and colours(again) == colours(first[kind])
            assert again.manifest == first[kind].manifest

    def test_every_spelling_of_arguments_and_path_is_the_same(self, tree, undecodable, monkeypatch):
        root = tree(["ann/1.png"])
        pack(root, size=8, crop=(0, 0, 1, 1))
        undecodable()
        monkeypatch.chdir(root.parent)
        for source in (root, str(root), "faces", "./faces/", "faces/../faces"):
            pack(source, size=np.int64(8), crop=[0.0, 0.0, 1.0, 1.0], workers=2)

    @pytest.mark.parametrize(
        "change, paths",
        [
            (lambda root, png: (root / "ann" / "2.png").write_bytes(png), ["ann/1.png", "ann/2.png", "bob/1.png"]),
            (lambda root, png: (root / "ann" / "1.png").unlink(), ["bob/1.png"]),
            (lambda root, png: (root / "ann" / "1.png").write_bytes(png), ["ann/1.png", "bob/1.png"]),
            (lambda root, png: (root / "ann").rename(root / "eve"), ["bob/1.png", "eve/1.png"]),
        ],
        ids=["added", "removed", "changed", "renamed"],
    )
    def test_it_is_redone_when_files_change(self, tree, encode, change, paths):
        root = tree(["ann/1.png", "bob/1.png"])
        first = pack(root)
        change(root, encode((222, 111, 0), compress_level=1))
        again = pack(root)
        assert list(again.paths) == paths and again.key != first.key
        assert colours(again) == {path: Image.open(root / path).getpixel((0, 0)) for path in paths}

    def test_it_is_redone_when_an_archive_changes(self, tree, make_tar, encode):
        archive = make_tar([("ann/1.png", encode((1, 1, 1)))])
        first = pack(archive)
        make_tar([("ann/1.png", encode((1, 1, 1))), ("bob/1.png", encode((2, 2, 2)))])
        assert pack(archive).names == ("ann", "bob") and first.names == ("ann",)

    def test_it_is_redone_for_other_arguments(self, tree, encode):
        left_black = Image.new("RGB", (8, 8), (0, 0, 0))
        left_black.paste((255, 255, 255), (4, 0, 8, 8))
        root = tree({"ann/1.png": encode(left_black)})
        assert pack(root, size=8).pixels.shape == (1, 8, 8, 3)
        assert pack(root, size=4).pixels.shape == (1, 4, 4, 3)
        assert pack(root, size=2, crop=(0, 0, 0.25, 1)).pixels.max() == 0
        assert pack(root, size=2, crop=(0.75, 0, 1, 1)).pixels.min() == 255

    @pytest.mark.parametrize("file", ["pixels.u8", "index.npz", "paths.json", "manifest.json"])
    @pytest.mark.parametrize("damage", ["emptied", "halved", "lost"])
    def test_a_damaged_pack_is_redone(self, tree, cache, file, damage):
        root = tree(["ann/1.png", "bob/1.png"])
        key = pack(root).key
        (path,) = (cache / "packed").glob(f"*/{file}")
        data = path.read_bytes()
        path.unlink()
        if damage != "lost":
            path.write_bytes(data[: len(data) // 2] if damage == "halved" else b"")
        again = pack(root)
        assert again.key == key and len(colours(again)) == 2

    def test_a_pack_whose_pixels_are_lost_is_redone(self, tree, cache):
        root = tree([f"ann/{n}.png" for n in range(300)])
        expected = colours(pack(root))
        (path,) = (cache / "packed").glob("*/pixels.u8")
        path.write_bytes(bytes(path.stat().st_size))  # as a crash leaves what was not yet on the disk
        assert colours(pack(root)) == expected

    def test_the_cache_folder_follows_the_environment(self, tree, tmp_path, monkeypatch):
        monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "new" / "place"))
        pack(tree(["ann/1.png"]))
        assert len(list((tmp_path / "new" / "place" / "packed").glob("*/manifest.json"))) == 1


class TestProcesses:
    def test_any_number_gives_the_same(self, tree, containers, encode, tmp_path, monkeypatch):
        rng = np.random.default_rng(0)
        files = {
            f"{person}/{shot}.png": encode(Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)))
            for person in range(20)
            for shot in range(10)
        }
        files["3/broken.png"] = b"text"
        made = containers(tree(files))
        monkeypatch.setattr(_workers, "MEASURED", 0)
        monkeypatch.setattr(_workers, "WORTHWHILE", -1)
        one = pack(made["folder"], workers=1)
        assert one.manifest["skipped"] == {"3/broken.png": "not an image that Pillow can read"}
        for workers, kind in [(2, "folder"), (3, "folder"), (2, ".tgz"), (2, ".zip")]:
            monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / f"cache {workers} {kind}"))
            faces = pack(made[kind], workers=workers)
            assert faces.key == one.key and faces.paths == one.paths and faces.names == one.names
            assert faces.manifest["skipped"] == one.manifest["skipped"]
            assert np.array_equal(faces.take(range(200)), one.take(range(200)))
            assert np.array_equal(faces.labels, one.labels) and np.array_equal(faces.widths, one.widths)
            assert kind != "folder" or np.array_equal(faces.rows, one.rows)

    def test_few_files_are_held_in_memory(self, tree, containers, monkeypatch):
        archive = containers(tree({f"ann/{n}.png": (n, n, n) for n in range(200)}))[".zip"]
        monkeypatch.setattr(_workers, "CHUNK_BYTES", 10)
        held = most = 0
        listed, decode = archives.members, images.decode

        def count(change):
            nonlocal held, most
            held += change
            most = max(most, held)

        def members(source):
            listing = listed(source)

            def read(wanted):
                for item in listing.read(wanted):
                    count(1)
                    yield item

            return dataclasses.replace(listing, read=read)

        def counted(*arguments):
            count(-1)
            return decode(*arguments)

        monkeypatch.setattr(packing, "members", members)
        monkeypatch.setattr(images, "decode", counted)
        assert len(pack(archive, workers=1)) == 200
        assert most == 1 and held == 0  # each is over the limit

    def test_the_default_is_one_per_core(self, tree, monkeypatch):
        asked, write = [], _workers.write_faces
        monkeypatch.setattr(_workers, "write_faces", lambda *a: asked.append(a[3]) or write(*a))
        monkeypatch.setattr(runtime, "cores", lambda: 3)
        pack(tree(["ann/1.png"]))
        assert asked == [3]


PACK_AND_DIE = """
import sys, time
from facelib.data import images, packing
decode, done = images.decode, 0
def slow(*arguments):
    global done
    done += 1
    if done > 40:  # the first chunk is written
        print("midway", flush=True)
        time.sleep(60)
    return decode(*arguments)
images.decode = slow
packing.pack(sys.argv[1], size=64, workers=1, progress=False)
"""


class TestHalfMade:
    def left(self, cache) -> list[Path]:
        return [path for path in (cache / "packed").glob("*") if path.suffix != ".lock"]

    @pytest.mark.parametrize("error", [RuntimeError("midway"), KeyboardInterrupt(), OSError(errno.ENOSPC, "full")])
    @pytest.mark.parametrize("where", ["decode", "index", "rename"])
    def test_an_error_midway_leaves_nothing(self, tree, cache, monkeypatch, error, where):
        root = tree([f"ann/{n}.png" for n in range(100)])

        def fail(*arguments, **options):
            raise error

        with monkeypatch.context() as patch:
            if where == "decode":
                calls, decode = iter(range(50)), images.decode
                patch.setattr(images, "decode", lambda *a: decode(*a) if next(calls, None) is not None else fail())
            elif where == "index":
                patch.setattr(np, "savez", fail)
            else:
                patch.setattr(os, "replace", fail)
            with pytest.raises(type(error)):
                pack(root)
        assert self.left(cache) == []
        assert len(colours(pack(root))) == 100

    def test_a_write_to_a_full_disk_passes_its_error(self, tree, cache, monkeypatch):
        root, opened = tree([f"ann/{n}.png" for n in range(100)]), open

        class Full:
            def __init__(self):
                self.written = 0

            def __enter__(self):
                return self

            def __exit__(self, *exception):
                return None

            def seek(self, place):
                return None

            def write(self, data):
                self.written += data.nbytes
                if self.written > 5_000:
                    raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(
            _workers, "open", lambda path, mode: Full() if "pixels" in str(path) else opened(path, mode), raising=False
        )
        with pytest.raises(OSError, match="No space left on device") as error:
            pack(root)
        assert error.value.errno == errno.ENOSPC
        assert self.left(cache) == []

    def test_too_little_space_is_told_before_the_work(self, tree, cache, monkeypatch, undecodable):
        root = tree(["ann/1.png", "bob/1.png"])
        usage = shutil.disk_usage("/")
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * 64 * 64 * 3 - 1))
        with monkeypatch.context() as patch:
            patch.setattr(images, "decode", lambda *arguments: pytest.fail("an image was decoded"))
            with pytest.raises(OSError, match=r"Packing '.*faces' needs .* MiB in .* point FACELIB_CACHE elsewhere"):
                pack(root, size=64)
        assert self.left(cache) == []
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2 * 64 * 64 * 3))
        assert len(pack(root, size=64)) == 2

    def test_a_killed_process_leaves_nothing_that_counts(self, tree, cache):
        root = tree([f"ann/{n:03}.png" for n in range(100)])
        command = [sys.executable, "-c", PACK_AND_DIE, str(root)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout.readline() == "midway\n"
            process.send_signal(signal.SIGKILL)
        assert len(self.left(cache)) == 1, "the leftover of the killed process"
        faces = packing.pack(root, size=64, progress=False)
        assert len(colours(faces)) == 100
        (home,) = self.left(cache)
        assert home.suffix != ".part"

    def test_what_is_left_of_other_sets_is_cleared_when_nobody_has_written_for_a_day(self, tree, cache):
        elsewhere = cache / "packed" / ".faces-0123.abc.part"
        (elsewhere / "faces-0123").mkdir(parents=True)
        pixels = elsewhere / "faces-0123" / "pixels.u8"
        pixels.write_bytes(b"half")
        long_ago = time.time() - files.FORSAKEN - 1
        for folder in (elsewhere, elsewhere / "faces-0123"):
            os.utime(folder, (long_ago, long_ago))  # a folder's time is not that of the files in it
        pack(tree(["ann/1.png"]))
        assert elsewhere.exists()
        os.utime(pixels, (long_ago, long_ago))
        pack(tree(["ann/1.png"], "more"))
        assert not elsewhere.exists()

    def test_what_another_process_has_just_published_is_kept(self, tree, cache, monkeypatch):
        root, opened, tries = tree(["ann/1.png", "bob/1.png"]), packing._open, []

        def absent_at_first(home):
            tries.append(home)
            if len(tries) > 1:
                return opened(home)
            with monkeypatch.context() as patch:  # another one is faster, just after this one has looked
                patch.setattr(packing, "_open", opened)
                pack(root)
            (home / "published first").touch()
            raise FileNotFoundError

        monkeypatch.setattr(packing, "_open", absent_at_first)
        assert len(pack(root)) == 2
        (home,) = self.left(cache)
        assert (home / "published first").exists()

    def test_of_two_at_once_one_waits_for_the_other(self, tree, cache, monkeypatch):
        root, decoded, decode = tree([f"ann/{n}.png" for n in range(40)]), [], images.decode
        monkeypatch.setattr(images, "decode", lambda *arguments: decoded.append(1) or decode(*arguments))
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(lambda _: pack(root, workers=1), range(2)))
        assert both[0].key == both[1].key and colours(both[0]) == colours(both[1])
        assert len(self.left(cache)) == 1 and len(decoded) == 40

    def test_a_damaged_archive_leaves_nothing(self, tree, containers, cache, undecodable):
        archive = containers(tree([f"ann/{n}.png" for n in range(100)]))[".zip"]
        data = bytearray(archive.read_bytes())
        archive.write_bytes(data[: len(data) // 2])
        with pytest.raises(DatasetError, match="is damaged"):
            pack(archive)
        assert self.left(cache) == []


def test_progress_is_shown_only_when_asked_for(tree, capfd):
    pack(tree(["ann/1.png"]))
    assert capfd.readouterr() == ("", "")
    pack(tree(["ann/1.png"]), size=9, progress=True)
    assert "packing faces" in "".join(capfd.readouterr())


def test_reading_archives_needs_no_unpacking(tree, containers, monkeypatch):
    for name in ("extract", "extractall"):
        monkeypatch.setattr(tarfile.TarFile, name, lambda *a, **o: pytest.fail("unpacked"))
    assert len(pack(containers(tree(["ann/1.png"]))[".tgz"])) == 1
