"""What several losses are made of."""

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F


def norm(x: paddle.Tensor, axis: int) -> paddle.Tensor:
    """Euclidean lengths along an axis, which stays with size 1; never zero. Several times faster than Paddle's."""
    return paddle.sqrt((x * x).sum(axis, keepdim=True) + 1e-12)


def cross_entropy(logits: paddle.Tensor, labels: paddle.Tensor, label_smoothing: float = 0.0) -> paddle.Tensor:
    """(n,) cross-entropies of logits (n, C)."""
    logits = logits.astype("float32")
    own = F.cross_entropy(logits, labels.reshape([-1, 1]), reduction="none").squeeze(1)
    if not label_smoothing:
        return own
    return (1 - label_smoothing) * own - label_smoothing * F.log_softmax(logits, axis=1).mean(1)


def recognised(scores: paddle.Tensor, labels: paddle.Tensor) -> paddle.Tensor:
    """(n, 1) float32: 1 where the highest of the scores (n, C), without a margin, is the label's."""
    return (scores.detach().argmax(1) == labels.flatten()).astype("float32").unsqueeze(1)


def relational(x: paddle.Tensor, t: paddle.Tensor) -> paddle.Tensor:
    """Distances within a batch should relate as the teacher's do (Park et al. 2019, equations 4 to 6): a scalar.

    Huber's loss between the Euclidean distances of features (n, d) and those of targets (n, d), both of length one and
    each in units of their mean, over all n (n - 1) pairs. Below two images it is zero.
    """
    n = len(x)
    if n < 2:
        return x.sum() * 0
    pairs = 1 - paddle.eye(n)
    found = []
    for each in (x, t):
        squared = 2 - 2 * paddle.matmul(each, each, transpose_y=True)
        distances = pairs * paddle.sqrt(paddle.clip(squared, min=0) + 1e-6)
        found.append(distances / (distances.sum() / (n * (n - 1))))
    return F.smooth_l1_loss(*found, reduction="sum") / (n * (n - 1))
