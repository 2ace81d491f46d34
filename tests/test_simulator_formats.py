"""Every pixel format of the simulated camera, unpacked by its definition, pixel by pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gentl_producer import grabbing
from kenpin.camera.simulator import Simulator, pattern_lines

WIDTH, HEIGHT = 128, 8


def bits_of(line: NDArray[np.uint8], pixels: int, bits: int) -> list[int]:
    """PFNC's lsb-packed formats: a stream of bits, the least significant first."""
    stream = "".join(f"{byte:08b}"[::-1] for byte in line)
    return [int(stream[i * bits : (i + 1) * bits][::-1], 2) for i in range(pixels)]


def gev_packed(line: NDArray[np.uint8], pixels: int, bits: int) -> list[int]:
    """GigE Vision's packed formats: bytes 0 and 2 the upper bits, byte 1 the rest of both."""
    values = []
    low = bits - 8
    for pixel in range(pixels):
        group = line[pixel // 2 * 3 :][:3].astype(int)
        rest = group[1] >> 4 if pixel % 2 else group[1] & 15
        values.append(group[2 if pixel % 2 else 0] << low | rest & ((1 << low) - 1))
    return values


UNPACK: dict[str, Any] = {
    "Mono10": (10, 16, lambda line: line.view("<u2")),
    "Mono12": (12, 16, lambda line: line.view("<u2")),
    "Mono10p": (10, 10, lambda line: bits_of(line, WIDTH, 10)),
    "Mono12p": (12, 12, lambda line: bits_of(line, WIDTH, 12)),
    "Mono10Packed": (10, 12, lambda line: gev_packed(line, WIDTH, 10)),
    "Mono12Packed": (12, 12, lambda line: gev_packed(line, WIDTH, 12)),
}


def grab(cti: Path, pixel_format: str, *commands: str) -> NDArray[np.uint8]:
    settings = (f"sensor_width {WIDTH}", f"default Height {HEIGHT}", *commands)
    with (
        Simulator(settings, cti=cti) as simulator,
        grabbing(simulator, PixelFormat=pixel_format) as grabber,
    ):
        assert grabber.nodes.Width.value == WIDTH
        shot = grabber.shot()
        assert shot.filled_bytes == grabber.nodes.PayloadSize.value
        assert shot.pixel_format == grabber.nodes.PixelFormat.get_int_value()
    return shot.data.reshape(HEIGHT, -1)


@pytest.mark.parametrize("pixel_format", UNPACK)
def test_more_than_eight_bits_come_packed_as_the_standard_says(
    producer: Path, pixel_format: str
) -> None:
    bits, bits_per_pixel, unpack = UNPACK[pixel_format]
    lines = grab(producer, pixel_format)
    assert lines.shape[1] == WIDTH * bits_per_pixel // 8
    found = np.array([unpack(line) for line in lines])
    np.testing.assert_array_equal(found, pattern_lines(0, HEIGHT, WIDTH, bits=bits))


@pytest.mark.parametrize(
    ("pixel_format", "order"), [("RGB8", (0, 1, 2)), ("BGR8", (2, 1, 0)), ("Mono8", (0,))]
)
def test_colours_lie_pixel_by_pixel(
    producer: Path, pixel_format: str, order: tuple[int, ...]
) -> None:
    lines = grab(producer, pixel_format).reshape(HEIGHT, WIDTH, len(order))
    for place, channel in enumerate(order):
        expected = pattern_lines(0, HEIGHT, WIDTH, channel=channel)
        np.testing.assert_array_equal(lines[:, :, place], expected)


@pytest.mark.parametrize("pixel_format", ["BayerGR8", "BayerRG8", "BayerGB8", "BayerBG8"])
def test_a_mosaic_shows_the_colour_its_name_says(
    producer: Path, pixel_format: str, tmp_path: Path
) -> None:
    strip = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    path = tmp_path / "strip.ppm"
    path.write_bytes(b"P6 %d %d 255\n" % (WIDTH, HEIGHT) + strip.tobytes())
    lines = grab(producer, pixel_format, f"strip {path}")
    corner = pixel_format[5:7]
    names = (corner, {"GR": "BG", "RG": "GB", "GB": "RG", "BG": "GR"}[corner])
    for y in range(2):
        for x in range(2):
            channel = "RGB".index(names[y][x])
            np.testing.assert_array_equal(lines[y::2, x::2], strip[y::2, x::2, channel])


@pytest.mark.parametrize(
    ("pixel_format", "most", "shift"),
    [("Mono8", 4095, -4), ("Mono12", 4095, 0), ("Mono12", 255, 4)],
)
def test_a_strip_of_other_depth_keeps_its_upper_bits(
    producer: Path, tmp_path: Path, pixel_format: str, most: int, shift: int
) -> None:
    strip = np.random.default_rng(3).integers(0, most + 1, (HEIGHT, WIDTH), dtype=np.uint16)
    path = tmp_path / "strip.pgm"
    body = strip.astype(">u2" if most > 255 else np.uint8).tobytes()
    path.write_bytes(b"P5\n# twelve bits\n%d %d\n%d\n" % (WIDTH, HEIGHT, most) + body)
    lines = grab(producer, pixel_format, f"strip {path}")
    found = lines if pixel_format == "Mono8" else lines.view("<u2")
    expected = strip << shift if shift >= 0 else strip >> -shift
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"P2 4 4 255\n", "no binary PGM"),
        (b"P5 32 9 255\n" + b"x" * 31, "shorter than its header"),
        (b"P5 32 nine", "broken header"),
        (b"P5 32 1 70000\n" + b"x" * 64, "greatest value"),
        (b"P5 8 8 255\n" + b"x" * 64, "narrower than 16"),
    ],
)
def test_a_file_that_is_no_strip_is_refused_with_the_reason(
    producer: Path, tmp_path: Path, content: bytes, reason: str, capfd: Any
) -> None:
    (tmp_path / "strip.pgm").write_bytes(content)
    settings = (f"strip {tmp_path / 'strip.pgm'}",)
    with Simulator(settings, cti=producer) as simulator, grabbing(simulator, start=False):
        pass
    assert reason in capfd.readouterr().err
