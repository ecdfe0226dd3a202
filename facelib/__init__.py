"""Face comparison with the features of a classification network: data, model and metric code.

Importing any part of the package first prepares the process for Paddle (threads, CPU math path,
quiet logs), because Paddle reads those settings only once, when it is imported.
"""

from facelib import runtime

__version__ = "0.1.0"

runtime.prepare()
