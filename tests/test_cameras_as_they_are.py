"""Settings on the descriptions of cameras as they are sold: old names, new names, vendors' own."""

from __future__ import annotations

from typing import Any

import pytest

from descriptions import CAMERAS, camera, choice, geometry, loaded, number, while_on
from kenpin.camera.genicam.features import FeatureError, configure
from kenpin.camera.genicam.names import NAMES, convert
from kenpin.camera.genicam.steps import measured, name_of, steps_for
from kenpin.config.camera import GenicamSpec


def spec(**settings) -> GenicamSpec:
    return GenicamSpec.model_validate({"kind": "genicam", **settings})


def set_up(port, **settings) -> None:
    wanted = spec(**settings)
    configure(port, lambda now: steps_for(wanted, now), wanted.tolerance)


def refusal(port, **settings) -> str:
    with pytest.raises(FeatureError) as caught:
        set_up(port, **settings)
    return str(caught.value)


# What every camera of the corpus must have once it is set up, in its own names and units.
SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "old_gige": (
        {"exposure_us": 20.0, "line_rate_hz": 12_000, "gain": 200, "black_level": 32},
        {
            "ExposureTimeAbs": 20.0,
            "AcquisitionLineRateAbs": 12_000.0,
            "GainRaw": 200,
            "BlackLevelRaw": 32,
            "ExposureAuto": "Off",
            "GainAuto": "Off",
        },
    ),
    "new_gige": (
        {"exposure_us": 20.0, "line_rate_hz": 12_000, "gain": 6.0, "black_level": 3},
        {
            "ExposureTime": 20.0,
            "AcquisitionLineRate": 12.0,
            "Gain": 6.0,
            "BlackLevel": 3.0,
            "AcquisitionLineRateEnable": True,
            "ExposureMode": "Timed",
        },
    ),
    "dalsa": (
        {"exposure_us": 20.0, "line_rate_hz": 12_000, "gain": 2.0},
        {"ExposureTime": 20.0, "AcquisitionLineRate": 12_000.0, "Gain": 2.0},
    ),
    "e2v": (
        {"exposure_us": 20.0, "line_rate_hz": 12_500},
        {"ExposureTime": 20.0, "LinePeriod": 80.0, "TriggerMode": "Off"},
    ),
    "allied_vision": (
        {"exposure_us": 20.0, "gain": 6.0, "packet_bytes": 9000},
        {
            "ExposureTimeAbs": 20.0,
            "Gain": 6.0,
            "GVSPPacketSize": 9000,
            "ExposureAuto": "Off",
            "AcquisitionMode": "Continuous",
        },
    ),
    "jai": ({"exposure_us": 20.0, "gain": 8}, {"ExposureTimeRaw": 20, "GainRaw": 8}),
    "flir": ({"exposure_us": 20.0, "gain": 6.0}, {"ExposureTime": 20.0, "Gain": 6.0}),
}


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_takes_the_settings_under_its_own_names_at_the_first_attempt(name):
    port = camera(name)
    settings, wanted = SETTINGS[name]
    set_up(port, **settings)
    assert {feature: port.read(feature) for feature in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize("name", CAMERAS)
def test_a_camera_that_runs_freely_acquires_without_end_and_waits_for_no_trigger(name):
    port = camera(name)
    set_up(port)
    if port.has("AcquisitionMode"):
        assert port.read("AcquisitionMode") == "Continuous"
    for selector in port.offers("TriggerSelector") if port.has("TriggerSelector") else ():
        port.write("TriggerSelector", selector)
        assert port.read("TriggerMode") == "Off", selector
    assert port.read("TriggerMode") == "Off"


def test_only_the_triggers_that_are_named_are_on():
    port = camera("old_gige")
    set_up(port, triggers=[{"selector": "FrameStart", "source": "Line2", "delay_us": 5}])
    modes = {}
    for selector in port.offers("TriggerSelector"):
        port.write("TriggerSelector", selector)
        modes[selector] = port.read("TriggerMode")
    assert modes == {"AcquisitionStart": "Off", "FrameStart": "On", "LineStart": "Off"}
    assert port.read("TriggerDelayAbs") == 5.0


def test_the_one_trigger_of_a_camera_without_a_selector_is_the_frames():
    port = camera("jai")
    set_up(port, triggers=[{"selector": "FrameStart", "source": "Software"}])
    assert (port.read("TriggerMode"), port.read("TriggerSource")) == ("On", "Software")
    said = refusal(camera("jai"), triggers=[{"selector": "LineStart", "source": "Line5"}])
    assert "its selector TriggerSelector: the camera has no feature of this name" in said
    assert "TriggerSource, TriggerMode" in said or "TriggerMode, TriggerSource" in said


@pytest.mark.parametrize(
    ("name", "encoder", "wanted"),
    [
        (
            "dalsa",
            {"source_a": "Line1", "source_b": "Line2", "divider": 4, "output_mode": "Motion"},
            {
                "rotaryEncoderInputASource": "Line1",
                "rotaryEncoderInputBSource": "Line2",
                "rotaryEncoderDivider": 4,
                "rotaryEncoderOutputMode": "Motion",
            },
        ),
        (
            "old_gige",
            {"source_a": "Line1", "source_b": "Line2"},
            {"ShaftEncoderModuleLineSource": "Line2"},
        ),
    ],
)
def test_an_encoder_is_set_by_the_names_that_the_vendor_gave_it(name, encoder, wanted):
    port = camera(name)
    set_up(port, encoder=encoder)
    assert {feature: port.read(feature) for feature in wanted} == wanted
    if name == "old_gige":
        port.write("ShaftEncoderModuleLineSelector", "PhaseA")
        assert port.read("ShaftEncoderModuleLineSource") == "Line1"


@pytest.mark.parametrize(
    ("name", "asked", "has"),
    [
        ("old_gige", "RGB8", "RGB8Packed"),
        ("old_gige", "BGR8Packed", "BGR8Packed"),
        ("new_gige", "RGB8Packed", "RGB8"),
        ("new_gige", "BGR8", "BGR8"),
    ],
)
def test_a_pixel_format_is_set_by_its_old_name_or_its_new_one(name, asked, has):
    port = camera(name)
    set_up(port, pixel_format=asked)
    assert port.read("PixelFormat") == has


@pytest.mark.parametrize(
    ("name", "rate_hz"), [("old_gige", 950.0), ("new_gige", 4800.0), ("e2v", 10_000.0)]
)
def test_the_line_rate_is_read_in_hertz_however_the_camera_tells_it(name, rate_hz):
    port = camera(name)
    found = measured(port, "resulting_line_rate_hz", "Hz") or measured(port, "line_rate_hz", "Hz")
    assert found == pytest.approx(rate_hz)


def test_a_raw_number_without_a_unit_is_not_guessed():
    said = refusal(camera("jai"), line_rate_hz=5000)
    assert "AcquisitionLineRateRaw = 5000.0: refused, its description does not say" in said
    assert "write it in `features`" in said


@pytest.mark.parametrize(
    ("number_of", "unit", "stated", "default", "written"),
    [
        (20.0, "us", "", "us", 20.0),
        (20.0, "us", "ms", "us", 0.02),
        (20.0, "us", "ns", "stated", 20_000.0),
        (20.0, "us", "µs", "us", 20.0),
        (12_000.0, "Hz", "kHz", "Hz", 12.0),
        (12_500.0, "Hz", "us", "stated", 80.0),
        (2.5, "", "dB", "own", 2.5),
    ],
)
def test_a_number_is_written_in_the_cameras_unit(number_of, unit, stated, default, written):
    assert convert(number_of, unit, stated, default) == pytest.approx(written)


@pytest.mark.parametrize(
    ("setting", "features"),
    [
        ("exposure_us", "ExposureTime ExposureTimeAbs ExposureTimeRaw"),
        (
            "line_rate_hz",
            "AcquisitionLineRate AcquisitionLineRateAbs AcquisitionLineRateRaw LinePeriod "
            "AcquisitionLinePeriod",
        ),
        ("gain", "Gain GainAbs GainRaw"),
        ("black_level", "BlackLevel BlackLevelAbs BlackLevelRaw"),
        ("trigger_delay_us", "TriggerDelay TriggerDelayAbs TriggerDelayRaw"),
        ("packet_bytes", "GevSCPSPacketSize DeviceStreamChannelPacketSize GVSPPacketSize"),
    ],
)
def test_a_setting_is_found_under_each_of_its_names(setting, features):
    for feature in features.split():
        found = name_of(loaded(feature, [number(feature, 1, 0, 9, "us")]), setting)
        assert found is not None, feature
        assert found.feature == feature


@pytest.mark.parametrize(
    ("setting", "automatic", "entries"),
    [
        ("exposure_us", "ExposureAuto", ("Continuous", "Off")),
        ("exposure_us", "autoBrightnessMode", ("Active", "Off")),
        ("exposure_us", "ExposureMode", ("TriggerWidth", "Timed")),
        ("gain", "GainAuto", ("Continuous", "Off")),
        ("gain", "autoBrightnessMode", ("Active", "Off")),
        ("black_level", "BlackLevelAuto", ("Continuous", "Off")),
    ],
)
def test_what_would_move_a_setting_is_off(setting, automatic, entries):
    name = NAMES[setting][0].feature
    port = loaded("moves", [*geometry("Mono8"), choice(automatic, entries), number(name, 1, 0, 9)])
    set_up(port, **{setting: 2})
    assert port.read(automatic) == entries[1]


def test_every_name_says_where_it_is_published():
    for names in NAMES.values():
        assert all(name.source and name.unit in ("own", "stated", "us", "Hz") for name in names)


def test_a_category_of_a_settings_name_is_no_value_of_the_cameras():
    port = camera("old_gige")
    assert name_of(port, "gain").feature == "GainRaw"
    said = refusal(port, features=[{"name": "Gain", "value": 2}])
    assert "Gain = 2: refused, it is a category in this camera and has no value" in said
    assert "it holds GainAuto, GainRaw" in said


def test_a_refusal_names_the_reason_the_cameras_value_and_what_it_offers():
    port = camera("new_gige")
    triggers = [{"selector": "FrameStart", "source": "Line7"}]
    said = refusal(port, triggers=triggers, gain=30.0, width_px=4096)
    assert "TriggerSource[FrameStart] = Line7: refused, cannot convert value 'Line7'" in said
    assert "the camera has Software (it offers Software, Line0, EncoderModule0)" in said
    assert "Gain = 30.0: refused, Value 30.000000 must be smaller than or equal 24" in said
    assert "the camera has 1.0 (0 to 24 dB)" in said
    assert "Width = 4096: refused, Value = 4096 must be equal or smaller than Max = 2048" in said
    assert "the camera has 2048 (16 to 2048 in steps of 1)" in said


def test_a_refusal_says_that_another_setting_locks_the_feature():
    parts = [
        *geometry("Mono8"),
        choice("SpecialMode", ("Off", "On"), 1),
        while_on("Lock", "SpecialMode"),
        number("ExposureTime", 10, 1, 100, "us", locked="Lock"),
    ]
    said = refusal(loaded("locked", parts), exposure_us=20.0)
    assert "ExposureTime = 20.0: refused, it can only be read just now" in said
    assert "the camera has 10.0 (1 to 100 us)" in said


def test_a_setting_that_a_camera_has_by_no_name_is_refused_with_the_nearest():
    parts = [*geometry("Mono8"), number("exposureTimeUs", 10, 1, 100, "us")]
    said = refusal(loaded("odd", parts), exposure_us=20.0)
    assert "the camera has none of ExposureTime, ExposureTimeAbs, ExposureTimeRaw" in said
    assert "the nearest that it has: exposureTimeUs" in said


def test_a_fraction_is_not_cut_where_the_camera_takes_whole_numbers():
    said = refusal(camera("jai"), gain=2.5)
    assert "GainRaw = 2.5: refused, 2.5 is no value for it (it takes whole numbers)" in said
    assert "the camera has 0 (0 to 400 in steps of 1)" in said


def test_what_one_setting_unlocks_for_an_earlier_one_is_tried_again():
    # Height is locked until the chunks are on, and written long before them.
    parts = [
        *geometry("Mono8")[:3],
        '<Boolean Name="ChunkModeActive"><pValue>Chunks</pValue></Boolean>',
        '<Integer Name="Chunks"><Value>0</Value></Integer>',
        '<IntSwissKnife Name="Lock"><pVariable Name="A">Chunks</pVariable>'
        "<Formula>(A = 0) ? 1 : 0</Formula></IntSwissKnife>",
        number("Height", 512, 1, 8192, whole=True, locked="Lock"),
    ]
    port = loaded("backwards", parts)
    set_up(port, lines_per_frame=64, features=[{"name": "ChunkModeActive", "value": True}])
    assert port.read("Height") == 64


def test_what_cannot_be_had_together_ends_in_a_refusal_and_not_in_a_ring():
    # Either may be On, and each forbids the other.
    parts = [
        *geometry("Mono8"),
        choice("First", ("Off", "On"), locked="SecondOn"),
        choice("Second", ("Off", "On"), locked="FirstOn"),
        while_on("FirstOn", "First"),
        while_on("SecondOn", "Second"),
    ]
    features = [{"name": name, "value": "On"} for name in ("First", "Second")]
    said = refusal(loaded("rivals", parts), features=features)
    assert "Second = On: refused, it can only be read just now" in said
    assert "First" not in said


@pytest.mark.parametrize(("value", "executed"), [(True, 1), (False, 0)])
def test_a_command_is_executed_by_true_alone(value, executed):
    port = camera("old_gige")
    set_up(port, features=[{"name": "UserSetLoad", "value": value}])
    assert port.read("UserSetLoad_Number") == executed


def test_a_command_takes_no_number():
    said = refusal(camera("old_gige"), features=[{"name": "UserSetLoad", "value": 3}])
    assert "UserSetLoad = 3: refused, it is a command: true executes it, false does not" in said


def test_a_command_is_executed_once_however_often_the_rest_is_tried():
    class Counting:
        def __init__(self, port):
            self.port = port
            self.executed = 0

        def __getattr__(self, name):
            return getattr(self.port, name)

        def write(self, name, value):
            self.executed += self.port.is_command(name)
            self.port.write(name, value)

    port = Counting(camera("old_gige"))
    features = [{"name": "UserSetLoad", "value": True}]
    assert "Width" in refusal(port, width_px=5000, features=features)
    assert port.executed == 1


def test_what_the_settings_name_themselves_is_theirs():
    port = camera("old_gige")
    own = [
        {"name": "AcquisitionMode", "value": "MultiFrame"},
        {"name": "TriggerMode", "value": "On", "selectors": {"TriggerSelector": "LineStart"}},
    ]
    set_up(port, features=own)
    assert port.read("AcquisitionMode") == "MultiFrame"
    port.write("TriggerSelector", "LineStart")
    assert port.read("TriggerMode") == "On"


def test_an_automatic_that_cannot_be_switched_off_is_named():
    parts = [
        *geometry("Mono8"),
        '<Integer Name="Locked"><Value>1</Value></Integer>',
        choice("ExposureAuto", ("Off", "Continuous"), 1, locked="Locked"),
        number("ExposureTime", 10, 1, 100, "us"),
    ]
    said = refusal(loaded("stubborn", parts), exposure_us=20.0)
    assert "ExposureAuto = Off: refused, it can only be read just now" in said
    assert "the camera has Continuous (it offers Off, Continuous)" in said
