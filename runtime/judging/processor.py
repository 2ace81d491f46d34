"""What this processor can do, and whether a bundle is for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import BundleError

__all__ = ["CPUINFO", "check_processor", "has_vnni", "processor_name"]

# Where Linux says what its processors can do.
CPUINFO = Path("/proc/cpuinfo")
# Any of them multiplies bytes and adds the products in 32 bits.
VNNI = {"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"}
# What OpenVINO may be told to keep to instead of all that the processor can do; the first counts.
LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
# Which of them it may still use then; told anything else, it may use all.
VNNI_WITHIN = {
    "SSE41": set[str](),
    "AVX": set[str](),
    "AVX2": set[str](),
    "AVX2_VNNI": {"avx_vnni", "avx_vnni_int8"},
    "AVX2_VNNI_2": {"avx_vnni", "avx_vnni_int8"},
    "AVX512_CORE": set[str](),
    "AVX512_CORE_VNNI": {"avx512_vnni"},
    "AVX512_CORE_BF16": {"avx512_vnni"},
}


def check_processor(bundle: Bundle) -> None:
    """Refuse a bundle that computes otherwise here than where it was compiled.

    Raises
    ------
    BundleError
        If it is for processors with VNNI only and this one has none.
    """
    quantization = bundle.manifest.quantization
    if quantization.processors != "vnni" or has_vnni():
        return
    remedy = "recompile with quantize.weight_bits = 7"
    if quantization.settings.precision == "fp32":
        # Whoever made the network had quantised it.
        remedy = 'import the network in float, with quantize.precision = "int8"'
    raise BundleError(
        f"{bundle.folder}: its weights have 8 bits and are for processors with VNNI (flags "
        f"{', '.join(sorted(VNNI))}); this one, {processor_name()}, would overflow: {remedy}"
    )


def has_vnni(cpuinfo: Path = CPUINFO) -> bool:
    """Whether bytes are multiplied without 16-bit sums that could overflow."""
    usable = VNNI_WITHIN.get(_limit().upper(), VNNI)
    return bool(usable & set(_line(cpuinfo, "flags").split()))


def processor_name(cpuinfo: Path = CPUINFO) -> str:
    """As its maker calls it, and what OpenVINO is told to keep to, if anything."""
    name = _line(cpuinfo, "model name") or platform.machine()
    limit = _limit()
    return f"{name} kept to {limit}" if limit else name


def _limit() -> str:
    """What oneDNN, which computes for OpenVINO, is told to keep to; empty: nothing."""
    return next((value for name in LIMITS if (value := os.environ.get(name))), "")


def _line(cpuinfo: Path, key: str) -> str:
    """The first processor's value; empty if the kernel does not tell."""
    try:
        text = cpuinfo.read_text()
    except OSError:
        return ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""
