"""What the interface says, and the interface itself in JupyterLab in a real browser."""

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest

from facelib import runtime
from facelib.data import rendered
from facelib.data.detection import Face
from facelib.inference import decision, interface
from facelib.inference.recognition import Seen
from tests.inference.test_decision import CARD

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def face(person, shot):
    return np.array(rendered.render_face(person, shot, size=256))


@pytest.fixture(scope="module")
def photos():
    """Files of two rendered people, a picture of both, and something else."""
    return {
        "ann.png": interface.png(face(104, 0)),
        "bob.png": interface.png(face(115, 0)),
        "both.png": interface.png(np.hstack([face(104, 1), face(115, 1)])),
        "text.jpg": b"not a photo",
    }


def test_enrolling_and_recognising(photos, tmp_path):
    path = tmp_path / "people.npz"
    assert interface.recognised(path, photos["both.png"])[0].splitlines() == ["the gallery is empty"] * 2
    said = interface.enrolled(path, " Ann ", [(name, photos[name]) for name in ("ann.png", "text.jpg", "both.png")])
    first, *others = said.splitlines()
    assert first == "Ann has 1 photo(s) in the gallery, which has 1 people"
    assert others[0] == "left out text.jpg: not an image that Pillow can read"
    assert others[1].startswith("left out both.png: 2 faces found")
    interface.enrolled(path, "Bob", [("bob.png", photos["bob.png"])])
    answer, picture = interface.recognised(path, photos["both.png"])
    assert {line.split(",")[0] for line in answer.splitlines()} == {"Ann", "Bob"} and picture.shape[2] == 3


@pytest.mark.parametrize(("name", "file"), [("", "ann.png"), ("Ann", "text.jpg")])
def test_what_cannot_be_enrolled_is_said(photos, tmp_path, name, file):
    assert interface.enrolled(tmp_path / "g.npz", name, [(file, photos[file])])
    assert not (tmp_path / "g.npz").exists()


def test_what_is_no_picture_is_said(photos, tmp_path):
    assert interface.recognised(tmp_path / "g.npz", photos["text.jpg"]) == ("not an image that Pillow can read", None)


def test_another_network_s_gallery_is_said(photos, tmp_path):
    interface.enrolled(tmp_path / "g.npz", "Ann", [("ann.png", photos["ann.png"])])
    answer, picture = interface.recognised(tmp_path / "g.npz", photos["both.png"], "celebfaces-cosface")
    assert "was made with the network" in answer and picture is None


def test_words_and_boxes():
    box = Face(np.array([10.0, 20.0, 60.0, 80.0]), np.zeros((5, 2)), 0.9)
    near, far = decision.decide(CARD, 0.5), decision.decide(CARD, 0.7)
    known, unknown, small = Seen(box, "Ann", "Ann", near), Seen(box, None, "Ann", far), Seen(box, reason="too small")
    assert interface.label(known) == f"Ann {near.probability:.1%}" and interface.label(unknown) == "?"
    assert interface.sentence(unknown) == "nobody who is enrolled; nearest is Ann (distance 0.700, threshold 0.600)"
    assert interface.sentence(small) == "too small"
    photo = np.full((100, 100, 3), 128, np.uint8)
    picture = interface.drawn(photo, [known])
    times = len(picture) // 100
    assert times == 10 and tuple(picture[50 * times, 10 * times]) == (0, 150, 60)  # the left edge
    assert (photo == 128).all() and len(interface.drawn(np.zeros((2000, 30, 3), np.uint8), [])) == 2000


@pytest.mark.browser
def test_two_photos_are_uploaded_and_answered_in_a_browser(photos, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("ipywidgets")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    code = "from facelib.inference import interface\ninterface.panel()"
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else it is asked for
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)], metadata=kernel)
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "panel.ipynb")
    for name, content in photos.items():
        (tmp_path / name).write_bytes(content)
    with _lab(tmp_path) as address, playwright.sync_playwright() as playing:
        browser = playing.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.goto(address, timeout=60_000)
        cell = page.locator(".jp-NotebookPanel .jp-CodeCell").first
        for attempt in range(6):  # a cell is dropped, or its widget, that comes before all is loaded
            if attempt == 3:
                page.reload(timeout=60_000)
            page.wait_for_selector(".jp-Notebook-ExecutionIndicator[data-status=idle]", timeout=90_000)
            if "*" not in cell.locator(".jp-InputArea-prompt").inner_text():
                cell.locator(".jp-InputArea-editor").click()
                page.keyboard.press("Control+Enter")
            with contextlib.suppress(playwright.TimeoutError):
                page.wait_for_selector("pre[data-status=idle]", timeout=20_000)
                break
        else:
            pytest.fail(f"the cell shows no interface: {cell.inner_text()}")
        page.get_by_placeholder("name of the person").fill("Ann")
        page.keyboard.press("Tab")
        for button, name, expected in (
            ("Enrol photos", "ann.png", "Ann has 1 photo"),
            ("Who is this?", "both.png", "Ann,"),
        ):
            with page.expect_file_chooser() as chooser:
                page.get_by_role("button", name=button).click()
            chooser.value.set_files(tmp_path / name)
            page.wait_for_selector(f"pre[data-status=idle]:has-text('{expected}')", timeout=90_000)
        answer = page.locator("pre[data-status=idle]").inner_text()
        page.wait_for_function("[...document.images].some(each => each.naturalWidth > 500)")
        if target := os.environ.get("FACELIB_SCREENSHOT"):
            mark = "box => box.insertAdjacentHTML('beforeend', '<b style=\"color: #b3261e\">DEMO: rendered faces</b>')"
            box = page.locator(".jp-OutputArea-output .widget-vbox").first
            box.evaluate(mark)
            box.screenshot(path=target)
        browser.close()
    assert len(answer.splitlines()) == 2 and sum("Ann, probability" in line for line in answer.splitlines()) >= 1


class _lab:
    """JupyterLab on a free port, with settings of its own; the address of the notebook."""

    def __init__(self, home: Path):
        self.home = home

    def __enter__(self) -> str:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        token = secrets.token_hex(8)
        folders = {
            name: str(self.home / name)
            for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
                         "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR", "HOME")
        }  # fmt: skip
        options = [f"--ServerApp.port={port}", f"--IdentityProvider.token={token}", "--ServerApp.allow_root=True"]
        options += [f"--ServerApp.root_dir={self.home / 'work'}", "--no-browser", "--ServerApp.port_retries=0"]
        command = [sys.executable, "-m", "jupyterlab", *options]
        paths = os.pathsep.join(filter(None, (str(runtime.ROOT), os.environ.get("PYTHONPATH"))))
        self.log = open(self.home / "lab.log", "wb")
        environment = os.environ | folders | {"PYTHONPATH": paths}
        self.server = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, env=environment)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return f"http://127.0.0.1:{port}/lab/tree/panel.ipynb?token={token}"
            assert self.server.poll() is None, (self.home / "lab.log").read_text()
            time.sleep(0.1)
        raise AssertionError((self.home / "lab.log").read_text())

    def __exit__(self, *_):
        self.server.terminate()
        self.server.wait(30)
        self.log.close()
