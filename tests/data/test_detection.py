import tarfile
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from facelib import runtime
from facelib.data import detection, framing, images, rendered
from facelib.data.detection import FaceError


@pytest.fixture(scope="module")
def portrait():
    """A rendered person, whom the detector takes for one."""
    return np.array(rendered.render_face(104, 0, size=256))


def _turn(photo, degrees, scale=1.0):
    """The photo turned about its middle, and what moves its points so."""
    height, width = photo.shape[:2]
    move = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, scale)
    return cv2.warpAffine(photo, move, (width, height), borderMode=cv2.BORDER_REPLICATE), move


def test_the_largest_face_is_the_one_of_the_largest_area(monkeypatch):
    boxes = [[0, 0, 75, 146], [100, 0, 202, 128], [300, 0, 399, 124]]  # a half face at an edge is narrow and high
    faces = [detection.Face(np.array(box, float), np.zeros((5, 2)), 0.9) for box in boxes]
    monkeypatch.setattr(detection, "look", lambda *_: faces)
    assert [face.box[0] for face in detection.find(np.zeros((10, 10, 3), np.uint8))] == [100, 300, 0]


def test_a_face_has_a_box_and_landmarks_within_it(portrait):
    (face,) = detection.find(portrait)
    left, top, right, bottom = face.box
    assert 0.7 <= face.score <= 1
    assert ((face.landmarks > [left, top]) & (face.landmarks < [right, bottom])).all()
    (left_eye, right_eye, nose, left_mouth, right_mouth) = detection.refine(portrait, face).landmarks
    assert left_eye[0] < nose[0] < right_eye[0] and left_mouth[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])


@pytest.mark.parametrize(("degrees", "scale"), [(10, 0.8), (-30, 0.7), (60, 0.7), (90, 0.7), (180, 0.7), (-120, 0.6)])
def test_landmarks_follow_a_turned_and_smaller_face(portrait, degrees, scale):
    turned, move = _turn(portrait, degrees, scale)
    before = detection.choose(portrait, detection.find(portrait)).landmarks
    after = detection.choose(turned, detection.find(turned)).landmarks
    eyes = np.linalg.norm(before[1] - before[0]) * scale
    assert np.linalg.norm(after - framing.moved(before, move), axis=1).mean() < 0.1 * eyes


