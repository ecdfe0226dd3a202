"""Folders and archives: the same files are found in each, and whatever is odd is told."""

import gzip
import io
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from facelib.data import _containers, archives, images, packing, photofiles
from facelib.data.archives import DamagedArchive, DatasetError, fingerprint, members

NFC, NFD = unicodedata.normalize("NFC", "Jos\u00e9"), unicodedata.normalize("NFD", "Jos\u00e9")
LAYOUTS = {
    "vggface2": ["train/n000001/0001_01.jpg", "train/n000001/0002_01.jpg", "train/n000009/0001_01.jpg"],
    "facecap": ["1/1.jpg", "1/2.jpg", "500/1.jpg"],
    "celebfaces": ["celebfaces/7/0.jpg", "celebfaces/12/0.jpg"],
    "lfw": ["lfw-deepfunneled/Ann_Lee/Ann_Lee_0001.jpg", "lfw-deepfunneled/Bo/Bo_0001.jpg"],
    "nested": ["a/1.png", "a/b/1.png", "a-b/1.png", "a b/1.png"],
    "unlike ASCII": [f"{NFC}/1.png", "Zo\u00eb B\u00fcrki/\u5199\u771f 1.png", "\u738b\u5c0f\u660e/1.png"],
    "one person": ["ann/1.png", "ann/2.png"],
}


def contents(source) -> dict[str, bytes]:
    """Path below the folder of all identities -> bytes."""
    listing = members(Path(source))
    return {path.removeprefix(listing.root): data for path, data in listing.read(listing.images)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_container_holds_the_same(tree, containers, layout):
    root = tree(LAYOUTS[layout])
    common = {"vggface2": "train/", "celebfaces": "celebfaces/", "lfw": "lfw-deepfunneled/"}.get(layout, "")
    expected = {path.removeprefix(common): (root / path).read_bytes() for path in LAYOUTS[layout]}
    for kind, source in containers(root).items():
        assert contents(source) == expected, kind
        assert members(source).skipped == {}, kind


def test_only_the_wanted_images_are_read(tree, containers):
    for source in containers(tree(["a/1.png", "b/1.png", "c/1.png"])).values():
        listing = members(source)
        wanted = {path for path in listing.images if not path.endswith("b/1.png")}
        assert {path for path, _ in listing.read(wanted)} == wanted
        assert list(listing.read(frozenset())) == []


def test_other_files_are_reported_and_hidden_ones_ignored(tree, containers):
    root = tree(
        {
            "ann/1.png": (9, 9, 9),
            "bob/1.png": (8, 8, 8),
            "ann/notes.txt": b"text",
            "ann/1": b"no suffix",
            "stray.png": (1, 1, 1),
            "ann/.DS_Store": b"x",
            ".cache/eve/1.png": (7, 7, 7),
            "__MACOSX/ann/._1.png": b"x",
            "__MACOSX/ann/1.png": (7, 7, 7),
            "bob/@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg": (6, 6, 6),
        }
    )
    for kind, source in containers(root).items():
        listing = members(source)
        assert {path.removeprefix(listing.root) for path in listing.images} == {"ann/1.png", "bob/1.png"}, kind
        assert {path.removeprefix(listing.root): reason for path, reason in listing.skipped.items()} == {
            "ann/notes.txt": "not an image",
            "ann/1": "not an image",
            "stray.png": "not inside an identity folder",
            "__MACOSX": "left out: folders of this name are the system's (1, with 2 files)",
            "@eaDir": "left out: folders of this name are the system's (1, with 1 files)",
        }, kind


@pytest.mark.parametrize(
    "paths, root, images",
    [
        (["faces/a/1.png", "faces2/a/1.png"], "", 2),
        (["faces/1.png", "faces2/1.png"], "", 2),
        (["x/faces/a/1.png", "x/faces/b/1.png"], "x/faces/", 2),
        (["x/y/z/ann/1.png", "x/y/z/ann/2.png"], "x/y/z/", 2),
        (["ann/1.png"], "", 1),
        (["faces/stray.png", "faces/ann/1.png"], "faces/", 1),
        (["stray.png", "faces/stray.png", "faces/ann/1.png", "faces/bob/1.png"], "faces/", 2),
        (["a/1.png", "a/b/1.png", "c/1.png"], "", 3),
    ],
)
def test_identities_are_named_below_their_common_folder(tree, paths, root, images):
    listing = members(tree(paths))
    assert (listing.root, len(listing.images)) == (root, images)
    assert len(listing.images) + len(listing.skipped) == len(paths)


@pytest.mark.parametrize("files", [{}, {"ann/readme.txt": b"x"}, {".ann/1.png": (0, 0, 0)}])
def test_a_source_without_identities_is_an_error(tree, containers, files):
    for kind, source in containers(tree(files)).items():
        with pytest.raises(DatasetError, match="holds no identities: expected one folder per person") as error:
            members(source)
        assert str(source) in str(error.value), kind


def test_images_without_any_folder_are_an_error(tree, containers):
    made = containers(tree(["1.png", "2.png"]))
    for kind in ("folder", "tar of .", "zip of ."):
        with pytest.raises(DatasetError, match="found 2 files, none of them an image inside a folder"):
            members(made[kind])


def test_suffixes_count_in_any_case(tree):
    assert len(members(tree(["a/1.JPG", "a/2.Jpeg", "a/3.PNG", "b/4.webp"])).images) == 4


@pytest.mark.parametrize("suffix", [".TAR", ".TgZ", ".Tar.GZ", ".ZIP"])
def test_archive_suffixes_count_in_any_case(tree, containers, suffix):
    made = containers(tree(["a/1.png", "b/1.png"]))[suffix.lower()]
    renamed = made.rename(made.with_name(f"renamed{suffix}"))
    assert len(members(renamed).images) == 2


@pytest.mark.parametrize("name", ["faces.7z", "faces.jpg", "faces"])
def test_a_file_of_another_kind_is_an_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DatasetError, match=r"neither a folder nor a \.tar, \.tar\.gz, \.tgz or \.zip archive"):
        members(tmp_path / name)


