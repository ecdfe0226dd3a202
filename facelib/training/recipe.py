"""What a training run does, apart from its data: the recipe, and the model that it makes."""

import json
import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from facelib._paddle import paddle  # isort: skip  (first, so that its import is quiet)
from paddle.static import InputSpec

from facelib import models, runtime
from facelib.models import losses
from facelib.training.augmentation import AUGMENTATIONS

OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("float32", "float16", "bfloat16")
ALWAYS = ("epochs", "batch_size", "learning_rate", "seed")  # fields that a row of runs.csv always has
RECIPE_VERSION = 1  # raised when the same recipe gives other weights than before; keys of runs hold it


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a run but its data. The defaults are the paper's, or fill its gaps."""

    epochs: int = 20
    batch_size: int = 128  # images per step, over all processes and parts
    learning_rate: float = 1e-3  # the highest of the run
    seed: int = 0
    optimizer: str = "adam"  # or "sgd", whose momentum is not Nesterov's
    momentum: float = 0.9
    weight_decay: float = 0.0  # an L2 penalty on all parameters
    schedule: str = "constant"  # or "cosine"
    warmup_epochs: float = 0.0  # of a linear rise from a hundredth of the rate
    final_rate: float = 0.0  # at the end of the cosine
    accumulate: int = 1  # parts that a batch is computed in, whose gradients add up; batch norm sees each part alone
    backbone: str = "resnet18"  # with the next four as `models.Embedding` has them
    width: int = 64
    neck: str = "pool"
    dropout: float = 0.0
    features: int = models.FEATURES
    trunk: str = ""  # shipped weights in the network's place, on which a layer of ``features`` learns (`FrozenTrunk`)
    loss: str = "softmax"  # of `losses.LOSSES`; "distillation" learns from a teacher's features (see `training.train`)
    loss_options: dict = field(default_factory=dict)  # arguments of the loss
    augmentation: str = "none"  # of `augmentation.AUGMENTATIONS`
    sampling: str = "shuffle"  # with the next as `samplers.EpochSampler` has them
    images_each: int = 4
    # "float16" is mixed precision (Micikevicius et al. 2018) on a GPU, with "bfloat16" convolutions multiply in it on a
    # CPU with instructions for it (see `onednn`); where the device has neither, float32 all the same.
    precision: str = "float32"
    processes: int | None = 1  # that share each batch, batch norm a share alone; None: `runtime.usual_processes`
    keep: str = "last"  # epoch whose weights are kept, or "best": with the highest AUC on the validation people
    patience: int | None = None  # epochs without a better AUC after which training stops

    def __post_init__(self):
        if self.processes is None:
            object.__setattr__(self, "processes", runtime.usual_processes())
        known = {
            "optimizer": OPTIMIZERS,
            "schedule": SCHEDULES,
            "loss": losses.LOSSES,
            "augmentation": AUGMENTATIONS,
            "precision": PRECISIONS,
            "keep": ("last", "best"),
        }
        for name in ("epochs", "batch_size", "accumulate", "width", "images_each", "processes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 1 or more.")
        if not self.learning_rate >= 0:
            raise ValueError(f"learning_rate is {self.learning_rate}: expected no negative number.")
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise ValueError(f"Unknown {name} '{getattr(self, name)}': expected one of {', '.join(values)}.")

    def options(self) -> dict:
        """The fields that differ from the defaults, besides epochs, batch size, rate and seed."""
        plain, mine = asdict(Recipe()), asdict(self)
        return {name: value for name, value in mine.items() if name not in ALWAYS and value != plain[name]}

    def fitting(self, images: int) -> "Recipe":
        """The same with so small a batch that these images fill one, where parts of it must be whole (`EpochSampler`).

        Itself where that is no matter, where they do, or where not even the least batch is filled.
        """
        least = self.accumulate * self.processes * (self.images_each if self.sampling == "identities" else 1)
        fits = images // least * least
        return self if least == 1 or images >= self.batch_size or not fits else replace(self, batch_size=fits)

    def trunk_file(self) -> Path:
        """The weights that ``trunk`` names."""
        return runtime.ROOT / "data" / "weights" / f"{self.trunk}.npz"

    @classmethod
    def of_run(cls, row: dict) -> "Recipe":
        """The recipe of a finished run, from its row of ``runs.csv``."""
        epochs, batch_size, seed = (int(row[name]) for name in ("epochs", "batch_size", "seed"))
        return cls(epochs, batch_size, float(row["learning_rate"]), seed, **json.loads(row["options"]))


