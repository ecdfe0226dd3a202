"""From two photos to a decision by a network's card, with NumPy, OpenCV, ONNX Runtime and Pillow alone."""

import json
import os
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from facelib import runtime
from facelib.data import detection, framing, images
from facelib.data.detection import Face, FaceError
from facelib.files import checksum, write_atomically
from facelib.inference.embedder import Embedder
from facelib.metrics.calibration import FarThreshold, Logistic
from facelib.metrics.distances import distance

DEFAULT = "celebfaces-distilled"  # the network that is used where none is named
FAR = 0.01  # the false accept rate whose threshold decides, unless another is asked for

Photo: TypeAlias = str | os.PathLike | bytes | np.ndarray
Share: TypeAlias = tuple[float, float, float]  # with its 95 % interval: value, low, high


@dataclass(frozen=True)
class Weights:
    """An exported network: a file beside the card, and its hash."""

    file: str
    sha256: str


@dataclass(frozen=True)
class Card:
    """What has to be known of a network to decide with it; a JSON file in ``data/weights/``."""

    name: str
    weights: tuple[Weights, ...]  # several work together, as `embedder.Embedder` says
    size: int  # side of its faces, in pixels
    frame: str  # how faces are framed: "detect" for `detection.align`
    metric: str
    mirror: bool
    trained_on: str
    chosen_on: str  # whose faces chose thresholds and probability
    thresholds: tuple[FarThreshold, ...]
    tar: tuple[float | None, ...]  # share of genuine calibration pairs accepted at each threshold
    calibration: Logistic
    far_of_all: tuple[Share, ...] = ()  # of all impostor pairs of LFW's photos what each threshold passes (07)

    @property
    def backend(self) -> str:
        """ONNX Runtime; of weights that have not been exported Paddle, which takes longer to start."""
        return "onnx" if all(each.file.endswith(".onnx") for each in self.weights) else "dygraph"

    def threshold(self, far: float = FAR) -> FarThreshold:
        """The threshold for a false accept rate; ValueError lists the rates there are."""
        for known in self.thresholds:
            if np.isclose(known.far, far) and known.threshold is not None:
                return known
        rates = ", ".join(f"{known.far:g}" for known in self.thresholds if known.threshold is not None)
        raise ValueError(f"'{self.name}' has no threshold for a false accept rate of {far:g}: choose one of {rates}.")

    def measured(self, limit: FarThreshold) -> Share | None:
        """What a threshold of the card passes of all impostor pairs of LFW's photos, where that was counted."""
        return dict(zip(self.thresholds, self.far_of_all, strict=False)).get(limit)


@dataclass(frozen=True)
class Decision:
    """Whether two faces show one person, and what that rests on."""

    same: bool
    distance: float
    probability: float  # that they do, where a share `prior` of all pairs does
    prior: float
    metric: str
    threshold: float  # a pair is taken for one person if its distance is not above it
    far: float  # share of pairs of two people that are taken for one, with its 95 % interval
    far_low: float
    far_high: float
    far_of_all: Share | None  # what that threshold passes of all impostor pairs of LFW's photos, where it was counted
    network: str
    most: float  # the highest probability that the network's card gives at this prior


@dataclass(frozen=True, eq=False)
class Comparison(Decision):
    """A `Decision` on two photos, and all faces found in each, the compared one first."""

    faces: tuple[list[Face], list[Face]]

    def __str__(self) -> str:
        """Three lines; one more where the answers disagree, or other faces were left out."""
        shares = (self.far, self.far_low, self.far_high), self.far_of_all or (np.nan,) * 3
        far, of_all = ("{:.3g} % [{:.3g}, {:.3g}]".format(*(100 * rate for rate in share)) for share in shares)
        who = "of pairs of different people"
        aim = f"aims at {100 * self.far:.3g} % {who}: of all those of LFW {of_all} pass it"
        lines = [
            "same person" if self.same else "different people",
            f"{self.metric} distance {self.distance:.3f} {'<=' if self.same else '>'} {self.threshold:.3f}, a "
            f"threshold that {aim if self.far_of_all else f'aims at {far} {who}; not counted on others'}",
            f"probability of one person {self.probability:.1%} if {self.prior:.0%} of the pairs you ask about show "
            f"one; network {self.network}",
        ]
        if self.same is not (self.probability > 0.5):
            lines.append("the threshold and the probability disagree: take the pair for undecided, or use other photos")
        others = {name: len(faces) - 1 for name, faces in zip("AB", self.faces, strict=True)}
        return "\n".join([*lines, *(f"{n} other face(s) in {name} left out" for name, n in others.items() if n)])


def weights_folder() -> Path:
    """Where shipped networks and their cards lie."""
    return runtime.ROOT / "data" / "weights"


