"""Notebooks in order, figures, numbers, verdicts, release.

The table has the public names of each module; asking for one does not load the others.
"""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "results": "Recorder Result load provenance show table results_path",
        "claims": "read_claims verdicts",
        "plots": "use_style save",
        "reproduce": "run plan notebooks parse_setting ParameterError NotebookError",
        "release": "publish",
    },
)
