"""The data sets this project knows: where each is found, how it frames faces, how it is split."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facelib import runtime
from facelib.data import aligned, archives, celeba, layouts, leaks, packing, rendered
from facelib.data.fetching import Remote, fetch
from facelib.data.images import Crop
from facelib.data.packed import PackedFaces

# The square of a 250 x 250 deep-funneled LFW photo that frames a face as a whole CelebA crop does:
# eyes at a third and two thirds of the width, .365 of the height.
LFW_CROP = (62 / 250, 66 / 250, 190 / 250, 194 / 250)
# The funneled variant is aligned otherwise: a square of the same size around the centre of the
# slice (rows 70-195, columns 78-172) that scikit-learn's `fetch_lfw_pairs` takes from it.
LFW_FUNNELED_CROP = (61 / 250, 68.5 / 250, 189 / 250, 196.5 / 250)
# Addresses and hashes as in scikit-learn's `fetch_lfw_pairs`.
LFW_FUNNELED = Remote(
    "lfw-funneled.tgz",
    "https://ndownloader.figshare.com/files/5976015",
    "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
)
LFW_LISTS = tuple(  # View 2, and the two parts of View 1
    Remote(f"{name}.txt", f"https://ndownloader.figshare.com/files/{number}", sha256)
    for name, number, sha256 in (
        ("pairs", 5976006, "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592"),
        ("pairsDevTrain", 5976012, "1d454dada7dfeca0e7eab6f65dc4e97a6312d44cf142207be28d688be92aabfa"),
        ("pairsDevTest", 5976009, "7cb06600ea8b2814ac26e946201cdb304296262aad67d046a16a7ec85d0ff87c"),
    )
)

# The same photographs framed like `families`: eyes at .23 and .69 of the width and .18 of the height.
CELEBFACES_TIGHT_CROP = (0.137, 0.238, 0.863, 0.964)
LFW_TIGHT_CROP = (79 / 250, 96 / 250, 173 / 250, 190 / 250)


@dataclass(frozen=True)
class KnownSet:
    """Where a set is looked for under `runtime.data_dir`, its framing, and what to say when missing.

    ``made`` gives its place where that may be made of something else that is there, or None. People of whom the set
    ``apart_from`` has a photograph, too, are left out of it.
    """

    places: tuple[str, ...]
    crop: Crop | None
    missing: str
    made: Callable[[bool], Path | None] | None = None
    apart_from: str | None = None


_PAPER_SET = (
    "'{name}' is not under '{folder}'. The paper's copy is data set {number} of Baidu AI Studio "
    "(https://aistudio.baidu.com/datasetdetail/{number}); its terms do not allow it to be shipped here. Put it at "
    "'{name}/<person>/<image>.jpg', or as '{name}.tar', '{name}.tgz' or '{name}.zip' of such folders; "
    "see data/README.md."
)
_OPEN_SET = (
    "'{name}' is not under '{folder}'. Put the folder '{place}' there, or an archive of it ('{place}.tar', '.tgz', "
    "'.tar.gz' or '.zip'), or point FACELIB_DATA at the folder that has it; data/README.md says where it comes from."
)
_VGGFACE2 = (
    "'{name}' is not under '{folder}'. Put the folder '{place}' of VGGFace2 as published there, or its archive "
    "'vggface2_{part}.tar.gz'; data/README.md says where it comes from."
)


def _places(name: str) -> tuple[str, ...]:
    return tuple(name + ending for ending in ("", ".tar", ".tgz", ".tar.gz", ".zip"))


def _vggface2(part: str) -> KnownSet:
    archive = f"vggface2_{part}.tar.gz"
    places = f"vggface2/{part}", archive, f"vggface2/{archive}", f"vggface2/data/{archive}"
    return KnownSet(places, None, _VGGFACE2.replace("{part}", part))


def _celebfaces(progress: bool) -> Path | None:
    return _place("celebfaces") or celeba.celebfaces(progress)


def _digiface(progress: bool) -> Path | None:
    place = _place("digiface")
    if place is None or not layouts.archives_in(place):
        return place
    table = runtime.cache_dir() / "tables" / archives.fingerprint(place) / "digiface.csv"
    return table if table.exists() else layouts.folder_of_archives(place, table)


SETS = {
    "celebfaces": KnownSet(_places("celebfaces"), None, celeba.MISSING, _celebfaces),
    "celebfaces-tight": KnownSet(_places("celebfaces"), CELEBFACES_TIGHT_CROP, celeba.MISSING, _celebfaces),
    "celeba": KnownSet((), None, celeba.MISSING, celeba.whole_set, apart_from="lfw"),
    "lfw": KnownSet(_places("lfw-deepfunneled"), LFW_CROP, _OPEN_SET),
    "lfw-tight": KnownSet(_places("lfw-deepfunneled"), LFW_TIGHT_CROP, _OPEN_SET),
    "lfw-funneled": KnownSet((*_places("lfw-funneled"), "lfw_funneled"), LFW_FUNNELED_CROP, _OPEN_SET),
    "families": KnownSet(_places("families"), None, _OPEN_SET),
    "vggface2": KnownSet(_places("vggface2"), None, _PAPER_SET.replace("{number}", "107435")),
    "vggface2-train": _vggface2("train"),
    "vggface2-test": _vggface2("test"),
    "wild": KnownSet(_places("wild"), None, _OPEN_SET),  # whole press photos, for the detector
    "digiface": KnownSet(_places("digiface"), None, _OPEN_SET, _digiface),
    "facecap": KnownSet(_places("facecap"), None, _PAPER_SET.replace("{number}", "104646")),
}
LFW_SETS = ("lfw", "lfw-tight", "lfw-funneled")  # those whose test pairs are the protocol's
# Rendered people: identities, shots of each, and photographs of somebody else among them. Training and test people
# never share a number; one photograph is in both, to be found out. Ten families come to them, and somebody of the test
# under another name.
_FAMILIES = [rendered.RELATIVES + 10 * family + member for family in range(60, 70) for member in range(1, 5)]
DEMO_SETS: dict[str, tuple[Any, ...]] = {
    "demo-train": (range(0, 60), [24, 20, 16, 12, 8] * 12),
    "demo-test": (range(100, 160), [16, 14, 12, 10, 8] * 12, {100: (7, 0)}),
    "demo-more": ([*_FAMILIES, rendered.RELATIVES + 1500], 12),
}


def load(name: str, progress: bool = True, apart: bool = True, frame: str | None = None) -> PackedFaces:
    """Find a set by name, or a folder, archive or table by its path, and pack it (see `packing.pack`).

    Names of known sets with ``+`` between them are joined to one (see `packing.join`). Unless ``apart`` is false, a set
    that is made for another one's test (``celeba`` for ``lfw``) is without the people of whom that one has a
    photograph, too (see `leaks.without_copies`).

    ``frame`` is for LFW and one's own photos; published crops stay as they are. ``"detect"`` is that of `packing.pack`,
    with the face in the middle (LFW) or the only one; of one's own photos ``"largest"`` takes the largest instead.
    ``"crop"`` is a fixed square (LFW), ``"none"`` the whole photo. Else LFW is cropped, and faces are detected in
    photos that they do not fill (`aligned.is_loose`).
    """
    if len(parts := parts_of(name)) > 1:
        return packing.join({part: load(part, progress, apart, frame) for part in parts})
    try:
        place = source(name, progress)
        crop, detect = _framing(name, place, frame)
        faces = packing.pack(place, crop=crop, progress=progress, detect=detect)
    except archives.DamagedArchive as error:
        if name not in SETS:
            raise
        again = "Fetch it again and compare its sha256 with data/README.md."
        raise archives.DatasetError(f"{error.what} {again}") from error
    if apart and name in SETS and (other := SETS[name].apart_from):
        kept = leaks.without_copies(faces, load(other, progress))
        if progress:
            left, photos = len(faces.names) - len(kept.names), len(faces) - len(kept)
            print(f"{name}: {left} people with {photos} photos are left out, because {other} has a photo of them, too.")
        return kept
    return faces


def parts_of(name: str) -> list[str]:
    """The names of known sets between the ``+`` of a name; any other name is its only part."""
    parts = name.split("+")
    return parts if all(part in SETS or part in DEMO_SETS for part in parts) else [name]


def source(name: str, progress: bool = True) -> Path:
    """Folder, archive or table of a set by its name or own path; demo people are drawn, LFW is fetched if need be."""
    if name in DEMO_SETS:
        # Other people, or people drawn otherwise, get another folder; its own name says what it holds.
        drawn = archives.digest(f"{DEMO_SETS[name]} {rendered.RENDERER_VERSION}")
        return rendered.write_people(runtime.cache_dir() / "demo" / drawn / name, *DEMO_SETS[name], progress=progress)
    if name == "lfw" and lfw_variant() == "lfw-funneled":
        name = "lfw-funneled"
    if name == "lfw-funneled" and not _place(name):
        return _fetched(LFW_FUNNELED, progress)
    return find(name, progress)


_BY_DETECTOR = ("detect", "largest")


def _framing(name: str, place: Path, frame: str | None) -> tuple[Crop | None, str | None]:
    """Arguments ``crop`` and ``detect`` of `packing.pack`."""
    if name not in SETS:
        is_own = name not in DEMO_SETS
        which = "largest" if frame == "largest" else "only"
        return None, (which if is_own and (frame in _BY_DETECTOR or not frame and aligned.is_loose(place)) else None)
    name = lfw_variant() if name == "lfw" else name
    crop = celeba.crop() if name == "celeba" else SETS[name].crop
    if name not in ("lfw", "lfw-funneled"):
        return crop, None
    return (None if frame == "none" else crop), ("central" if frame in _BY_DETECTOR else None)


def lfw_variant() -> str:
    """``"lfw"`` where the deep-funneled images are at hand, else ``"lfw-funneled"``, aligned otherwise and fetched."""
    return "lfw" if _place("lfw") else "lfw-funneled"


def lfw_pairs_file(name: str = "pairs.txt") -> Path:
    """One of `LFW_LISTS` by the name of its file: in the data folder or its folder ``lfw``, else fetched."""
    remote = next(remote for remote in LFW_LISTS if remote.name == name)
    return _first((f"lfw/{name}", name)) or _fetched(remote)


def _fetched(remote: Remote, progress: bool = True) -> Path:
    try:
        return fetch(remote, progress)
    except archives.DatasetError as error:  # whoever has no internet is told of all files at once
        rest = [f"{each.name} ({each.url}, {each.sha256})" for each in (LFW_FUNNELED, *LFW_LISTS) if each != remote]
        raise archives.DatasetError(f"{error} LFW needs {', '.join(rest)}, too, in the same folder.") from error


def find(name: str, progress: bool = False) -> Path:
    """Folder, archive or table of a set by its name or path, made if it can be; else FileNotFoundError."""
    if name in SETS:
        known = SETS[name]
        if place := known.made(progress) if known.made else _place(name):
            return place
        parts = {"folder": runtime.data_dir(), "place": (*known.places, name)[0], "lacking": celeba.lacking()}
        raise FileNotFoundError(known.missing.format(name=name, **parts))
    path = Path(name).expanduser()
    if path.exists():
        return path
    raise FileNotFoundError(
        f"'{name}' is neither an existing folder, archive or table nor one of the known sets "
        f"({', '.join([*DEMO_SETS, *SETS])})."
    )


def missing(name: str) -> list[str]:
    """The sets of a name (see `parts_of`) that are neither there nor can be drawn, fetched or made of what is there."""
    ready = {*DEMO_SETS, "lfw", "lfw-funneled"}
    if not celeba.lacking():
        ready |= {"celebfaces", "celebfaces-tight", "celeba"}
    places = {part: _place(part) if part in SETS else Path(part).expanduser() for part in parts_of(name)}
    return [part for part, place in places.items() if part not in ready and not (place and place.exists())]


def _place(name: str) -> Path | None:
    return _first(SETS[name].places)


def _first(places: Iterable[str]) -> Path | None:
    found = (runtime.data_dir() / place for place in places)
    return next((place for place in found if place.exists()), None)