def test_a_missing_source_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.tar' does not exist: expected a folder or an archive"):
        fingerprint(tmp_path / "nowhere.tar")


class TestFolders:
    def test_a_link_to_nowhere_is_reported_when_read(self, tree):
        root = tree(["ann/1.png", "bob/1.png"])
        (root / "ann" / "2.png").symlink_to("gone.png")
        assert members(root).skipped == {"ann/2.png": "cannot be read (No such file or directory)"}

    def test_a_link_to_itself_is_reported(self, tree):
        root = tree(["ann/1.png", "bob/1.png"])
        (root / "ann" / "2.png").symlink_to("2.png")
        (root / "carl").symlink_to("carl")
        assert members(root).skipped == dict.fromkeys(
            ["ann/2.png", "carl"], "cannot be read (Too many levels of symbolic links)"
        )

    def test_an_unreadable_file_is_reported(self, tree, monkeypatch):
        root = tree(["ann/1.png", "bob/1.png"])

        def refuse(path, *arguments, **options):
            if Path(path).parent.name == "bob":
                raise PermissionError(13, "Permission denied", str(path))
            return open(path, *arguments, **options)

        monkeypatch.setattr(images, "open", refuse, raising=False)
        read = dict(members(root).read(members(root).images))
        assert read["bob/1.png"] == "cannot be read (Permission denied)"
        assert isinstance(read["ann/1.png"], bytes)

    def test_a_folder_that_cannot_be_listed_is_reported(self, tree, monkeypatch):
        root, scandir = tree(["ann/1.png", "bob/1.png"]), os.scandir

        def refuse(path="."):
            if Path(path).name == "bob":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        assert members(root).skipped == {"bob": "folder cannot be listed (Permission denied)"}

    def test_that_the_folder_itself_cannot_be_listed_is_an_error(self, tree, monkeypatch):
        root = tree(["ann/1.png"])

        def refuse(path="."):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(PermissionError, match=root.name):
            members(root)

    def test_linked_files_and_folders_are_followed(self, tree, tmp_path):
        root = tree(["ann/1.png"])
        elsewhere = tree(["carl/1.png", "dora/1.png"], name="elsewhere")
        (root / "carl").symlink_to(elsewhere / "carl")
        (root / "ann" / "2.png").symlink_to(elsewhere / "dora" / "1.png")
        (tmp_path / "link").symlink_to(root)
        assert contents(tmp_path / "link").keys() == {"ann/1.png", "ann/2.png", "carl/1.png"}

    def test_links_in_a_circle_are_not_followed(self, tree):
        root = tree(["ann/1.png", "bob/1.png"])
        (root / "ann" / "up").symlink_to(root)
        (root / "ann" / "self").symlink_to(".")
        assert len(members(root).images) == 2
        (root / "bob" / "ann").symlink_to(root / "ann")
        (root / "ann" / "bob").symlink_to(root / "bob")
        assert members(root).images == {"ann/1.png", "bob/1.png"}

    def test_a_link_to_another_persons_folder_is_no_other_person(self, tree, tmp_path):
        root, elsewhere = tree(["ann/1.png", "bob/1.png"]), tree(["carl/1.png"], name="elsewhere")
        (root / "eve").symlink_to("ann")
        (root / "carl").symlink_to(elsewhere / "carl")
        (root / "dan").symlink_to(elsewhere / "carl")
        listing = members(root)
        assert {path.split("/")[0] for path in listing.images} == {"ann", "bob", "carl"}
        assert listing.skipped == {
            "eve": "left out: a link to 'ann', which is in the set already",
            "dan": "left out: a link to 'carl', which is in the set already",
        }

    def test_a_link_to_a_hidden_store_is_followed(self, tree):
        root = tree([".store/ann/1.png", "bob/1.png"])
        (root / "ann").symlink_to(".store/ann")
        assert members(root).images == {"ann/1.png", "bob/1.png"}

    def test_what_is_no_regular_file_is_reported(self, tree):
        root = tree(["ann/1.png"])
        os.mkfifo(root / "ann" / "2.png")  # reading it would wait for ever
        assert members(root).skipped == {"ann/2.png": "not a regular file"}

    def test_names_that_are_no_valid_text(self, tree):
        root = tree(["ann/1.png"])
        folder = os.fsencode(root) + b"/Jos\xe9"
        os.mkdir(folder)
        os.rename(root / "ann" / "1.png", folder + b"/1.png")
        assert [os.fsencode(path) for path in contents(root)] == [b"Jos\xe9/1.png"]

    def test_both_normal_forms_of_a_name_stay_apart(self, tree, containers):
        root = tree([f"{NFC}/1.png", f"{NFD}/1.png"])
        if len(list(root.iterdir())) == 1:
            pytest.skip("this file system takes the two for one")
        for kind, source in containers(root).items():
            assert contents(source).keys() == {f"{NFC}/1.png", f"{NFD}/1.png"}, kind


