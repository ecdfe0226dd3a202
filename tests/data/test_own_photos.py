"""People's own folders, as they are in the world: rendered people from files to pairs, or a word before the work."""

import shutil
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from facelib.data import catalog, pairs, rendered, splits
from facelib.data.archives import DatasetError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """24 people with 11 photos each for training, 14 others with 6 each for testing; small, to be drawn soon."""
    place = tmp_path_factory.mktemp("drawn")
    rendered.write_people(place / "faces", range(300, 324), 11, size=40, progress=False)
    rendered.write_people(place / "others", range(400, 414), 6, size=40, progress=False)
    return place


@pytest.fixture
def own(drawn, tmp_path):
    """A copy of one's own."""

    def own(name, under=None) -> Path:
        target = tmp_path / (under or name)
        shutil.copytree(drawn / name, target, ignore=shutil.ignore_patterns(".*"))
        return target

    return own


def through(train, test, **options) -> splits.Experiment:
    """What every notebook does before it trains, with the demo's parameters, and what it draws."""
    options = {"min_images": 2, "validation_share": 0.2, "held_out_from": 10, "progress": False, **options}
    split = splits.experiment(str(train), str(test), **options)
    validation = pairs.draw_by_source(split.validation.labels, split.validation.sources, 3000, 0)
    tested = splits.pairs_of(split.test, str(test), 3000, 0)
    for faces, found in ((split.validation, validation), (split.test, tested)):
        left, right = found.people(faces.labels)
        assert ((left == right) == found.genuine).all()
        assert found.genuine.sum() == (~found.genuine).sum() > 0
    for number in (7, 41, 5):
        assert len(splits.two_photos(split.train, number)[1]) > 0 < len(splits.two_photos(split.test, number)[1])
    assert pairs.at_most(split.test.labels, 100) <= 100
    return split


def test_the_readmes_command_gets_through(own, capsys):
    split = through(own("faces"), own("others"))
    assert (len(split.train.names), len(split.validation.names), len(split.test.names)) == (19, 5, 14)
    assert (len(split.train), len(split.held_out), len(split.validation), len(split.test)) == (190, 19, 55, 84)
    assert split.notes == ("5 people choose and 14 judge: intervals over fewer than 20 people are rough.",)
    assert "210 of each are drawn instead of 3,000" in capsys.readouterr().out  # 14 people of 15 pairs each


def test_thumbnails_of_a_network_drive(own):
    others = own("others")
    for photo in sorted(others.glob("*/*.jpg")):
        place = photo.parent / "@eaDir" / photo.name
        place.mkdir(parents=True)
        for size, name in ((9, "S"), (30, "M")):
            Image.open(photo).resize((size, size)).save(place / f"SYNOPHOTO_THUMB_{name}.jpg")
    split = through(own("faces"), others)
    assert len(split.test.names) == 14 and len(split.test) == 84
    assert split.test.manifest["skipped"] == {
        "@eaDir": "left out: folders of this name are the system's (14, with 168 files)"
    }


def halved(folder: Path) -> Path:
    """The photos of each person in ``train/`` and ``val/``."""
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        for number, photo in enumerate(sorted(person.iterdir())):
            place = folder / ("train" if number % 3 else "val") / person.name
            place.mkdir(parents=True, exist_ok=True)
            photo.rename(place / photo.name)
        person.rmdir()
    return folder


def test_the_same_people_in_train_and_val(own):
    others, faces = halved(own("others")), own("faces")
    with pytest.raises(DatasetError, match=r"'train/person_0400' and 'val/person_0400'.*\(12 more\).* folder 'train'"):
        through(faces, others)
    through(faces, others / "train")
    with pytest.raises(DatasetError, match="14 people of '.*train' are in '.*val' too by their names"):
        through(others / "train", others / "val")


def test_a_large_photo_and_a_small_one_of_each(own, tmp_path):
    faces = tmp_path / "selfies"
    rendered.write_people(faces, range(500, 540), 2, size=40, progress=False)
    for photo in faces.glob("*/0001.jpg"):
        Image.open(photo).resize((57, 57)).save(photo)
    split = through(faces, own("others"), held_out_from=2)
    assert set(split.validation.sources) == {0} and len(split.validation.names) == 8
    assert set(through(own("faces"), faces).test.sources) == {0}


def test_one_truncated_photo(own):
    faces = own("faces")
    photo = faces / "person_0301" / "0003.jpg"
    photo.write_bytes(photo.read_bytes()[:500])
    split = through(faces, own("others"))
    assert split.train.manifest["skipped"] == {"person_0301/0003.jpg": "truncated file"}
    assert len(split.train) + len(split.held_out) + len(split.validation) == 263


