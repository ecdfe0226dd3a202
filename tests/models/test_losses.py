"""Each loss against its equation in NumPy, float64, and its gradient against that equation's differences."""

import math

import numpy as np
import pytest
from paddle.nn import functional as F

from facelib._paddle import paddle
from facelib.models import losses

CLASSES, LENGTH = 5, 4
ANGLES = np.linspace(0.12, 3.02, 12)  # of a feature to its class; all branches of ArcFace and SphereFace
LABELS = np.arange(12) % CLASSES


def unit(x, axis):
    return x / np.linalg.norm(x, axis=axis, keepdims=True)


def entropy(logits, labels, smoothing=0.0):
    """(n,) cross-entropies with the target (1 - e) at the label plus e / C everywhere."""
    log_p = logits - np.log(np.exp(logits - logits.max(1, keepdims=True)).sum(1, keepdims=True))
    log_p -= logits.max(1, keepdims=True)
    target = (1 - smoothing) * np.eye(logits.shape[1])[labels] + smoothing / logits.shape[1]
    return -(target * log_p).sum(1)


def softmax(x, w, b, labels, e=0.0):
    return entropy(x @ w + b, labels, e).mean()


def focal(x, w, b, labels, gamma, e=0.0):
    logits = x @ w + b
    p = np.exp(-entropy(logits, labels))
    return ((1 - p) ** gamma * entropy(logits, labels, e)).mean()


def center(x, w, b, labels, centers, weight):
    return softmax(x, w, b, labels) + weight / 2 * ((x - centers[labels]) ** 2).sum(1).mean()


def with_margin(x, w, labels, psi, factor, e=0.0):
    """Cross-entropy of factor * cos theta_j, with psi(theta_y) in place of cos theta_y."""
    theta = np.arccos(unit(x, 1) @ unit(w, 0))
    own = np.eye(w.shape[1], dtype=bool)[labels]
    return entropy(factor(x, w) * np.where(own, psi(theta), np.cos(theta)), labels, e).mean()


def arcface(theta, m):
    return np.where(theta < np.pi - m, np.cos(theta + m), np.cos(theta) - m * np.sin(m))


def sphereface(theta, m, annealing=0.0):
    k = np.floor(theta * m / np.pi)
    return ((-1) ** k * np.cos(m * theta) - 2 * k + annealing * np.cos(theta)) / (1 + annealing)


def scaled(s):
    return lambda x, w: s


def feature_length(x, w):
    return np.linalg.norm(x, axis=1, keepdims=True)


def both_lengths(x, w):
    return feature_length(x, w) * np.linalg.norm(w, axis=0)


def multiplied(m, annealing, factor, e=0.0):
    return lambda x, w, y: with_margin(x, w, y, lambda t: sphereface(t, m, annealing), factor, e)


CENTERS = np.random.default_rng(8).normal(size=(CLASSES, LENGTH)).astype(np.float32)

# The layer, and its equation as a function of features, its parameters in their order, and labels.
HEADS = {
    "softmax": (lambda d, c: losses.Softmax(d, c), softmax),
    "softmax, smooth": (
        lambda d, c: losses.Softmax(d, c, label_smoothing=0.1),
        lambda *a: softmax(*a, e=0.1),
    ),
    "focal": (lambda d, c: losses.Focal(d, c), lambda *a: focal(*a, gamma=2)),
    "focal, 0.5, smooth": (lambda d, c: losses.Focal(d, c, 0.5, 0.2), lambda *a: focal(*a, gamma=0.5, e=0.2)),
    "center": (lambda d, c: losses.Center(d, c, weight=0.7), lambda *a: center(*a, CENTERS, 0.7)),
    "normface": (
        lambda d, c: losses.NormFace(d, c, scale=8),
        lambda x, w, y: with_margin(x, w, y, np.cos, scaled(8)),
    ),
    "cosface": (
        lambda d, c: losses.CosFace(d, c, scale=8, margin=0.35),
        lambda x, w, y: with_margin(x, w, y, lambda t: np.cos(t) - 0.35, scaled(8)),
    ),
    "cosface, 32, smooth": (
        lambda d, c: losses.CosFace(d, c, margin=0.2, label_smoothing=0.1),
        lambda x, w, y: with_margin(x, w, y, lambda t: np.cos(t) - 0.2, scaled(32), 0.1),
    ),
    "arcface": (
        lambda d, c: losses.ArcFace(d, c, scale=8, margin=0.5),
        lambda x, w, y: with_margin(x, w, y, lambda t: arcface(t, 0.5), scaled(8)),
    ),
    "arcface, 32, 0.3": (
        lambda d, c: losses.ArcFace(d, c, margin=0.3),
        lambda x, w, y: with_margin(x, w, y, lambda t: arcface(t, 0.3), scaled(32)),
    ),
    **{
        f"sphereface, {m}": (
            lambda d, c, m=m: losses.SphereFace(d, c, margin=m, annealing=0.5, label_smoothing=0.1),
            multiplied(m, 0.5, feature_length, 0.1),
        )
        for m in (1, 2, 3, 4)
    },
    "l-softmax": (
        lambda d, c: losses.LSoftmax(d, c, margin=3, annealing=0.0),
        multiplied(3, 0.0, both_lengths),
    ),
    "l-softmax, default": (lambda d, c: losses.LSoftmax(d, c), multiplied(4, 5.0, both_lengths)),
}