class TestFingerprints:
    def test_the_same_files_give_the_same(self, tree):
        root = tree(["ann/1.png", "bob/1.png"])
        assert fingerprint(root) == fingerprint(root) == fingerprint(str(root))

    @pytest.mark.parametrize(
        "change",
        [
            lambda root: (root / "ann" / "2.png").write_bytes(b"new"),
            lambda root: (root / "ann" / "1.png").unlink(),
            lambda root: (root / "ann" / "1.png").write_bytes(b"longer than before, or shorter"),
            lambda root: os.utime(root / "ann" / "1.png", ns=(0, 12345)),
            lambda root: (root / "ann").rename(root / "eve"),
            lambda root: (root / "ann" / "1.png").rename(root / "ann" / "0.png"),
            lambda root: (root / "note.txt").write_text("reported, so it counts"),
        ],
    )
    def test_a_change_of_the_files_changes_it(self, tree, change):
        root = tree(["ann/1.png", "bob/1.png"])
        before = fingerprint(root)
        change(root)
        assert fingerprint(root) != before

    def test_hidden_files_do_not_count(self, tree):
        root = tree(["ann/1.png", "bob/1.png"])
        before = fingerprint(root)
        (root / "ann" / ".DS_Store").write_bytes(b"the file manager was here")
        (root / ".cache").mkdir()
        (root / ".cache" / "1.png").write_bytes(b"x")
        (root / "ann" / "@eaDir").mkdir()
        (root / "ann" / "@eaDir" / "1.png").write_bytes(b"x")
        assert fingerprint(root) == before

    def test_of_an_archive_it_follows_size_and_time(self, tree, containers):
        archive = containers(tree(["ann/1.png"]))[".tar"]
        first = fingerprint(archive)
        os.utime(archive, ns=(0, 1))
        second = fingerprint(archive)
        archive.write_bytes(archive.read_bytes() + b"\0")
        os.utime(archive, ns=(0, 1))
        assert len({first, second, fingerprint(archive)}) == 3


