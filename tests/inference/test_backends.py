"""One contract for every engine: features as Paddle's dygraph gives them, for any number of faces, by any thread."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest

from facelib import runtime
from facelib.data.packed import to_input
from facelib.data.rendered import render_face
from facelib.inference import backends, decision
from facelib.inference.embedder import Embedder
from facelib.metrics import distance

WEIGHTS = runtime.ROOT / "data" / "weights" / f"{decision.DEFAULT}.npz"
# Largest difference of a feature from dygraph's over the largest feature: sums in another order; in 8 bits of mantissa
# or of weight each of some twenty layers rounds by up to 1/256 of its range.
ROUNDED = {"openvino_bf16": 0.1, "onnx_int8": 0.2, "openvino_int8": 0.2}


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def expected(faces):
    return Embedder(WEIGHTS)(faces)


@pytest.fixture(scope="module", params=backends.NEEDS)
def embedder(request):
    """An embedder of each backend that this machine can run."""
    if reason := backends.unusable(request.param, WEIGHTS):
        pytest.skip(reason)
    made = Embedder(WEIGHTS, request.param)
    made.room = ROUNDED.get(request.param, 1e-5)
    return made


class TestBackend:
    @pytest.mark.parametrize("count", [1, 2, 64])
    def test_features_are_dygraph_s_in_the_order_of_the_faces(self, embedder, faces, expected, count):
        found = embedder(faces[:count])
        assert found.shape == expected[:count].shape and found.dtype == np.float32
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found, expected[:count], atol=embedder.room * scale)
        np.testing.assert_allclose(embedder(faces[:count][::-1])[::-1], found, atol=1e-5 * scale)

    def test_no_faces_have_no_features(self, embedder, faces, expected):
        assert embedder(faces[:0]).shape == (0, expected.shape[1])

    def test_threads_may_share_it(self, embedder, faces):
        parts = [faces[start : start + 4] for start in range(0, 64, 4)]
        alone = [embedder(part) for part in parts]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(embedder, parts * 3))
        for k, each in enumerate(found):
            np.testing.assert_allclose(each, alone[k % len(parts)], atol=1e-6 * np.abs(each).max())

    def test_what_it_gave_stays_as_it_was(self, embedder, faces):
        first = embedder(faces[:2])
        kept = first.copy()
        embedder(faces[2:4])
        np.testing.assert_array_equal(first, kept)


def copy_of_the_weights(folder):
    (folder / "mine.npz").write_bytes(WEIGHTS.read_bytes())
    return folder / "mine.npz"


def usable(monkeypatch, *names):
    monkeypatch.setattr(backends, "unusable", lambda backend, weights: "" if backend in names else "not here")


def table_of(weights, *rows):
    """A table of choices beside weights: (backend, milliseconds, whether it keeps the accuracy)."""
    key = hashlib.sha256(weights.read_bytes()).hexdigest()
    lines = ["sha256,backend,single_ms,keeps_accuracy", *(f"{key},{name},{ms},{keeps}" for name, ms, keeps in rows)]
    weights.with_name(backends.CHOICES).write_text("\n".join(lines))


def test_auto_is_the_fastest_that_is_accurate_and_runs_here(tmp_path, monkeypatch):
    weights = copy_of_the_weights(tmp_path)
    table_of(weights, ("onnx", 6, "yes"), ("onnx_int8", 1, "no"), ("openvino_bf16", 2, "yes"), ("openvino", 3, "yes"))
    usable(monkeypatch, *backends.NEEDS)
    assert backends.choose(weights) == "openvino_bf16"
    usable(monkeypatch, "onnx", "openvino", "dygraph")
    assert backends.choose(weights) == "openvino"
    usable(monkeypatch, "onnx", "dygraph")
    assert backends.choose(weights) == "onnx"


def test_auto_knows_weights_by_their_content(tmp_path, monkeypatch):
    weights = copy_of_the_weights(tmp_path)
    table_of(weights, ("openvino", 3, "yes"))
    weights.write_bytes(weights.read_bytes() + b"trained on")
    usable(monkeypatch, "onnx", "openvino")
    assert backends.choose(weights) == "onnx"
    usable(monkeypatch)
    assert backends.choose(weights) == "inference"


@pytest.mark.parametrize("name", [decision.DEFAULT, f"{decision.DEFAULT}-small"])
def test_a_shipped_file_of_8_bits_is_that_of_the_shipped_network(name):
    """On any CPU, with the instructions for it or without."""
    shown = np.stack([np.array(render_face(person, 0, size=64)) for person in range(8)])
    weights = WEIGHTS.with_name(f"{name}.npz")
    found, expected = backends.onnx(backends.exported(weights, ".int8.onnx"))(to_input(shown)), Embedder(weights)(shown)
    assert (distance(found, expected, "cosine") < 0.05).all()
    assert backends.exported(weights, ".int8.onnx").parent == weights.parent


def test_auto_takes_the_shipped_8_bits_where_the_cpu_is_made_for_them(monkeypatch):
    for flags in ({"avx512_vnni"}, {"avx2"}):
        monkeypatch.setattr(runtime, "cpu_flags", lambda flags=frozenset(flags): flags)
        assert backends.choose(WEIGHTS).endswith("_int8") is (flags == {"avx512_vnni"})


def test_auto_runs_the_shipped_network(faces, expected):
    found = Embedder(WEIGHTS, "auto")(faces[:2])
    room = ROUNDED.get(backends.choose(WEIGHTS), 1e-5)
    np.testing.assert_allclose(found, expected[:2], atol=room * np.abs(expected).max())


def test_a_backend_says_why_it_cannot_run(tmp_path, monkeypatch):
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"avx2"}))
    assert "avx512_bf16" in backends.unusable("openvino_bf16", WEIGHTS) or find_spec("openvino") is None
    assert "vnni" in backends.unusable("onnx_int8", WEIGHTS)
    monkeypatch.setattr(backends, "find_spec", lambda package: None)
    assert backends.unusable("openvino", WEIGHTS) == "openvino is not installed"
    monkeypatch.setattr(backends, "exported", lambda weights, ending: weights)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[openvino\]' in the repository"):
        Embedder(WEIGHTS, "openvino")


@pytest.mark.skipif(find_spec("openvino") is None, reason="needs the extra `openvino`")
def test_bfloat16_is_refused_where_the_cpu_has_none(monkeypatch):
    monkeypatch.setattr(runtime, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(ValueError, match="no instructions for bfloat16"):
        Embedder(WEIGHTS, "openvino_bf16")


@pytest.mark.parametrize("backend", ["onnx", "onnx_int8"])
def test_a_network_that_was_not_exported_says_how(tmp_path, monkeypatch, backend):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    precision = " --precision int8" if backend == "onnx_int8" else ""
    with pytest.raises(FileNotFoundError, match=rf"facelib export mine{precision} .*mine.*\.onnx"):
        Embedder(copy_of_the_weights(tmp_path), backend)


def test_an_export_in_the_cache_is_found_by_the_weights_content(tmp_path, monkeypatch):
    monkeypatch.setenv("FACELIB_CACHE", str(tmp_path / "cache"))
    weights = copy_of_the_weights(tmp_path)
    kept = backends.kept_file(weights, ".onnx")
    kept.parent.mkdir(parents=True)
    kept.touch()
    assert backends.exported(weights.rename(tmp_path / "renamed.npz")) == kept


@pytest.mark.parametrize(("backend", "engine"), [("onnx", "ONNX Runtime"), ("openvino", "OpenVINO")])
def test_a_damaged_export_is_named(tmp_path, backend, engine):
    if find_spec(backends.NEEDS[backend].package) is None:
        pytest.skip(f"needs the extra `{backend}`")
    (tmp_path / "mine.onnx").write_bytes(b"no network")
    with pytest.raises(ValueError, match=rf"{engine} cannot load '.*mine.onnx'"):
        backends.network(tmp_path / "mine.npz", backend)


@pytest.mark.parametrize("lost", ["model.pdiparams", "program"])
def test_what_is_lost_of_a_network_kept_in_the_cache_is_made_anew(tmp_path, monkeypatch, lost):
    monkeypatch.setattr(runtime, "cache_dir", lambda: tmp_path)
    shown = to_input(np.stack([np.array(render_face(person, 0, size=64)) for person in range(2)]))
    expected = backends.network(WEIGHTS, "inference")(shown)
    (kept,) = tmp_path.glob("exported/*/model.pdiparams")
    (backends.program_of(kept.with_suffix("")) if lost == "program" else kept).unlink()
    np.testing.assert_array_equal(backends.network(WEIGHTS, "inference")(shown), expected)


def test_the_exact_backend_is_onnx_where_the_network_lies_exported():
    weights = runtime.ROOT / "data" / "weights"
    assert backends.exact_backend(weights / "celebfaces-distilled.npz") == "onnx"
    assert backends.exact_backend(weights / "celebfaces-distilled.onnx") == "onnx"
    assert backends.exact_backend(weights / "celebfaces-resnet18.npz") == "inference"