def new(name, d=LENGTH, c=CLASSES):
    """A layer with parameters far from their start, not moving its centers."""
    head = HEADS[name][0](d, c)
    rng = np.random.default_rng(2)
    for parameter in head.parameters():
        parameter.set_value(rng.normal(size=parameter.shape).astype(np.float32))
    if hasattr(head, "centers") and head.centers.shape == list(CENTERS.shape):
        head.centers.set_value(CENTERS)
    head.eval()
    return head


def features(weights, labels=LABELS, angles=ANGLES):
    """Features at given angles to their class's column of the weights, of several lengths."""
    rng = np.random.default_rng(4)
    own = unit(weights.astype(np.float64), 0).T[labels]
    beside = rng.normal(size=own.shape)
    beside = unit(beside - (beside * own).sum(1, keepdims=True) * own, 1)
    x = np.cos(angles)[:, None] * own + np.sin(angles)[:, None] * beside
    return (x * rng.uniform(0.5, 3, (len(x), 1))).astype(np.float32)


def evaluate(head, x, labels):
    """Loss, what was recognised, and gradients of the features and of each parameter."""
    x = paddle.to_tensor(x, stop_gradient=False)
    head.clear_gradients()
    loss, right = head(x, paddle.to_tensor(labels))
    loss.backward()
    return float(loss), right.numpy(), [t.grad.numpy() for t in (x, *head.parameters())]


def differences(equation, arrays, step=1e-6):
    """Central differences of an equation with respect to each of the arrays."""
    arrays = [a.astype(np.float64) for a in arrays]
    slopes = []
    for array in arrays:
        slope = np.zeros_like(array)
        for at in np.ndindex(*array.shape):
            middle, values = array[at], []
            for array[at] in (middle + step, middle - step):
                values.append(equation(*arrays))
            array[at] = middle
            slope[at] = (values[0] - values[1]) / (2 * step)
        slopes.append(slope)
    return slopes


@pytest.mark.parametrize("name", HEADS)
def test_loss_and_gradients_equal_the_equations(name):
    head, equation = new(name), HEADS[name][1]
    parameters = [p.numpy() for p in head.parameters()]
    x = features(parameters[0])
    loss, _, gradients = evaluate(head, x, LABELS)
    in_double = [a.astype(np.float64) for a in (x, *parameters)]
    assert loss == pytest.approx(equation(*in_double, LABELS), rel=1e-5)
    expected = differences(lambda *a: equation(*a, LABELS), in_double)
    for ours, slope in zip(gradients, expected, strict=True):
        assert np.abs(slope).max() > 1e-3
        np.testing.assert_allclose(ours, slope, rtol=0, atol=2e-5 * np.abs(slope).max())


def test_every_loss_is_tested():
    covered = {type(make(LENGTH, CLASSES)) for make, _ in HEADS.values()} | {losses.Triplet, losses.Distillation}
    assert covered == set(losses.LOSSES.values())


@pytest.mark.parametrize("name", HEADS)
def test_labels_may_be_a_column(name):
    head = new(name)
    x = features(head.parameters()[0].numpy())
    flat, column = evaluate(head, x, LABELS), evaluate(head, x, LABELS[:, None])
    assert flat[0] == column[0] and flat[1].shape == column[1].shape == (12, 1)
    assert flat[1].dtype == np.float32 and (flat[1] == column[1]).all()
    for a, b in zip(flat[2], column[2], strict=True):
        np.testing.assert_array_equal(a, b)