UNSAFE = ["../evil/1.png", "ann/../../evil/1.png", "/evil/1.png", "C:/evil/1.png", "C:\\evil\\1.png", "..\\evil\\1.png"]


@pytest.mark.parametrize("name", UNSAFE)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_unsafe_paths_are_refused(tmp_path, make_tar, encode, kind, name):
    place = tmp_path / "inside"
    place.mkdir()
    if kind == "tar":
        archive = make_tar([("ann/1.png", encode((1, 2, 3))), (name, encode((4, 5, 6)))])
    else:
        archive = tmp_path / "made.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("ann/1.png", encode((1, 2, 3)))
            zipped.writestr(zipfile.ZipInfo(name), encode((4, 5, 6)))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match="unsafe path .* Make the archive again from inside the folder") as error:
        packing.pack(archive, progress=False)
    assert str(archive) in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before
    assert not list(Path(tmp_path.anchor).glob("evil")) and not list(tmp_path.parent.glob("evil"))


class TestTars:
    def linked(self, name: str, kind: bytes, target: str = "") -> tuple[str, tarfile.TarInfo]:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        return name, info

    @pytest.mark.parametrize("mode", ["w", "w:gz"])
    def test_links_inside_the_archive_are_followed(self, make_tar, encode, mode):
        first, second = encode((1, 2, 3)), encode((4, 5, 6))
        archive = make_tar(
            [
                self.linked("faces/zoe/0.png", tarfile.SYMTYPE, "../ann/1.png"),
                ("faces/ann/1.png", first),
                self.linked("faces/ann/2.png", tarfile.SYMTYPE, "1.png"),
                self.linked("faces/bob/1.png", tarfile.LNKTYPE, "faces/ann/1.png"),
                ("faces/bob/2.png", second),
            ],
            name="made.tar" if mode == "w" else "made.tgz",
            mode=mode,
        )
        expected = {"ann/1.png": first, "ann/2.png": first, "bob/1.png": first, "bob/2.png": second}
        assert contents(archive) == {**expected, "zoe/0.png": first}

    def test_hard_linked_files_give_the_same_as_in_a_folder(self, tree, containers):
        root = tree(["ann/1.png", "bob/1.png"])
        os.link(root / "ann" / "1.png", root / "bob" / "2.png")
        made = containers(root)
        assert all(contents(source) == contents(root) for source in made.values())

    @pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
    @pytest.mark.parametrize("target", ["/etc/passwd", "../../../etc/passwd", "gone.png", "2.png"])
    def test_other_links_are_reported(self, make_tar, encode, kind, target):
        archive = make_tar(
            [
                ("ann/1.png", encode((1, 2, 3))),
                self.linked("ann/2.png", kind, target),
                ("bob/1.png", encode((4, 5, 6))),
            ]
        )
        read = dict(members(archive).read(members(archive).images))
        assert read["ann/2.png"] == "link to a file that is not in the archive"
        assert isinstance(read["bob/1.png"], bytes), "the rest is read"

    def test_a_link_to_a_folder_is_reported(self, make_tar, encode):
        archive = make_tar(
            [
                self.linked("ann", tarfile.DIRTYPE),
                ("ann/1.png", encode((1, 2, 3))),
                self.linked("bob/2.png", tarfile.SYMTYPE, "../ann"),
            ]
        )
        assert contents(archive)["bob/2.png"] == "link to a folder"

    def test_what_is_no_file_is_reported(self, make_tar, encode):
        archive = make_tar([("ann/1.png", encode((1, 2, 3))), self.linked("ann/2.png", tarfile.FIFOTYPE)])
        assert members(archive).skipped == {"ann/2.png": "not a regular file"}

    def test_of_two_versions_of_a_file_the_last_counts(self, make_tar, encode):
        versions = [encode((n, n, n)) for n in range(3)]
        archive = make_tar([("ann/1.png", versions[0]), ("./ann/1.png", versions[1]), ("ann/2.png", versions[2])])
        assert contents(archive) == {"ann/1.png": versions[1], "ann/2.png": versions[2]}

    def test_no_cut_goes_unnoticed(self, tmp_path, make_tar, encode):
        files = [(f"faces/{name}/{n}.png", encode((n, n, n))) for name in ("ann", "bob") for n in range(3)]
        whole = make_tar(files).read_bytes()
        last = whole.rstrip(b"\0")
        end = -(-len(last) // 512) * 512  # here the end mark begins
        cut = tmp_path / "cut.tar"
        for length in {*range(0, end, 512), *range(1, end, 512), *range(300, end, 512), end, end + 511}:
            cut.write_bytes(whole[:length])
            with pytest.raises(DatasetError, match="is damaged"):
                contents(cut)
        cut.write_bytes(whole[: end + 512])
        assert len(contents(cut)) == 6

    def test_a_damaged_header_does_not_end_the_archive(self, make_tar, encode):
        archive = make_tar([(f"{name}/1.png", encode((n, n, n))) for n, name in enumerate(("ann", "bob", "carl"))])
        data = bytearray(archive.read_bytes())
        data[data.index(b"bob/1.png")] ^= 0x40
        archive.write_bytes(data)
        with pytest.raises(DatasetError, match="is damaged"):
            members(archive)


class TestDamage:
    def damaged(self, archive: Path, match: str = "is damaged or not such an archive"):
        for use in (contents, lambda source: packing.pack(source, progress=False)):
            with pytest.raises(DamagedArchive, match=match) as error:
                use(archive)
            assert str(archive) in str(error.value)
            assert "Copy or make it again, or unpack it and give its folder" in str(error.value)
            assert "sha256" not in str(error.value)  # whose own archive it is has no hash in data/README.md

    @pytest.mark.parametrize("suffix", [".tar", ".tgz", ".tar.gz", ".zip"])
    @pytest.mark.parametrize("data", [b"", b"garbage", b"garbage" * 10_000])
    def test_garbage(self, tmp_path, suffix, data):
        archive = tmp_path / f"faces{suffix}"
        archive.write_bytes(data)
        self.damaged(archive)

    @pytest.mark.parametrize("kind", [".tgz", ".zip"])
    def test_truncated(self, tree, containers, kind):
        archive = containers(tree([f"person {n}/1.png" for n in range(20)]))[kind]
        data = archive.read_bytes()
        for share in (0.1, 0.5, 0.9, 0.99):
            archive.write_bytes(data[: int(share * len(data))])
            self.damaged(archive)

    def test_gzip_checksum(self, tree, containers):
        archive = containers(tree(["ann/1.png", "bob/1.png"]))[".tgz"]
        data = bytearray(archive.read_bytes())
        data[-8] ^= 1  # the checksum takes bytes -8 to -4
        archive.write_bytes(data)
        self.damaged(archive, match="CRC check failed")

    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_one_damaged_member_of_a_zip_costs_that_photo_alone(self, tmp_path, encode, method):
        archive, rng = tmp_path / "faces.zip", np.random.default_rng(0)
        photos = {
            f"{name}/1.png": encode(Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)))
            for name in ("ann", "bob", "carl")
        }
        with zipfile.ZipFile(archive, "w", method) as zipped:
            for name, data in photos.items():
                zipped.writestr(name, data)
            (bob,) = (info for info in zipped.infolist() if info.filename == "bob/1.png")
        damaged = bytearray(archive.read_bytes())
        start = bob.header_offset + 30 + len(bob.filename)
        damaged[start + 20 : start + 200] = bytes(180)
        archive.write_bytes(damaged)
        read = contents(archive)
        assert read.pop("bob/1.png").startswith("damaged in the archive (")
        assert read == {name: data for name, data in photos.items() if name != "bob/1.png"}
        faces = packing.pack(archive, progress=False)
        assert faces.paths == ("ann/1.png", "carl/1.png")
        assert list(faces.manifest["skipped"]) == ["bob/1.png"]

    def test_the_wrong_suffix(self, tree, containers):
        made = containers(tree(["ann/1.png"]))
        self.damaged(made[".zip"].rename(made[".zip"].with_name("zip.tar")))
        self.damaged(made[".tar"].rename(made[".tar"].with_name("tar.zip")))

    def test_an_encrypted_zip_is_told(self, tree, containers):
        archive = containers(tree(["ann/1.png"]))["zip of ."]
        data = bytearray(archive.read_bytes())
        for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            at = -1
            while (at := data.find(mark, at + 1)) >= 0:
                data[at + flags] |= 1
        archive.write_bytes(data)
        for use in (contents, lambda source: packing.pack(source, progress=False)):
            with pytest.raises(DatasetError, match=r"zip' is encrypted\. Unpack it and give its folder instead\.$"):
                use(archive)

    def test_a_zip_that_is_compressed_otherwise_is_told(self, tmp_path, encode):
        with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_LZMA) as zipped:
            zipped.writestr("ann/1.png", encode((1, 2, 3)))
        with pytest.raises(DatasetError, match="is compressed by method 14, which is not read here. Unpack it"):
            members(tmp_path / "faces.zip")
        with zipfile.ZipFile(tmp_path / "faces.zip", "a", zipfile.ZIP_STORED) as zipped:
            zipped.writestr("bob/1.png", encode((4, 5, 6)))
        listing = members(tmp_path / "faces.zip")
        assert listing.images == {"bob/1.png"}
        assert listing.skipped == {"ann/1.png": "compressed by method 14, which is not read here"}

    def test_no_permission_is_not_called_damage(self, tree, containers, monkeypatch):
        archive = containers(tree(["ann/1.png"]))[".tar"]

        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied", str(archive))

        monkeypatch.setattr(tarfile, "open", refuse)
        with pytest.raises(PermissionError, match=archive.name):
            members(archive)


