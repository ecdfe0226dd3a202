"""CelebA as published, on a small look-alike: celebfaces is cut from it, and all of it is read as a set."""

import hashlib
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw

from facelib import runtime
from facelib.data import catalog, celeba, leaks, splits
from facelib.data.archives import DatasetError

# Numbers of photos and identities; the first three lines of the published list are the first three here.
PEOPLE = {1: 2880, 2: 2937, 3: 8692, 4: 2880, 5: 8692, 6: 7201, 7: 7201, 8: 9, 100001: 7201}
LISTED = {1: 64, 4: 64, 3: 64, 6: 112, 100001: 112}


def photo(number: int) -> Image.Image:
    """An aligned photo: a colour of its own, eyes where the published landmarks have them on average."""
    image = Image.new("RGB", (178, 218), (number % 10 * 20, 60, 90))
    draw = ImageDraw.Draw(image)
    for x in (69.5, 108):
        draw.ellipse((x - 4, 111 - 4, x + 4, 111 + 4), fill="white")
    return image


def identity_text(end="\r\n", between=" ") -> str:
    return "".join(f"{number:06}.jpg{between}{identity}{end}" for number, identity in PEOPLE.items())


@pytest.fixture
def published(data, encode, monkeypatch):
    """The look-alike in the data folder, its list of photos, and the hashes of its files."""
    for number in PEOPLE:
        folder = data / "img_align_celeba"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:06}.jpg").write_bytes(encode(photo(number), "JPEG", quality=98, subsampling=0))
    (data / "identity_CelebA.txt").write_bytes(identity_text().encode())
    listed = data.parent / "list.csv"
    listed.write_text("number,source\n" + "".join(f"{number},{width}\n" for number, width in LISTED.items()))
    monkeypatch.setattr(celeba, "read_list", lambda read=celeba.read_list: read(listed))
    monkeypatch.setattr(celeba, "IDENTITIES_MD5", hashlib.md5(identity_text().encode()).hexdigest())
    monkeypatch.setattr(celeba, "PHOTOS", len(PEOPLE))
    return data


def zipped(published, monkeypatch):
    with zipfile.ZipFile(published / "img_align_celeba.zip", "w") as archive:
        for path in sorted((published / "img_align_celeba").iterdir()):
            archive.write(path, f"img_align_celeba/{path.name}")
    shutil.rmtree(published / "img_align_celeba")
    monkeypatch.setattr(celeba, "PHOTOS_MD5", hashlib.md5(archive_bytes(published)).hexdigest())


def archive_bytes(published) -> bytes:
    return (published / "img_align_celeba.zip").read_bytes()


def eyes(face: np.ndarray) -> np.ndarray:
    """Mean x of the left and the right eye, and their y, as shares of the side."""
    bright = face[..., 2] > 200
    rows, columns = np.nonzero(bright)
    left = columns < face.shape[1] / 2
    return (np.array([columns[left].mean(), columns[~left].mean(), rows.mean()]) + 0.5) / face.shape[1]


