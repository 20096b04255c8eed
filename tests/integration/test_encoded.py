"""The SavedModel's signature `encoded`: files in, the same pixels as ours, the same probabilities out."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from artifacts import pixels
from artifacts.foreign import Foreign, Layout, Wanted
from artifacts.pictures import Pictures
from exporters import encoded
from exporters.frameworks import keras, tf
from exporters.from_saved_model import Adapted, open_original
from exporters.to_saved_model import open_saved_model, write_saved_model


def noise(height, width, channels=3):
    """Blocks under noise, so that each way of rounding shows; uint8 (height, width, channels), or grey without them."""
    rng = np.random.default_rng(height * 1000 + width)
    blocks = rng.integers(0, 256, (height // 5 + 1, width // 7 + 1, channels)).repeat(5, 0).repeat(7, 1)
    levels = np.clip(blocks[:height, :width] + rng.integers(-20, 21, (height, width, channels)), 0, 255)
    return levels.astype(np.uint8).squeeze() if channels == 1 else levels.astype(np.uint8)


COLOUR, GREY, CLEAR = (Image.fromarray(noise(61, 83, channels)) for channels in (3, 1, 4))
DEEP = Image.fromarray(noise(61, 83, 1).astype(np.uint16) * 257 + 77)
KINDS = {
    "JPEG": (COLOUR, "JPEG", {}),
    "JPEG without subsampling": (COLOUR, "JPEG", {"quality": 97, "subsampling": 0}),
    "JPEG with half of its columns in colour": (COLOUR, "JPEG", {"subsampling": 1}),
    "JPEG, progressive": (COLOUR, "JPEG", {"progressive": True}),
    "JPEG, grey": (GREY, "JPEG", {}),
    "JPEG of RGB": (COLOUR, "JPEG", {"keep_rgb": True}),
    "PNG": (COLOUR, "PNG", {}),
    "PNG, grey": (GREY, "PNG", {}),
    "PNG with alpha": (CLEAR, "PNG", {}),
    "PNG with alpha, grey": (CLEAR.convert("LA"), "PNG", {}),
    "PNG with a transparent colour": (COLOUR, "PNG", {"transparency": COLOUR.getpixel((5, 5))}),
    "PNG with a transparent colour, grey": (GREY, "PNG", {"transparency": GREY.getpixel((5, 5))}),
    "PNG with a palette": (COLOUR.quantize(200), "PNG", {}),
    "PNG with a palette of 4 bits": (COLOUR.quantize(9), "PNG", {}),
    "PNG with a palette of 2 bits": (COLOUR.quantize(4), "PNG", {}),
    "PNG with a transparent palette": (COLOUR.quantize(90), "PNG", {"transparency": bytes(range(0, 180, 2))}),
    "PNG with a transparent palette of 4 bits": (COLOUR.quantize(9), "PNG", {"transparency": b"\0\x0f\x46"}),
    "PNG of 1 bit": (GREY.convert("1"), "PNG", {}),
    "PNG of 1 bit with a transparent colour": (GREY.convert("1"), "PNG", {"transparency": 255}),
    "PNG of 16 bits": (DEEP, "PNG", {}),
    "PNG of 16 bits with a transparent colour": (DEEP, "PNG", {"transparency": DEEP.getpixel((5, 5))}),
}
SHAPES = {"colour": (24, 40, 3), "grey": (24, 40, 1)}


@pytest.fixture(scope="module")
def in_graph():
    """Pixels of one file as the graph decodes it, which is traced once for each shape."""
    traced = {}

    def decode(data, shape):
        function = traced.setdefault(shape, encoded.decoding_function(shape))
        return function(tf.constant([data]))[0].numpy()

    return decode


@pytest.fixture(params=SHAPES.values(), ids=SHAPES.keys())
def shape(request):
    return request.param


@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_makes_the_same_pixels_of_every_kind_of_file(in_graph, encode, kind, shape):
    image, file, options = KINDS[kind]
    data = encode(image, file, **options)
    np.testing.assert_array_equal(in_graph(data, shape), pixels.decode(data, *shape).pixels)


def _png(width, height, bits, colours, rows):
    """A PNG that Pillow does not write: `rows` as they stand in the file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return encoded.PNG + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("colours", "channels"), [(2, 3), (4, 2), (6, 4)], ids=["RGB", "grey and alpha", "RGBA"])
