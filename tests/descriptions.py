"""GenICam descriptions in the shape of old and new cameras, for a node map without a camera.

Written for these tests from public manuals and the naming conventions; none is a
vendor's file. Values live in the description itself, so that what is written
can be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from genicam import genapi

from kenpin.camera.genicam.nodes import Nodes

HEAD = (
    '<?xml version="1.0" encoding="utf-8"?><RegisterDescription ModelName="{name}" '
    'VendorName="kenpin" ToolTip="for tests" StandardNameSpace="None" SchemaMajorVersion="1" '
    'SchemaMinorVersion="1" SchemaSubMinorVersion="0" MajorVersion="1" MinorVersion="0" '
    'SubMinorVersion="0" ProductGuid="6F3A1B52-2C2E-4D1A-9A59-5B0C3F6A7D10" '
    'VersionGuid="0E8A7C64-51D3-4A3C-8C5E-8A9E6D2F4B11" '
    'xmlns="http://www.genicam.org/GenApi/Version_1_1">'
)


def loaded(name: str, parts: Sequence[str]) -> Nodes:
    """The features of a camera with this description."""
    node_map = genapi.NodeMap()
    categories = "".join(f"<pFeature>{part}</pFeature>" for part in ("Device", "Analog"))
    root = f'<Category Name="Root">{categories}</Category>'
    rooms = '<Category Name="Device"></Category><Category Name="Analog"></Category>'
    node_map.load_xml_from_string(
        HEAD.format(name=name) + root + rooms + "".join(parts) + "</RegisterDescription>"
    )
    return Nodes(node_map)


def number(
    name: str,
    value: float,
    low: float,
    high: float,
    unit: str = "",
    *,
    whole: bool = False,
    locked: str = "",
    absent: str = "",
) -> str:
    """`locked`, `absent`: a node that is not 0 while it cannot be written, or is not there."""
    kind = "Integer" if whole else "Float"
    lock = f"<pIsLocked>{locked}</pIsLocked>" if locked else ""
    there = f"<pIsAvailable>{absent}</pIsAvailable>" if absent else ""
    told = f"<Unit>{unit}</Unit>" if unit else ""
    step = "<Inc>1</Inc>" if whole else ""
    return (
        f'<{kind} Name="{name}">{there}{lock}<Value>{value}</Value><Min>{low}</Min>'
        f"<Max>{high}</Max>{step}{told}</{kind}>"
    )


def choice(name: str, entries: Sequence[str], value: int = 0, *, locked: str = "") -> str:
    """An enumeration; its number lies in a node of its own, `<name>_Number`."""
    lock = f"<pIsLocked>{locked}</pIsLocked>" if locked else ""
    listed = "".join(
        f'<EnumEntry Name="{entry}"><Value>{k}</Value></EnumEntry>'
        for k, entry in enumerate(entries)
    )
    return (
        f'<Enumeration Name="{name}">{lock}{listed}<pValue>{name}_Number</pValue></Enumeration>'
        f'<Integer Name="{name}_Number"><Value>{value}</Value></Integer>'
    )


def chosen(
    name: str, selector: str, entries: Sequence[str], values: Sequence[int], *, locked: str = ""
) -> str:
    """An enumeration with a value for each entry of a selector."""
    lock = f"<pIsLocked>{locked}</pIsLocked>" if locked else ""
    listed = "".join(
        f'<EnumEntry Name="{entry}"><Value>{k}</Value></EnumEntry>'
        for k, entry in enumerate(entries)
    )
    indexed = "".join(
        f'<pValueIndexed Index="{k}">{name}_{k}</pValueIndexed>' for k in range(len(values))
    )
    nodes = "".join(
        f'<Integer Name="{name}_{k}"><Value>{value}</Value></Integer>'
        for k, value in enumerate(values)
    )
    return (
        f'<Enumeration Name="{name}">{lock}{listed}<pValue>{name}_Number</pValue></Enumeration>'
        f'<Integer Name="{name}_Number"><pIndex>{selector}_Number</pIndex>{indexed}'
        f"<pValueDefault>{name}_0</pValueDefault></Integer>{nodes}"
    )


def triggers(selectors: Sequence[str], on: Sequence[str], sources: Sequence[str]) -> list[str]:
    """A camera's triggers, some of them left on by its last job."""
    return [
        choice("TriggerSelector", selectors),
        chosen("TriggerMode", "TriggerSelector", ("Off", "On"), [int(s in on) for s in selectors]),
        chosen("TriggerSource", "TriggerSelector", sources, [0] * len(selectors)),
    ]


