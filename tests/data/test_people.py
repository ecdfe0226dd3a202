"""One folder is one person: riddles are told, with what to do, before anything is decoded."""

import os
import unicodedata

import pytest

from facelib.data import images, packing, people
from facelib.data.archives import DatasetError

NFC, NFD = unicodedata.normalize("NFC", "Jos\u00e9"), unicodedata.normalize("NFD", "Jos\u00e9")


@pytest.fixture
def undecodable(monkeypatch):
    monkeypatch.setattr(images, "decode", lambda *arguments: pytest.fail("an image was decoded"))


@pytest.mark.parametrize(
    "folders, told",
    [
        (["train/ann", "train/bob", "val/ann"], "'train/ann' and 'val/ann'.*put the photos together.*folder 'train'"),
        (["train/001", "val/001"], "'train/001' and 'val/001'.*if they show several people, give each a name"),
        (["Aaron/0", "Aaron/1", "Bea/0"], "'Aaron/0' and 'Bea/0'"),  # albums of a person
        (
            ["001/frontal", "001/profile", "002/frontal", "002/profile"],
            "'001/frontal' and '002/frontal'.*of albums, put",
        ),
        (["ann", "ann/2019", "bob"], "'ann' and 'ann/2019': photos of a person beside a folder"),
        (["x/ann", "x/ann/a/b", "bob"], "'x/ann' and 'x/ann/a/b'.*Put all photos of each person into one folder"),
        (["Person 3", "person_3", "bob"], "'Person 3' and 'person_3'"),
        (["1", "01", "2"], "'01' and '1': folders of one name"),
        (["Person 3", "person_003"], "'Person 3' and 'person_003'"),
        (["ANN", "ann"], "'ANN' and 'ann'"),
        (["ann-lee", "Ann Lee"], "'Ann Lee' and 'ann-lee'"),
        (["ann", "ann.", "bob"], "'ann' and 'ann.'"),
        (["ann", "ann (2)", "bob"], r"'ann' and 'ann \(2\)'"),
        (["ann", "ann - Copy", "ann - Copy (2)"], r"'ann' and 'ann - Copy' and 'ann - Copy \(2\)'"),
        (["ann", "Ann copy 2"], "'ann' and 'Ann copy 2'"),
        (["ann", "ann - Kopie", "bob"], "'ann' and 'ann - Kopie'"),
        (["O'Brien", "O\u2019Brien"], "folders of one name"),
        (["ann3", "ann\uff13"], "folders of one name"),
        (["ann", "ann\u200b", "bob"], "folders of one name"),
        (["mary-ann", "mary\u2011ann"], "folders of one name"),
        (["STRASSE", "stra\u00dfe"], "'STRASSE' and"),
        ([NFC, NFD], "folders of one name"),
        ([f"x{n}/ann" for n in range(9)], "'x0/ann' and 'x1/ann' and 'x2/ann'"),
        ([f"{part}/{n}" for n in range(9) for part in "xy"], r"\(7 more\)"),
    ],
)
def test_riddles_are_told_with_what_to_do(tree, undecodable, folders, told):
    root = tree([f"{folder}/{n}.png" for folder in folders for n in range(2)])
    with pytest.raises(DatasetError, match=f"Who is who in '.*faces'\\? .*{told}") as error:
        packing.pack(root, progress=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "folders",
    [
        ["ann", "bob", "Ann Lee", "anna", "copy"],
        ["person (1)", "person (2)", "person 3", "ann.b", "annb"],
        ["train/n000001", "train/n000002", "test/n000009"],  # VGGFace2 as published
        ["1", "10", "11", "1_1", "1 10", "11_0", "100", "agent 007", "agent 70"],
        ["F0001-MID1", "F0001-MID2", "F0002-MID1"],
        ["\u738b\u5c0f\u660e", "\u738b\u5c0f\u7ea2"],
    ],
)
def test_different_people_are_left_alone(tree, folders):
    faces = packing.pack(tree([f"{folder}/1.png" for folder in folders]), progress=False)
    assert len(faces.names) == len(folders)


@pytest.mark.parametrize(
    "name",
    [
        "@eaDir",
        "@EADIR",
        "__MACOSX",
        ".thumbnails",
        "Thumbs",
        "#recycle",
        ".Trash",
        ".dtrash",
        ".Trash-1000",
        ".@__thumb",
    ]
    + ["lost+found", "$RECYCLE.BIN", "System Volume Information", ".AppleDouble", ".picasaoriginals", "@Recycle"],
)
@pytest.mark.parametrize("where", ["{name}/ann/{n}.png", "ann/{name}/{n}.png", "ann/{name}/{n}.png/thumb.jpg"])
def test_folders_of_the_system_are_left_out_and_counted(tree, containers, name, where):
    photos = [f"{person}/{n}.png" for person in ("ann", "bob") for n in range(2)]
    root = tree(photos + [where.format(name=name, n=n) for n in range(3)])
    for kind, source in containers(root).items():
        faces = packing.pack(source, size=8, progress=False)
        assert list(faces.paths) == photos, kind
        told = {name: "left out: folders of this name are the system's (1, with 3 files)"}
        assert faces.manifest["skipped"] == told, kind


def test_a_copy_by_link_is_left_out_and_told(tree):
    root = tree(["ann/1.png", "bob/1.png"])
    (root / "eve").symlink_to("ann")
    os.symlink(root / "bob", root / "bob again")
    faces = packing.pack(root, progress=False)
    assert faces.names == ("ann", "bob")
    assert faces.manifest["skipped"] == {
        "bob again": "left out: a link to 'bob', which is in the set already",
        "eve": "left out: a link to 'ann', which is in the set already",
    }


@pytest.mark.parametrize("name, number", [("001", True), ("1_2", True), ("-", True), ("n1", False), ("\u738b", False)])
def test_names_without_a_letter_are_numbers(name, number):
    assert people.is_number(name) is number