class TestCelebfaces:
    def check(self, faces):
        assert faces.names == ("02880", "07201", "08692")
        assert faces.paths == (
            *("02880/000001.jpg", "02880/000004.jpg"),
            *("07201/000006.jpg", "07201/100001.jpg", "08692/000003.jpg"),
        )
        assert faces.widths.tolist() == [64, 64, 112, 112, 64] and faces.sources.tolist() == [0, 0, 1, 1, 0]
        assert np.abs(faces.take(range(5))[:, 60, 32, 0].astype(int) - [20, 80, 120, 20, 60]).max() <= 4
        assert faces.manifest["source"] == "celebfaces.tar" and faces.manifest["crop"] is None

    def test_it_is_cut_from_a_folder_once(self, published, monkeypatch):
        self.check(catalog.load("celebfaces", progress=False))
        monkeypatch.setattr(celeba, "_write_celebfaces", lambda *arguments: pytest.fail("cut again"))
        self.check(catalog.load("celebfaces", progress=False))
        assert catalog.find("celebfaces") == catalog.find("celebfaces-tight")

    def test_it_is_cut_from_the_archive(self, published, monkeypatch):
        zipped(published, monkeypatch)
        self.check(catalog.load("celebfaces", progress=False))

    @pytest.mark.parametrize(
        "images, notes", [("celeba", "celeba"), ("CelebA/Img", "CelebA/Anno"), ("CelebA/Img", ".")]
    )
    def test_it_is_found_in_the_published_folders(self, published, images, notes):
        (published / images).mkdir(parents=True, exist_ok=True)
        (published / notes).mkdir(parents=True, exist_ok=True)
        (published / "img_align_celeba").rename(published / images / "img_align_celeba")
        (published / "identity_CelebA.txt").rename(published / notes / "identity_CelebA.txt")
        self.check(catalog.load("celebfaces", progress=False))

    def test_a_folder_inside_its_like(self, published):
        (published / "img_align_celeba").rename(published / "inner")
        (published / "img_align_celeba").mkdir()
        (published / "inner").rename(published / "img_align_celeba" / "img_align_celeba")
        self.check(catalog.load("celebfaces", progress=False))

    def test_nothing_is_written_where_the_data_lie(self, published):
        before = sorted(published.rglob("*"))
        catalog.load("celebfaces", progress=False)
        assert sorted(published.rglob("*")) == before

    def test_our_own_archive_comes_first(self, published, tree):
        tree(["1/1.png"], name="celebfaces").rename(published / "celebfaces")
        assert catalog.find("celebfaces") == published / "celebfaces"

    def test_its_squares_frame_the_eyes_alike(self, published):
        with tarfile.open(catalog.find("celebfaces")) as tar:
            for member in tar:
                with Image.open(tar.extractfile(member)) as face:
                    width, found = face.width, eyes(np.asarray(face))
                left, top, right, bottom = celeba.SQUARES[width]
                assert right - left == pytest.approx(bottom - top)
                side = right - left
                expected = (69.5 + 0.5 - left) / side, (108 + 0.5 - left) / side, (111 + 0.5 - top) / side
                assert np.abs(found - expected).max() < 0.01
                assert np.abs(found - celeba.FRAMED_EYES).max() < 0.035

    def test_what_is_missing_is_named(self, published):
        (published / "identity_CelebA.txt").unlink()
        with pytest.raises(FileNotFoundError) as error:
            catalog.load("celebfaces")
        assert f"'celebfaces' is not under '{published}'" in str(error.value) and "\n" not in str(error.value)
        assert "(missing: identity_CelebA.txt)" in str(error.value) and "https://mmlab.ie.cuhk.edu.hk" in str(
            error.value
        )
        shutil.rmtree(published / "img_align_celeba")
        with pytest.raises(FileNotFoundError, match=r"missing: img_align_celeba.zip and identity_CelebA.txt"):
            catalog.load("celeba")

    def test_an_incomplete_folder(self, published):
        (published / "img_align_celeba" / "000003.jpg").unlink()
        with pytest.raises(DatasetError, match="lacks 1 of the 5 photos of celebfaces, such as 000003.jpg"):
            catalog.load("celebfaces", progress=False)

    @pytest.mark.parametrize(
        "content, said",
        [(b"", "empty file"), (b"\xff\xd8\xff\xe0", "not an image|truncated"), (None, "100 x 100 pixels")],
    )
    def test_a_damaged_photo(self, published, cache, encode, content, said):
        content = encode(Image.new("RGB", (100, 100)), "JPEG") if content is None else content
        (published / "img_align_celeba" / "000003.jpg").write_bytes(content)
        with pytest.raises(DatasetError, match=f"img_align_celeba', '000003.jpg': .*({said})"):
            catalog.load("celebfaces", progress=False)
        assert [path for path in cache.rglob("*") if path.is_file()] == []

    def test_another_archive(self, published, monkeypatch):
        zipped(published, monkeypatch)
        monkeypatch.setattr(celeba, "PHOTOS_MD5", "0" * 32)
        with pytest.raises(DatasetError, match="is not CelebA's archive .*expected 0000"):
            catalog.load("celebfaces", progress=False)


class TestIdentities:
    @pytest.mark.parametrize("end, between", [("\r\n", " "), ("\n", " "), ("\n", "\t"), (" \n", ","), ("\n", "  ")])
    def test_ends_of_lines_do_not_matter(self, published, tmp_path, end, between):
        file = tmp_path / "identities"
        file.write_bytes(f"image_id{between}identity{end}{identity_text(end, between)}".encode())
        assert celeba.read_identities(file) == PEOPLE

    @pytest.mark.parametrize("text", ["", "000001.jpg 2880\n", identity_text().replace("2937", "2938")])
    def test_another_list(self, published, tmp_path, text):
        (tmp_path / "identities").write_text(text)
        with pytest.raises(DatasetError, match=r"is not CelebA's list of identities \(\d lines .*expected 9 lines"):
            celeba.read_identities(tmp_path / "identities")

    def test_the_committed_list(self):
        listed = celeba.read_list()
        widths = list(listed.values())
        assert (len(listed), widths.count(64), widths.count(112)) == (15944, 9682, 6262)
        assert min(listed) == 1 and max(listed) <= 202599
        assert max(number for number, width in listed.items() if width == 64) == 10000


