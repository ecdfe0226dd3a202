"""Known sets are found, fetched or drawn, framed as they should be, and split without leaks."""

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelib.data import catalog, images, packed, rendered, splits
from facelib.data.archives import DatasetError
from facelib.data.fetching import Remote
from facelib.data.packed import PackedFaces

ROOT = Path(__file__).parent.parent.parent


def framed(crop, encode, inside=(250, 0, 0), size=250) -> bytes:
    """A white photo whose square within the crop has another colour."""
    image = Image.new("RGB", (size, size), "white")
    left, top, right, bottom = (round(fraction * size) for fraction in crop)
    image.paste(inside, (left, top, right, bottom))
    return encode(image)


def people(counts, widths=None, shuffle=None) -> PackedFaces:
    """A set with as many images per person as given, and a width per person."""
    labels = np.repeat(np.arange(len(counts)), counts)
    names = tuple(f"p{number:05}" for number in range(len(counts)))
    faces = PackedFaces(
        pixels=np.zeros((len(labels), 1, 1, 3), np.uint8),
        rows=np.arange(len(labels)),
        labels=labels,
        names=names,
        paths=tuple(f"{names[label]}/{row}.jpg" for row, label in enumerate(labels)),
        widths=np.repeat(64 if widths is None else widths, counts if widths is not None else len(labels)),
        manifest={"source": "made", "content": "0"},
    )
    return faces if shuffle is None else faces.select(np.random.default_rng(shuffle).permutation(len(faces)))


class TestFinding:
    @pytest.mark.parametrize("kind", ["folder", ".tar", ".tgz", ".tar.gz", ".zip"])
    def test_a_folder_or_archive_in_the_data_folder(self, data, tree, containers, kind):
        made = containers(tree(["n1/1.png", "n1/2.png", "n2/1.png"], name="vggface2"))[kind]
        place = made.rename(data / ("vggface2" + kind * (kind != "folder")))
        assert catalog.find("vggface2") == place == catalog.source("vggface2")
        faces = catalog.load("vggface2", progress=False)
        assert faces.names == ("n1", "n2") and faces.manifest["crop"] is None
        assert faces.pixels.shape[1:] == (64, 64, 3)

    def test_a_path_of_ones_own(self, data, tree, monkeypatch):
        root = tree(["ann/1.png", "bob/1.png"], name="my faces")
        assert catalog.load(str(root), progress=False).names == ("ann", "bob")
        monkeypatch.setenv("HOME", str(root.parent))
        assert catalog.find("~/my faces") == root

    @pytest.mark.parametrize("name, number", [("vggface2", 107435), ("facecap", 104646)])
    def test_where_the_papers_sets_come_from(self, data, name, number):
        with pytest.raises(FileNotFoundError) as error:
            catalog.load(name)
        said = str(error.value)
        assert said.startswith(f"'{name}' is not under '{data}'") and "Baidu AI Studio" in said
        link, layout = f"https://aistudio.baidu.com/datasetdetail/{number}", f"{name}/<person>/<image>.jpg"
        for part in (link, layout, f"{name}.tar", f"{name}.tgz", f"{name}.zip", "data/README.md"):
            assert part in said
        readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
        assert f"data set {number}" in readme and link in readme and layout in readme

    @pytest.mark.parametrize("name, folder", [("families",) * 2, ("digiface",) * 2, ("lfw", "lfw-deepfunneled")])
    def test_where_the_open_sets_belong(self, data, name, folder):
        with pytest.raises(FileNotFoundError) as error:
            catalog.find(name)
        for part in (f"'{name}' is not under '{data}'", f"'{folder}'", f"'{folder}.tar'", "'.zip'", "FACELIB_DATA"):
            assert part in str(error.value)

    def test_where_vggface2_belongs(self, data):
        with pytest.raises(
            FileNotFoundError, match="the folder 'vggface2/train' .* its archive 'vggface2_train.tar.gz'"
        ):
            catalog.find("vggface2-train")

    def test_what_is_missing_is_told_before_work_starts(self, data, tree, encode):
        tree(["1/1.png"], name="families").rename(data / "families")
        assert catalog.missing("families") == catalog.missing("lfw") == catalog.missing("demo-train") == []
        assert catalog.missing("celebfaces-tight+families") == ["celebfaces-tight"]
        assert catalog.missing("celeba") == ["celeba"] and catalog.missing(str(data)) == []
        assert catalog.missing(f"{data}/no") == [f"{data}/no"]
        (data / "img_align_celeba").mkdir()
        (data / "identity_CelebA.txt").touch()
        assert catalog.missing("celebfaces+families") == catalog.missing("celeba") == []
        assert list(data.parent.glob("**/celebfaces.tar")) == []

    def test_known_sets_with_a_plus_between_them_are_one(self, data, encode):
        for name, colour in (("celebfaces", (9, 0, 0)), ("families", (0, 9, 0))):
            (data / name / "1").mkdir(parents=True)
            (data / name / "1" / "1.png").write_bytes(encode(colour))
        joined = catalog.load("celebfaces+families", progress=False)
        assert joined.paths == ("celebfaces/1/1.png", "families/1/1.png")
        assert joined.take([0, 1])[:, 0, 0].tolist() == [[9, 0, 0], [0, 9, 0]]

    def test_a_plus_in_the_name_of_a_folder_is_no_joint(self, tree):
        folder = tree(["ann/1.png"], "old+new")
        assert catalog.parts_of(str(folder)) == [str(folder)]
        assert catalog.load(str(folder), progress=False).names == ("ann",)

    def test_an_unknown_name(self, data):
        with pytest.raises(FileNotFoundError, match="'lwf' is neither .* nor one of the known sets .*facecap"):
            catalog.load("lwf")

    def test_the_data_folder_of_the_repository_is_the_default(self, monkeypatch):
        monkeypatch.delenv("FACELIB_DATA", raising=False)
        with pytest.raises(FileNotFoundError, match=str(ROOT / "data")):
            catalog.find("families")