def test_of_16_bits_the_upper_8_are_taken(in_graph, colours, channels, shape):
    deep = np.random.default_rng(0).integers(0, 65536, (61, 83, channels)).astype(">u2")
    data = _png(83, 61, 16, colours, (row.tobytes() for row in deep))
    np.testing.assert_array_equal(in_graph(data, shape), pixels.decode(data, *shape).pixels)


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_reaches_white(in_graph, bits, shape):
    rows = [bytes([0xFF] * (10 * bits)) for _ in range(61)]
    data = _png(80, 61, bits, 0, rows)  # Pillow writes grey of 1 bit and of 8
    assert (in_graph(data, shape) == 255).all()
    assert (pixels.decode(data, *shape).pixels == 255).all()


def test_any_size_is_stretched_to_the_same_pixels(in_graph, encode):
    rng = np.random.default_rng(0)
    sizes = [(1, 1), (24, 40), (24, 300), (300, 40), (1, 400), (400, 1), (60, 41), (97, 76)]
    sizes += np.exp(rng.uniform(0, 6, (40, 2))).astype(int).tolist()
    for height, width in sizes:
        data = encode(noise(height, width, 3).reshape(height, width, 3))
        ours = pixels.decode(data, 24, 40, 3).pixels
        np.testing.assert_array_equal(in_graph(data, (24, 40, 3)), ours, err_msg=f"{height} × {width}")


@pytest.mark.parametrize("times", [1, 2, 3, 4, 8, 17])
def test_a_large_jpeg_is_reduced_in_decoding_by_the_same_factor(in_graph, encode, times, shape):
    for height, width in ((40 * times, 40 * times + 9), (40 * times - 1, 45 * times)):
        data = encode(noise(height, width), "JPEG")
        np.testing.assert_array_equal(in_graph(data, shape), pixels.decode(data, *shape).pixels)


def test_a_jpeg_in_cmyk_is_off_by_a_level_at_most(in_graph, encode, shape):
    data = encode(Image.frombytes("CMYK", CLEAR.size, CLEAR.tobytes()), "JPEG")
    off = in_graph(data, shape).astype(int) - pixels.decode(data, *shape).pixels
    assert np.abs(off).max() == 1


def test_real_photographs_come_out_the_same_unless_they_lie_on_their_side(in_graph, unpacked):
    photos, pets = unpacked("photos"), unpacked("cats_dogs")
    small = [(path, (150, 150, 3)) for path in sorted((pets / "test").rglob("*.jpg"))[::40]]
    large = [(path, (224, 224, 3)) for path in sorted(photos.rglob("*.*"))[::3] if path.suffix != ".tsv"]
    turned = 0
    for path, shape in small + large:
        data = path.read_bytes()
        same = np.array_equal(in_graph(data, shape), pixels.decode(data, *shape).pixels)
        with Image.open(path) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert same == upright, path
        turned += not upright
    assert len(small) + len(large) >= 70
    assert turned >= 2


def _of_scans(jpeg, scans):
    """A progressive JPEG whose last scan is repeated until there are so many."""
    last = jpeg.rindex(encoded.SCAN)
    return jpeg[:-2] + jpeg[last:-2] * (scans - jpeg.count(encoded.SCAN)) + b"\xff\xd9"


