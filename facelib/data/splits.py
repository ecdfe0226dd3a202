"""Who trains, who chooses, who is tested: the parts of an experiment, and the pairs of its test set."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facelib.data import leaks, pairs
from facelib.data.archives import DatasetError
from facelib.data.catalog import LFW_SETS, lfw_pairs_file, load, parts_of
from facelib.data.packed import PackedFaces

FEW = 20  # people, drawn with replacement, below which that says little of how others would have come out


@dataclass(frozen=True)
class Experiment:
    """The four parts of an experiment; no person of one of the last two is in another part."""

    train: PackedFaces  # what the classifier learns from
    held_out: PackedFaces  # single other images of these people
    validation: PackedFaces  # people whose pairs choose the threshold
    test: PackedFaces  # people whose pairs are scored
    notes: tuple[str, ...] = ()  # what to know about the sets, a sentence each


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
    frame: str | None = None,
) -> Experiment:
    """Load two sets (names and ``frame`` as for `load`) and split the first into training, held-out and validation.

    Training people have at least ``min_images`` images, of each the first ``max_images`` count. ``validation_share`` of
    the people is set apart, stratified by source and number of images; one image is held out of everybody with at least
    ``held_out_from``, or with the most there are. After the split people ``without`` whom to train leave their parts,
    such as those of whom a photograph is in the test set too; and people with ``fewest_images`` or more join the
    training part: a person's only image still tells the classifier whom it does not show. DatasetError where people are
    in both sets or twice in one, or too few to split or to compare.
    """
    faces, test = (load(name, progress, frame=frame) for name in (train_set, test_set))
    usable = faces.filter(min_images, max_images)
    try:
        kept, validation = split_people(usable, validation_share, seed)
    except DatasetError as error:
        many = f"Of the {len(faces.names)} people of '{train_set}' {len(usable.names)} have min_images={min_images}"
        raise DatasetError(f"{many} photos. {error} The share is validation_share.") from None
    most = int(kept.images_per_identity.max())
    train, held_out = hold_out(kept, min(held_out_from, most), seed)
    if fewest_images is not None and fewest_images < min_images:
        more = faces.filter(fewest_images, max_images)
        few = more.images_per_identity[more.labels] < min_images
        train = faces.select(np.isin(faces.rows, np.concatenate([train.rows, more.rows[few]])))
    if len(train.names) < 2:
        raise DatasetError(
            f"Of the {len(faces.names)} people of '{train_set}' {len(train.names)} would be left to train on, and a "
            "classifier needs two: add people, or photos of those with few (min_images), or lower validation_share."
        )
    parts = train, held_out, validation
    if unknown := set(without) - {name for part in parts for name in part.names}:
        some = ", ".join(sorted(unknown)[:5])
        raise DatasetError(f"{len(unknown)} people to leave out are not in '{train_set}', such as {some}.")
    train, held_out, validation = (part.without(without) for part in parts)
    notes = [note for name, whole in ((train_set, faces), (test_set, test)) for note in _about(name, whole)]
    trained = faces.select(np.isin(faces.rows, np.concatenate([part.rows for part in (train, held_out, validation)])))
    notes += leaks.check_sets(trained, test, train_set, test_set)
    _check_pairs(validation, f"The people of '{train_set}' who are set apart to choose the threshold")
    if test_set not in LFW_SETS:
        _check_pairs(test, f"The people of '{test_set}'")
    if min(choose := len(validation.names), judge := len(test.names)) < FEW:
        notes.append(f"{choose} people choose and {judge} judge: intervals over fewer than {FEW} people are rough.")
    if held_out_from > most:
        notes.append(f"Nobody in training has {held_out_from} images: held out is one of each person with {most}.")
    if progress:
        print(*notes, sep="\n", end="\n" * bool(notes))
    return Experiment(train, held_out, validation, test, tuple(notes))


def _about(name: str, faces: PackedFaces) -> list[str]:
    notes = leaks.check_people(faces, name)
    nested = [one for one in faces.names if "/" in one] if len(parts_of(name)) == 1 else []
    if nested:
        notes.append(
            f"'{name}' has folders in folders, such as '{nested[0]}': each with photos is taken for a "
            "person. Photos of one person belong in one folder."
        )
    if faces.manifest.get("detect"):
        reasons = (each.partition(":")[0] for each in faces.manifest["skipped"].values() if "face" in each)
        why = Counter(re.sub(r"\d+", "n", re.sub(r"^\d+", "several", reason)) for reason in reasons)
        told = ", ".join(f"{reason} ({count})" for reason, count in why.most_common())
        lost = f" {why.total()} of {len(faces) + why.total()} are skipped: {told}; 01_data names each." if why else ""
        more = " With frame=largest the largest face is taken." if "faces found" in told else ""
        notes.append(f"'{name}': a detector framed the face of each photo.{lost}{more}")
    return notes


def _check_pairs(faces: PackedFaces, who: str) -> None:
    counts = [pairs.existing(faces.labels[faces.sources == source]) for source in np.unique(faces.sources)]
    if not any(map(min, counts)):
        genuine, impostor = map(sum, zip(*counts, strict=True))
        raise DatasetError(
            f"{who} ({len(faces.names)}, with {len(faces)} photos in all) have {genuine} genuine and "
            f"{impostor} impostor pairs: two people, and a second photo of one, are the least. Add people or photos."
        )


def split_people(faces: PackedFaces, share: float, seed: int) -> tuple[PackedFaces, PackedFaces]:
    """Set apart a share of the people: (rest, part), identity-disjoint.

    People are ordered by source and number of images (random among equals) and taken at even steps from a random start,
    so that the part has the mix of the whole. Of eight people or more two are set apart where the share is one.
    """
    count = round(share * len(faces.names))
    count += count == 1 and len(faces.names) >= 8
    if not 0 < count < len(faces.names):
        raise DatasetError(
            f"A share of {share:g} of {len(faces.names)} people leaves one part empty: use more people"
            + (" or another share." if len(faces.names) > 1 else ".")
        )
    rng = np.random.default_rng(seed)
    first = np.unique(faces.labels, return_index=True)[1]
    order = np.lexsort((rng.random(len(first)), faces.images_per_identity, faces.sources[first]))
    step = len(order) / count
    chosen = order[np.floor(rng.uniform(0, step) + step * np.arange(count)).astype(int)]
    apart = np.isin(faces.labels, chosen)
    return faces.select(~apart), faces.select(apart)


def hold_out(faces: PackedFaces, min_images: int, seed: int) -> tuple[PackedFaces, PackedFaces]:
    """Set one random image apart of every person with at least ``min_images``: (rest, held out)."""
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


def pairs_of(faces: PackedFaces, name: str, count: int, seed: int) -> pairs.Pairs:
    """The pair list of a test set: LFW's View 2 for LFW, else ``count`` + ``count`` seeded random pairs.

    Where there are fewer of one kind, as many are drawn of both, and a line says so.
    """
    if name in LFW_SETS:
        return pairs.match_lfw_pairs(pairs.read_lfw_pairs(lfw_pairs_file()), faces.paths)
    if (drawn := max(1, pairs.at_most(faces.labels, count))) < count:
        genuine, impostor = pairs.existing(faces.labels)
        exist = f"{genuine:,} genuine and {impostor:,} impostor pairs"
        print(f"'{name}' has {exist}: {drawn:,} of each are drawn instead of {count:,}.")
    return pairs.draw_pairs(faces.labels, drawn, drawn, seed)


def two_photos(faces: PackedFaces, person: int) -> tuple[int, np.ndarray]:
    """A person with two images or more, by number (modulo) among those, and the rows of the first two images, (2,)."""
    counts = faces.images_per_identity
    several = np.flatnonzero(counts >= min(2, counts.max()))
    return person % len(several), np.flatnonzero(faces.labels == several[person % len(several)])[:2]
