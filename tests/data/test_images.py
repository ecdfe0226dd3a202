"""Each way in which an image file can differ from an 8-bit RGB one has one right result or reason."""

import functools
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import GifImagePlugin, Image, JpegImagePlugin

from facelib.data import images

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def png(width: int, height: int, depth: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG file from its definition, for what Pillow does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def quadrants(width: int, height: int) -> np.ndarray:
    """Red and green above, blue and white below: (height, width, 3)."""
    picture = np.empty((height, width, 3), np.uint8)
    above, left = height // 2, width // 2
    picture[:above, :left], picture[:above, left:] = RED, GREEN
    picture[above:, :left], picture[above:, left:] = BLUE, WHITE
    return picture


@functools.cache
def photo(width: int, height: int) -> Image.Image:
    """Smooth as a photograph, with detail at several scales."""
    x, y = np.linspace(0, 1, width, dtype=np.float32), np.linspace(0, 1, height, dtype=np.float32)[:, None]
    waves = [np.sin(2 * np.pi * (k * x + (5 - k) * y)) / (k + 1) for k in range(4)]
    channels = [128 + 55 * (waves[c] + waves[c + 1]) for c in range(3)]
    return Image.fromarray(np.stack(channels, axis=2).clip(0, 255).astype(np.uint8))


def near(pixels: np.ndarray, colour, tolerance: int = 4) -> bool:
    return bool((abs(pixels.astype(int) - colour) <= tolerance).all())


def test_an_image_of_the_right_size_is_unchanged(encode):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    decoded = images.decode(encode(Image.fromarray(pixels)), 64)
    assert np.array_equal(decoded.pixels, pixels)
    assert (decoded.width, decoded.height) == (64, 64)


def test_the_paper_opens_then_resizes(encode):
    image = photo(250, 180)
    decoded = images.decode(encode(image), 64)
    assert np.array_equal(decoded.pixels, np.asarray(image.resize((64, 64))))
    assert decoded.pixels.dtype == np.uint8
    assert (decoded.width, decoded.height) == (250, 180)


def test_crop_comes_before_resizing(encode):
    image = photo(250, 250)
    crop = (62 / 250, 66 / 250, 190 / 250, 194 / 250)
    expected = np.asarray(image.crop((62, 66, 190, 194)).resize((64, 64)))
    assert abs(images.decode(encode(image), 64, crop).pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    "quarter, colour",
    [((0, 0), RED), ((0.5, 0), GREEN), ((0, 0.5), BLUE), ((0.5, 0.5), WHITE)],
)
def test_crop_is_left_top_right_bottom(encode, quarter, colour):
    left, top = quarter
    data = encode(Image.fromarray(quadrants(40, 20)))
    pixels = images.decode(data, 8, (left, top, left + 0.5, top + 0.5)).pixels
    assert near(pixels[2:-2, 2:-2], colour, 0)  # at the rim the filter sees the neighbours too


def test_grey_becomes_three_equal_channels(encode):
    grey = np.arange(64, dtype=np.uint8)[None].repeat(64, 0)
    pixels = images.decode(encode(Image.fromarray(grey)), 64).pixels
    assert np.array_equal(pixels, np.stack([grey] * 3, axis=2))


def test_black_and_white_bits(encode):
    assert near(images.decode(encode(Image.new("1", (9, 9), 1)), 4).pixels, WHITE, 0)


def test_palette(encode):
    palette = Image.new("P", (8, 8), 7)
    palette.putpalette(bytes(21) + bytes([200, 100, 50]) + bytes(768 - 24))
    assert near(images.decode(encode(palette), 4).pixels, (200, 100, 50), 0)
    assert near(images.decode(encode(palette, "GIF"), 4).pixels, (200, 100, 50), 0)


@pytest.mark.parametrize("transparency, expected", [(7, WHITE), (bytes([255] * 7 + [51]), (244, 224, 214))])
def test_palette_with_transparency_lies_on_white(encode, transparency, expected):
    palette = Image.new("P", (8, 8), 7)
    palette.putpalette(bytes(21) + bytes([200, 100, 50]) + bytes(768 - 24))
    # Alpha 51 is a fifth: 255 - (255 - c) / 5.
    assert near(images.decode(encode(palette, transparency=transparency), 4).pixels, expected, 1)


@pytest.mark.parametrize(
    "mode, colour, expected",
    [
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), WHITE),
        ("LA", (100, 255), (100, 100, 100)),
    ],
)
def test_alpha_lies_on_white(encode, mode, colour, expected):
    assert near(images.decode(encode(Image.new(mode, (8, 8), colour)), 4).pixels, expected, 1)


