"""Face comparison with the features of a classification network: data, model and metric code.

Importing any part of the package first prepares the process for Paddle (threads, CPU math path,
quiet logs), because Paddle reads those settings only once, when it is imported.
"""

from facelib import runtime

__version__ = "0.1.0"

runtime.prepare()


def __getattr__(name: str):
    if name == "compare":  # two photos in, same person or not: loaded when it is first asked for
        from facelib.inference.decision import compare

        return compare
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