def test_scans_are_counted_as_ours_are(in_graph, encode):
    progressive = encode(noise(32, 32), "JPEG", progressive=True)
    film = np.random.default_rng(0).bytes(8_000_000)  # has the two bytes of a scan's header some hundred times
    for data in (_of_scans(progressive, 100), encode(noise(32, 32), "JPEG") + film):
        np.testing.assert_array_equal(in_graph(data, (24, 40, 3)), pixels.decode(data, 24, 40, 3).pixels)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 100 scans"):
        in_graph(_of_scans(progressive, 101), (24, 40, 3))


def test_files_of_too_many_pixels_are_refused_by_their_header(in_graph, encode):
    jpeg = encode(noise(8, 8), "JPEG")
    size = jpeg.index(b"\xff\xc0") + 5
    for data in (_png(6_400, 6_400, 8, 2, []), jpeg[:size] + struct.pack(">HH", 6_400, 6_400) + jpeg[size + 4 :]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="more than 40,000,000 pixels"):
            in_graph(data, (24, 40, 3))


@pytest.mark.parametrize("data", [b"", b"cat", b"\xff\xd8\xff", encoded.PNG, bytes(1000)])
def test_what_is_no_picture_is_refused(in_graph, data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(data, (24, 40, 3))


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "BMP", "TIFF"])
def test_other_kinds_are_refused(in_graph, encode, kind):
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        in_graph(encode(COLOUR, kind), (24, 40, 3))


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_file_that_was_cut_off_is_refused(in_graph, encode, kind):
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(encode(COLOUR, kind)[:-200], (24, 40, 3))


@pytest.fixture(scope="module")
def model():
    """A small network with weights that make the most of a difference."""
    keras.utils.set_random_seed(0)
    picture = keras.Input((24, 40, 3), dtype="uint8", name="image")
    x = keras.layers.Rescaling(1 / 255)(picture)
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(x)
    x = keras.layers.Dense(5, kernel_initializer=keras.initializers.RandomNormal(0, 0.3))(keras.layers.Flatten()(x))
    return keras.Model(picture, keras.layers.Softmax(dtype="float32")(x))


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """The model, saved."""
    path = tmp_path_factory.mktemp("saved")
    write_saved_model(model, (24, 40, 3), path)
    return path


def collected(*files):
    return Pictures(list(files), [str(number) for number in range(len(files))], np.zeros(len(files), np.int64))


@pytest.fixture(scope="module")
def pictures(encode):
    """JPEG and PNG of many sizes."""
    sizes = [(24 + 11 * step, 20 + 17 * step) for step in range(12)]
    return collected(*(encode(noise(*size), kind) for size in sizes for kind in ("JPEG", "PNG")))


def answers(model, pictures):
    return model.predict(pictures.decode(24, 40, 3), verbose=0)


def test_the_saved_signature_answers_files_as_the_model_answers_their_pixels(model, folder, pictures):
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["encoded"]
    (files,) = signature.structured_input_signature[1].values()
    assert (files.name, files.dtype, files.shape.as_list()) == ("encoded", tf.string, [None])
    expected = answers(model, pictures)
    for count in (1, 3, len(expected)):
        given = signature(encoded=tf.constant(pictures.encoded[:count]))["probabilities"]
        np.testing.assert_allclose(given, expected[:count], atol=1e-5)
    assert signature(encoded=tf.zeros((0,), tf.string))["probabilities"].shape == (0, 5)


def test_the_default_signature_stays_as_it_was(model, folder, pictures):
    given = open_saved_model(folder)(pictures.decode(24, 40, 3))
    np.testing.assert_allclose(given, answers(model, pictures), atol=1e-5)


def test_one_bad_file_fails_its_whole_request(folder, pictures):
    loaded = tf.saved_model.load(str(folder))
    with pytest.raises(tf.errors.InvalidArgumentError, match="neither JPEG nor PNG"):
        loaded.signatures["encoded"](encoded=tf.constant([*pictures.encoded, b"cat"]))


