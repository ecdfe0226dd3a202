from collections import Counter

import numpy as np
import pytest
from paddle.io import DataLoader, Dataset

from facelib.training.samplers import SAMPLING, EpochSampler

COUNTS = (1, 2, 3, 7, 9, 4, 12)  # images of each identity: 38 in all
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(len(COUNTS)), COUNTS))


def batches(batch_size=8, seed=3, epoch=0, labels=LABELS, **options):
    sampler = EpochSampler(labels, batch_size, seed, **options)
    sampler.epoch = epoch
    return list(sampler)


def flat(batches):
    return [row for batch in batches for row in batch]


@pytest.mark.parametrize("batch_size", [1, 7, 8, 19, 38, 100])
def test_shuffle_shows_every_image_once(batch_size):
    made = batches(batch_size)
    assert sorted(flat(made)) == list(range(38)) and flat(made) != list(range(38))
    assert all(len(batch) == batch_size for batch in made[:-1]) and 0 < len(made[-1]) <= batch_size


@pytest.mark.parametrize("epoch", range(5))
def test_balanced_shows_identities_equally_often_and_their_images_in_turn(epoch):
    rows = flat(batches(sampling="balanced", epoch=epoch))
    assert len(rows) == 38
    shown = Counter(LABELS[rows])
    assert set(shown) == set(range(7)) and max(shown.values()) - min(shown.values()) <= 1
    for identity, count in enumerate(COUNTS):
        images = Counter(row for row in rows if LABELS[row] == identity)
        assert len(images) == min(count, shown[identity])
        assert max(images.values()) - min(images.values()) <= 1


def test_balanced_spreads_identities_over_the_epoch():
    rows = flat(batches(sampling="balanced"))
    for start in range(0, 35, 7):
        assert len(set(LABELS[rows[start : start + 7]])) == 7


def test_balanced_shows_other_images_in_other_epochs():
    shown = {row for epoch in range(12) for row in flat(batches(sampling="balanced", epoch=epoch))}
    assert shown == set(range(38))


@pytest.mark.parametrize(("batch_size", "images_each"), [(8, 2), (12, 3), (28, 4), (6, 1), (4, 4)])
@pytest.mark.parametrize("epoch", range(3))
def test_identities_come_as_groups_of_different_images(batch_size, images_each, epoch):
    made = batches(batch_size, sampling="identities", images_each=images_each, epoch=epoch)
    assert len(made) == 38 // batch_size
    for batch in made:
        for group in np.reshape(batch, (-1, images_each)):
            (identity,) = set(LABELS[group])
            assert len(set(group)) == min(images_each, COUNTS[identity])


def test_a_batch_shows_as_many_identities_as_it_has_groups():
    labels = np.repeat(np.arange(6), 10)
    for epoch in range(5):
        made = batches(12, labels=labels, sampling="identities", epoch=epoch)  # two batches make a round of all six
        assert len(made) == 5
        for batch in made:
            assert list(Counter(labels[batch]).values()) == [4, 4, 4]
        for one, other in ((0, 1), (2, 3)):
            assert set(labels[made[one] + made[other]]) == set(range(6))


def test_groups_of_one_identity_go_on_through_its_images():
    rows = flat(batches(4, labels=np.zeros(12, int), sampling="identities"))
    assert sorted(rows) == list(range(12))


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize(("parts", "ranks"), [(2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (3, 4)])
def test_parts_and_processes_share_the_batches_of_one_process(sampling, parts, ranks):
    options = {"batch_size": 12, "sampling": sampling, "epoch": 2, "images_each": 1}
    whole = [batch for batch in batches(**options) if len(batch) == 12]
    shares = [batches(parts=parts, rank=rank, ranks=ranks, **options) for rank in range(ranks)]
    assert len(whole) == 3
    for share in shares:
        assert len(share) == parts * len(whole)
        assert {len(part) for part in share} == {12 // (parts * ranks)}
    for at, batch in enumerate(whole):
        together = [row for share in shares for part in share[at * parts : (at + 1) * parts] for row in part]
        assert sorted(together) == sorted(batch)


@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_order_depends_on_seed_and_epoch_alone(sampling):
    np.random.seed(0)
    sampler = EpochSampler(LABELS, 8, 3, sampling)
    first = list(sampler)
    assert list(sampler) == first
    np.random.seed(1)
    assert batches(sampling=sampling) == first
    orders = [batches(sampling=sampling, seed=seed, epoch=epoch) for seed in (3, 4) for epoch in (0, 1, 2)]
    assert len({str(order) for order in orders}) == 6
    sampler.epoch = 2
    assert list(sampler) == orders[2]


@pytest.mark.parametrize("sampling", SAMPLING)
@pytest.mark.parametrize("batch_size", [4, 8, 12, 36])
@pytest.mark.parametrize(("parts", "ranks"), [(1, 1), (2, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("images", [36, 37, 38])
def test_length_is_the_number_of_batches(sampling, batch_size, parts, ranks, images):
    sampler = EpochSampler(LABELS[:images], batch_size, 0, sampling, 1, parts, ranks=ranks)
    assert len(sampler) == len(list(sampler)) > 0
    whole = parts * ranks > 1 or sampling == "identities"
    assert len(sampler) == (images // batch_size * parts if whole else -(-images // batch_size))


def test_a_loader_follows_the_sampler():
    class Rows(Dataset):
        def __getitem__(self, index):
            return (np.array([index]),)

        def __len__(self):
            return len(LABELS)

    sampler = EpochSampler(LABELS, 8, 0)
    for epoch in (0, 1):
        sampler.epoch = epoch
        loader = DataLoader(Rows(), batch_sampler=sampler, num_workers=0)
        assert [rows.numpy().ravel().tolist() for (rows,) in loader] == batches(seed=0, epoch=epoch)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sampling": "sorted"}, "'sorted'.*shuffle, balanced, identities"),
        ({"parts": 3}, "8 does not divide into 3 parts for 1 processes"),
        ({"ranks": 3}, "8 does not divide into 1 parts for 3 processes"),
        ({"parts": 4, "ranks": 4}, "4 parts for 4 processes"),
        ({"sampling": "identities", "images_each": 3}, "8 does not divide into 3 images"),
        ({"batch_size": 40, "parts": 2}, "38 images do not fill one batch of 40"),
        ({"batch_size": 40, "sampling": "identities"}, "lower batch_size"),
    ],
)
def test_what_does_not_divide_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EpochSampler(LABELS, **{"batch_size": 8, "seed": 0} | options)


def test_identities_are_not_cut_apart_between_shares():
    with pytest.raises(ValueError, match="2 images would cut the 4"):
        EpochSampler(LABELS, 8, 0, "identities", 4, parts=4)
