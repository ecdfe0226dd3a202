"""Networks, and the losses that train them."""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "embedding": "Embedding Recogniser save_weights load_weights on_this_device resnet18_of_width "
        "BACKBONES NECKS FEATURES",
        "backbones": "mobilefacenet resnet50 iresnet nn1 nn2 FrozenTrunk GlobalDepthwise",
        "costs": "count table",
        "losses": "Softmax Focal Center NormFace CosFace ArcFace SphereFace LSoftmax Distillation "
        "LOSSES WITHOUT_CLASSES",
        "triplet": "Triplet",
        "onednn": "accelerate available OneDNNConv2D",
    },
)