class TestCelebA:
    def test_all_of_it(self, published, capfd):
        faces = catalog.load("celeba", progress=False, apart=False)
        assert capfd.readouterr() == ("", "")
        assert faces.names == ("00009", "02880", "02937", "07201", "08692")
        assert faces.images_per_identity.tolist() == [1, 2, 1, 3, 2]
        assert faces.paths[-1] == "08692/000005.jpg" and faces.take([8])[0, 60, 32, 0] == pytest.approx(100, abs=4)
        found = [eyes(face) for face in faces.take(range(9))]
        assert np.abs(np.array(found) - [0.335, 0.665, 0.365]).max() < 0.012

    def test_from_the_archive_the_same(self, published, monkeypatch):
        folder = catalog.load("celeba", progress=False, apart=False)
        zipped(published, monkeypatch)
        archive = catalog.load("celeba", progress=False, apart=False)
        assert folder.manifest["content"] == archive.manifest["content"] and folder.key == archive.key

    def test_part_of_it_is_said(self, published, capsys):
        (published / "img_align_celeba" / "000002.jpg").unlink()
        assert len(catalog.load("celeba", apart=False)) == 8
        assert "holds 8 of CelebA's 9 photos" in capsys.readouterr().out

    def test_its_square_is_the_stated_one(self, data):
        left, top, right, bottom = np.array(celeba.crop()) * (178, 218, 178, 218)
        assert np.abs(np.array([left, top, right, bottom]) - (30.5, 68.7, 147, 185)).max() < 0.5
        assert right - left == pytest.approx(bottom - top)

    @pytest.mark.parametrize("name, between", [("txt", "  "), ("csv", ",")])
    def test_landmarks_move_the_square(self, data, name, between):
        rows = [(60, 100, 90, 102, 75, 130, 65, 150, 88, 150), (64, 104, 94, 102, -3, 1, 2, 3, 4, 5)]
        lines = [between.join([f"00000{k}.jpg", *map(str, row)]) for k, row in enumerate(rows)]
        (data / f"list_landmarks_align_celeba.{name}").write_text("\n".join(["2", "lefteye_x lefteye_y", *lines, ""]))
        left, top, right, bottom = np.array(celeba.crop()) * (178, 218, 178, 218)
        side = right - left
        assert bottom - top == pytest.approx(side)
        assert (left + 0.335 * side, left + 0.665 * side, top + 0.365 * side) == pytest.approx((62, 92, 102))

    def test_landmarks_of_another_kind(self, data):
        (data / "list_landmarks_align_celeba.txt").write_text("1\nx y\n000001.jpg 1 2 3 4\n")
        with pytest.raises(DatasetError, match="expected lines of '000001.jpg' and the x and y of five landmarks"):
            celeba.crop()


def test_its_profile_says_what_it_needs_and_trains_on_it():
    path = runtime.ROOT / "notebooks" / "profiles" / "celeba.yaml"
    head = path.read_text().splitlines()[1:6]
    assert [line[2:].partition(":")[0] for line in head] == ["Source", "Command", "Hardware", "Duration", "Expect"]
    assert "not run here" in head[3] and "not run here" in head[4]
    values, like = (yaml.safe_load(file.read_text()) for file in (path, path.with_name("lfw.yaml")))
    assert (values["profile"], values["train_set"], values["test_set"]) == ("celeba", "celeba", "lfw")
    assert not values.keys() - like.keys() and not values["show_training_faces"]
    assert catalog.SETS["celeba"].apart_from == "lfw"


class TestCopies:
    def patterned(self, seed, size=(178, 218)):
        noise = np.random.default_rng(seed).integers(0, 255, (14, 12, 3), np.uint8)
        return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)

    @pytest.fixture
    def overlapping(self, published, encode):
        """Photo 4 of person 2880 is LFW's Ann_Lee_0001, framed alike."""
        for number in PEOPLE:
            image = encode(self.patterned(number), "JPEG", quality=95)
            (published / "img_align_celeba" / f"{number:06}.jpg").write_bytes(image)
        left, top, right, bottom = np.array(celeba.crop()) * (178, 218, 178, 218)
        whole = Image.new("RGB", (250, 250))
        face = self.patterned(4).resize((128, 128), Image.Resampling.BICUBIC, box=(left, top, right, bottom))
        whole.paste(face, (62, 66))
        for name, image in {"Ann_Lee": whole, "Bo": self.patterned(77, (250, 250))}.items():
            (published / "lfw-deepfunneled" / name).mkdir(parents=True)
            (published / "lfw-deepfunneled" / name / f"{name}_0001.png").write_bytes(encode(image))
        return published

    def test_people_with_a_photo_in_lfw_are_left_out(self, overlapping, capsys, monkeypatch):
        faces = catalog.load("celeba")
        assert faces.names == ("00009", "02937", "07201", "08692") and len(faces) == 7
        assert "celeba: 1 people with 2 photos are left out, because lfw has" in capsys.readouterr().out
        assert len(catalog.load("celeba", progress=False, apart=False)) == 9
        monkeypatch.setattr(leaks, "near_duplicates", lambda *arguments: pytest.fail("compared again"))
        assert catalog.load("celeba", progress=False).key == faces.key

    def test_only_photos_that_both_selections_hold_count(self, overlapping):
        faces, others = catalog.load("celeba", False, apart=False), catalog.load("lfw", False)
        without_the_copy = faces.select([path != "02880/000004.jpg" for path in faces.paths])
        assert "02880" in leaks.without_copies(without_the_copy, others).names
        assert "02880" in leaks.without_copies(faces, others.select([1])).names
        with pytest.raises(DatasetError, match="holds nobody of whom"):
            leaks.without_copies(faces.select([path[:5] == "02880" for path in faces.paths]), others)

    def test_an_experiment_trains_without_them(self, overlapping):
        parts = splits.experiment("celeba", "lfw", 1, None, 0.5, 2, progress=False)
        everybody = {*parts.train.names, *parts.validation.names}
        assert everybody == {"00009", "02937", "07201", "08692"}
