"""How fast and how large, in fresh processes; how well under worse photos, attacks and updates."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "serving": "startup inference loading load_as_lists sample_folder deciding latency SERVED",
        "engines": "training_speed layer_comparison augmentation_cost medians ratios ENGINES",
        "peers": "torch_embedder sface sface_features",
        "rounding": "Candidate Compared",
        "scale": "paper_scale",
        "robustness": "bench Bench",
        "galleries": "",
    },
)
