"""Which images make up a batch: an order that depends on the seed and the epoch alone."""

import numpy as np

from facelib._paddle import paddle  # noqa: F401  isort: skip  (first, so that its import is quiet)
from paddle.io import BatchSampler

SAMPLING = ("shuffle", "balanced", "identities")


class EpochSampler(BatchSampler):
    """Batches of row numbers for one epoch, the same again after a resume: seed and ``epoch`` fix the order.

    ``labels`` (n,) int64 are the images' identities, ``batch_size`` the images per step of the optimiser. A batch comes
    in ``parts`` of one size, for gradient accumulation, and this process takes the share ``rank`` of ``ranks``; with
    more than one part or process, and with P x K, an incomplete last batch is left out. Ways of ``sampling``:

    - ``"shuffle"``: every image once.
    - ``"balanced"``: n images, every identity equally often, its images in turn.
    - ``"identities"``: batches of P identities with K = ``images_each`` images of each, which triplets need; identities
      with fewer images repeat some, and the last identities of one round through all people may come again in the same
      batch at the start of the next.
    """

    def __init__(self, labels, batch_size, seed, sampling="shuffle", images_each=4, parts=1, rank=0, ranks=1):
        if sampling not in SAMPLING:
            raise ValueError(f"Unknown sampling '{sampling}': expected one of {', '.join(SAMPLING)}.")
        if batch_size % (parts * ranks):
            raise ValueError(f"A batch of {batch_size} does not divide into {parts} parts for {ranks} processes.")
        if sampling == "identities" and batch_size % images_each:
            raise ValueError(f"A batch of {batch_size} does not divide into {images_each} images of each identity.")
        share = batch_size // (parts * ranks)
        if sampling == "identities" and share % images_each:
            raise ValueError(f"A share of {share} images would cut the {images_each} of an identity apart.")
        self.labels, self.batch_size, self.seed, self.epoch = np.asarray(labels), batch_size, seed, 0
        self.sampling, self.images_each, self.parts, self.rank, self.ranks = sampling, images_each, parts, rank, ranks
        self.whole_only = parts * ranks > 1 or sampling == "identities"
        if self.whole_only and len(self.labels) < batch_size:
            raise ValueError(f"{len(self.labels)} images do not fill one batch of {batch_size}: lower batch_size.")

    def __iter__(self):
        rng = np.random.default_rng([self.seed, self.epoch])
        order = getattr(self, f"_{self.sampling}")(rng)
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size]
            if len(batch) == self.batch_size or not self.whole_only:
                mine = np.array_split(batch, self.ranks)[self.rank]
                yield from (part.tolist() for part in np.array_split(mine, self.parts))

    def __len__(self) -> int:
        n = len(self.labels)
        return n // self.batch_size * self.parts if self.whole_only else -(-n // self.batch_size)

    def _shuffle(self, rng) -> np.ndarray:
        return rng.permutation(len(self.labels))

    def _balanced(self, rng) -> np.ndarray:
        decks = self._decks(rng)
        rounds = -(-len(self.labels) // len(decks))
        turns = np.concatenate([rng.permutation(len(decks)) for _ in range(rounds)])[: len(self.labels)]
        seen = np.zeros(len(decks), int)
        order = []
        for identity in turns:
            order.append(decks[identity][seen[identity] % len(decks[identity])])
            seen[identity] += 1
        return np.array(order)

    def _identities(self, rng) -> np.ndarray:
        decks, k = self._decks(rng), self.images_each
        groups = len(self.labels) // k
        turns = np.concatenate([rng.permutation(len(decks)) for _ in range(-(-groups // len(decks)))])[:groups]
        at = np.zeros(len(decks), int)
        order = []
        for identity in turns:
            order.append(np.take(decks[identity], at[identity] + np.arange(k), mode="wrap"))
            at[identity] += k
        return np.concatenate(order)

    def _decks(self, rng) -> list[np.ndarray]:
        """Shuffled rows of each identity."""
        order = rng.permutation(len(self.labels))
        order = order[np.argsort(self.labels[order], kind="stable")]
        return np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)
