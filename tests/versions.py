"""Hashes of the code that shapes weights, features, targets and pictures: what `tests/test_versions.py` compares.

Run as a program it writes them anew: ``python -m tests.versions``. Do so after a change that leaves every number as it
was; else raise the version as well (see `shaping`), so that nothing old is taken for new.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from dataclasses import asdict
from pathlib import Path

from facelib.benchmarks import peers
from facelib.data import (
    aligned,
    corruptions,
    detection,
    drawing,
    easel,
    framing,
    images,
    packed,
    pairs,
    rendered,
    traits,
)
from facelib.inference import embedder
from facelib.metrics import protocol
from facelib.models import backbones, dnnl, embedding, losses, onednn, triplet
from facelib.training import augmentation, checkpoints, distillation, loop, recipe, samplers

RECORD = Path(__file__).with_name("versions.json")
_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def normalised_source(thing) -> str:
    """Source of a function, class or file without comments, docstrings and layout."""
    path = thing if isinstance(thing, Path) else Path(inspect.getsourcefile(thing))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not isinstance(thing, Path):
        for name in thing.__qualname__.split("."):
            tree = next(n for n in tree.body[::-1] if isinstance(n, _WITH_DOCSTRING[1:]) and n.name == name)
        tree = ast.Module([tree], [])
    for node in ast.walk(tree):
        if isinstance(node, _WITH_DOCSTRING) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def shaping() -> dict[str, list]:
    """What each version vouches for: functions, classes and whole files, under the version's name."""
    weights = [recipe.build, recipe.rate_at, embedding.Embedding, embedding.Recogniser, embedding.resnet18_of_width]
    weights += [embedding._scaled, embedding.save_weights, packed.to_input, loop.FaceDataset]
    weights += [checkpoints.Checkpoints.on_epoch_begin, protocol.auc_by_source, pairs.draw_by_source, pairs.draw_pairs]
    weights += [Path(module.__file__) for module in (augmentation, backbones, dnnl, losses, onednn, samplers, triplet)]
    features = [embedding.Embedding, embedding.load_weights, packed.to_input, embedder.Embedder, embedder.together]
    features += [Path(module.__file__) for module in (backbones, dnnl, onednn)]
    targets = [distillation.teacher_view, distillation.with_blends, distillation._draws, distillation._blend]
    targets += [distillation.padded, distillation.with_families, distillation.own_targets]
    framed = [Path(module.__file__) for module in (detection, framing)]
    return {
        "RECIPE_VERSION": weights,
        "EMBEDDER_VERSION": features,
        "RENDERER_VERSION": [Path(module.__file__) for module in (drawing, easel, rendered, traits)],
        "TEACHER_VERSION": targets,
        "CORRUPTIONS_VERSION": [Path(corruptions.__file__)],
        "ALIGNED_VERSION": [aligned.faces, images.decode_whole, images.resized, *framed],
        "_SFACE_VERSION": [peers.sface, peers._sface_features, images.decode_whole, images.resized, *framed],
    }


def hashes() -> dict[str, dict[str, str]]:
    """The normalised hash of each piece, beside the version that it belongs to."""

    present = {
        "RECIPE_VERSION": recipe.RECIPE_VERSION,
        "EMBEDDER_VERSION": embedder.EMBEDDER_VERSION,
        "RENDERER_VERSION": rendered.RENDERER_VERSION,
        "TEACHER_VERSION": distillation.TEACHER_VERSION,
        "CORRUPTIONS_VERSION": corruptions.CORRUPTIONS_VERSION,
        "ALIGNED_VERSION": aligned.ALIGNED_VERSION,
        "_SFACE_VERSION": peers._SFACE_VERSION,
    }
    found = {}
    for version, pieces in shaping().items():
        sources = {getattr(piece, "__qualname__", None) or piece.stem: normalised_source(piece) for piece in pieces}
        if version == "RECIPE_VERSION":
            sources["AUGMENTATIONS"] = repr({name: asdict(kind) for name, kind in augmentation.AUGMENTATIONS.items()})
        found[version] = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in sources.items()}
        found[version]["version"] = str(present[version])
    return found


if __name__ == "__main__":
    RECORD.write_text(json.dumps(hashes(), indent=1, sort_keys=True) + "\n")