def read_card(name: str) -> Card:
    """The card of a shipped network, or of a JSON file of one's own by its path."""
    path = _card_path(name)
    if not path.exists():
        known = ", ".join(sorted(each.stem for each in weights_folder().glob("*.json")))
        raise FileNotFoundError(runtime.lacking() or f"There is no network '{name}'. Known are: {known}.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["weights"] = tuple(Weights(**each) for each in content["weights"])
        content["thresholds"] = tuple(FarThreshold(**each) for each in content["thresholds"])
        content["far_of_all"] = tuple(map(tuple, content.get("far_of_all", ())))
        return Card(**content | {"tar": tuple(content["tar"]), "calibration": Logistic(**content["calibration"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"'{path}' is not the card of a network ({error}): restore it, or make it again.") from error


def write_card(card: Card, folder: Path | None = None) -> Path:
    """Put a card beside its weights: the path of ``<name>.json``."""
    path = (folder or weights_folder()) / f"{card.name}.json"
    write_atomically(path, json.dumps(asdict(card), indent=1, ensure_ascii=False) + "\n")
    return path


def decide(card: Card, value: float, far: float = FAR, prior: float = 0.5) -> Decision:
    """What a distance means to a network.

    ``far`` is one of the rates on the card; ``prior`` is the share of pairs that show one person where the question is
    asked, and moves the probability alone.
    """
    limit = card.threshold(far)
    return Decision(
        same=bool(value <= limit.threshold),
        distance=float(value),
        probability=float(card.calibration.probability(value, prior)),
        prior=prior,
        metric=card.metric,
        threshold=limit.threshold,
        far=limit.far,
        far_low=limit.far_low,
        far_high=limit.far_high,
        far_of_all=card.measured(limit),
        network=card.name,
        most=float(card.calibration.probability(0.0, prior)),
    )


class Verifier:
    """A network with its card and the detector: photos in, features or decisions out. Threads may share one."""

    def __init__(self, card: Card, folder: Path | None = None):
        self.card, self._folder = card, folder or weights_folder()

    @cached_property
    def embedder(self) -> Embedder:
        """Runs the card's networks; ValueError where a file is not the one that the card was made with."""
        files = [self._folder / each.file for each in self.card.weights]
        for file, each in zip(files, self.card.weights, strict=True):
            if not file.exists():
                raise FileNotFoundError(f"There is no '{file}', which '{self.card.name}' needs: restore or export it.")
            if checksum(file) != each.sha256:
                raise ValueError(f"'{file}' is not the file of its card: restore it, or make the card anew.")
        return Embedder(files, self.card.backend, mirror=self.card.mirror)

    def features(self, photo: Photo, which: str = "only") -> np.ndarray:
        """Features (d,) float32 of the face in a photo, `which` as in `detection.choose`; errors name the photo."""
        return self._look(photo, which)[0]

    def compare(self, a: Photo, b: Photo, which: str = "only", far: float = FAR, prior: float = 0.5) -> Comparison:
        """Whether two photos show one person; `which` as in `detection.choose`, the rest as in `decide`."""
        self.card.threshold(far)  # complains before any work
        (one, faces), (other, others) = self._look(a, which), self._look(b, which)
        value = float(distance(one[None], other[None], self.card.metric)[0])
        return Comparison(**asdict(decide(self.card, value, far, prior)), faces=(faces, others))

    def everybody(self, photo: Photo) -> tuple[np.ndarray, list[tuple[Face, np.ndarray | str]]]:
        """The upright photo, and each of its faces, the largest first, with features (d,), or why it has none."""
        pixels = detection.read_photo(photo)
        seen = []
        for face in detection.find(pixels):
            try:
                face = detection.usable(pixels, face)
                seen.append((face, self._features(pixels, face)))
            except FaceError as error:
                seen.append((face, str(error)))
        return pixels, seen

    def _look(self, photo: Photo, which: str) -> tuple[np.ndarray, list[Face]]:
        name = "photo" if isinstance(photo, bytes | np.ndarray) else f"'{os.fspath(photo)}'"
        try:
            pixels = detection.read_photo(photo)
            found = detection.find(pixels)
            face = detection.choose(pixels, found, which)
        except (FaceError, images.Unreadable) as error:
            raise type(error)(f"{name}: {error}") from error
        others = [other for other in found if not np.array_equal(other.box, face.box)]
        return self._features(pixels, face), [face, *others]

    def _features(self, pixels: np.ndarray, face: Face) -> np.ndarray:
        return self.embedder(framing.crop(pixels, face.landmarks, self.card.size)[None])[0]


@lru_cache(maxsize=8)
def load(name: str = DEFAULT) -> Verifier:
    """A network that is shipped, by its name, or one's own by the path of its card; loaded once."""
    path = _card_path(name)
    return Verifier(read_card(name), path.parent)


def compare(a: Photo, b: Photo, network: str = DEFAULT, **options) -> Comparison:
    """Whether two photos show one person, by a shipped network; options as in `Verifier.compare`."""
    return load(network).compare(a, b, **options)


def _card_path(name: str) -> Path:
    return Path(name) if name.endswith(".json") else weights_folder() / f"{name}.json"