def command(name: str) -> str:
    """Executed, it leaves a 1 in `<name>_Number`."""
    return (
        f'<Command Name="{name}"><pValue>{name}_Number</pValue><CommandValue>1</CommandValue>'
        f'</Command><Integer Name="{name}_Number"><Value>0</Value></Integer>'
    )


def category(name: str, *features: str) -> str:
    held = "".join(f"<pFeature>{feature}</pFeature>" for feature in features)
    return f'<Category Name="{name}">{held}</Category>'


def while_on(name: str, automatic: str, off: int = 0) -> str:
    """A node that is 1 while an automatic is on."""
    return (
        f'<IntSwissKnife Name="{name}"><pVariable Name="A">{automatic}_Number</pVariable>'
        f"<Formula>(A &lt;&gt; {off}) ? 1 : 0</Formula></IntSwissKnife>"
    )


def geometry(*formats: str) -> list[str]:
    return [
        choice("PixelFormat", formats),
        number("Width", 2048, 16, 2048, whole=True),
        number("OffsetX", 0, 0, 2032, whole=True),
        number("Height", 512, 1, 8192, whole=True),
        number("PayloadSize", 1 << 20, 0, 1 << 30, whole=True),
    ]


MODES = ("SingleFrame", "MultiFrame", "Continuous")
AUTO = ("Off", "Once", "Continuous")


def old_gige() -> list[str]:
    """SFNC 1.x line scan, as Basler's runner and racer: Gain is a category."""
    return [
        *geometry("Mono8", "Mono12Packed", "RGB8Packed", "BGR8Packed"),
        choice("AcquisitionMode", MODES, 0),
        category("Gain", "GainAuto", "GainRaw"),
        choice("GainAuto", AUTO, 2),
        number("GainRaw", 100, 0, 500, whole=True, locked="GainLock"),
        while_on("GainLock", "GainAuto"),
        number("BlackLevelRaw", 16, 0, 255, whole=True),
        choice("ExposureAuto", AUTO, 2),
        while_on("ExposureLock", "ExposureAuto"),
        number("ExposureTimeAbs", 35, 2, 10000, "us", locked="ExposureLock"),
        number("ExposureTimeRaw", 35, 2, 10000, whole=True, locked="ExposureLock"),
        number("AcquisitionLineRateAbs", 1000, 1, 80000, "Hz"),
        number("ResultingLineRateAbs", 950, 1, 80000, "Hz"),
        *triggers(
            ("AcquisitionStart", "FrameStart", "LineStart"),
            ("AcquisitionStart", "LineStart"),
            ("Line1", "Line2", "ShaftEncoderModuleOut"),
        ),
        number("TriggerDelayAbs", 0, 0, 1000000, "us"),
        choice("ShaftEncoderModuleLineSelector", ("PhaseA", "PhaseB")),
        chosen(
            "ShaftEncoderModuleLineSource",
            "ShaftEncoderModuleLineSelector",
            ("Line1", "Line2", "Line3"),
            (2, 2),
        ),
        number("GevSCPSPacketSize", 1500, 220, 16404, whole=True),
        command("UserSetLoad"),
    ]


def new_gige() -> list[str]:
    """SFNC 2.x line scan, as Hikrobot's and Vieworks'; its line rate is told in kHz."""
    return [
        *geometry("Mono8", "Mono10", "Mono12", "RGB8", "BGR8"),
        choice("AcquisitionMode", MODES, 1),
        choice("ExposureMode", ("TriggerWidth", "Timed"), 0),
        while_on("WidthLock", "ExposureMode", off=1),
        number("ExposureTime", 10, 1, 9000, "us", locked="WidthLock"),
        choice("GainAuto", AUTO, 1),
        while_on("GainLock", "GainAuto"),
        number("Gain", 1, 0, 24, "dB", locked="GainLock"),
        number("BlackLevel", 0, 0, 64),
        '<Boolean Name="AcquisitionLineRateEnable"><Value>false</Value></Boolean>',
        number("AcquisitionLineRate", 5, 0.1, 100, "kHz"),
        number("ResultingLineRate", 4.8, 0.1, 100, "kHz"),
        *triggers(
            ("AcquisitionStart", "FrameBurstStart", "FrameStart", "LineStart", "FrameActive"),
            ("AcquisitionStart", "FrameActive"),
            ("Software", "Line0", "EncoderModule0"),
        ),
        number("TriggerDelay", 0, 0, 1000000, "us"),
        number("GevSCPSPacketSize", 1500, 220, 9156, whole=True),
    ]


