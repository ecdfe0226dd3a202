"""From faces to weights."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "recipe": "Recipe build rate_at",
        "augmentation": "Augmentation AUGMENTATIONS",
        "samplers": "EpochSampler",
        "loop": "train FaceDataset",
        "checkpoints": "Diverged",
        "runs": "Run Accuracy run_key find_run shipped_run read_runs append_run",
        "distillation": "Targets targets split teacher_features",
        "seeds": "over_seeds trained run_keys",
        "processes": "Bar",
    },
)
