"""The losses of the field, one class each: the equation, its paper, and the tensor shapes.

Each is a layer that ends a network in training: ``forward(features, labels)`` takes features (n, d)
float32 and labels (n,) or (n, 1) int64 and returns the mean loss, a scalar, and which images were
recognised, (n, 1) float32 of 0 and 1. Its weights are no part of the embedding that is kept afterwards.

Notation: x a feature, y its label, W_j the weight of class j, theta_j their angle, s a scale, m a margin.
"""

import math

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
import paddle.nn.functional as F
from paddle import nn

from facelib.models._terms import cross_entropy, norm, recognised, relational
from facelib.models.triplet import Triplet

NEAR_ONE = 1 - 1e-6  # a cosine is kept within this where an angle or a sine is taken of it


class Softmax(nn.Layer):
    """Cross-entropy of a linear layer: L = -log softmax(W x + b)_y (the paper's equation 4.1).

    With label smoothing e (Szegedy et al. 2016) the target is (1 - e) at y plus e / C everywhere.
    """

    def __init__(self, features: int, classes: int, label_smoothing: float = 0.0):
        super().__init__()
        self.linear = nn.Linear(features, classes)
        self.label_smoothing = label_smoothing

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        logits = self.linear(x)  # (n, C)
        return cross_entropy(logits, labels, self.label_smoothing).mean(), recognised(logits, labels)


class Focal(Softmax):
    """L = -(1 - p)^gamma log p, p = softmax(W x + b)_y (Lin et al. 2017, equation 4); gamma = 0: `Softmax`.

    Until the share ``begin`` of the epochs it is `Softmax`; training says how far it is by ``progress``.
    """

    progress = 0.0

    def __init__(self, features: int, classes: int, gamma=2.0, label_smoothing=0.0, begin: float = 0.0):
        super().__init__(features, classes, label_smoothing)
        self.gamma, self.begin = gamma, begin

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        if self.progress < self.begin:
            return super().forward(x, labels)
        logits = self.linear(x)
        log_p = -cross_entropy(logits, labels)
        loss = cross_entropy(logits, labels, self.label_smoothing)
        # Not quite zero, so that 0^gamma is differentiable for gamma below 1.
        weight = paddle.clip(1 - paddle.exp(log_p), min=1e-12) ** self.gamma
        return (weight * loss).mean(), recognised(logits, labels)


class Center(Softmax):
    """L = L_softmax + weight / 2 |x - c_y|^2 (Wen et al. 2016, equation 5); weight = 0: `Softmax`.

    The centres c (C, d) follow the features by the paper's equation 4, c_j -= rate * sum(c_j - x) / (1 + n_j)
    over the n_j images of class j in the batch, not by the optimiser.
    """

    def __init__(self, features: int, classes: int, weight: float = 0.003, rate: float = 0.5):
        super().__init__(features, classes)
        self.weight, self.rate = weight, rate
        self.register_buffer("centers", paddle.zeros([classes, features]))

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        loss, right = super().forward(x, labels)
        labels = labels.flatten()
        offset = x - paddle.gather(self.centers, labels)  # (n, d)
        if self.training:
            self._move(offset.detach(), labels)
        return loss + self.weight / 2 * (offset**2).sum(1).mean(), right

    def _move(self, offset: paddle.Tensor, labels: paddle.Tensor) -> None:
        with paddle.no_grad():
            classes = self.centers.shape[0]
            total = paddle.scatter(paddle.zeros_like(self.centers), labels, offset, overwrite=False)
            count = paddle.scatter(paddle.zeros([classes]), labels, paddle.ones([len(labels)]), overwrite=False)
            self.centers.set_value(self.centers + self.rate * total / (1 + count).unsqueeze(1))