def dalsa() -> list[str]:
    """Teledyne DALSA's Linea GigE: an encoder with names of its own."""
    return [
        *geometry("Mono8", "Mono12"),
        choice("AcquisitionMode", MODES, 2),
        choice("ExposureMode", ("Timed",)),
        number("ExposureTime", 20, 4, 3000, "us"),
        number("AcquisitionLineRate", 10000, 300, 80000, "Hz"),
        number("Gain", 1, 1, 10),
        number("BlackLevel", 0, -128, 127),
        *triggers(("FrameStart", "LineStart"), (), ("Line1", "rotaryEncoder1")),
        choice("rotaryEncoderInputASource", ("GND", "Line1", "Line3")),
        choice("rotaryEncoderInputBSource", ("GND", "Line2", "Line4")),
        number("rotaryEncoderDivider", 1, 1, 255, whole=True),
        choice("rotaryEncoderOutputMode", ("Position", "Motion")),
    ]


def e2v() -> list[str]:
    """Teledyne e2v's: a line's period in place of its rate, one trigger without a selector."""
    return [
        *geometry("Mono8", "Mono10", "Mono12"),
        number("ExposureTime", 50, 0.1, 6553.5, "us"),
        number("LinePeriod", 100, 0.1, 6553.5, "us"),
        number("Gain", 0, 0, 8),
        choice("TriggerMode", ("Off", "On"), 1),
        choice("TriggerSource", ("Line1", "Line2")),
    ]


def allied_vision() -> list[str]:
    """Allied Vision's GigE: SFNC 1.x times, a gain in dB, packets by its own name."""
    return [
        *geometry("Mono8", "Mono12Packed", "BayerRG8"),
        choice("AcquisitionMode", ("Continuous", "SingleFrame", "MultiFrame", "Recorder"), 3),
        choice("ExposureAuto", (*AUTO, "Other"), 3),
        number("ExposureTimeAbs", 15000, 10, 60000000, "us"),
        choice("GainAuto", (*AUTO, "Other")),
        number("Gain", 0, 0, 26, "dB"),
        *triggers(
            ("FrameStart", "AcquisitionStart", "AcquisitionEnd", "AcquisitionRecord"),
            ("FrameStart",),
            ("Freerun", "Line1", "FixedRate", "Software"),
        ),
        number("TriggerDelayAbs", 0, 0, 1000000, "us"),
        number("GVSPPacketSize", 1500, 500, 16384, whole=True),
    ]


def jai() -> list[str]:
    """JAI's old ones: whole numbers only; its description says in what unit."""
    return [
        *geometry("Mono8", "Mono10Packed"),
        number("ExposureTimeRaw", 100, 10, 100000, "us", whole=True),
        number("GainRaw", 0, 0, 400, whole=True),
        number("AcquisitionLineRateRaw", 8000, 100, 20000, whole=True),
        choice("TriggerMode", ("Off", "On"), 1),
        choice("TriggerSource", ("Line5", "Software")),
    ]


def flir() -> list[str]:
    """FLIR's: the exposure is not there while its automatic is on."""
    return [
        *geometry("Mono8", "BayerRG12p", "Mono16"),
        choice("AcquisitionMode", MODES, 0),
        choice("ExposureAuto", AUTO, 2),
        '<IntSwissKnife Name="ExposureThere"><pVariable Name="A">ExposureAuto_Number</pVariable>'
        "<Formula>(A = 0) ? 1 : 0</Formula></IntSwissKnife>",
        number("ExposureTime", 5000, 6, 30000000, "us", absent="ExposureThere"),
        choice("GainAuto", AUTO, 2),
        while_on("GainLock", "GainAuto"),
        number("Gain", 0, 0, 47, "dB", locked="GainLock"),
        *triggers(
            ("AcquisitionStart", "FrameStart", "FrameBurstStart"),
            ("FrameBurstStart",),
            ("Software", "Line0"),
        ),
    ]


CAMERAS: dict[str, Callable[[], list[str]]] = {
    "old_gige": old_gige,
    "new_gige": new_gige,
    "dalsa": dalsa,
    "e2v": e2v,
    "allied_vision": allied_vision,
    "jai": jai,
    "flir": flir,
}


def camera(name: str) -> Nodes:
    """One of the corpus, by name."""
    return loaded(name, CAMERAS[name]())