def test_an_adopted_saved_model_has_the_signature_too(model, pictures, tmp_path):
    tf.saved_model.save(model, str(tmp_path / "elsewhere"))
    labels = list("abcde")
    foreign = Foreign((24, 40, 3), Layout.NHWC, "uint8", "none", logits=False, labels=labels)
    adapted = Adapted(open_original(tmp_path / "elsewhere", Wanted(labels)), foreign)
    write_saved_model(adapted, foreign.shape, tmp_path / "adopted")
    found = encoded.measure(tmp_path / "adopted", pictures, foreign.shape, answers(model, pictures))
    assert found["max_difference"] < 1e-5
    assert found["refused"] == 0


def test_a_saved_model_of_ours_can_be_adopted_again(folder):
    original = open_original(folder, Wanted(list("abcde")))
    assert (original.takes, original.dtype) == ("image", "uint8")


def test_on_jpeg_and_png_nothing_differs(model, folder, pictures):
    found = encoded.measure(folder, pictures, (24, 40, 3), answers(model, pictures))
    assert found.pop("max_difference") < 1e-5
    assert found == {
        "pictures": 24,
        "refused": 0,
        "pixels_mean_difference": 0.0,
        "pixels_max_difference": 0,
        "differing_labels": 0,
        "not_done": ["EXIF orientation", "WebP"],
    }


def test_labels_in_another_order_are_seen(model, folder, pictures):
    found = encoded.measure(folder, pictures, (24, 40, 3), np.roll(answers(model, pictures), 1, axis=1))
    assert (found["differing_labels"], found["pixels_max_difference"]) == (24, 0)


def test_what_the_graph_does_not_do_is_measured(model, folder, encode):
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 3
    files = [encode(COLOUR, "WEBP"), encode(COLOUR, "JPEG"), encode(COLOUR, "JPEG", exif=turned)]
    found = encoded.measure(folder, collected(*files), (24, 40, 3), answers(model, collected(*files)))
    assert (found["pictures"], found["refused"]) == (3, 1)
    assert found["pixels_mean_difference"] > 10
    assert found["pixels_max_difference"] > 100
    assert found["max_difference"] > 0.01


def test_where_every_picture_is_refused_no_difference_is_made_up(model, folder, encode):
    files = collected(encode(COLOUR, "WEBP"))
    found = encoded.measure(folder, files, (24, 40, 3), answers(model, files))
    assert (found["pictures"], found["refused"]) == (1, 1)
    assert found["pixels_mean_difference"] is found["pixels_max_difference"] is found["max_difference"] is None


def test_no_more_pictures_are_measured_than_a_bundle_keeps(model, folder, encode):
    many = collected(*[encode(noise(24, 40))] * 70)
    found = encoded.measure(folder, many, (24, 40, 3), answers(model, many))
    assert (found["pictures"], found["refused"]) == (64, 0)


def _nearest(picture, rows):
    return tf.image.resize(picture, (rows, tf.shape(picture)[1]), "nearest")


def _backwards(decoded):
    def in_bgr(data, shape):
        return tf.reverse(decoded(data, shape), axis=[2])

    return in_bgr


@pytest.mark.parametrize(("name", "sabotage"), [("_stretched_down", lambda _: _nearest), ("_decoded", _backwards)])
def test_a_wrong_filter_and_swapped_channels_are_seen(model, pictures, tmp_path, monkeypatch, name, sabotage):
    monkeypatch.setattr(encoded, name, sabotage(getattr(encoded, name)))
    write_saved_model(model, (24, 40, 3), tmp_path)
    found = encoded.measure(tmp_path, pictures, (24, 40, 3), answers(model, pictures))
    assert found["pixels_mean_difference"] > 3
    assert found["pixels_max_difference"] > 50
    assert found["max_difference"] > 0.01
    monkeypatch.undo()  # the file is another all the same
    assert encoded.measure(tmp_path, pictures, (24, 40, 3), answers(model, pictures))["max_difference"] > 0.01