def rate_at(step: int, steps_per_epoch: int, recipe: Recipe) -> float:
    """Learning rate of a step as a share of the recipe's: linear warm-up, then constant or cosine decay.

    Cosine: final + (1 - final) (1 + cos(pi t)) / 2, where t goes from 0 to 1 after the warm-up
    (Loshchilov and Hutter 2017, equation 5, without restarts).
    """
    warmup, total = recipe.warmup_epochs * steps_per_epoch, recipe.epochs * steps_per_epoch
    if step < warmup:
        return 0.01 + 0.99 * step / warmup
    if recipe.schedule == "constant":
        return 1.0
    final = recipe.final_rate / recipe.learning_rate
    t = min(1.0, (step - warmup) / max(1.0, total - warmup))
    return final + (1 - final) * (1 + math.cos(math.pi * t)) / 2


class RecognisedShare(paddle.metric.Accuracy):
    """Accuracy of the losses' second output: the share of images recognised."""

    def compute(self, loss, recognised, *_):
        return recognised


def target_size(recipe: Recipe) -> int:
    """Numbers of a target of the loss "distillation": a feature's, and one for the label where classes count too."""
    return recipe.features + bool(recipe.loss_options.get("classes"))


def build(num_classes: int, size: int, steps_per_epoch: int, recipe: Recipe) -> paddle.Model:
    """The network with its loss, optimiser and schedule, seeded, for images (3, size, size); by default the paper's."""
    runtime.seed_everything(recipe.seed)
    if recipe.trunk:
        embedding = models.FrozenTrunk(models.load_weights(recipe.trunk_file()), recipe.features)
    else:
        shape = recipe.backbone, recipe.width, recipe.neck, recipe.dropout, size, recipe.features
        embedding = models.Embedding(*shape)
    without = recipe.loss in losses.WITHOUT_CLASSES
    sizes = {} if without else {"features": embedding.features, "classes": num_classes}
    head = losses.LOSSES[recipe.loss](**sizes, **recipe.loss_options)
    image, label = InputSpec([None, 3, size, size], "float32", "image"), InputSpec([None, 1], "int64", "label")
    if recipe.loss == "distillation":
        label = InputSpec([None, target_size(recipe)], "float32", "target")
    model = paddle.Model(models.Recogniser(embedding, head, recipe.precision), [image, label])
    rate = recipe.learning_rate
    if recipe.schedule != "constant" or recipe.warmup_epochs:
        rate = paddle.optimizer.lr.LambdaDecay(rate, lambda step: rate_at(step, steps_per_epoch, recipe))
    decay = {"weight_decay": paddle.regularizer.L2Decay(recipe.weight_decay)} if recipe.weight_decay else {}
    if recipe.optimizer == "adam":
        optimizer = paddle.optimizer.Adam(rate, parameters=model.parameters(), **decay)
    else:
        optimizer = paddle.optimizer.Momentum(rate, recipe.momentum, parameters=model.parameters(), **decay)
    on_gpu = paddle.get_device().startswith("gpu")
    mixed = {"amp_configs": "O1"} if recipe.precision == "float16" and on_gpu else {}
    model.prepare(optimizer, lambda loss, _: loss / recipe.accumulate, RecognisedShare(), **mixed)
    return model