# Limits

S = {"scale": 16.0}
LIMITS = {
    "CosFace without margin": (losses.CosFace, {"margin": 0.0, **S}, losses.NormFace, S),
    "ArcFace without margin": (losses.ArcFace, {"margin": 0.0, **S}, losses.NormFace, S),
    "focal of gamma 0": (losses.Focal, {"gamma": 0.0}, losses.Softmax, {}),
    "center of weight 0": (losses.Center, {"weight": 0.0}, losses.Softmax, {}),
    "smooth focal of gamma 0": (
        losses.Focal,
        {"gamma": 0.0, "label_smoothing": 0.3},
        losses.Softmax,
        {"label_smoothing": 0.3},
    ),
}


def same_parameters(one, other):
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        a.set_value(b)


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    kind, options, simpler, simple_options = LIMITS[name]
    one, other = kind(LENGTH, CLASSES, **options), simpler(LENGTH, CLASSES, **simple_options)
    same_parameters(one, other)
    x = features(other.parameters()[0].numpy())
    (loss, _, gradients), (expected, _, slopes) = evaluate(one, x, LABELS), evaluate(other, x, LABELS)
    assert loss == pytest.approx(expected, rel=1e-5)
    for ours, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(ours, slope, rtol=0, atol=1e-5 * np.abs(slope).max())


@pytest.mark.parametrize("options", [{"margin": 1, "annealing": 0.0}, {"margin": 4, "annealing": 1e9}])
def test_sphereface_without_margin_is_softmax_over_lengths_times_cosines(options):
    head = losses.SphereFace(LENGTH, CLASSES, **options)
    w = head.weight.numpy()
    x = features(w)
    expected = entropy((x @ unit(w, 0)).astype(np.float64), LABELS).mean()
    assert evaluate(head, x, LABELS)[0] == pytest.approx(expected, rel=1e-5)


def test_l_softmax_without_margin_is_softmax_without_bias():
    head, plain = losses.LSoftmax(LENGTH, CLASSES, margin=1), losses.Softmax(LENGTH, CLASSES)
    plain.linear.weight.set_value(head.weight)
    plain.linear.bias.set_value(np.zeros(CLASSES, np.float32))
    x = features(head.weight.numpy())
    assert evaluate(head, x, LABELS)[0] == pytest.approx(evaluate(plain, x, LABELS)[0], rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_smoothing_equals_paddles_cross_entropy_with_soft_labels(smoothing):
    paddle.seed(0)
    logits, labels = paddle.randn([7, CLASSES]) * 5, paddle.to_tensor(LABELS[:7])
    soft = F.label_smooth(F.one_hot(labels, CLASSES), epsilon=smoothing)
    expected = F.cross_entropy(logits, soft, soft_label=True, reduction="none").numpy().ravel()
    for shape in ([-1], [-1, 1]):
        ours = losses.cross_entropy(logits, labels.reshape(shape), smoothing)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-5)


# Cosines of one and minus one, and other ends of the range


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", HEADS)
def test_aligned_and_opposite_features_have_finite_loss_and_gradients(name, sign):
    head = new(name, d=64)
    w = head.parameters()[0].numpy()
    for length in (1e-3, 1, 50):
        x = sign * length * w.T[LABELS]
        loss, _, gradients = evaluate(head, x.astype(np.float32), LABELS)
        assert math.isfinite(loss)
        for gradient in gradients:
            assert np.isfinite(gradient).all()