class Margin(nn.Layer):
    """Base of the losses with a margin: logits of the angles, that of the right class made smaller.

    For features of a length and a number of classes; scale and margin are s and m of the equation.
    """

    def __init__(self, features: int, classes: int, scale: float, margin: float, label_smoothing: float = 0.0):
        super().__init__()
        self.scale, self.margin, self.label_smoothing = scale, margin, label_smoothing
        # Directions uniform on the sphere; the length counts in L-Softmax alone.
        normal = nn.initializer.Normal(0.0, 1 / math.sqrt(features))
        self.weight = self.create_parameter([features, classes], default_initializer=normal)

    def forward(self, x: paddle.Tensor, labels: paddle.Tensor):
        x = x.astype("float32")  # angles in float16 lose the margin
        labels = labels.flatten()
        length, lengths = norm(x, 1), norm(self.weight, 0)  # (n, 1), (1, C)
        with paddle.amp.auto_cast(enable=False):  # mixed precision would multiply in float16 all the same
            cosine = paddle.matmul(x, self.weight) / length / lengths  # (n, C)
        factor = self.factor(length, lengths)
        right = F.one_hot(labels, cosine.shape[1])  # (n, C)
        own = (cosine * right).sum(1, keepdim=True)  # (n, 1)
        logits = factor * (cosine + (self.target(own) - own) * right)
        return cross_entropy(logits, labels, self.label_smoothing).mean(), recognised(factor * cosine, labels)

    def target(self, cosine: paddle.Tensor) -> paddle.Tensor:
        """What stands in the place of cos theta_y: (n, 1) to (n, 1)."""
        raise NotImplementedError

    def factor(self, length: paddle.Tensor, lengths: paddle.Tensor) -> paddle.Tensor | float:
        """What the cosines are multiplied with: s, or lengths of features (n, 1) and of weights (1, C)."""
        return self.scale


class NormFace(Margin):
    """Logits s cos theta_j (Wang et al. 2017, equation 6): features and weights of length one, no margin."""

    def __init__(self, features: int, classes: int, scale: float = 32.0, label_smoothing: float = 0.0):
        super().__init__(features, classes, scale, 0.0, label_smoothing)

    def target(self, cosine):
        return cosine


class CosFace(Margin):
    """The right class's logit is s (cos theta_y - m) (CosFace, Wang et al. 2018, equation 4; AM-Softmax).

    m = 0: `NormFace`.
    """

    def __init__(self, features: int, classes: int, scale=32.0, margin=0.35, label_smoothing=0.0):
        super().__init__(features, classes, scale, margin, label_smoothing)

    def target(self, cosine):
        return cosine - self.margin


class ArcFace(Margin):
    """The right class's logit is s cos(theta_y + m) (Deng et al. 2019, equation 3); m = 0: `NormFace`.

    Beyond theta_y = pi - m, where cos(theta + m) would rise again, it goes on as cos theta - m sin m,
    as in the authors' code.
    """

    def __init__(self, features: int, classes: int, scale=32.0, margin=0.5, label_smoothing=0.0):
        super().__init__(features, classes, scale, margin, label_smoothing)

    def target(self, cosine):
        inside = paddle.clip(cosine, -NEAR_ONE, NEAR_ONE)
        sine = paddle.sqrt(1 - inside**2)
        moved = cosine * math.cos(self.margin) - sine * math.sin(self.margin)
        beyond = cosine - self.margin * math.sin(self.margin)
        return paddle.where(cosine > math.cos(math.pi - self.margin), moved, beyond)