@pytest.mark.parametrize("mode, colour, transparent", [("L", 9, 9), ("RGB", (9, 8, 7), (9, 8, 7))])
def test_a_transparent_colour_lies_on_white(encode, mode, colour, transparent):
    data = encode(Image.new(mode, (8, 8), colour), transparency=transparent)
    assert near(images.decode(data, 4).pixels, WHITE, 0)


@pytest.mark.parametrize(
    "ink, colour",
    [((0, 255, 255, 0), RED), ((255, 255, 0, 0), BLUE), ((0, 0, 0, 0), WHITE), ((9, 9, 9, 255), (0,) * 3)],
)
@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(encode, format, ink, colour):
    assert near(images.decode(encode(Image.new("CMYK", (16, 16), ink), format), 4).pixels, colour)


@pytest.mark.parametrize("value, expected", [(0, 0), (255, 0), (256, 1), (32768, 128), (65535, 255)])
def test_sixteen_bits_are_scaled(encode, value, expected):
    high, low = divmod(value, 256)
    grey = Image.fromarray(np.full((5, 5), value, np.uint16))
    row = bytes([0]) + bytes([high, low]) * 3 * 5
    files = {
        "grey PNG": encode(grey),
        "grey TIFF": encode(grey, "TIFF"),
        "big-endian TIFF": encode(Image.frombytes("I;16B", (5, 5), bytes([high, low]) * 25), "TIFF"),
        "PGM": b"P5 5 5 65535\n" + bytes([high, low]) * 25,
        "RGB PNG": png(5, 5, 16, 2, row * 5),
    }
    for kind, data in files.items():
        assert near(images.decode(data, 4).pixels, (expected,) * 3, 0), kind


@pytest.mark.parametrize("value, kind", [(70000, np.int32), (-1, np.int32), (0.5, np.float32)])
def test_pixels_without_a_defined_range_are_refused(encode, value, kind):
    with pytest.raises(images.Unreadable, match="no defined range"):
        images.decode(encode(Image.fromarray(np.full((5, 5), value, kind)), "TIFF"), 4)