@pytest.mark.parametrize("degrees", [0, 0.01, 0.1, 179.9, 179.99, 180])
@pytest.mark.parametrize("name", ["normface", "cosface", "arcface"])
def test_gradients_near_cosine_one_stay_as_small_as_elsewhere(name, degrees):
    # |dL / dx| <= sum_j |p_j - [j = y]| s |dtheta_j / dx| / n <= 2 s / (n |x|), as |psi'(theta)| <= 1.
    head = new(name, d=64)
    x = features(head.weight.numpy(), angles=np.radians(np.full(12, degrees)))
    gradient = evaluate(head, x, LABELS)[2][0]
    assert (np.linalg.norm(gradient, axis=1) * np.linalg.norm(x, axis=1) <= 2 * head.scale / 12).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_zero_feature_has_a_finite_loss_and_gradient(name):
    loss, _, gradients = evaluate(new(name), np.zeros((2, LENGTH), np.float32), LABELS[:2])
    assert math.isfinite(loss) and all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_loss_of_a_certain_image_is_zero_and_has_a_finite_gradient(gamma):
    head = losses.Focal(2, 2, gamma)
    head.linear.weight.set_value(np.array([[40, -40], [0, 0]], np.float32))
    loss, _, gradients = evaluate(head, np.array([[1, 0], [2, 1]], np.float32), np.array([0, 0]))
    assert loss == pytest.approx(0, abs=1e-6)
    for gradient in gradients:
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


# The angular margins by themselves


def target(head, theta):
    return head.target(paddle.to_tensor(np.cos(theta)[:, None].astype(np.float32))).numpy().ravel()


def test_arcface_decreases_beyond_pi_minus_m():
    head, m = losses.ArcFace(LENGTH, CLASSES, margin=0.5), 0.5
    theta = np.linspace(0.01, np.pi - 0.01, 500)
    values = target(head, theta)
    assert (np.diff(values) < 0).all()
    inside = theta < np.pi - m
    assert inside.sum() > 400 and (~inside).sum() > 70
    np.testing.assert_allclose(values[inside], np.cos(theta[inside] + m), atol=1e-5)
    np.testing.assert_allclose(values[~inside], np.cos(theta[~inside]) - m * np.sin(m), atol=1e-5)
    assert (np.diff(target(head, np.linspace(0, np.pi, 5000))) <= 1e-6).all()


@pytest.mark.parametrize("kind", [losses.SphereFace, losses.LSoftmax])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_psi_is_continuous_and_decreases_from_one_to_one_minus_two_m(kind, m):
    head = kind(LENGTH, CLASSES, margin=m, annealing=0.0)
    theta = np.linspace(0, np.pi, 401)
    steps = np.diff(target(head, theta))
    assert (steps < 0).all() and (steps > -m * np.pi / 400 - 1e-5).all()  # |psi'| = m |sin m theta|
    np.testing.assert_allclose(target(head, theta[[0, -1]]), [1, 1 - 2 * m], atol=1e-5)


@pytest.mark.parametrize(("progress", "expected"), [(0, 1000), (0.25, 1001 * 6), (0.5, 5), (1, 5)])
def test_annealing_falls_by_equal_factors_until_half_of_the_epochs(progress, expected):
    head = losses.LSoftmax(LENGTH, CLASSES, annealing=5.0, annealing_from=1000.0)
    head.progress = progress
    assert head.mixed == pytest.approx(np.sqrt(expected) - 1 if progress == 0.25 else expected)  # a geometric mean
    assert losses.LSoftmax(LENGTH, CLASSES, annealing=0.5).mixed == 0.5


def test_annealing_mixes_psi_with_the_cosine():
    theta = np.linspace(0.1, 3.1, 50)
    pure = target(losses.SphereFace(LENGTH, CLASSES, annealing=0.0), theta)
    mixed = target(losses.SphereFace(LENGTH, CLASSES, annealing=3.0), theta)
    np.testing.assert_allclose(mixed, (pure + 3 * np.cos(theta)) / 4, atol=1e-5)


# What was recognised


def test_recognised_is_decided_without_the_margin():
    x, labels = np.array([[1, 0.9], [0.9, 1], [0, 1]], np.float32), np.array([0, 0, 1])
    for kind in (losses.NormFace, losses.CosFace, losses.ArcFace, losses.SphereFace, losses.LSoftmax):
        head = kind(2, 2)
        head.weight.set_value(np.eye(2, dtype=np.float32))
        np.testing.assert_array_equal(evaluate(head, x, labels)[1], [[1], [0], [1]])


def test_recognised_of_the_linear_losses_counts_the_bias():
    for kind in (losses.Softmax, losses.Focal, losses.Center):
        head = kind(2, 2)
        head.linear.weight.set_value(np.eye(2, dtype=np.float32))
        head.linear.bias.set_value(np.array([0, 0.5], np.float32))
        right = evaluate(head, np.array([[1, 0.6], [1, 0.4]], np.float32), np.array([0, 0]))[1]
        np.testing.assert_array_equal(right, [[0], [1]])