class TestLimits:
    """What would fill memory or disk, or take for ever, is told before."""

    @pytest.fixture
    def small(self, monkeypatch):
        monkeypatch.setattr(images, "MAX_BYTES", 2**20)
        monkeypatch.setattr(_containers, "FREE_GROWTH", 2**22)

    def test_a_photo_of_too_many_bytes(self, tree, containers, small):
        root = tree({"ann/1.png": (1, 2, 3), "ann/2.png": bytes(2**20 + 1)})
        for kind, source in containers(root).items():
            faces = packing.pack(source, progress=False)
            assert faces.paths == ("ann/1.png",), kind
            assert faces.manifest["skipped"] == {"ann/2.png": "1 MiB: over the limit of 1 MiB"}, kind

    def test_it_is_not_read(self, tree, small, monkeypatch):
        root = tree({"ann/1.png": (1, 2, 3), "ann/2.png": b""})
        os.truncate(root / "ann" / "2.png", 5 * 2**30)  # takes no space
        assert images.read_file(str(root / "ann" / "2.png")) == "5,120 MiB: over the limit of 1 MiB"

    def test_nor_through_a_link_in_a_tar(self, make_tar, encode, small):
        link = tarfile.TarInfo("ann/2.png")
        link.type, link.linkname = tarfile.SYMTYPE, "../big.bin"
        archive = make_tar([("ann/1.png", encode((1, 2, 3))), ("ann/2.png", link), ("big.bin", bytes(2**20 + 1))])
        assert contents(archive)["ann/2.png"] == "1 MiB: over the limit of 1 MiB"

    def test_a_zip_bomb(self, tmp_path, small):
        with zipfile.ZipFile(tmp_path / "faces.zip", "w", zipfile.ZIP_DEFLATED) as zipped:
            for n in range(100):
                zipped.writestr(f"ann/{n}.jpg", bytes(2**19))
        with pytest.raises(DamagedArchive, match="unpacks to 0.0 GiB, as no photos do"):
            members(tmp_path / "faces.zip")

    def test_a_zip_that_lies_about_its_sizes(self, tmp_path, encode, small):
        archive = tmp_path / "faces.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.writestr("ann/1.png", encode((1, 2, 3)))
            zipped.writestr("ann/2.png", bytes(2**22))
        data = bytearray(archive.read_bytes())
        true, said = (2**22).to_bytes(4, "little"), (1000).to_bytes(4, "little")
        archive.write_bytes(data.replace(true, said))
        assert "damaged in the archive" in contents(archive)["ann/2.png"]

    @pytest.mark.parametrize("where", ["member", "header", "after the end"])
    def test_a_gzip_bomb(self, tmp_path, make_tar, encode, small, where, monkeypatch):
        plain = make_tar([("ann/1.png", encode((1, 2, 3)))])
        info = tarfile.TarInfo("ann/2.png")
        info.size = 2**25
        if where == "header":
            info.type = tarfile.XHDTYPE
        with gzip.open(tmp_path / "faces.tgz", "wb") as file:
            file.write(info.tobuf() if where != "after the end" else plain.read_bytes())
            for _ in range(2**5):
                file.write(bytes(2**20))
            file.write(plain.read_bytes())
        with pytest.raises(DamagedArchive, match="unpacks to more than|is said to have 33,554,432 bytes"):
            members(tmp_path / "faces.tgz")

    def test_large_archives_of_photos_are_none(self, tmp_path, encode):
        rng, photos = np.random.default_rng(0), {}
        for n in range(300):
            photos[f"ann/{n}.png"] = encode(Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)))
        with tarfile.open(tmp_path / "faces.tgz", "w:gz") as tar:
            for name, data in photos.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        assert contents(tmp_path / "faces.tgz") == photos