@pytest.mark.parametrize(("degrees", "scale"), [(8, 0.8), (-25, 0.6), (180, 0.7)])
def test_an_aligned_face_looks_the_same_however_it_was_photographed(portrait, degrees, scale):
    turned, _ = _turn(portrait, degrees, scale)
    one, other = (detection.align(photo).astype(float) for photo in (portrait, turned))
    assert one.shape == (64, 64, 3)
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_mirror_images_are_framed_alike(portrait):
    one, other = detection.align(portrait), detection.align(np.ascontiguousarray(portrait[:, ::-1]))
    assert np.corrcoef(one[:, ::-1].ravel(), other.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("side", [700, 3000])
def test_a_face_in_a_much_larger_photo_is_found(portrait, side):
    photo = np.full((side, side, 3), 128, np.uint8)
    photo[side // 2 : side // 2 + 256, 100:356] = portrait
    place = detection.choose(photo, detection.find(photo)).landmarks - [100, side // 2]
    alone = detection.choose(portrait, detection.find(portrait)).landmarks
    assert np.linalg.norm(place - alone, axis=1).mean() < 4


def test_a_camera_s_rotation_mark_is_obeyed(portrait, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show it
    Image.fromarray(np.rot90(portrait).copy()).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(detection.read_photo(tmp_path / "turned.png"), portrait)


def test_photos_come_by_path_bytes_or_array(portrait, tmp_path):
    path = tmp_path / "é 照片.png"
    Image.fromarray(portrait).save(path)
    for source in (path, str(path), path.read_bytes(), portrait):
        np.testing.assert_array_equal(detection.read_photo(source), portrait)


def test_a_large_photo_is_read_smaller(tmp_path):
    Image.new("RGB", (5000, 2500)).save(tmp_path / "large.jpg")
    assert detection.read_photo(tmp_path / "large.jpg").shape == (1024, 2048, 3)


def test_what_is_no_photo_is_refused(tmp_path):
    (tmp_path / "notes.jpg").write_text("no image")
    with pytest.raises(images.Unreadable, match="not an image"):
        detection.read_photo(tmp_path / "notes.jpg")
    with pytest.raises(FileNotFoundError, match="no photo at"):
        detection.read_photo(tmp_path / "absent.jpg")
    with pytest.raises(images.Unreadable):
        detection.read_photo(tmp_path)  # a folder
    with pytest.raises(ValueError, match=r"shape \(H, W, 3\)"):
        detection.read_photo(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 500, 3), (300, 200, 3)])
def test_no_face_is_said(shape):
    with pytest.raises(FaceError, match="no face found"):
        detection.align(np.full(shape, 90, np.uint8))


@pytest.mark.parametrize("shape", [(1, 700, 3), (4, 3000, 3), (3000, 4, 3), (20, 20000, 3), (2, 2000, 3)])
def test_strips_of_any_length_show_no_face(shape):
    with pytest.raises(FaceError, match="no face found"):
        detection.align(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def test_several_faces_are_refused_with_their_number_unless_one_is_asked_for(portrait):
    small = cv2.resize(portrait, (180, 180), interpolation=cv2.INTER_AREA)
    pair = np.full((256, 600, 3), 128, np.uint8)
    pair[:, :256], pair[:180, 420:] = portrait, small
    with pytest.raises(FaceError, match="2 faces found"):
        detection.align(pair)
    found = detection.find(pair)
    assert detection.choose(pair, found, "largest").landmarks[:, 0].max() < 256
    assert detection.choose(pair[:, 200:], detection.find(pair[:, 200:]), "largest").landmarks[:, 0].min() > 200
    with pytest.raises(ValueError, match="only, largest, central"):
        detection.choose(pair, found, "first")


def test_the_central_face_may_be_the_smaller_one(portrait):
    photo = np.full((300, 900, 3), 128, np.uint8)
    photo[:256, :256] = portrait
    photo[60:240, 360:540] = cv2.resize(portrait, (180, 180), interpolation=cv2.INTER_AREA)
    landmarks = detection.choose(photo, detection.find(photo), "central").landmarks
    assert (landmarks[:, 0] > 360).all() and (landmarks[:, 0] < 540).all()


def test_a_bystander_much_smaller_than_the_face_does_not_matter(portrait):
    photo = np.full((256, 400, 3), 128, np.uint8)
    photo[:, :256] = portrait
    photo[:90, 300:390] = cv2.resize(portrait, (90, 90), interpolation=cv2.INTER_AREA)
    assert len(detection.find(photo)) == 2
    assert (detection.choose(photo, detection.find(photo)).landmarks[:, 0] < 256).all()


def test_a_tiny_face_is_refused_with_its_size(portrait):
    photo = np.full((60, 80, 3), 128, np.uint8)
    photo[10:50, 20:60] = cv2.resize(portrait, (40, 40), interpolation=cv2.INTER_AREA)
    with pytest.raises(FaceError, match=r"\d\d pixels across, at least 32"):
        detection.align(photo)


def test_a_face_that_the_edge_cuts_off_is_refused(portrait):
    face = detection.choose(portrait, detection.find(portrait))
    cut = portrait[:, int(face.landmarks[0, 0]) + 6 :]  # without the left eye
    with pytest.raises(FaceError, match="cut off|no face"):
        detection.align(np.ascontiguousarray(cut))


def test_threads_find_what_one_finds(portrait):
    photos = [portrait[:, : 256 - 4 * k] for k in range(8)] * 3
    alone = [detection.align(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(detection.align, photos))
    np.testing.assert_array_equal(together, alone)


def test_a_damaged_detector_is_named(tmp_path, monkeypatch, portrait):
    (tmp_path / "yunet.onnx").write_bytes(detection.DETECTOR.read_bytes()[:-1])
    monkeypatch.setattr(detection, "DETECTOR", tmp_path / "yunet.onnx")
    monkeypatch.setattr(detection, "_own", type(detection._own)())
    with pytest.raises(ValueError, match=r"yunet.onnx' is damaged"):
        detection.find(portrait)


def test_drawn_boxes_leave_the_photo_alone(portrait):
    before = portrait.copy()
    picture = detection.drawn(portrait, detection.find(portrait))
    assert picture.shape == portrait.shape and (picture != portrait).any()
    np.testing.assert_array_equal(portrait, before)


def _data(name):
    path = runtime.data_dir() / name
    if not path.exists():
        pytest.skip(f"needs {name} under FACELIB_DATA")
    return path


def test_the_frame_is_where_training_photos_have_their_landmarks():
    places = []
    with tarfile.open(_data("celebfaces.tar")) as tar:
        for number, member in enumerate(filter(tarfile.TarInfo.isfile, tar)):
            if number % 80:
                continue
            photo = images.decode_whole(tar.extractfile(member).read(), 200)
            photo = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_CUBIC)
            photo = cv2.copyMakeBorder(photo, *[80] * 4, cv2.BORDER_CONSTANT, value=(127,) * 3)
            if faces := detection.find(photo):
                places.append((detection.refine(photo, faces[0]).landmarks + 0.5 - 80) / 160)
    mean = np.mean(places, axis=0)
    mirrored = mean[[1, 0, 2, 4, 3]] * [-1, 1] + [1, 0]
    np.testing.assert_allclose((mean + mirrored) / 2, framing.FRAME, atol=0.01)
