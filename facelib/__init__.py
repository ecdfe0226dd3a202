"""Face comparison with the features of a classification network: data, model and metric code.

Importing any part of the package first prepares the process for Paddle (threads, CPU math path,
quiet logs), because Paddle reads those settings only once, when it is imported.
"""

from facelib import runtime
from facelib._rooms import hand_out

__version__ = "0.1.0"

runtime.prepare()

# Rooms, and the one function that needs no room: each is loaded when it is first asked for.
__getattr__, __dir__, __all__ = hand_out(
    __name__,
    dict.fromkeys(("data", "models", "training", "metrics", "inference", "benchmarks", "paper"), "")
    | {"inference.decision": "compare"},
)
