"""The data sets this project knows: where each is found, how it frames faces, how it is split."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facelib import runtime
from facelib.data import archives, packing, rendered
from facelib.data.archives import DatasetError
from facelib.data.images import Crop
from facelib.data.packed import PackedFaces

# The square of a 250 x 250 deep-funneled LFW photo that frames a face as a whole CelebA crop does:
# eyes at a third and two thirds of the width, .365 of the height.
LFW_CROP = (62 / 250, 66 / 250, 190 / 250, 194 / 250)
# The funneled variant is aligned otherwise: a square of the same size around the centre of the
# slice (rows 70-195, columns 78-172) that scikit-learn's `fetch_lfw_pairs` takes from it.
LFW_FUNNELED_CROP = (61 / 250, 68.5 / 250, 189 / 250, 196.5 / 250)
# File name, address and sha256, as scikit-learn's `fetch_lfw_pairs` has them.
LFW_FUNNELED = (
    "lfw-funneled.tgz",
    "https://ndownloader.figshare.com/files/5976015",
    "b47c8422c8cded889dc5a13418c4bc2abbda121092b3533a83306f90d900100a",
)
LFW_PAIRS = (
    "pairs.txt",
    "https://ndownloader.figshare.com/files/5976006",
    "ea42330c62c92989f9d7c03237ed5d591365e89b3e649747777b70e692dc1592",
)


# The same photographs framed like `families`: eyes at .23 and .69 of the width and .18 of the height.
CELEBFACES_TIGHT_CROP = (0.137, 0.238, 0.863, 0.964)
LFW_TIGHT_CROP = (79 / 250, 96 / 250, 173 / 250, 190 / 250)


@dataclass(frozen=True)
class KnownSet:
    """Where a set is looked for under `runtime.data_dir`, its framing, and what to say when missing."""

    places: tuple[str, ...]
    crop: Crop | None
    missing: str


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


def _places(name: str) -> tuple[str, ...]:
    return tuple(name + ending for ending in ("", ".tar", ".tgz", ".tar.gz", ".zip"))


SETS = {
    "celebfaces": KnownSet(_places("celebfaces"), None, _OPEN_SET),
    "celebfaces-tight": KnownSet(_places("celebfaces"), CELEBFACES_TIGHT_CROP, _OPEN_SET),
    "lfw": KnownSet(_places("lfw-deepfunneled"), LFW_CROP, _OPEN_SET),
    "lfw-tight": KnownSet(_places("lfw-deepfunneled"), LFW_TIGHT_CROP, _OPEN_SET),
    "lfw-funneled": KnownSet(_places("lfw-funneled"), LFW_FUNNELED_CROP, _OPEN_SET),
    "families": KnownSet(_places("families"), None, _OPEN_SET),
    "vggface2": KnownSet(_places("vggface2"), None, _PAPER_SET.replace("{number}", "107435")),
    "facecap": KnownSet(_places("facecap"), None, _PAPER_SET.replace("{number}", "104646")),
}
LFW_SETS = ("lfw", "lfw-tight", "lfw-funneled")  # those whose test pairs are the protocol's
# Rendered people: identities and shots each. Training and test people never share a number.
DEMO_SETS = {"demo-train": (range(0, 60), 16), "demo-test": (range(100, 160), 12), "demo-more": (range(200, 240), 12)}


def load(name: str, progress: bool = True) -> PackedFaces:
    """Find a set by name, or a folder or archive by its path, and pack it (see `packing.pack`).

    Names of known sets with ``+`` between them are joined to one (see `packing.join`).

    Raises
    ------
    FileNotFoundError
        The set is not there; the message says where it comes from and which layout is expected.
    """
    if len(parts := parts_of(name)) > 1:
        return packing.join({part: load(part, progress) for part in parts})
    try:
        return packing.pack(source(name, progress), crop=_crop(name), progress=progress)
    except archives.DamagedArchive as error:
        if name not in SETS:
            raise
        again = "Fetch it again and compare its sha256 with data/README.md."
        raise DatasetError(f"{error.what} {again}") from error


def parts_of(name: str) -> list[str]:
    """The names of known sets between the ``+`` of a name; any other name is its only part."""
    parts = name.split("+")
    return parts if all(part in SETS or part in DEMO_SETS for part in parts) else [name]


def source(name: str, progress: bool = True) -> Path:
    """Folder or archive of a set by its name or own path; demo people are drawn, LFW is fetched if need be."""
    if name in DEMO_SETS:
        return rendered.write_people(_demo_folder(name), *DEMO_SETS[name], progress=progress)
    if name == "lfw" and lfw_variant() == "lfw-funneled":
        name = "lfw-funneled"
    if name == "lfw-funneled" and not _place(name):
        return fetch(*LFW_FUNNELED, progress)
    return find(name)


def _demo_folder(name: str) -> Path:
    # Other people, or people drawn otherwise, get another folder; its own name says what it holds.
    drawn = f"{DEMO_SETS[name]} {rendered.RENDERER_VERSION}"
    return runtime.cache_dir() / "demo" / archives.digest(drawn) / name


def _crop(name: str) -> Crop | None:
    name = lfw_variant() if name == "lfw" else name
    return SETS[name].crop if name in SETS else None


def lfw_variant() -> str:
    """``"lfw"`` where the deep-funneled images are at hand, else ``"lfw-funneled"``, which can be fetched.

    The two are aligned differently and give different numbers, so results name the variant.
    """
    return "lfw" if _place("lfw") else "lfw-funneled"


def lfw_pairs_file() -> Path:
    """LFW's ``pairs.txt`` (View 2): ``lfw/pairs.txt`` of the data folder, else fetched."""
    local = runtime.data_dir() / "lfw" / LFW_PAIRS[0]
    return local if local.exists() else fetch(*LFW_PAIRS)


def fetch(name: str, url: str, sha256: str, progress: bool = True) -> Path:
    """Download a file once into the cache and check its hash.

    Raises
    ------
    DatasetError
        The download failed, or is not the expected file; the message says how to do it by hand.
    """
    import pooch

    folder = runtime.cache_dir() / "downloads"
    pooch.get_logger().setLevel("WARNING")
    try:
        return Path(pooch.retrieve(url, f"sha256:{sha256}", name, folder, progressbar=progress))
    except (OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DatasetError(
            f"'{name}' could not be fetched ({reason}). Download {url} by hand, "
            f"check that its sha256 is {sha256}, and put it into '{folder}'."
        ) from error


def find(name: str) -> Path:
    """Folder or archive of a set, by its name or its own path.

    Raises
    ------
    FileNotFoundError
        It is not there; the message says where it comes from and which layout is expected.
    """
    if name in SETS:
        if place := _place(name):
            return place
        known = SETS[name]
        raise FileNotFoundError(known.missing.format(name=name, folder=runtime.data_dir(), place=known.places[0]))
    path = Path(name).expanduser()
    if path.exists():
        return path
    raise FileNotFoundError(
        f"'{name}' is neither an existing folder or archive nor one of the known sets "
        f"({', '.join([*DEMO_SETS, *SETS])})."
    )


def _place(name: str) -> Path | None:
    places = (runtime.data_dir() / place for place in SETS[name].places)
    return next((place for place in places if place.exists()), None)
