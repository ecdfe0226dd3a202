"""The data sets this project knows: where each is found, how it frames faces, how it is split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facelib import datasets, demo, pairs, runtime
from facelib.datasets import DatasetError, PackedFaces
from facelib.images import Crop

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
# Rendered people: identities and shots each. Training and test people never share a number.
DEMO_SETS = {"demo-train": (range(0, 60), 16), "demo-test": (range(100, 160), 12), "demo-more": (range(200, 240), 12)}


def load(name: str, progress: bool = True) -> PackedFaces:
    """Find a set by name, or a folder or archive by its path, and pack it (see `datasets.pack`).

    Names of known sets with ``+`` between them are joined to one (see `datasets.join`).

    Raises
    ------
    FileNotFoundError
        The set is not there; the message says where it comes from and which layout is expected.
    """
    if len(parts := parts_of(name)) > 1:
        return datasets.join({part: load(part, progress) for part in parts})
    return datasets.pack(source(name, progress), crop=_crop(name), progress=progress)


def parts_of(name: str) -> list[str]:
    """The names of known sets between the ``+`` of a name; any other name is its only part."""
    parts = name.split("+")
    return parts if all(part in SETS or part in DEMO_SETS for part in parts) else [name]


def source(name: str, progress: bool = True) -> Path:
    """Folder or archive of a set by its name or own path; demo people are drawn, LFW is fetched if need be."""
    if name in DEMO_SETS:
        return demo.write_people(_demo_folder(name), *DEMO_SETS[name], progress=progress)
    if name == "lfw" and lfw_variant() == "lfw-funneled":
        name = "lfw-funneled"
    if name == "lfw-funneled" and not _place(name):
        return fetch(*LFW_FUNNELED, progress)
    return find(name)


def _demo_folder(name: str) -> Path:
    # Other people, or people drawn otherwise, get another folder; its own name says what it holds.
    drawn = f"{DEMO_SETS[name]} {demo.RENDERER_VERSION}"
    return runtime.cache_dir() / "demo" / datasets.digest(drawn) / name


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


@dataclass(frozen=True)
class Experiment:
    """The four parts of an experiment; no person of one of the last two is in another part.

    Attributes
    ----------
    train
        What the classifier learns from.
    held_out
        Single other images of the people in ``train``.
    validation
        People whose pairs choose the threshold.
    test
        People whose pairs are scored.
    """

    train: PackedFaces
    held_out: PackedFaces
    validation: PackedFaces
    test: PackedFaces


def experiment(
    train_set: str,
    test_set: str,
    min_images: int = 2,
    max_images: int | None = None,
    validation_share: float = 0.05,
    held_out_from: int = 10,
    seed: int = 0,
    progress: bool = True,
    without: Sequence[str] = (),
    fewest_images: int | None = None,
) -> Experiment:
    """Load two sets and split the first into training, held-out and validation parts.

    Parameters
    ----------
    train_set, test_set
        Names for `load`.
    min_images, max_images
        Training people have at least this many images; of each person the first ``max_images`` count.
    validation_share
        Share of the training set's people that is set apart, stratified by source and by number of images.
    held_out_from
        One image is held out of every training person with at least this many.
    without
        People of the training set who are left out after the split, so that the others stay in their parts:
        people of whom a photograph is in the test set too, for example.
    fewest_images
        Where it is below ``min_images``, people with at least so many images join the training part after the split;
        a person's only image still tells the classifier whom it does not show.

    Raises
    ------
    FileNotFoundError
        A set is not there.
    DatasetError
        Both sets are the same, or there are too few people or images to split.
    """
    faces, test = load(train_set, progress), load(test_set, progress)
    if faces.manifest["content"] == test.manifest["content"]:
        raise DatasetError(
            f"'{train_set}' and '{test_set}' hold the same images, so the test would score the people who were "
            "trained on. Choose another test set."
        )
    kept, validation = split_people(faces.filter(min_images, max_images), validation_share, seed)
    train, held_out = hold_out(kept, held_out_from, seed)
    if fewest_images is not None and fewest_images < min_images:
        more = faces.filter(fewest_images, max_images)
        few = more.images_per_identity[more.labels] < min_images
        train = faces.select(np.isin(faces.rows, np.concatenate([train.rows, more.rows[few]])))
    parts = train, held_out, validation
    if unknown := set(without) - {name for part in parts for name in part.names}:
        some = ", ".join(sorted(unknown)[:5])
        raise DatasetError(f"{len(unknown)} people to leave out are not in '{train_set}', such as {some}.")
    return Experiment(*(_without(part, without) for part in parts), test)


def _without(faces: PackedFaces, names: Sequence[str]) -> PackedFaces:
    return faces.select(~np.isin(np.array(faces.names)[faces.labels], list(names)))


def split_people(faces: PackedFaces, share: float, seed: int) -> tuple[PackedFaces, PackedFaces]:
    """Set apart a share of the people: (rest, part), identity-disjoint.

    People are ordered by source and number of images (random among equals) and taken at even steps
    from a random start, so that the part has the mix of the whole.
    """
    count = round(share * len(faces.names))
    if not 0 < count < len(faces.names):
        raise DatasetError(
            f"A share of {share:g} of {len(faces.names)} people leaves one part empty: "
            "use more people or another share."
        )
    rng = np.random.default_rng(seed)
    first = np.unique(faces.labels, return_index=True)[1]
    order = np.lexsort((rng.random(len(first)), faces.images_per_identity, faces.sources[first]))
    step = len(order) / count
    chosen = order[np.floor(rng.uniform(0, step) + step * np.arange(count)).astype(int)]
    apart = np.isin(faces.labels, chosen)
    return faces.select(~apart), faces.select(apart)


def hold_out(faces: PackedFaces, min_images: int, seed: int) -> tuple[PackedFaces, PackedFaces]:
    """Set one random image apart of every person with at least ``min_images``: (rest, held out).

    Raises a `DatasetError` where nobody has so many.
    """
    rng = np.random.default_rng(seed)
    counts = faces.images_per_identity
    many = np.flatnonzero(counts >= max(min_images, 2))
    if not len(many):
        raise DatasetError(
            f"No person has {min_images} images or more, so none can be held out (the most is {counts.max()})."
        )
    drawn = np.full(len(counts), -1)
    drawn[many] = rng.integers(0, counts[many])
    apart = faces.positions == drawn[faces.labels]
    return faces.select(~apart), faces.select(apart)


def test_pairs(faces: PackedFaces, name: str, count: int, seed: int) -> pairs.Pairs:
    """The pair list of a test set: LFW's View 2 for LFW, else ``count`` + ``count`` seeded random pairs.

    Raises
    ------
    FileNotFoundError
        LFW's ``pairs.txt`` is missing, or the set lacks images that it names.
    ValueError
        The set has too few pairs, or the list is malformed.
    """
    if not name.startswith("lfw"):
        return pairs.draw_pairs(faces.labels, count, count, seed)
    return pairs.match_lfw_pairs(pairs.read_lfw_pairs(lfw_pairs_file()), faces.paths)
