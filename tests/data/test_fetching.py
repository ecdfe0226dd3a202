"""Downloads go on where they broke off, are checked, and say what to do by hand."""

import hashlib
import http.server
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from facelib.data import fetching
from facelib.data.archives import DatasetError
from facelib.data.fetching import Remote, fetch

K = fetching.BLOCK
BODY = np.random.default_rng(0).bytes(18 * K)


@pytest.fixture
def remote(server):
    server.files["/faces"] = BODY
    return Remote("faces.tgz", f"{server.address}/faces", hashlib.sha256(BODY).hexdigest())


def left(cache) -> list[str]:
    folder = cache / "downloads"
    return sorted(path.name for path in folder.glob("*") if path.suffix != ".lock") if folder.exists() else []


def test_a_file_is_fetched_once(remote, server, cache):
    assert fetch(remote, False) == fetch(remote, False) == cache / "downloads" / "faces.tgz"
    assert fetch(remote, False).read_bytes() == BODY
    assert server.asked == ["/faces"] and left(cache) == ["faces.tgz"]


def test_progress_goes_to_stdout_and_quiet_is_quiet(remote, capfd):
    fetch(remote, False)
    assert capfd.readouterr() == ("", "")
    fetch(remote._replace(name="again.tgz"), True)
    out, err = capfd.readouterr()
    assert "fetching again.tgz" in out and err == ""


def test_what_broke_off_goes_on_within_one_call(remote, server):
    server.breaks = [6 * K + 5, 3 * K]
    assert fetch(remote, False).read_bytes() == BODY
    assert server.asked == ["/faces", f"/faces from {6 * K}", f"/faces from {9 * K}"]


def test_any_number_of_breaks_is_borne_while_something_arrives(remote, server):
    server.breaks = [2 * K] * 8
    assert fetch(remote, False).read_bytes() == BODY
    assert len(server.asked) == 9 > fetching.TRIES


def test_the_next_call_goes_on_with_the_partial_file(remote, server, cache):
    server.breaks = [7 * K, 0, 0, 0]
    with pytest.raises(DatasetError, match=f"it goes on after the {7 * K:,} bytes that are there"):
        fetch(remote, False)
    assert left(cache) == ["faces.tgz.part"]
    server.asked.clear()
    assert fetch(remote, False).read_bytes() == BODY
    assert server.asked == [f"/faces from {7 * K}"] and left(cache) == ["faces.tgz"]


def test_a_server_that_cannot_send_a_rest_starts_anew(remote, server):
    server.ranges, server.breaks = False, [6 * K]
    assert fetch(remote, False).read_bytes() == BODY
    assert server.asked == ["/faces", "/faces"]


@pytest.mark.parametrize("there", [BODY, BODY[:-1] + b"x", BODY + b"more", b"of another file"])
def test_a_partial_file_that_is_whole_or_wrong(remote, server, cache, there):
    (cache / "downloads").mkdir()
    (cache / "downloads" / "faces.tgz.part").write_bytes(there)
    assert fetch(remote, False).read_bytes() == BODY
    assert left(cache) == ["faces.tgz"]
    assert server.asked[-1] == (f"/faces from {18 * K}" if there == BODY else "/faces")


def test_a_damaged_copy_is_fetched_again(remote, server, cache):
    (cache / "downloads").mkdir()
    (cache / "downloads" / "faces.tgz").write_bytes(b"half")
    assert fetch(remote, False).read_bytes() == BODY and server.asked == ["/faces"]


def test_another_file_than_expected_is_not_kept(remote, server, cache, data):
    server.files["/faces"] = b"<html>please log in</html>"
    with pytest.raises(DatasetError) as error:
        fetch(remote, False)
    found = hashlib.sha256(server.files["/faces"]).hexdigest()
    for part in ("'faces.tgz' could not be fetched", f"another sha256: {found}", f"download {remote.url} by hand"):
        assert part in str(error.value)
    assert remote.sha256 in str(error.value) and f"'{data}' or '{cache / 'downloads'}'" in str(error.value)
    assert "goes on" not in str(error.value) and "\n" not in str(error.value)
    assert server.asked == ["/faces"] and left(cache) == []


def test_a_file_that_is_not_there_is_asked_for_once(remote, server, cache):
    server.files.clear()
    with pytest.raises(DatasetError, match="404"):
        fetch(remote, False)
    assert server.asked == ["/faces"] and left(cache) == []


def test_an_answer_shorter_than_it_promises(remote, server, cache):
    server.withheld = 1000
    assert fetch(remote, False).read_bytes() == BODY  # the rest that is asked for does not exist
    server.ranges = False
    with pytest.raises(DatasetError, match=r"'again' could not be fetched \(.*Run again, it goes on after"):
        fetch(remote._replace(name="again"), False)
    assert left(cache) == ["again.part", "faces.tgz"]


def test_no_server(cache, data, monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE", 0)
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as gone:
        address = f"http://127.0.0.1:{gone.server_port}/lfw"
    told = "'lfw.tgz' could not be fetched .no connection to 127.0.0.1:[0-9]+: .*refused.. Run again; or download"
    with pytest.raises(DatasetError, match=told):
        fetch(Remote("lfw.tgz", address, "0" * 64), False)
    assert left(cache) == []


def test_an_error_without_a_text(remote, monkeypatch):
    def fail(*arguments, **options):
        raise TimeoutError

    monkeypatch.setattr("requests.get", fail)
    with pytest.raises(DatasetError, match=r"\(TimeoutError\)"):
        fetch(remote, False)


def test_who_wants_the_same_file_waits_for_one_download(remote, server):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: fetch(remote, False), range(8)))
    assert {path.read_bytes() for path in paths} == {BODY} and server.asked == ["/faces"]
