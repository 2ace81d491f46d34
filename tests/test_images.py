"""Image files: stored pixels come back exactly, or an error says why not."""

from __future__ import annotations

import os
import pickle
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from kenpin.camera.files.images import fit_to, read_pixels, write_png
from kenpin.camera.files.listing import ImageError, list_images, list_others

FORMATS = ["png", "jpg", "bmp", "pgm", "tif"]

# No deadline: a shared disk may take its time, and nothing here is about speed.
unhurried = settings(deadline=None, max_examples=50)


def cloth(height=48, width=64):
    """A mono image that compresses like a photograph: (H, W) uint8."""
    grain = np.random.default_rng(5).normal(110, 60, (height, width)).astype(np.float32)
    return cv2.GaussianBlur(grain, (0, 0), 1.2).clip(0, 255).astype(np.uint8)


def encoded(extension, pixels, *options):
    return cv2.imencode(f".{extension}", pixels, list(options))[1].tobytes()


def written(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(pixels, orientation=1, next_page=0):
    """An uncompressed little-endian TIFF of (H, W) uint8, built by hand (TIFF 6.0)."""
    height, width = pixels.shape
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8)]
    tags += [(274, orientation), (277, 1), (278, height), (279, pixels.size)]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = struct.pack("<I", 8 + pixels.size)
    return b"II*\0" + start + pixels.tobytes() + directory + struct.pack("<I", next_page)


@unhurried
@given(
    pixels=npst.arrays(
        st.sampled_from([np.uint8, np.uint16]),
        st.one_of(
            st.tuples(st.integers(1, 20), st.integers(1, 20)),
            st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)),
        ),
    )
)
def test_what_is_written_as_png_is_read_back_exactly(pixels, tmp_path_factory):
    path = tmp_path_factory.getbasetemp() / "round_trip.png"
    write_png(path, pixels)
    back = read_pixels(path)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("extension", ["png", "bmp", "pgm", "tif"])
def test_a_mono_image_keeps_one_channel_and_its_grey_levels(tmp_path, extension):
    path = written(tmp_path, f"a.{extension}", encoded(extension, cloth()))
    np.testing.assert_array_equal(read_pixels(path), cloth())


def test_a_mono_jpeg_keeps_one_channel(tmp_path):
    assert read_pixels(written(tmp_path, "a.jpg", encoded("jpg", cloth()))).shape == (48, 64)


@pytest.mark.parametrize("extension", ["png", "bmp", "ppm", "tif", "jpg"])
def test_colour_comes_as_red_green_blue(tmp_path, extension):
    only_red = np.zeros((16, 16, 3), np.uint8)
    only_red[..., 2] = 255  # OpenCV encodes blue, green, red
    pixels = read_pixels(written(tmp_path, f"a.{extension}", encoded(extension, only_red)))
    assert pixels.shape == (16, 16, 3)
    np.testing.assert_allclose(pixels[8, 8], [255, 0, 0], atol=3)


@pytest.mark.parametrize("extension", ["png", "pgm", "tif"])
def test_sixteen_bits_stay_sixteen_bits(tmp_path, extension):
    deep = cloth().astype(np.uint16) * 201 + 7
    pixels = read_pixels(written(tmp_path, f"a.{extension}", encoded(extension, deep)))
    assert pixels.dtype == np.uint16
    np.testing.assert_array_equal(pixels, deep)


def test_the_content_decides_the_format_and_not_the_name(tmp_path):
    path = written(tmp_path, "a.bmp", encoded("png", cloth()))
    np.testing.assert_array_equal(read_pixels(path), cloth())