class TestDemo:
    @pytest.fixture
    def few(self, monkeypatch):
        monkeypatch.setattr(catalog, "DEMO_SETS", {"demo-train": (range(3, 5), 2), "demo-test": (range(7, 8), 3)})

    def test_people_are_drawn_once(self, few, data, monkeypatch):
        faces = catalog.load("demo-train", progress=False)
        assert faces.names == ("person_0003", "person_0004")
        assert faces.images_per_identity.tolist() == [2, 2]
        assert faces.manifest["source"] == "demo-train"
        assert catalog.load("demo-test", progress=False).images_per_identity.tolist() == [3]
        monkeypatch.setattr(rendered, "render_face", lambda *arguments: pytest.fail("drawn again"))
        monkeypatch.setattr(images, "decode", lambda *arguments: pytest.fail("decoded again"))
        assert catalog.load("demo-train", progress=False).key == faces.key

    def test_other_people_are_drawn_beside_them(self, few, data, monkeypatch):
        before = catalog.load("demo-test", progress=False)
        monkeypatch.setattr(catalog, "DEMO_SETS", {"demo-test": (range(7, 9), 3)})
        assert len(catalog.load("demo-test", progress=False).names) == 2
        monkeypatch.setattr(rendered, "RENDERER_VERSION", "another")
        assert len(catalog.load("demo-test", progress=False)) == 6
        assert len(before) == 3

    def test_training_and_test_people_differ(self):
        (train, photos), (test, others, planted) = catalog.DEMO_SETS["demo-train"], catalog.DEMO_SETS["demo-test"]
        assert not set(train) & set(test) and len(set(photos)) > 3 < len(set(others))
        ((who, (known, _)),) = planted.items()  # and one photograph is in both
        assert who in test and known in train