class SphereFace(Margin):
    """The right class's logit is |x| psi(theta_y), psi = (-1)^k cos(m theta) - 2 k for theta in [k pi/m, (k + 1) pi/m].

    Liu et al. 2017, equation 7 (A-Softmax): weights of length one, no bias, m a whole number from 1 to 4.
    psi is mixed with cos theta as (psi + l cos theta) / (1 + l), where l = ``annealing``. With ``annealing_from`` (the
    authors' 1000) it begins there, and 1 + l falls by equal factors until half of the epochs; training says how far it
    is by ``progress``. m = 1: softmax over |x| cos theta_j.
    """

    progress = 1.0

    def __init__(self, features, classes, margin: int = 4, annealing=5.0, label_smoothing=0.0, annealing_from=0.0):
        if margin not in (1, 2, 3, 4):
            raise ValueError(f"The margin multiplies an angle: expected 1, 2, 3 or 4, got {margin}.")
        super().__init__(features, classes, 1.0, margin, label_smoothing)
        self.annealing, self.annealing_from = annealing, annealing_from

    @property
    def mixed(self) -> float:
        """The l of now."""
        fall = (1 + self.annealing_from) / (1 + self.annealing) if self.annealing_from else 1
        return (1 + self.annealing) * fall ** max(0, 1 - 2 * self.progress) - 1

    def factor(self, length, lengths):
        return length

    def target(self, cosine):
        m, c = self.margin, cosine
        of_multiple = {1: c, 2: 2 * c**2 - 1, 3: 4 * c**3 - 3 * c, 4: 8 * c**4 - 8 * c**2 + 1}[m]  # cos(m theta)
        k = sum(((c < math.cos(i * math.pi / m)).astype("float32") for i in range(1, m)), paddle.zeros_like(c))
        psi = (1 - 2 * (k % 2)) * of_multiple - 2 * k
        return (psi + self.mixed * c) / (1 + self.mixed)


class LSoftmax(SphereFace):
    """As `SphereFace`, with the weights' own lengths: |W_j| |x| psi(theta_y) (Liu et al. 2016, equation 6)."""

    def factor(self, length, lengths):
        return length * lengths


class Distillation(nn.Layer):
    """L = s (1 - cos(x, t)), t the teacher's feature of the clean photo: hints (Romero et al. 2015) without length.

    Without s its gradients are a twentieth of `CosFace`'s at the start, too small for the same learning rate. The
    neck should be without batch norm: few images far from all others then meet the loss with features that are alike.
    ``forward(features, targets)`` takes targets (n, d) float32 in the place of labels. "Recognised" are images whose
    own target is the nearest one in the batch.

    ``relational`` is the weight of a term of distances within the batch (Park et al. 2019), ``labels`` that of
    `CosFace`'s loss of ``classes``; targets then are (n, d + 1), their last column the label, below 0 where none is
    known.
    """

    def __init__(
        self, scale: float = 10.0, relational: float = 0.0, labels: float = 0.0, classes: int = 0, features=128
    ):
        super().__init__()
        self.scale, self.relational, self.labels = scale, relational, labels
        self.head = CosFace(features, classes) if classes else None

    def forward(self, x: paddle.Tensor, targets: paddle.Tensor):
        x, t = x.astype("float32"), targets.astype("float32")[:, : x.shape[1]]
        features, x, t = x, x / norm(x, 1), t / norm(t, 1)
        with paddle.amp.auto_cast(enable=False):  # as in `Margin`
            cosine = paddle.matmul(x.detach(), t, transpose_y=True)  # (n, n)
            loss = self.scale * (1 - (x * t).sum(1).mean())
            if self.relational:
                loss = loss + self.relational * relational(x, t)
        if self.head is not None:
            known = paddle.nonzero(targets[:, -1] >= 0).flatten()
            if len(known):
                some = features[known], targets[known, -1].astype("int64")
                loss = loss + self.labels * len(known) / len(x) * self.head(*some)[0]
        return loss, recognised(cosine, paddle.arange(len(x)))


LOSSES = {"softmax": Softmax, "focal": Focal, "center": Center, "l-softmax": LSoftmax, "sphereface": SphereFace}
LOSSES |= {"normface": NormFace, "cosface": CosFace, "arcface": ArcFace, "triplet": Triplet}
LOSSES |= {"distillation": Distillation}
WITHOUT_CLASSES = ("triplet", "distillation")  # what they call recognised depends on the rest of the batch