def numbered(folder: Path) -> Path:
    for number, person in enumerate(sorted(path for path in folder.iterdir() if path.is_dir()), 1):
        person.rename(folder / f"{number:03}")
    return folder


def test_numbers_in_both_sets(own):
    split = through(numbered(own("faces")), numbered(own("others")))
    assert set(split.test.names) & set(split.train.names) and len(split.notes) == 1


def test_one_damaged_member_of_a_zip_from_a_mac(own, tmp_path):
    archive, others = tmp_path / "others.zip", own("others")
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for photo in sorted(others.glob("*/*.jpg")):
            zipped.write(photo, f"faces/{photo.relative_to(others)}")
            zipped.writestr(f"__MACOSX/faces/{photo.parent.name}/._{photo.name}", b"x")
        info = zipped.getinfo("faces/person_0403/0002.jpg")
    data = bytearray(archive.read_bytes())
    data[info.header_offset + 300] ^= 0xFF
    archive.write_bytes(data)
    split = through(own("faces"), archive)
    assert len(split.test) == 83 and len(split.test.names) == 14
    skipped = split.test.manifest["skipped"]
    assert skipped.keys() == {"__MACOSX", "person_0403/0002.jpg"}
    assert skipped["person_0403/0002.jpg"].startswith("damaged in the archive (")


@pytest.mark.parametrize(
    "change, told",
    [
        (lambda root: (root / "person_0400").rename(root / "Person 499"), None),
        (lambda root: shutil.copytree(root / "person_0400", root / "Person 0400"), "'Person 0400' and 'person_0400'"),
        (lambda root: shutil.copytree(root / "person_0400", root / "Ann"), "'Ann' and 'person_0400' hold the same"),
        (lambda root: shutil.copytree(root / "person_0400", root / "person_0401" / "more"), "a person beside a folder"),
        (lambda root: (root / "Ann").symlink_to("person_0400"), None),
        (lambda root: shutil.copytree(root / "person_0400", root / "x" / "person_0400"), "'person_0400' and 'x/person"),
        (lambda root: [shutil.move(path, path.with_suffix("")) for path in root.glob("*/*.jpg")], None),
        (lambda root: [path.write_bytes(b"\0\0\0\x18ftypheic" + bytes(99)) for path in root.glob("*/*.jpg")], "HEIC"),
        (lambda root: [path.unlink() for path in root.glob("*/*.jpg") if path.stem != "0000"], "a second photo of one"),
        (lambda root: [shutil.rmtree(path) for path in root.glob("person_*") if path.name[-1] != "0"][:1], None),
        (lambda root: [shutil.rmtree(path) for path in root.glob("*") if path.name != "person_0400"], "two people"),
        (lambda root: [path.with_name(f"{path.stem}.json").write_text("{}") for path in root.glob("*/*.jpg")], None),
    ],
    ids="renamed spelt-twice copied inside linked beside no-suffix HEIC one-each fewer one-person sidecars".split(),
)  # fmt: skip
def test_folders_that_nobody_handed_over(own, change, told):
    others = own("others")
    change(others)
    if told is None:
        through(own("faces"), others)
    else:
        with pytest.raises(DatasetError, match=told) as error:
            through(own("faces"), others)
        assert "\n" not in str(error.value)


def test_one_photo_per_person(own):
    faces = own("faces")
    for photo in faces.glob("*/*.jpg"):
        if photo.stem != "0004":
            photo.unlink()
    with pytest.raises(
        DatasetError, match="Each person of 'faces' has one photo.* Add photos, or train on another set"
    ):
        through(faces, own("others"))


def test_one_person_is_nobody_to_tell_from(own):
    faces = own("faces")
    for person in sorted(faces.iterdir())[2:]:
        shutil.rmtree(person)
    with pytest.raises(DatasetError, match="Of the 2 people of '.*faces' 1 would be left to train on"):
        splits.experiment(str(faces), str(own("others")), progress=False, validation_share=0.5)


def test_the_test_set_inside_the_training_set(own):
    faces = own("faces")
    own("others", "faces/others")
    with pytest.raises(DatasetError, match="hold the same images .* Choose another test set"):
        through(faces, faces / "others")


def test_few_photos(tmp_path, own):
    few = tmp_path / "few"
    rendered.write_people(few, range(600, 610), 3, size=40, progress=False)
    split = through(few, own("others"))
    assert split.notes[1:] == ("Nobody in training has 10 images: held out is one of each person with 3.",)
    assert (split.train.images_per_identity == 2).all() and len(split.held_out) == len(split.train.names) == 8


def test_a_set_that_is_packed_already_is_checked_again(own):
    others = own("others")
    catalog.load(str(others), progress=False)
    shutil.copytree(others / "person_0400", others / "PERSON 0400")
    with pytest.raises(DatasetError, match="Who is who"):
        catalog.load(str(others), progress=False)
