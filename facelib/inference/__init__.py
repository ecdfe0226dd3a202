"""From weights and faces to features, from two photos to a decision, from a picture to names."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "embedder": "Embedder features together weights_files EMBEDDER_VERSION",
        "backends": "network choose exact_backend BACKENDS",
        "decision": "load compare decide read_card write_card Card Comparison Decision Verifier",
        "cards": "make_card",
        "export": "to_onnx to_paddle to_int8",
        "attack": "signs attacked",
        "updates": "Log follow",
        "gallery": "Gallery enrol",
        "recognition": "Seen identify",
        "search": "searcher",
        "interface": "panel",
    },
)
