"""The loss that has no classes: triplets, chosen within the batch (called as those of `losses` are)."""

import numpy as np

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F
from paddle import nn


class Triplet(nn.Layer):
    """L = max(0, |a - p|^2 - |a - n|^2 + margin) on features of length one (FaceNet, Schroff et al. 2015, equation 2).

    Triplets are chosen within the batch, for every ordered pair (a, p) of one identity:
    ``"random"`` takes any negative; ``"hard"`` the nearest negative; ``"semi-hard"`` the nearest of those
    that are farther than p, or, where there is none, the farthest (FaceNet, section 3.2). The mean is over the
    pairs. Batches should hold several images per identity (``sampling="identities"`` of a `Recipe`). "Recognised"
    are images whose nearest neighbour in the batch has their identity.
    """

    MINING = ("random", "hard", "semi-hard")

    def __init__(self, margin: float = 0.2, mining: str = "semi-hard"):
        super().__init__()
        if mining not in self.MINING:
            raise ValueError(f"Unknown mining '{mining}': expected one of {', '.join(self.MINING)}.")
        self.margin, self.mining = margin, mining

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        x = F.normalize(x.astype("float32"), axis=1)
        with paddle.amp.auto_cast(enable=False):  # as in `Margin`
            squared = 2 - 2 * paddle.matmul(x, x, transpose_y=True)  # (n, n), of features of length one
        distances, labels = squared.detach().numpy(), labels.numpy().reshape(-1)
        anchors, positives, negatives = self.mine(distances, labels)
        right = paddle.to_tensor(_nearest_is_own(distances, labels))
        if not len(anchors):
            return squared.sum() * 0, right
        n = len(labels)
        flat = squared.flatten()
        near = paddle.gather(flat, paddle.to_tensor(anchors * n + positives))
        far = paddle.gather(flat, paddle.to_tensor(anchors * n + negatives))
        return F.relu(near - far + self.margin).mean(), right

    def mine(self, squared: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows of anchors, positives and negatives, (t,) int64 each, from (n, n) squared distances."""
        same = labels[:, None] == labels[None, :]
        anchors, positives = np.nonzero(same & ~np.eye(len(labels), dtype=bool))
        usable = (~same).any(1)[anchors]
        anchors, positives = anchors[usable], positives[usable]
        others = np.where(same, np.inf, squared)[anchors]  # (t, n)
        if self.mining == "random":
            rng = np.random.default_rng(paddle.randint(0, 2**31 - 1, [1]).item())  # from Paddle's seed
            others = np.where(np.isinf(others), np.inf, rng.random(others.shape))
        elif self.mining == "semi-hard":
            farther = others > squared[anchors, positives][:, None]
            farthest = np.where(np.isinf(others), -np.inf, others).argmax(1)
            nearest = np.where(farther, others, np.inf).argmin(1)
            none_left = ~(farther & np.isfinite(others)).any(1)
            return anchors, positives, np.where(none_left, farthest, nearest)
        return anchors, positives, others.argmin(1)


def _nearest_is_own(squared: np.ndarray, labels: np.ndarray) -> np.ndarray:
    nearest = np.where(np.eye(len(labels), dtype=bool), np.inf, squared).argmin(1)
    return (labels[nearest] == labels).astype(np.float32)[:, None]