class TestLfw:
    @pytest.fixture
    def mirror(self, data, server, monkeypatch, encode):
        """A small stand-in for the funneled images on the server."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as tar:
            for path in ("Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0002.png", "Bo/Bo_0001.png"):
                photo = framed((61 / 250, 69 / 250, 189 / 250, 196 / 250), encode)
                info = tarfile.TarInfo(f"lfw_funneled/{path}")
                info.size = len(photo)
                tar.addfile(info, io.BytesIO(photo))
        server.files["/lfw"] = content.getvalue()
        known = Remote("lfw-funneled.tgz", f"{server.address}/lfw", hashlib.sha256(content.getvalue()).hexdigest())
        monkeypatch.setattr(catalog, "LFW_FUNNELED", known)
        return server

    def test_the_deep_funneled_images_come_first(self, data, tree, encode):
        # The square that datasets' notes give: from (62, 66) to (190, 194) of 250 x 250.
        photo = framed((62 / 250, 66 / 250, 190 / 250, 194 / 250), encode)
        tree({"Ann_Lee/Ann_Lee_0001.png": photo}, name="made").rename(data / "lfw-deepfunneled")
        assert catalog.lfw_variant() == "lfw"
        faces = catalog.load("lfw", progress=False)
        assert (faces.take([0])[0, 2:-2, 2:-2] == (250, 0, 0)).all()
        assert faces.names == ("Ann_Lee",) and faces.manifest["source"] == "lfw-deepfunneled"
        assert faces.manifest["crop"] == [62 / 250, 66 / 250, 190 / 250, 194 / 250]

    def test_else_the_funneled_ones_are_fetched_once(self, mirror, cache, capfd):
        assert catalog.lfw_variant() == "lfw-funneled"
        faces = catalog.load("lfw", progress=False)
        assert capfd.readouterr() == ("", "")
        assert faces.names == ("Ann_Lee", "Bo") and faces.manifest["source"] == "lfw-funneled.tgz"
        # A square of 128 around the middle of rows 70 to 195 and columns 78 to 172.
        assert np.allclose(np.array(faces.manifest["crop"]) * 250, [61, 68.5, 189, 196.5])
        assert (faces.take([0])[0, 2:-2, 2:-2] == (250, 0, 0)).all()
        assert [path.name for path in (cache / "downloads").glob("*z")] == ["lfw-funneled.tgz"]
        assert catalog.load("lfw", progress=False).key == faces.key
        assert catalog.load("lfw-funneled", progress=False).key == faces.key
        assert mirror.asked == ["/lfw"]

    def test_a_copy_in_the_data_folder_is_not_fetched(self, mirror, data):
        (data / "lfw-funneled.tgz").write_bytes(mirror.files["/lfw"])
        assert len(catalog.load("lfw", progress=False)) == 3
        assert mirror.asked == []

    @pytest.mark.parametrize("name", ["lfw-funneled", "lfw_funneled"])
    def test_nor_where_it_lies_unpacked(self, mirror, data, name):
        with tarfile.open(fileobj=io.BytesIO(mirror.files["/lfw"])) as tar:
            tar.extractall(data, filter="data")
        (data / "lfw_funneled").rename(data / name)
        assert catalog.load("lfw", progress=False).names == ("Ann_Lee", "Bo") and mirror.asked == []

    def test_nothing_is_written_where_the_data_lie(self, mirror, data):
        catalog.load("lfw", progress=False)
        assert list(data.iterdir()) == []

    def test_a_failure_says_what_to_do_by_hand(self, mirror, cache, data):
        mirror.files.clear()
        with pytest.raises(DatasetError) as error:
            catalog.load("lfw", progress=False)
        name, url, sha256 = catalog.LFW_FUNNELED
        others = [f"{list_.name} ({list_.url}, {list_.sha256})" for list_ in catalog.LFW_LISTS]
        others += [sha256, str(data), str(cache)]
        for part in (
            f"'{name}' could not be fetched",
            f"download {url} by hand",
            sha256,
            str(data),
            str(cache),
            *others,
        ):
            assert part in str(error.value)
        assert not (cache / "packed").exists()

    def test_addresses_and_hashes_are_those_of_scikit_learn(self):
        from sklearn.datasets import _lfw

        theirs = [_lfw.FUNNELED_ARCHIVE, *_lfw.TARGETS]
        ours = [catalog.LFW_FUNNELED, *catalog.LFW_LISTS]
        assert sorted(ours) == sorted((known.filename, known.url, known.checksum) for known in theirs)

    def test_hashes_are_those_of_the_readme(self):
        readme = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
        assert all(known.sha256 in readme for known in (catalog.LFW_FUNNELED, *catalog.LFW_LISTS))

    def test_the_protocol(self, mirror, data, monkeypatch):
        pairs = b"1\t1\nAnn_Lee\t1\t2\nAnn_Lee\t2\tBo\t1\n"
        mirror.files["/pairs"] = pairs
        known = Remote("pairs.txt", f"{mirror.address}/pairs", hashlib.sha256(pairs).hexdigest())
        monkeypatch.setattr(catalog, "LFW_LISTS", (known,))
        faces = catalog.load("lfw", progress=False)
        listed = splits.pairs_of(faces, "lfw", 600, 0)
        chosen = [
            (faces.paths[left][-8:-4], faces.paths[right][-11:-4])
            for left, right in zip(listed.left, listed.right, strict=True)
        ]
        assert chosen == [("0001", "ee_0002"), ("0002", "Bo_0001")]
        assert listed.genuine.tolist() == [True, False]
        assert mirror.asked.count("/pairs") == 1

    @pytest.mark.parametrize("name", ["pairs.txt", "pairsDevTrain.txt", "pairsDevTest.txt"])
    def test_lists_that_lie_in_the_data_folder_come_first(self, data, server, name):
        (data / name).write_text("placed by hand")
        assert catalog.lfw_pairs_file(name) == data / name
        (data / "lfw").mkdir()
        (data / "lfw" / name).write_text("as in the official layout")
        assert catalog.lfw_pairs_file(name) == data / "lfw" / name
        assert server.asked == []

    def test_other_sets_have_drawn_pairs(self):
        faces = people([5] * 10)
        pairs = splits.pairs_of(faces, "facecap", 20, 3)
        assert (faces.labels[pairs.left] == faces.labels[pairs.right]).tolist() == [True] * 20 + [False] * 20
        again = splits.pairs_of(faces, "facecap", 20, 3)
        assert np.array_equal(pairs.left, again.left) and np.array_equal(pairs.right, again.right)


COUNTS = np.random.default_rng(5).choice([2, 3, 5, 10, 30], 700, p=[0.4, 0.3, 0.15, 0.1, 0.05])
WIDTHS = np.where(np.arange(700) % 7 < 2, 112, 64)


class TestPairsOf:
    def test_a_set_whose_name_begins_alike_is_not_lfw(self):
        faces = people([5] * 10)
        for name in ("lfw_of_mine", "lfw-mine", "/data/lfw", "lfwx"):
            assert splits.pairs_of(faces, name, 20, 3).fold is None

    def test_where_there_are_fewer_all_are_drawn_and_it_says_so(self, capsys):
        faces = people([6] * 14)
        pairs = splits.pairs_of(faces, "mine", 3000, 0)
        assert pairs.genuine.sum() == 210 and (~pairs.genuine).sum() == 210  # 14 * 15
        said = "'mine' has 210 genuine and 3,276 impostor pairs: 210 of each are drawn instead of 3,000.\n"
        assert capsys.readouterr().out == said
        assert len(splits.pairs_of(faces, "mine", 100, 0)) == 200
        assert capsys.readouterr().out == ""

    def test_none_at_all_are_an_error(self):
        with pytest.raises(ValueError, match="only 0 exist"):
            splits.pairs_of(people([1] * 5), "mine", 100, 0)


class TestTwoPhotos:
    def test_the_person_of_that_number_among_those_with_two(self):
        faces = people([1, 3, 1, 2])
        assert splits.two_photos(faces, 0)[1].tolist() == [1, 2]
        assert splits.two_photos(faces, 1)[1].tolist() == [5, 6]

    def test_any_number_shows_somebody(self):
        assert splits.two_photos(people([2] * 19), 41)[0] == 3
        assert splits.two_photos(people([2] * 19), 41)[1].tolist() == [6, 7]
        assert splits.two_photos(people([1, 1]), 5)[1].tolist() == [1]


class TestSplitPeople:
    @pytest.fixture
    def faces(self):
        return people(COUNTS, WIDTHS)

    @pytest.mark.parametrize("share", [0.05, 0.1, 0.37, 0.5, 0.9])
    def test_each_person_is_in_one_part(self, faces, share):
        rest, part = splits.split_people(faces, share, seed=1)
        assert not set(rest.names) & set(part.names)
        assert sorted(rest.names + part.names) == list(faces.names)
        assert sorted(rest.paths + part.paths) == sorted(faces.paths)
        assert len(part.names) == round(share * 700)
        for half in (rest, part):
            assert [half.names[label] for label in half.labels] == [path[:6] for path in half.paths]
            assert list(half.paths) == sorted(half.paths, key=faces.paths.index)

    @pytest.mark.parametrize("seed", range(5))
    def test_every_source_and_number_of_images_has_its_share(self, faces, seed):
        share = 0.1
        _, part = splits.split_people(faces, share, seed)
        chosen = np.isin(faces.names, part.names)
        for width in (112, 64):
            for count in (2, 3, 5, 10, 30):
                alike = (count == COUNTS) & (width == WIDTHS)
                assert abs(chosen[alike].sum() - share * alike.sum()) <= 1, (width, count)
            assert abs(chosen[width == WIDTHS].sum() - share * (width == WIDTHS).sum()) <= 1

    def test_it_is_seeded(self, faces):
        keys = [splits.split_people(faces, 0.1, seed)[1].key for seed in (0, 0, 1, 2)]
        assert keys[0] == keys[1] and len(set(keys)) == 3

    def test_any_person_can_be_chosen(self):
        faces = people([2] * 10)
        chosen = {name for seed in range(200) for name in splits.split_people(faces, 0.2, seed)[1].names}
        assert chosen == set(faces.names)

    def test_a_shuffled_set(self, faces):
        rest, part = splits.split_people(people(COUNTS, WIDTHS, shuffle=3), 0.1, 0)
        assert not set(rest.names) & set(part.names) and len(rest) + len(part) == len(faces)

    def test_images_of_many_widths_are_one_source(self):
        faces = people([3] * 50, np.arange(50))
        assert set(faces.sources) == {0}
        assert len(set(people([3] * 4, [112, 64, 64, 112]).sources)) == 2

    @pytest.mark.parametrize(("count", "apart"), [(7, 1), (8, 2), (20, 2), (24, 2), (40, 4)])
    def test_one_person_alone_is_not_set_apart_of_many(self, count, apart):
        assert len(splits.split_people(people([3] * count), 0.1 if count > 7 else 1 / 7, 0)[1].names) == apart

    @pytest.mark.parametrize("share", [0, 1, 0.04, 0.99, -0.5, 2])
    def test_an_empty_part_is_an_error(self, share):
        with pytest.raises(DatasetError, match=r"share of .* of 10 people leaves one part empty: use more people"):
            splits.split_people(people([3] * 10), share, 0)


class TestHoldOut:
    @pytest.mark.parametrize("shuffle", [None, 0])
    def test_one_image_of_each_eligible_person(self, shuffle):
        faces = people([2, 10, 3, 12, 10, 9], shuffle=shuffle)
        rest, held = splits.hold_out(faces, 10, seed=0)
        assert sorted(held.names) == ["p00001", "p00003", "p00004"]
        assert held.images_per_identity.tolist() == [1, 1, 1]
        assert not set(rest.paths) & set(held.paths)
        assert sorted(rest.paths + held.paths) == sorted(faces.paths)
        assert set(rest.names) == set(faces.names)
        assert [held.names[label] for label in held.labels] == [path[:6] for path in held.paths]

    def test_any_image_can_be_chosen_and_it_is_seeded(self):
        faces = people([5, 3])
        chosen = [splits.hold_out(faces, 2, seed)[1].paths for seed in range(60)]
        assert {path for paths in chosen for path in paths} == set(faces.paths)
        assert chosen[7] == splits.hold_out(faces, 2, 7)[1].paths

    def test_nobody_loses_the_only_image(self):
        rest, held = splits.hold_out(people([1, 2]), 0, seed=0)
        assert held.names == ("p00001",) and len(rest.names) == 2

    def test_nobody_with_enough_images_is_an_error(self):
        with pytest.raises(DatasetError, match=r"No person has 10 images or more.*\(the most is 4\)"):
            splits.hold_out(people([4, 2]), 10, 0)


class TestExperiment:
    @pytest.fixture(autouse=True)
    def few(self, monkeypatch):
        monkeypatch.setattr(splits, "FEW", 0)  # of so few people every split would say so

    @pytest.fixture
    def paper(self, data, tree, containers, encode):
        """Sets as the paper's: vggface2 as a folder, facecap as an archive; photos of many sizes."""

        def files(layout, counts, blue=0):
            sizes = {(k, n): 20 + 3 * k + n for k, count in enumerate(counts) for n in range(count)}
            return {
                layout.format(k, n): encode(Image.new("RGB", (size, size + 5), (k, 9 * n, blue)), "JPEG")
                for (k, n), size in sizes.items()
            }

        train = tree(files("train/n{0:06}/{1:04}_01.jpg", [12] * 10 + [4] * 10 + [1] * 5), name="made/vggface2")
        train.rename(data / "vggface2")
        test = containers(tree(files("{0}/{1}.jpg", [6] * 8, blue=99), name="facecap"))[".zip"]
        test.rename(data / "facecap.zip")

    def test_from_end_to_end(self, paper):
        parts = splits.experiment("vggface2", "facecap", 2, 10, validation_share=0.2, seed=4, progress=False)
        # 20 people have two images or more; of those with 12, ten count.
        assert len(parts.train.names) == 16 and len(parts.validation.names) == 4
        everybody = set(parts.train.names) | set(parts.validation.names)
        assert everybody == {f"n{k:06}" for k in range(20)}
        assert len(parts.train) + len(parts.held_out) + len(parts.validation) == 10 * 10 + 10 * 4
        assert not set(parts.train.paths) & set(parts.held_out.paths)
        assert set(parts.held_out.names) == {name for name in parts.train.names if name < "n000010"}
        assert (parts.held_out.images_per_identity == 1).all()
        assert sorted(parts.validation.images_per_identity) == [4, 4, 10, 10]
        assert parts.test.names == tuple("01234567") and len(parts.test) == 48
        for part in (parts.train, parts.held_out, parts.validation, parts.test):
            colours = part.take(np.arange(len(part)))[:, 32, 32].astype(int)
            for path, (red, green, _) in zip(part.paths, colours, strict=True):
                person, shot = path.split("/")
                assert abs(red - int(person.strip("n"))) <= 3 and abs(green - 9 * int(shot.split(".")[0][:4])) <= 3

    def test_people_with_fewer_images_join_the_training_part_alone(self, paper):
        options = {"validation_share": 0.2, "seed": 4, "progress": False}
        usual = splits.experiment("vggface2", "facecap", 2, 10, **options)
        more = splits.experiment("vggface2", "facecap", 2, 10, **options, fewest_images=1)
        assert set(more.train.names) - set(usual.train.names) == {f"n{k:06}" for k in range(20, 25)}
        assert set(more.train.paths) - set(usual.train.paths) == {f"n{k:06}/0000_01.jpg" for k in range(20, 25)}
        assert set(usual.train.paths) < set(more.train.paths) and more.train.paths == tuple(sorted(more.train.paths))
        assert (more.held_out.key, more.validation.key) == (usual.held_out.key, usual.validation.key)
        same = splits.experiment("vggface2", "facecap", 2, 10, **options, fewest_images=2)
        assert same.train.key == usual.train.key

    def test_it_is_seeded(self, paper):
        def keys(seed):
            parts = splits.experiment("vggface2", "facecap", validation_share=0.2, seed=seed, progress=False)
            return parts.train.key, parts.held_out.key, parts.validation.key, parts.test.key

        assert keys(0) == keys(0)
        assert keys(0)[:3] != keys(1)[:3] and keys(0)[3] == keys(1)[3]

    @pytest.mark.parametrize(
        "options, said",
        [
            ({"min_images": 13}, "has 13 images or more .* Lower min_images"),
            (
                {"validation_share": 0},
                "25 people .* 20 have min_images=2 photos. .* The share is validation_share",
            ),
            ({"min_images": 1, "max_images": 1}, "none can be held out"),
        ],
    )
    def test_too_little_data(self, paper, options, said):
        with pytest.raises(DatasetError, match=said):
            splits.experiment("vggface2", "facecap", **{"validation_share": 0.2, "progress": False, **options})

    def test_where_nobody_has_enough_images_to_hold_one_out_those_with_most_count(self, paper, capsys):
        parts = splits.experiment("vggface2", "facecap", max_images=5, held_out_from=6, validation_share=0.2)
        assert len(parts.held_out) == 8 and (parts.train.images_per_identity == 4).all()
        (note,) = parts.notes
        assert note == "Nobody in training has 6 images: held out is one of each person with 5."
        assert note in capsys.readouterr().out

    def test_a_set_that_can_be_compared_with_nothing(self, paper, tree):
        one_each = tree([f"p{n}/1.png" for n in range(9)], name="one each")
        with pytest.raises(
            DatasetError, match=r"'.*one each' \(9, with 9 photos in all\) have 0 genuine.* a second photo of one"
        ):
            splits.experiment("vggface2", str(one_each), validation_share=0.2, progress=False)
        with pytest.raises(DatasetError, match="Each person of 'one each' has one photo"):
            splits.experiment(str(one_each), "facecap", validation_share=0.2, progress=False)
        one_person = tree(["p/1.png", "p/2.png"], name="one person")
        with pytest.raises(DatasetError, match="1 genuine and 0 impostor pairs: two people"):
            splits.experiment("vggface2", str(one_person), validation_share=0.2, progress=False)

    def test_people_who_are_left_out_may_be_in_the_test_set(self, paper, tree):
        test = tree(
            {f"{who}/{n}.png": (9, 9, n + ord(who[0])) for who in ("n000003", "x") for n in range(9)}, name="known"
        )
        options = {"validation_share": 0.2, "progress": False}
        with pytest.raises(DatasetError, match=r"1 people of 'vggface2' are in '.*known' too by their .*\(without\)"):
            splits.experiment("vggface2", str(test), **options)
        assert splits.experiment("vggface2", str(test), **options, without=["n000003"]).notes == ()

    def test_folders_in_folders_are_told(self, paper, tree):
        files = [f"{place}/{n}.png" for place in ("a/ann", "a/bob", "b/carl") for n in range(2)]
        test = tree({path: (7, 70, n) for n, path in enumerate(files)}, name="nested")
        parts = splits.experiment("vggface2", str(test), validation_share=0.2, progress=False)
        assert parts.notes == (
            f"'{test}' has folders in folders, such as 'a/ann': each with photos is taken for a person. "
            "Photos of one person belong in one folder.",
        )

    def test_the_same_set_twice(self, paper, data):
        with pytest.raises(DatasetError, match="hold the same images.* Choose another test set"):
            splits.experiment("vggface2", str(data / "vggface2" / "train"), validation_share=0.2, progress=False)

    def test_a_missing_set(self, data, tree):
        with pytest.raises(FileNotFoundError, match="107435"):
            splits.experiment("vggface2", "facecap")
        tree(["n1/1.png"], name="made").rename(data / "vggface2")
        with pytest.raises(FileNotFoundError, match="104646"):
            splits.experiment("vggface2", "facecap", progress=False)

    def test_a_damaged_set(self, data):
        (data / "vggface2.tar").write_bytes(b"half a download")
        again = r"vggface2\.tar' is damaged.*\. Fetch it again and compare its sha256 with data/README\.md\.$"
        with pytest.raises(DatasetError, match=again):
            splits.experiment("vggface2", "facecap", progress=False)
        with pytest.raises(DatasetError, match=r"vggface2\.tar' is damaged.*\. Copy or make it again"):
            catalog.load(str(data / "vggface2.tar"), progress=False)


def test_sets_are_packed_once_for_all_parts(data, tree, cache):
    root = tree([f"{person}/{shot}.png" for person in range(10) for shot in range(3)])
    other = tree(["x/1.png", "x/2.png", "y/1.png"], name="other")
    parts = splits.experiment(str(root), str(other), 2, None, 0.2, 3, progress=False)
    assert len(list((cache / "packed").glob("*/manifest.json"))) == 2
    assert parts.train.pixels is parts.validation.pixels
    assert packed.to_input(parts.train.take([0])).shape == (1, 3, 64, 64)
