import csv
import hashlib
import itertools
import re
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from artifacts import jpeg, pixels
from artifacts.errors import BadPicture, NotAnImage, PictureTooLarge, UnreadablePicture, UnsupportedFormat

ORIENTED = {  # EXIF orientation -> the rows as a camera stores them, of an upright picture
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}
damage_warned_of = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # Pillow speaks of damage it reads past


def pattern(height, width, channels=3):
    rows, columns, planes = np.ogrid[:height, :width, :channels]
    return ((rows * 7 + columns * 13 + planes * 101 + rows * columns) % 256).astype(np.uint8)


def quarters(height, width):
    upright = np.zeros((height, width, 3), np.uint8)
    upright[: height // 2, : width // 2] = 255, 0, 0
    upright[: height // 2, width // 2 :] = 0, 255, 0
    upright[height // 2 :, : width // 2] = 0, 0, 255
    return upright


def oriented(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def png(width, depth, colour, raw, transparent=None):
    """A PNG of bit depths and chunks that Pillow does not write."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height = len(raw) // -(-width * depth * {0: 1, 2: 3}[colour] // 8)
    rows = b"".join(b"\0" + row.tobytes() for row in np.split(np.frombuffer(raw, np.uint8), height))
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)),
        chunk(b"tRNS", transparent) if transparent else b"",
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ])  # fmt: skip


def of_scans(jpeg, scans):
    """A progressive JPEG whose last scan is repeated until there are so many."""
    last = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[last:-2] * (scans - jpeg.count(b"\xff\xda")) + b"\xff\xd9"


@pytest.fixture(scope="module")
def progressive(encode):
    return encode(pattern(32, 32), "JPEG", progressive=True)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_pictures_come_out_as_they_went_in(encode, kind, options, channels):
    picture = pattern(9, 14, channels)
    data = encode(np.repeat(picture, 3, 2) if channels == 1 else picture, kind, **options)
    decoded = pixels.decode(data, 9, 14, channels)
    assert (decoded.width, decoded.height) == (14, 9)
    assert decoded.pixels.dtype == np.uint8
    np.testing.assert_array_equal(decoded.pixels, picture)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_jpeg_comes_out_nearly_as_it_went_in(encode, channels):
    grey = np.repeat(np.linspace(20, 230, 48, dtype=np.uint8)[None], 32, 0)
    decoded = pixels.decode(encode(grey, "JPEG", quality=95), 32, 48, channels)
    assert decoded.pixels.shape == (32, 48, channels)
    assert np.abs(decoded.pixels.astype(int) - grey[:, :, None]).max() <= 4


def test_colour_becomes_grey_by_luma_and_grey_becomes_colour(encode):
    colour = pixels.decode(encode(Image.new("RGB", (2, 2), (255, 0, 0))), 2, 2, 1)
    assert set(colour.pixels.flat) == {76}
    grey = pixels.decode(encode(Image.new("L", (2, 2), 90)), 2, 2, 3)
    assert set(grey.pixels.flat) == {90}


def test_a_palette_is_resolved(encode):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert pixels.decode(encode(image), 1, 2, 3).pixels.tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (200, 100, 0, 0), (255, 255, 255)),
        ("RGBA", (200, 100, 0, 255), (200, 100, 0)),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
        ("LA", (0, 0), (255, 255, 255)),
        ("LA", (80, 255), (80, 80, 80)),
    ],
)
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_alpha_lies_on_white(encode, mode, colour, seen, kind):
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    decoded = pixels.decode(encode(Image.new(mode, (3, 3), colour), kind, **options), 3, 3, 3)
    assert np.unique(decoded.pixels.reshape(-1, 3), axis=0).tolist() == [list(seen)]


def test_a_transparent_palette_entry_is_white(encode):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    decoded = pixels.decode(encode(image, transparency=0), 1, 2, 3)
    assert decoded.pixels.tolist() == [[[255, 255, 255], [200, 100, 50]]]


@pytest.mark.parametrize(
    ("depth", "colour", "raw", "transparent"),
    [
        (1, 0, b"\x40", b"\0\0"),
        (8, 0, b"\x05\xff", b"\0\x05"),
        (8, 2, b"\1\2\3\xff\xff\xff", b"\0\1\0\2\0\3"),
        (16, 0, b"\x12\x34\xff\xff", b"\x12\x34"),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_transparent_colour_of_a_png_is_white(depth, colour, raw, transparent, channels):
    decoded = pixels.decode(png(2, depth, colour, raw, transparent), 1, 2, channels)
    assert set(decoded.pixels.flat) == {255}


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_shifted_and_not_clipped(channels):
    values = [0, 255, 256, 0x1234, 0x8000, 65535]
    decoded = pixels.decode(png(6, 16, 0, struct.pack(">6H", *values)), 1, 6, channels)
    assert decoded.pixels[0, :, 0].tolist() == [0, 0, 1, 0x12, 0x80, 255]


def test_sixteen_bits_of_colour_are_shifted():
    decoded = pixels.decode(png(1, 16, 2, struct.pack(">3H", 0x1234, 0x80FF, 0xFFFF)), 1, 1, 3)
    assert decoded.pixels.tolist() == [[[0x12, 0x80, 255]]]


@pytest.mark.parametrize("channels", [1, 3])
def test_one_bit_is_black_and_white(channels):
    decoded = pixels.decode(png(8, 1, 0, b"\x55"), 1, 8, channels)
    assert decoded.pixels[0, :, 0].tolist() == [0, 255] * 4


@pytest.mark.parametrize("channels", [1, 3])
def test_a_cmyk_jpeg_is_no_negative(encode, channels):
    white = pixels.decode(encode(Image.new("CMYK", (16, 16), (0, 0, 0, 0)), "JPEG"), 16, 16, channels)
    assert white.pixels.min() > 250
    black = pixels.decode(encode(Image.new("CMYK", (16, 16), (0, 0, 0, 255)), "JPEG"), 16, 16, channels)
    assert black.pixels.max() < 5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
def test_every_orientation_gives_the_same_upright_picture(encode, kind, orientation):
    upright = quarters(64, 96)
    stored = np.ascontiguousarray(ORIENTED[orientation](upright))
    data = encode(stored, kind, exif=oriented(orientation), **({"lossless": True} if kind == "WEBP" else {}))
    decoded = pixels.decode(data, 64, 96, 3)
    assert (decoded.width, decoded.height) == (96, 64)
    middles = np.ix_([16, 48], [24, 72])
    off = np.abs(decoded.pixels[middles].astype(int) - upright[middles])
    assert off.max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(encode, orientation):
    decoded = pixels.decode(encode(quarters(8, 12), exif=oriented(orientation)), 8, 12, 3)
    np.testing.assert_array_equal(decoded.pixels, quarters(8, 12))


@damage_warned_of
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0rubbish",
        b"Exif\0\0II*\0\x08\0\0\0\xff\xff",
        b"Exif\0\0MM\0*\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\x04\0\0\0six\0",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\x05\0\1\0\0\0\x1a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_broken_exif_block_does_not_cost_the_picture(encode, kind, exif):
    decoded = pixels.decode(encode(Image.new("RGB", (16, 8), "navy"), kind, exif=exif), 8, 16, 3)
    assert (decoded.width, decoded.height) == (16, 8)
    assert np.abs(decoded.pixels[0, 0].astype(int) - (0, 0, 128)).max() <= 3


def test_exactly_the_limit_is_accepted_and_one_more_is_not(encode):
    data = encode(pattern(10, 20))
    assert pixels.decode(data, 4, 4, 3, max_pixels=200).width == 20
    with pytest.raises(PictureTooLarge, match=r"20 × 10 = 200 pixels; at most 199 are accepted"):
        pixels.decode(data, 4, 4, 3, max_pixels=199)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_size_is_refused_by_the_header_alone(encode, kind):
    data = bytearray(encode(pattern(16, 16), kind))
    if kind == "PNG":
        data[16:24] = struct.pack(">II", 12000, 12000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        frame = data.index(b"\xff\xc0")
        data[frame + 5 : frame + 9] = struct.pack(">HH", 12000, 12000)
    with pytest.raises(PictureTooLarge, match="144,000,000"):
        pixels.decode(bytes(data), 8, 8, 3)
    with pytest.raises(PictureTooLarge):
        pixels.thumbnail(bytes(data), 8)


def test_a_jpeg_of_more_than_a_hundred_scans_is_refused(progressive):
    assert pixels.decode(of_scans(progressive, 100), 32, 32, 3).width == 32
    with pytest.raises(UnreadablePicture, match="more than 100 scans"):
        pixels.decode(of_scans(progressive, 101), 32, 32, 3)


def test_what_a_camera_appends_to_a_jpeg_is_not_counted_as_scans(encode):
    film = np.random.default_rng(0).bytes(8_000_000)
    assert pixels.decode(encode(pattern(16, 16), "JPEG") + film, 16, 16, 3).width == 16


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"GIF89a", "GIF"), (b"BM", "BMP"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic", "HEIF"), (b"\0\0\0\x1cftypavif", "AVIF"), (b"8BPS", "Photoshop"),
        (b"%!PS", "PostScript"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"<svg", "SVG"),
    ],
)  # fmt: skip
def test_other_kinds_are_named(head, name):
    with pytest.raises(UnsupportedFormat, match=rf"the bytes are .*{name}.*; JPEG, PNG and WebP are read"):
        pixels.decode(head + bytes(40), 8, 8, 3)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_real_pictures_of_other_kinds_are_refused_by_name(encode, kind):
    with pytest.raises(UnsupportedFormat, match=kind):
        pixels.decode(encode(pattern(8, 8), kind), 8, 8, 3)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"hello, world", b"RIFF\0\0\0\0WAVE", b"\0" * 100, b"\x89PNG"])
def test_what_is_no_picture_is_said_to_be_none(data):
    with pytest.raises(NotAnImage, match=r"this is not a picture: .*; JPEG, PNG and WebP are read"):
        pixels.decode(data, 8, 8, 3)


@pytest.mark.parametrize("head", [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"])
def test_the_same_bytes_have_the_same_sentence(head):
    said = []
    for _ in range(3):
        with pytest.raises(UnreadablePicture, match="the picture is damaged: ") as raised:
            pixels.decode(head + bytes(30), 8, 8, 3)
        said.append((str(raised.value), bytearray(1000)))  # so that the next one lies elsewhere in memory
    assert len({sentence for sentence, _ in said}) == 1
    assert "0x" not in said[0][0]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_cut_anywhere_is_unreadable_or_no_picture(encode, kind):
    data = encode(pattern(64, 64), kind)
    for end in [*range(len(data) // 2), *range(len(data) // 2, int(len(data) * 0.9), 97)]:
        with pytest.raises((UnreadablePicture, NotAnImage)):
            pixels.decode(data[:end], 16, 16, 3)


@damage_warned_of
def test_flipped_bytes_give_a_picture_or_a_bad_picture(encode):
    random = np.random.default_rng(1)
    for kind in ("JPEG", "PNG", "WEBP"):
        whole = np.frombuffer(encode(pattern(24, 24), kind), np.uint8)
        for _ in range(150):
            data = whole.copy()
            data[random.integers(len(data), size=3)] = random.integers(256, size=3)
            try:
                assert pixels.decode(data.tobytes(), 8, 8, 3).pixels.shape == (8, 8, 3)
            except BadPicture as error:
                assert str(error)  # noqa: PT017 - either end is right


@damage_warned_of
@pytest.mark.parametrize("channels", [1, 3])
def test_the_corpus_gives_pictures_or_bad_pictures_and_the_same_by_pillow_alone(unpacked, channels, monkeypatch):
    wrong, read, refused = [], 0, 0
    ways = jpeg.decode, lambda *_: None
    for path in sorted(path for path in unpacked("malformed_a").rglob("*") if path.is_file()):
        data = path.read_bytes()
        said = []
        for plainly in ways:
            monkeypatch.setattr(jpeg, "decode", plainly)
            try:
                decoded = pixels.decode(data, 24, 32, channels)
            except BadPicture as error:
                said.append((error.code, str(error)))
            except BaseException as error:  # noqa: BLE001 - whatever it is, it is wrong
                wrong.append((path, repr(error)))
            else:
                shown = decoded.width * decoded.height
                said.append((hashlib.sha256(decoded.pixels).hexdigest(), f"{decoded.width} × {decoded.height}"))
                if decoded.pixels.shape != (24, 32, channels) or decoded.pixels.dtype != np.uint8:
                    wrong.append((path, decoded.pixels.shape))
                if not 0 < shown <= pixels.MAX_PIXELS:
                    wrong.append((path, shown))
                read += 1
        refused += said[0][0] in ("not_an_image", "unsupported_format", "unreadable_picture", "picture_too_large")
        if said[0] != said[1] or re.search(r"0x[0-9a-f]{6}", said[0][1]):
            wrong.append((path, said))
    assert wrong == []
    assert read > 900
    assert refused > 500


def test_all_photographs_decode_and_are_measured_as_a_viewer_shows_them(unpacked):
    photos = unpacked("photos")
    wrong = []
    with (photos / "SOURCES.tsv").open(encoding="utf-8", newline="") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        stored = int(row["width"]), int(row["height"])
        expected = stored[::-1] if row["exif_orientation"] in "5678" and row["exif_orientation"] else stored
        decoded = pixels.decode((photos / row["path"]).read_bytes(), 32, 32, 3)
        if (decoded.width, decoded.height) != expected:
            wrong.append((row["path"], decoded.width, decoded.height, expected))
    assert wrong == []
    assert len(rows) == 150


def test_the_eight_orientations_of_a_photograph_look_alike(unpacked):
    for scene in ("landscape", "portrait"):
        found = sorted((unpacked("photos") / "orientation" / scene).iterdir())
        upright = [pixels.decode(path.read_bytes(), 32, 32, 3).pixels.astype(int) for path in found]
        assert len(upright) == 4
        assert max(np.abs(one - other).mean() for one, other in itertools.combinations(upright, 2)) < 4


@pytest.mark.parametrize("channels", [1, 3])
def test_encode_png_and_decode_are_inverse(channels):
    picture = pattern(11, 7, channels)
    np.testing.assert_array_equal(pixels.decode(pixels.encode_png(picture), 11, 7, channels).pixels, picture)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(5, 9), (40, 33), (64, 64)])
def test_resize_is_the_resize_of_decode(channels, size):
    picture = pattern(33, 40, channels)
    decoded = pixels.decode(pixels.encode_png(picture), *size, channels).pixels
    np.testing.assert_array_equal(pixels.resize(picture, *size), decoded)


def test_a_thumbnail_keeps_the_proportions_and_stands_upright(encode):
    stored = np.ascontiguousarray(ORIENTED[6](quarters(200, 400)))
    small = pixels.decode(pixels.thumbnail(encode(stored, "JPEG", exif=oriented(6)), 96), 48, 96, 3)
    assert (small.width, small.height) == (96, 48)
    assert np.abs(small.pixels[4, 4].astype(int) - (255, 0, 0)).max() <= 8


def test_the_thumbnail_of_a_thread_of_pixels_is_a_picture(encode):
    small = pixels.decode(pixels.thumbnail(encode(pattern(1, 5000)), 96), 1, 96, 3)
    assert (small.width, small.height) == (96, 1)


def of_palette(picture):
    image = Image.fromarray(picture % 16, "P")
    image.putpalette(pattern(16, 1).tobytes())
    return image


PINNED = {
    "colour": (lambda encode: encode(pattern(53, 37)), 3, "23af80af0a166cdf"),
    "colour as grey": (lambda encode: encode(pattern(53, 37)), 1, "8a1c43759bcb633c"),
    "grey": (lambda encode: encode(pattern(53, 37, 1)[:, :, 0]), 1, "0385e21c305bec1e"),
    "alpha": (lambda encode: encode(pattern(53, 37, 4)), 3, "28700344efa5da98"),
    "palette": (lambda encode: encode(of_palette(pattern(53, 37, 1)[:, :, 0])), 3, "ad48698e4fa5fdc2"),
    "16 bits": (lambda _: png(37, 16, 0, pattern(53, 74, 1).tobytes()), 1, "34948dc9d3c19a22"),
    "turned": (lambda encode: encode(pattern(53, 37), exif=oriented(6)), 3, "d3138f9e9e602ba6"),
}


@pytest.mark.parametrize("name", PINNED)
def test_other_pixels_need_another_version_of_the_rules(encode, name):
    data, channels, digest = PINNED[name]
    decoded = pixels.decode(data(encode), 16, 24, channels).pixels
    assert (pixels.PREPROCESSING["version"], hashlib.sha256(decoded).hexdigest()[:16]) == (1, digest)


def test_only_the_plugins_of_the_three_formats_are_ever_imported(encode, tmp_path):
    (tmp_path / "a.webp").write_bytes(encode(pattern(8, 8), "WEBP"))
    code = (
        "import pathlib, sys\nfrom artifacts import pixels\n"
        f"pixels.decode(pathlib.Path({str(tmp_path / 'a.webp')!r}).read_bytes(), 8, 8, 3)\n"
        "print('PIL.EpsImagePlugin' in sys.modules or 'PIL.PsdImagePlugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