def exif(orientation):
    """EXIF with one entry."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, orientation, 0, 0)


def jpeg_with(data, orientation):
    body = b"Exif\0\0" + exif(orientation)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]


def png_with(data, orientation):
    header = 8 + 25  # signature and IHDR
    return data[:header] + png_chunk(b"eXIf", exif(orientation)) + data[header:]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_viewers_turn_it_whatever_its_format(tmp_path, orientation):
    stored = cloth(16, 32)
    # Where viewers put the file's pixel at row y and column x (TIFF 6.0, section 8).
    shown = np.zeros((32, 16) if orientation > 4 else (16, 32), np.uint8)
    for y, x in np.ndindex(16, 32):
        place = {
            1: (y, x), 2: (y, 31 - x), 3: (15 - y, 31 - x), 4: (15 - y, x),
            5: (x, y), 6: (x, 15 - y), 7: (31 - x, 15 - y), 8: (31 - x, y),
        }[orientation]  # fmt: skip
        shown[place] = stored[y, x]
    files = {
        "a.png": png_with(encoded("png", stored), orientation),
        "a.tif": tiff(stored, orientation),
    }
    for name, data in files.items():
        np.testing.assert_array_equal(read_pixels(written(tmp_path, name, data)), shown)
    jpeg = jpeg_with(encoded("jpg", stored, cv2.IMWRITE_JPEG_QUALITY, 100), orientation)
    pixels = read_pixels(written(tmp_path, "a.jpg", jpeg))
    np.testing.assert_allclose(pixels.astype(int), shown, atol=3)


@pytest.mark.parametrize("broken", [b"", b"II*\0", b"II*\0\xff\xff\0\0", exif(0), exif(9)])
def test_exif_that_says_nothing_turns_nothing(tmp_path, broken):
    body = b"Exif\0\0" + broken
    data = encoded("jpg", cloth(16, 32))
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + data[2:]
    assert read_pixels(written(tmp_path, "a.jpg", data)).shape == (16, 32)


def test_a_tiff_with_the_usual_orientation_is_read(tmp_path):
    path = written(tmp_path, "a.tif", tiff(cloth()))
    np.testing.assert_array_equal(read_pixels(path), cloth())


def test_a_tiff_of_several_pages_is_refused(tmp_path):
    data = cv2.imencodemulti(".tif", [cloth(), cloth()])[1].tobytes()
    with pytest.raises(ImageError, match="several pages"):
        read_pixels(written(tmp_path, "a.tif", data))


def test_a_big_tiff_is_refused(tmp_path):
    with pytest.raises(ImageError, match="it is a BigTIFF"):
        read_pixels(written(tmp_path, "a.tif", b"II+\0\x08\0\0\0" + bytes(40)))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ImageError, match=r"missing\.png: no such file"):
        read_pixels(tmp_path / "missing.png")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        read_pixels(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ImageError, match="is empty"):
        read_pixels(written(tmp_path, "a.png", b""))


def test_text_with_the_name_of_an_image_is_refused(tmp_path):
    with pytest.raises(ImageError, match="no image format known here"):
        read_pixels(written(tmp_path, "a.png", b"version https://git-lfs.github.com"))


@pytest.mark.parametrize("extension", FORMATS)
@unhurried
@given(data=st.data())
def test_a_file_cut_short_anywhere_is_refused(extension, data, tmp_path_factory):
    whole = encoded(extension, cloth())
    cut = data.draw(st.integers(0, len(whole) - 1), label="bytes left")
    path = written(tmp_path_factory.getbasetemp(), f"cut.{extension}", whole[:cut])
    with pytest.raises(ImageError):
        read_pixels(path)


@unhurried
@given(data=st.data())
def test_a_png_with_a_wrong_byte_is_refused_or_unharmed(data, tmp_path_factory):
    broken = bytearray(encoded("png", cloth()))
    place = data.draw(st.integers(0, len(broken) - 1), label="place")
    broken[place] ^= data.draw(st.integers(1, 255), label="change")
    path = written(tmp_path_factory.getbasetemp(), "broken.png", bytes(broken))
    try:
        pixels = read_pixels(path)
    except ImageError:
        return
    np.testing.assert_array_equal(pixels, cloth())


def test_a_png_chunk_longer_than_its_file_is_refused_before_the_decoder_makes_room_for_it(tmp_path):
    broken = bytearray(encoded("png", cloth()))
    assert broken[33 + 4 : 33 + 8] == b"IDAT"
    broken[33] ^= 0x01
    with pytest.raises(ImageError, match="ends inside a chunk"):
        read_pixels(written(tmp_path, "a.png", bytes(broken)))


def test_a_png_whose_checksum_fails_is_refused(tmp_path):
    broken = bytearray(encoded("png", cloth()))
    broken[len(broken) // 2] ^= 1
    with pytest.raises(ImageError, match="cut short or damaged"):
        read_pixels(written(tmp_path, "a.png", bytes(broken)))


@pytest.mark.parametrize("colour", [False, True])
def test_a_jpeg_with_a_hole_before_its_end_marker_is_refused(tmp_path, colour):
    pixels = cv2.cvtColor(cloth(200, 320), cv2.COLOR_GRAY2BGR) if colour else cloth(200, 320)
    whole = encoded("jpg", pixels)
    hole = whole[: len(whole) // 2] + whole[len(whole) // 2 + 2000 :]
    assert hole.endswith(b"\xff\xd9")
    assert cv2.imdecode(np.frombuffer(hole, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    with pytest.raises(ImageError, match="premature end of data segment"):
        read_pixels(written(tmp_path, "a.jpg", hole))


def test_a_jpeg_of_material_with_grey_patches_is_not_taken_for_one_with_a_hole(tmp_path):
    pixels = cloth(64, 128)
    pixels[-16:, -64:] = 128
    assert read_pixels(written(tmp_path, "a.jpg", encoded("jpg", pixels))).shape == (64, 128)


@pytest.mark.parametrize("colour", [False, True])
@pytest.mark.parametrize("progressive", [0, 1])
def test_a_jpeg_has_the_pixels_that_opencv_reads(tmp_path, colour, progressive):
    pixels = cloth(120, 168)
    if colour:
        pixels = cv2.applyColorMap(pixels, cv2.COLORMAP_JET)
    data = encoded("jpg", pixels, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    found = read_pixels(written(tmp_path, "a.jpg", data))
    np.testing.assert_array_equal(found, expected[..., ::-1] if colour else expected)


def scans_of(data):
    """Where the scans of a JPEG begin."""
    return [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]


@pytest.mark.parametrize("left", [1, 2, -1])
def test_a_progressive_jpeg_that_ends_between_two_scans_is_refused(tmp_path, left):
    whole = encoded("jpg", cloth(64, 96), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    # The tables of a scan stand before it: cut before those.
    cut = whole[: whole.rindex(b"\xff\xc4", 0, scans_of(whole)[left])] + b"\xff\xd9"
    assert cv2.imdecode(np.frombuffer(cut, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    with pytest.raises(ImageError, match="coefficients in full; it was cut short"):
        read_pixels(written(tmp_path, "a.jpg", cut))


def in_scans(planes, order, frame):
    """A JPEG of three planes, the scan of each by itself: what stands before them, and the scans.

    OpenCV writes all components into one scan; a grey image has one of a single component.
    """
    head, scans = b"\xff\xd8", []
    for plane in planes:
        segments: list[tuple[bytes, int]] = []
        data, at = encoded("jpg", plane), 2
        while not segments or segments[-1][1] != 0xDA:
            size = 2 + struct.unpack_from(">H", data, at + 2)[0]
            segments.append((data[at : at + size], data[at + 1]))
            at += size
        scans.append(data[at:-2])
    sizes = next(segment[4:9] for segment, kind in segments if kind == 0xC0)
    head += b"".join(segment for segment, kind in segments if kind in (0xDB, 0xC4))
    body = sizes + bytes([3]) + b"".join(bytes([n + 1, 0x11, 0]) for n in range(3))
    head += bytes([0xFF, frame]) + struct.pack(">H", len(body) + 2) + body
    begin = b"\xff\xda" + struct.pack(">H", 8)
    return head, [begin + bytes([1, n + 1, 0, 0, 63, 0]) + scans[n] for n in order]


@pytest.mark.parametrize("frame", [0xC0, 0xC1])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0)])
@pytest.mark.parametrize("left", [1, 2])
def test_a_jpeg_that_lacks_the_scan_of_a_component_is_refused(tmp_path, frame, order, left):
    planes = [cloth(), cloth()[::-1].copy(), cloth()[:, ::-1].copy()]
    head, scans = in_scans(planes, order, frame)
    whole = head + b"".join(scans) + b"\xff\xd9"
    found = read_pixels(written(tmp_path, "a.jpg", whole))
    assert found.shape == (48, 64, 3)
    assert np.ptp(found, axis=2).max() > 50
    cut = head + b"".join(scans[:left]) + b"\xff\xd9"
    with pytest.raises(ImageError, match=f"{64 * left} of 192 coefficients in full; it was cut"):
        read_pixels(written(tmp_path, "a.jpg", cut))


def test_a_frame_header_without_its_components_is_no_crash(tmp_path):
    whole = encoded("jpg", cloth())
    second = whole[:-2] + b"\xff\xc0\x00\x04\x08\x00" + b"\xff\xd9"
    with pytest.raises(ImageError, match="its markers are damaged"):
        read_pixels(written(tmp_path, "a.jpg", second))


def test_a_progressive_jpeg_cut_inside_a_scan_is_refused(tmp_path):
    whole = encoded("jpg", cloth(200, 320), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    cut = whole[: len(whole) * 6 // 10] + b"\xff\xd9"
    with pytest.raises(ImageError, match="JPEG refused by the decoder"):
        read_pixels(written(tmp_path, "a.jpg", cut))


def test_bytes_between_the_markers_of_a_jpeg_are_refused(tmp_path):
    whole = encoded("jpg", cloth())
    with pytest.raises(ImageError, match="extraneous bytes before marker"):
        read_pixels(written(tmp_path, "a.jpg", whole[:20] + b"\0\0\0" + whole[20:]))


def test_bytes_after_the_end_of_a_jpeg_are_the_cameras_own(tmp_path):
    whole = encoded("jpg", cloth())
    assert read_pixels(written(tmp_path, "a.jpg", whole + b"maker's notes")).shape == (48, 64)


def test_grey_with_alpha_does_not_lose_its_second_channel_in_silence(tmp_path):
    raw = b"".join(b"\0" + bytes(range(32)) for _ in range(16))
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 4, 0, 0, 0))
    data = png_chunk(b"IDAT", zlib.compress(raw)) + png_chunk(b"IEND", b"")
    two_samples = tiff(np.zeros((16, 32), np.uint8))
    # Half as wide, two samples a pixel.
    two_samples = two_samples.replace(
        struct.pack("<HHII", 256, 4, 1, 32), struct.pack("<HHII", 256, 4, 1, 16)
    ).replace(struct.pack("<HHII", 277, 4, 1, 1), struct.pack("<HHII", 277, 4, 1, 2))
    files = {"a.png": b"\x89PNG\r\n\x1a\n" + header + data, "a.tif": two_samples}
    for name, content in files.items():
        with pytest.raises(ImageError, match="alpha channel"):
            read_pixels(written(tmp_path, name, content))


def test_a_grey_level_that_means_transparent_is_refused(tmp_path):
    data = encoded("png", cloth(16, 32))
    data = data[:33] + png_chunk(b"tRNS", b"\0\x30") + data[33:]
    with pytest.raises(ImageError, match="alpha channel"):
        read_pixels(written(tmp_path, "a.png", data))


def test_a_tiff_compressed_as_jpeg_is_refused(tmp_path):
    data = tiff(cloth()).replace(
        struct.pack("<HHII", 259, 4, 1, 1), struct.pack("<HHII", 259, 4, 1, 7)
    )
    with pytest.raises(ImageError, match="compressed as JPEG"):
        read_pixels(written(tmp_path, "a.tif", data))


def test_a_pipe_with_the_name_of_an_image_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    with pytest.raises(ImageError, match="is no file but a pipe"):
        read_pixels(tmp_path / "a.png")


@pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
def test_an_alpha_channel_is_refused(tmp_path, extension):
    path = written(tmp_path, f"a.{extension}", encoded(extension, np.zeros((4, 4, 4), np.uint8)))
    with pytest.raises(ImageError, match="alpha channel"):
        read_pixels(path)


def test_floating_point_pixels_are_refused(tmp_path):
    data = encoded("tif", cloth().astype(np.float32))
    with pytest.raises(ImageError, match="pixels are float32"):
        read_pixels(written(tmp_path, "a.tif", data))


def test_an_image_too_large_for_the_decoder_is_refused(tmp_path):
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 70_000, 70_000, 8, 0, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    with pytest.raises(ImageError, match="refused by the decoder"):
        read_pixels(written(tmp_path, "a.png", data))


@pytest.mark.skipif("OPENCV_LOG_LEVEL" in os.environ, reason="the user asked for OpenCV's log")
def test_opencv_adds_no_log_lines_of_its_own(tmp_path, capfd):
    path = written(tmp_path, "a.bmp", encoded("bmp", cloth())[:200])
    with pytest.raises(ImageError):
        read_pixels(path)
    assert capfd.readouterr().err == ""


def test_an_error_says_where_what_and_what_to_do_and_survives_pickling():
    error = ImageError(Path("a.png"), "the file is empty", "record it again")
    assert str(error) == "a.png: the file is empty; record it again"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def test_images_are_listed_by_name_with_numbers_by_value(tmp_path):
    for name in ["b2.PNG", "b10.jpg", "b1.tiff", "a.bmp"]:
        (tmp_path / name).touch()
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["a.bmp", "b1.tiff", "b2.PNG", "b10.jpg"]


def test_other_files_are_reported_and_folders_and_hidden_files_are_not(tmp_path):
    for name in ["a.png", "notes.txt", "scan.webp", "Thumbs.db", ".DS_Store", "._a.png"]:
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]
    assert [path.name for path in list_others(tmp_path)] == ["Thumbs.db", "notes.txt", "scan.webp"]


def test_a_link_that_leads_nowhere_is_listed_because_a_file_was_meant(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert [path.name for path in list_images(tmp_path)] == ["a.png"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ImageError, match="gone: no such folder"):
        list_images(tmp_path / "gone")


def test_a_file_is_no_folder(tmp_path):
    with pytest.raises(ImageError, match="cannot be listed"):
        list_images(written(tmp_path, "a.png", b""))


def test_a_folder_without_images_says_what_counts_as_one(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match=r"no image among its 1 files; expected \.bmp, "):
        list_images(tmp_path)


sides = st.integers(1, 40)


@unhurried
@given(shape=st.tuples(sides, sides), wanted=st.tuples(sides, sides), level=st.integers(0, 65535))
def test_a_plain_image_stays_plain_at_any_size(shape, wanted, level):
    fitted = fit_to(np.full(shape, level, np.uint16), *wanted)
    assert fitted.dtype == np.uint16
    np.testing.assert_array_equal(fitted, np.full(wanted, level))


def test_shrinking_averages_the_area():
    pixels = np.random.default_rng(0).integers(0, 256, (32, 24), np.uint8)
    blocks = pixels.reshape(8, 4, 8, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit_to(pixels, 8, 8), blocks, atol=0.51)


def test_enlarging_interpolates_linearly():
    ramp = np.array([[0, 100]], np.uint8)
    np.testing.assert_array_equal(fit_to(ramp, 1, 4), [[0, 25, 75, 100]])


def test_each_axis_is_treated_by_its_own_need():
    pixels = np.array([[0, 100], [20, 120]], np.uint8)
    np.testing.assert_array_equal(fit_to(pixels, 1, 4), [[10, 35, 85, 110]])


def test_colour_stays_colour_and_the_right_size_is_left_alone():
    pixels = np.zeros((8, 6, 3), np.uint8)
    assert fit_to(pixels, 4, 12).shape == (4, 12, 3)
    assert fit_to(pixels, 8, 6) is pixels
