"""How fast, and how large: measurements in fresh processes.

The table has the public names of each module; asking for one does not load the others.
"""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "serving": "startup inference loading load_as_lists sample_folder",
        "engines": "training_speed layer_comparison augmentation_cost medians ratios ENGINES",
        "scale": "paper_scale",
        "galleries": "",
    },
)