STORED = {  # EXIF: where the first row and the first column of the file lie in the scene
    1: lambda scene: scene,  # top, left
    2: lambda scene: scene[:, ::-1],  # top, right
    3: lambda scene: scene[::-1, ::-1],  # bottom, right
    4: lambda scene: scene[::-1],  # bottom, left
    5: lambda scene: scene.swapaxes(0, 1),  # left, top
    6: lambda scene: scene[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda scene: scene[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda scene: scene[::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("width, height", [(60, 40), (600, 400)], ids=["small", "draft"])
def test_exif_rotation(encode, orientation, width, height):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](quadrants(width, height))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(stored, "JPEG", quality=95, subsampling=0, exif=exif)
    pixels = images.decode(data, 8).pixels
    for corner, colour in (((0, 0), RED), ((0, -1), GREEN), ((-1, 0), BLUE), ((-1, -1), WHITE)):
        assert near(pixels[corner], colour, 12)
    # The crop counts on the upright photo.
    for box, colour in (((0.55, 0.05, 0.95, 0.45), GREEN), ((0.05, 0.55, 0.45, 0.95), BLUE)):
        assert near(images.decode(data, 8, box).pixels, colour, 8)


@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF header", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_damaged_exif_does_not_cost_the_image(encode, exif):
    with images.quiet_about_size():
        assert near(images.decode(encode(Image.new("RGB", (16, 16), RED), "JPEG", exif=exif), 4).pixels, RED)


@pytest.mark.parametrize(
    "mode, crop",
    [("RGB", None), ("RGB", (0.25, 0.25, 0.75, 0.75)), ("RGB", (0.1, 0.2, 0.6, 0.9)), ("L", None), ("CMYK", None)],
)
def test_large_jpegs_are_shrunk_while_decoding(encode, monkeypatch, mode, crop):
    data = encode(photo(1024, 768).convert(mode), "JPEG", quality=95)
    pixels = images.decode(data, 32, crop).pixels
    monkeypatch.setattr(images, "_decode_plain", lambda *arguments: None)
    drafted, draft = [], JpegImagePlugin.JpegImageFile.draft

    def spy(self, *arguments):
        result = draft(self, *arguments)
        drafted.append(self.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", spy)
    assert np.array_equal(images.decode(data, 32, crop).pixels, pixels), "with and without Pillow's file objects"
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *arguments: None)
    whole = images.decode(data, 32, crop).pixels

    (width, height), (left, top, right, bottom) = drafted[0], crop or (0, 0, 1, 1)
    assert width < 1024 and height < 768
    assert width * (right - left) >= 1.5 * 32 and height * (bottom - top) >= 1.5 * 32, "enough left for the resize"
    difference = abs(pixels.astype(int) - whole)
    assert difference.mean() < 0.7 and difference.max() <= 6


@pytest.mark.parametrize(
    "side, shrunk", [(64, 1), (112, 1), (191, 1), (192, 2), (250, 2), (383, 2), (384, 4), (768, 8)]
)
def test_a_jpeg_is_shrunk_where_one_and_a_half_times_the_resolution_is_left(encode, monkeypatch, side, shrunk):
    data = encode(photo(side, side + 7), "JPEG", quality=95)
    asked, frombytes = [], Image.frombytes
    monkeypatch.setattr(Image, "frombytes", lambda *a: asked.append(a[1]) or frombytes(*a))
    images.decode(data, 64)
    assert asked == [(-(-side // shrunk), -(-(side + 7) // shrunk))]


class TestPlainJpegs:
    """They are decoded without Pillow's file objects, to the same pixels."""

    @pytest.fixture
    def taken(self, monkeypatch):
        """Whether a file was decoded so, and to what; it must not differ from what the general way gives."""

        def taken(data, size=64, crop=None):
            plain = images._decode_plain(data, size, crop)
            if plain is None:
                return None
            general = images._decode_any(data, size, crop)
            assert np.array_equal(plain.pixels, general.pixels) and plain[1:] == general[1:]
            return plain

        return taken

    @pytest.mark.parametrize("mode", ["RGB", "L"])
    @pytest.mark.parametrize(
        "width, height", [(1, 1), (7, 300), (64, 64), (65, 63), (112, 112), (250, 250), (1023, 767)]
    )
    @pytest.mark.parametrize("crop", [None, (0.25, 0.2, 0.75, 0.9)])
    def test_every_size(self, encode, taken, mode, width, height, crop):
        assert taken(encode(photo(width, height).convert(mode), "JPEG"), crop=crop)

    @pytest.mark.parametrize(
        "options",
        [{"progressive": True}, {"optimize": True}, {"subsampling": 0}, {"subsampling": 1}, {"keep_rgb": True},
         {"restart_marker_rows": 2}, {"comment": b"made by a test"}, {"quality": 100}, {"dpi": (72, 72)}],
        ids=str,
    )  # fmt: skip
    def test_every_way_of_writing(self, encode, taken, options):
        assert taken(encode(photo(250, 180), "JPEG", **options)) or options == {"keep_rgb": True}

    def test_other_files_are_left_to_the_general_way(self, encode, taken):
        turned = Image.Exif()
        turned[0x0112] = 6
        image = photo(250, 180)
        assert taken(encode(image, "JPEG", exif=turned)) is None
        assert taken(encode(image, "JPEG", icc_profile=b"any")) is None
        assert taken(encode(image.convert("CMYK"), "JPEG")) is None
        for format in ("PNG", "BMP", "WEBP", "GIF"):
            assert taken(encode(image, format)) is None

    def test_damaged_ones_are_left_to_the_general_way(self, encode):
        data = encode(photo(250, 180), "JPEG")
        for length in (*range(700), len(data) // 2, len(data) - 50):
            assert images._decode_plain(data[:length], 64, None) is None
        assert images._decode_plain(data[:2] + data[20:], 64, None)  # without JFIF it is whole

    @pytest.mark.parametrize("seed", range(20))
    def test_damage_in_the_header_never_gives_other_pixels(self, encode, seed):
        rng, whole = np.random.default_rng(seed), encode(photo(80, 60), "JPEG")
        for _ in range(50):
            data = bytearray(whole)
            data[rng.integers(2, 640)] = rng.integers(256)
            plain = images._decode_plain(bytes(data), 64, None)
            if plain is not None:
                assert np.array_equal(plain.pixels, images._decode_any(bytes(data), 64, None).pixels)

    def test_a_bomb_is_left_to_the_general_way(self, encode, monkeypatch):
        data = bytearray(encode(photo(64, 64), "JPEG"))
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = b"\xff" * 4  # 65535 x 65535
        monkeypatch.setattr(Image, "frombytes", lambda *arguments: pytest.fail("decoded"))
        with images.quiet_about_size(), pytest.raises(images.Unreadable, match="limit"):
            images.decode(bytes(data), 64)


def test_width_and_height_are_those_of_the_file(encode):
    decoded = images.decode(encode(photo(1024, 768), "JPEG"), 16)
    assert (decoded.width, decoded.height) == (1024, 768)


def test_of_an_animation_the_first_frame_counts(encode):
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, GREEN, BLUE)]
    for format in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encode(frames[0], format, save_all=True, append_images=frames[1:])
        assert near(images.decode(data, 4).pixels, RED, 6), format


def test_one_pixel(encode):
    assert near(images.decode(encode(Image.new("RGB", (1, 1), BLUE)), 4).pixels, BLUE, 0)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "empty file"),
        (b"a text, whatever its name", "not an image that Pillow can read"),
        (b"<html>404</html>" * 100, "not an image that Pillow can read"),
        (b"\0\0\0 ftypavif" + bytes(99), "^an AVIF photo, which is not read here: convert it to JPEG$"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "^a JPEG 2000 photo, which is not read here"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "^a JPEG XL photo, which is not read here"),
        (b"\xff\xd8\xff\xe0", "truncated|not an image|damaged"),
        (b"\x89PNG\r\n\x1a\n", "truncated|not an image|damaged"),
    ],
)
def test_what_is_no_image_is_refused_with_the_reason(data, reason):
    with pytest.raises(images.Unreadable, match=reason):
        images.decode(data, 64)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM"])
def test_truncated_files_are_refused(encode, format, share):
    data = encode(photo(300, 300), format)
    with pytest.raises(images.Unreadable, match="truncated|damaged"):
        images.decode(data[: int(share * len(data))], 64)


def test_truncated_progressive_jpeg_is_refused(encode):
    data = encode(photo(900, 900), "JPEG", progressive=True)
    with pytest.raises(images.Unreadable, match="truncated"):
        images.decode(data[: len(data) // 2], 64)


@pytest.mark.parametrize("width, height", [(60_000, 60_000), (11_000, 10_000), (100_000_000, 2)])
def test_decompression_bombs_are_refused_before_they_are_decoded(monkeypatch, width, height):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    bomb = png(width, height, 8, 2, b"\0" * 1000)
    assert len(bomb) < 200
    with images.quiet_about_size(), pytest.raises(images.Unreadable, match="limit of 100,000,000"):
        images.decode(bomb, 64)


def test_a_gif_bomb_is_refused(encode, monkeypatch):
    data = encode(Image.new("P", (1, 1)), "GIF")
    bomb = data[:6] + struct.pack("<HH", 65535, 65535) + data[10:]  # the size of the canvas
    monkeypatch.setattr(GifImagePlugin.GifImageFile, "load", lambda self: pytest.fail("decoded"))
    with images.quiet_about_size(), pytest.raises(images.Unreadable, match="limit"):
        images.decode(bomb, 64)


def test_pillow_is_quiet_about_large_images():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with images.quiet_about_size(), pytest.raises(images.Unreadable):
            images.decode(png(9_800, 9_800, 8, 2, b"\0" * 100), 64)
    assert not said


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("size", "expected"), [((300, 200), (200, 300)), ((1000, 500), (200, 400)), ((9, 900), (400, 4))]
)
def test_a_whole_photo_keeps_its_shape_and_is_at_most_so_long(encode, format, size, expected):
    pixels = images.decode_whole(encode(Image.new("RGB", size, (200, 100, 50)), format), 400)
    assert pixels.shape == (*expected, 3) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels.reshape(-1, 3).mean(0), (200, 100, 50), atol=3)


def test_a_whole_photo_is_turned_upright(encode):
    picture = np.zeros((40, 60, 3), np.uint8)
    picture[:10] = 255
    exif = Image.Exif()
    exif[0x0112] = 8  # turn by 90 degrees anticlockwise to show it
    pixels = images.decode_whole(encode(Image.fromarray(np.rot90(picture, -1).copy()), exif=exif), 400)
    np.testing.assert_array_equal(pixels, picture)


def test_what_cannot_be_decoded_whole_says_why(encode):
    whole = encode(Image.effect_noise((90, 90), 50).convert("RGB"), "JPEG")
    for data, why in ((b"", "empty"), (b"text", "not an image"), (whole[: len(whole) // 2], "truncated|damaged")):
        with pytest.raises(images.Unreadable, match=why):
            images.decode_whole(data, 400)
