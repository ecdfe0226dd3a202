"""Notebooks in order, figures, numbers, verdicts, release.

The table has the public names of each module; asking for one does not load the others.
"""

from facelib._rooms import hand_out

__getattr__, __dir__, __all__ = hand_out(
    __name__,
    {
        "profiles": "setup shipped ParameterError",
        "setting": "Setting",
        "results": "Recorder Result load provenance show table results_path",
        "claims": "read_claims stated verdicts",
        "style": "use_style save",
        "plots": "",
        "speed_plots": "",
        "decision_plots": "",
        "choosing": "",
        "deciding": "judging other_networks Judging by_frame by_difficulty files",
        "transfer": "",
        "benching": "",
        "outcomes": "",
        "ablation": "",
        "loss_plots": "",
        "robust_plots": "",
        "standins": "",
        "deploying": "",
        "teaching": "",
        "identifying": "album Album",
        "identification_plots": "",
        "reproduce": "run plan notebooks parse_setting NotebookError",
        "release": "publish",
    },
)