class TestByContent:
    """A file without an image's suffix is known by how it begins."""

    @pytest.mark.parametrize("format", ["JPEG", "PNG", "GIF", "WEBP"])
    def test_images_of_any_name(self, tree, containers, encode, format):
        photo = encode(Image.new("RGB", (9, 9), (200, 100, 50)), format)
        names = ["1", "2.JPG_large", "3.jfif", "4.bin", "5.png", "a.b.c"]
        root = tree({f"ann/{name}": photo for name in names} | {"ann/6.txt": b"text", "meta/people.csv": b"x,y"})
        for kind, source in containers(root).items():
            faces = packing.pack(source, progress=False)
            assert [Path(path).name for path in faces.paths] == names, kind
            assert sorted(map(os.path.basename, faces.manifest["skipped"])) == ["6.txt", "people.csv"], kind

    def test_what_lies_beside_photos_is_none(self, tree, encode):
        jpeg = encode(Image.new("RGB", (9, 9)), "JPEG")
        heic = b"\0\0\0\x18ftypheic" + bytes(40)
        beside = {"1.jpg~": jpeg, "1.jpg_original": jpeg, "1.THM": jpeg, "2.HEIC": heic, "1.cr2": b"II*\0" + bytes(99)}
        listing = members(tree({"ann/1.jpg": jpeg} | {f"ann/{name}": data for name, data in beside.items()}))
        assert listing.images == {"ann/1.jpg"}
        reasons = {path.removeprefix("ann/"): reason for path, reason in listing.skipped.items()}
        assert reasons.pop("2.HEIC") == "a HEIC photo, which is not read here: convert it to JPEG"
        assert reasons.pop("1.cr2") == "not an image"  # its preview would be taken for another photo
        assert set(reasons.values()) == {"a copy of a photo, by its name"}

    def test_a_heic_photo_that_is_called_a_jpeg_is_told(self, tree, encode):
        heic = b"\0\0\0\x18ftypheic" + bytes(400)
        faces = packing.pack(tree({"ann/1.jpg": encode((1, 2, 3)), "ann/2.jpg": heic}), progress=False)
        assert faces.manifest["skipped"] == {"ann/2.jpg": "a HEIC photo, which is not read here: convert it to JPEG"}

    def test_one_that_cannot_be_opened_is_told(self, tree, monkeypatch):
        root = tree({"ann/1.png": (1, 2, 3), "ann/2": b"x"})
        monkeypatch.setattr(photofiles, "open", refuse, raising=False)
        assert members(root).skipped == {"ann/2": "cannot be read (Permission denied)"}


def refuse(path, *arguments, **options):
    raise PermissionError(13, "Permission denied", str(path))


class TestZips:
    def test_backslashes_separate_folders(self, tmp_path, encode):
        data = encode((1, 2, 3))
        with zipfile.ZipFile(tmp_path / "made.zip", "w") as zipped:
            for name in ("faces\\ann\\1.png", "faces\\bob\\1.png"):
                zipped.writestr(zipfile.ZipInfo(name), data)
        assert contents(tmp_path / "made.zip") == {"ann/1.png": data, "bob/1.png": data}

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_of_two_versions_of_a_file_the_last_counts(self, tmp_path, encode):
        versions = [encode((n, n, n)) for n in range(2)]
        with zipfile.ZipFile(tmp_path / "made.zip", "w") as zipped:
            for data in versions:
                zipped.writestr("ann/1.png", data)
        assert contents(tmp_path / "made.zip") == {"ann/1.png": versions[1]}


def test_nothing_is_public_twice():
    for name in ("members", "fingerprint", "DatasetError"):
        assert getattr(packing, name) is getattr(archives, name)
