"""Folders and archives: the same files are found in each, and whatever is odd is told."""

import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import pytest

from facelib.data import archives, images, packing
from facelib.data.archives import DatasetError, fingerprint, members

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
        }
    )
    for kind, source in containers(root).items():
        listing = members(source)
        assert {path.removeprefix(listing.root) for path in listing.images} == {"ann/1.png", "bob/1.png"}, kind
        assert {path.removeprefix(listing.root): reason for path, reason in listing.skipped.items()} == {
            "ann/notes.txt": "not an image suffix",
            "ann/1": "not an image suffix",
            "stray.png": "not inside an identity folder",
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
        root, opened = tree(["ann/1.png", "bob/1.png"]), os.open

        def refuse(path, *arguments, **options):
            if Path(path).parent.name == "bob":
                raise PermissionError(13, "Permission denied", str(path))
            return opened(path, *arguments, **options)

        monkeypatch.setattr(images.os, "open", refuse)
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
        assert members(root).images == {"ann/1.png", "bob/1.png", "ann/bob/1.png", "bob/ann/1.png"}

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
            with pytest.raises(DatasetError, match=match) as error:
                use(archive)
            assert str(archive) in str(error.value)
            assert "Fetch it again and compare its sha256 with data/README.md" in str(error.value)

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

    def test_zip_checksum(self, tmp_path, encode):
        archive, data = tmp_path / "faces.zip", encode((1, 2, 3))
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("ann/1.png", data)
        damaged = bytearray(archive.read_bytes())
        damaged[damaged.index(data) + 20] ^= 1
        archive.write_bytes(damaged)
        self.damaged(archive, match="Bad CRC-32")

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
        self.damaged(archive, match="encrypted")

    def test_no_permission_is_not_called_damage(self, tree, containers, monkeypatch):
        archive = containers(tree(["ann/1.png"]))[".tar"]

        def refuse(*arguments, **options):
            raise PermissionError(13, "Permission denied", str(archive))

        monkeypatch.setattr(tarfile, "open", refuse)
        with pytest.raises(PermissionError, match=archive.name):
            members(archive)


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