def test_lengths_of_weights_count_in_l_softmax_alone():
    x, labels = np.array([[1, 0.9]], np.float32), np.array([0])
    for kind, expected in ((losses.SphereFace, 1), (losses.LSoftmax, 0)):
        head = kind(2, 2)
        head.weight.set_value(np.diag([1, 2]).astype(np.float32))
        assert evaluate(head, x, labels)[1].item() == expected


# Centers


def test_centers_follow_the_features_by_the_papers_equation():
    head = losses.Center(2, 4, weight=2.0, rate=0.5)
    head.linear.weight.set_value(np.zeros((2, 4), np.float32))
    start = np.array([[0, 0], [1, 1], [2, 0], [5, 5]], np.float32)
    head.centers.set_value(start)
    x = np.array([[4, 0], [0, 2], [1, 4]], np.float32)
    loss, *_ = evaluate(head, x, np.array([[0], [0], [1]]))
    # Class 0: sum of (c - x) is (-4, -2) over 1 + 2; class 1: (0, -3) over 1 + 1; none of the others.
    expected = [[0.5 * 4 / 3, 0.5 * 2 / 3], [1, 1 + 0.5 * 3 / 2], [2, 0], [5, 5]]
    np.testing.assert_allclose(head.centers.numpy(), expected, rtol=1e-6)
    assert loss == pytest.approx(np.log(4) + (16 + 4 + 9) / 3)  # of the centers before the step


def test_centers_move_in_training_only_and_not_by_the_optimiser():
    head = losses.Center(LENGTH, CLASSES)
    assert head.centers.shape == [CLASSES, LENGTH] and float(head.centers.abs().sum()) == 0
    x = features(head.linear.weight.numpy())
    head.eval()
    evaluate(head, x, LABELS)
    assert float(head.centers.abs().sum()) == 0
    head.train()
    evaluate(head, x, LABELS)
    assert float(head.centers.abs().sum()) > 0
    assert head.centers.stop_gradient and len(head.parameters()) == 2


# Arguments and state


@pytest.mark.parametrize("kind", [losses.SphereFace, losses.LSoftmax])
@pytest.mark.parametrize("margin", [0, 5, 2.5, -1])
def test_margins_that_are_no_small_whole_number_are_refused(kind, margin):
    with pytest.raises(ValueError, match=f"1, 2, 3 or 4, got {margin}"):
        kind(LENGTH, CLASSES, margin=margin)


def test_state_holds_all_that_a_loss_needs():
    linear, angular = {"linear.weight": [4, 5], "linear.bias": [5]}, {"weight": [4, 5]}
    expected = {losses.Center: linear | {"centers": [5, 4]}, losses.Triplet: {}, losses.Distillation: {}}
    for kind in losses.LOSSES.values():
        plain = linear if issubclass(kind, losses.Softmax) else angular
        head = kind() if kind in (losses.Triplet, losses.Distillation) else kind(LENGTH, CLASSES)
        assert {name: t.shape for name, t in head.state_dict().items()} == expected.get(kind, plain)


@pytest.mark.parametrize("name", HEADS)
def test_a_loss_goes_on_from_its_state(name, tmp_path):
    head, fresh = new(name), HEADS[name][0](LENGTH, CLASSES)
    paddle.save(head.state_dict(), str(tmp_path / "state"))
    fresh.set_state_dict(paddle.load(str(tmp_path / "state")))
    x = features(head.parameters()[0].numpy())
    assert evaluate(fresh, x, LABELS)[0] == evaluate(head, x, LABELS)[0]


def test_focal_loss_begins_late():
    rng = np.random.default_rng(3)
    x, labels = paddle.to_tensor(rng.normal(size=(8, 4)).astype("float32")), paddle.to_tensor(rng.integers(3, size=8))
    paddle.seed(0)
    late = losses.Focal(4, 3, begin=0.8)
    others = [losses.Softmax(4, 3), losses.Focal(4, 3)]
    for other in others:
        other.set_state_dict(late.state_dict())
    softmax, focal = (float(other(x, labels)[0]) for other in others)
    found = []
    for late.progress in (0.0, 0.75, 0.8, 0.95):
        found.append(float(late(x, labels)[0]))
    assert found == pytest.approx([softmax, softmax, focal, focal]) and abs(softmax - focal) > 0.01
