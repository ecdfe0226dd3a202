"""Archives of identity folders, read without unpacking: tar, compressed or not, and zip."""

import errno
import gzip
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from facelib.data import images, photofiles

Contents = Iterator[tuple[str, bytes | str]]  # path, and the file's bytes or why it cannot be read
GROWTH = 200  # photos are compressed already: an archive that unpacks to so many times its size is none of photos
FREE_GROWTH = 2**30  # bytes that any archive may unpack to
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # Python unpacks the others without a limit
INSTEAD = "Unpack it and give its folder instead."


class DatasetError(ValueError):
    """A data set that cannot be used; the message names it and says what to do."""


class DamagedArchive(DatasetError):
    """An archive that cannot be read: ``what`` is wrong, without what to do, which depends on where it is from."""

    def __init__(self, what: str):
        self.what = what
        super().__init__(f"{what} Copy or make it again, or unpack it and give its folder.")


def list_tar(archive: Path):
    """Reasons by path (empty for candidates), and how to read what is wanted, as `archives.Listing` has it."""
    found, kept = {}, {}
    with _damage_told(archive), _opened(archive) as tar:
        for position, member in enumerate(tar):
            if not member.isdir():
                name = _safe(archive, member.name)
                found[name] = _tar_reason(tar, member)
                kept[name] = position  # of several versions of a file the last counts, as in unpacking
        _check_end(tar)

    def read(wanted: Iterable[str]) -> Contents:
        names = {kept[name]: name for name in wanted}
        with _damage_told(archive), _opened(archive) as tar:
            for position, member in enumerate(tar):  # in this order: a compressed one cannot be read otherwise
                if position in names:
                    yield names[position], _tar_content(tar, member)

    return found, read


class _Bounded:
    """The bytes of an archive as tarfile asks for them, until it asks for more than any photos can need."""

    def __init__(self, file, limit: int):
        self.file, self.limit, self.tell, self.close = file, limit, file.tell, file.close

    def read(self, size: int) -> bytes:
        self._check(self.tell() + size)
        return self.file.read(size)

    def seek(self, place: int) -> int:
        self._check(place)
        return self.file.seek(place)

    def _check(self, place: int) -> None:
        if place > self.limit:
            raise tarfile.ReadError(f"it unpacks to more than {self.limit / 2**30:,.1f} GiB, as no photos do")


@contextmanager
def _opened(archive: Path):
    with open(archive, "rb") as file:
        opener = gzip.open if file.read(2) == b"\x1f\x8b" else nullcontext
        file.seek(0)
        with opener(file) as content:
            bounded: Any = _Bounded(content, _limit(archive))  # tarfile reads, seeks and tells, no more
            with tarfile.open(fileobj=bounded, mode="r:") as tar:
                yield tar


def _limit(archive: Path) -> int:
    return FREE_GROWTH + GROWTH * archive.stat().st_size


def _tar_reason(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.isfile():
        return images.too_large(member.size) or photofiles.why_no_photo(
            member.name, lambda: tar.extractfile(member).read(photofiles.HEAD)
        )
    if member.islnk() or member.issym():
        return photofiles.why_no_photo(member.name, bytes)
    return "not a regular file"


def _tar_content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | str:
    try:
        file = tar.extractfile(member)
    except (KeyError, RecursionError):
        return "link to a file that is not in the archive"
    if not file:
        return "link to a folder"
    data = file.read(images.MAX_BYTES + 1)
    return images.too_large(len(data)) or data


def _check_end(tar: tarfile.TarFile) -> None:
    # tarfile takes a damaged header, and the end of the file, for the end of the archive.
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("it breaks off before its end mark")
    while tar.fileobj.read(1 << 20):
        pass  # gzip compares its checksum only when all is read


def list_zip(archive: Path):
    """The same of a zip file; a member that cannot be read costs that photo alone."""
    with _damage_told(archive), zipfile.ZipFile(archive) as zipped:
        # Some programs for Windows write backslashes.
        infos = {_safe(archive, i.filename).replace("\\", "/"): i for i in zipped.infolist() if not i.is_dir()}
        unreadable = set(map(_zip_method, infos.values()))
        if len(unreadable) == 1 and (method := unreadable.pop()):
            raise DatasetError(f"'{archive}' is {method}. {INSTEAD}")
        unpacked = sum(info.file_size for info in infos.values())
        if unpacked > _limit(archive):
            raise zipfile.BadZipFile(f"it unpacks to {unpacked / 2**30:,.1f} GiB, as no photos do")
        found = {}
        for name, info in infos.items():
            head = partial(_zip_content, zipped, info, photofiles.HEAD)
            reason = _zip_method(info) or images.too_large(info.file_size)
            found[name] = reason or photofiles.why_no_photo(name, head)

    def read(wanted: Iterable[str]) -> Contents:
        with _damage_told(archive), zipfile.ZipFile(archive) as zipped:
            for name in sorted(wanted, key=lambda name: infos[name].header_offset):
                yield name, _zip_content(zipped, infos[name], infos[name].file_size)

    return found, read


def _zip_method(info: zipfile.ZipInfo) -> str:
    if info.flag_bits & 1:
        return "encrypted"
    return "" if info.compress_type in METHODS else f"compressed by method {info.compress_type}, which is not read here"


def _zip_content(zipped: zipfile.ZipFile, info: zipfile.ZipInfo, size: int) -> bytes | str:
    try:
        with zipped.open(info) as file:
            return file.read(size)  # without a size it would unpack whatever is there
    except Exception as error:  # zipfile and zlib raise many types for damaged members
        if _of_the_disk(error):
            raise
        return f"damaged in the archive ({_first_line(error)})"


def _safe(archive: Path, name: str) -> str:
    path = PureWindowsPath(name)  # knows both separators, and drives
    if path.anchor or ".." in path.parts:
        raise DatasetError(
            f"'{archive}' holds the unsafe path '{name}' (absolute or with '..'). "
            "Make the archive again from inside the folder of identities."
        )
    return str(PurePosixPath(name))


@contextmanager
def _damage_told(archive: Path):
    """Turn the many errors of damaged archives into one that says what to do."""
    try:
        yield
    except DatasetError:
        raise
    except Exception as error:  # tarfile and zipfile raise many types for damaged files
        if _of_the_disk(error):
            raise
        raise DamagedArchive(f"'{archive}' is damaged or not such an archive ({_first_line(error)}).") from error


def _of_the_disk(error: Exception) -> bool:
    """Whether the fault is that of the disk or of the permissions."""
    return isinstance(error, OSError) and error.errno not in (None, errno.EINVAL)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
