"""From weights and faces to features.

The table has the public names of each module; asking for one does not load the others.
"""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "embedder": "Embedder features together weights_files BACKENDS EMBEDDER_VERSION",
    },
)
