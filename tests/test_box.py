"""edge-doctor box: what makes verdicts late is found, with its remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from kenpin.config.exits import Exit
from kenpin.runtime.box.host import examine_box
from kenpin.runtime.doctor import main

LIMITS = """Limit                     Soft Limit           Hard Limit           Units
Max locked memory         {memory}            {memory}            bytes
Max nice priority         {nice}                    {nice}
Max realtime priority     {rt}                   {rt}
"""


def box(root: Path, **changed: str) -> Path:
    """A box on which all is well, but for what is changed: files by their paths."""
    limits = LIMITS.format(memory="unlimited", nice=20, rt=10)
    stat = "7 (edge-run) S " + " ".join(str(n) for n in range(4, 40)) + " 10 1 0"
    files = {
        "proc/sys/kernel/sched_rt_runtime_us": "950000",
        "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance",
        "proc/swaps": "Filename Type Size Used Priority",
        "proc/loadavg": "0.1 0.2 0.3 1/100 7",
        "run/systemd/timesync/synchronized": "",
        "proc/1/cmdline": "/sbin/init",
        "proc/1/stat": "1 (init) S " + "0 " * 40,
        "proc/7/cmdline": "/usr/bin/python3\0/opt/kenpin/bin/edge-run\0/etc/kenpin/web-1.toml\0",
        "proc/7/stat": stat,
        "proc/7/status": "VmLck:\t  4096 kB\nCapEff:\t0000000000000000\n",
        "proc/7/limits": limits,
    } | changed
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_box_on_which_all_is_well_gets_no_complaint(tmp_path: Path) -> None:
    assert {finding.grade for finding in examine_box(box(tmp_path))} == {"ok"}


@pytest.mark.parametrize(
    ("file", "text", "name", "remedy"),
    [
        ("proc/sys/kernel/sched_rt_runtime_us", "-1", "realtime throttling", "950000"),
        ("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave",
         "processor's governor", "performance"),
        ("proc/swaps", "Filename\n/dev/sda2 partition 4000 2048 -2", "swap", "swapoff"),
        ("proc/loadavg", "500 500 500 1/100 7", "load", "elsewhere"),
        ("proc/7/stat", "7 (edge-run) S " + "0 " * 40, "web-1: deadlines", "LimitRTPRIO=10"),
        ("proc/7/status", "VmLck:\t 0 kB\nCapEff:\t0\n", "web-1: memory", "LimitMEMLOCK=infinity"),
        ("proc/7/limits", LIMITS.format(memory=1, nice=0, rt=0), "web-1: change of bundle",
         "LimitNICE=+0"),
    ],
)  # fmt: skip
def test_what_makes_verdicts_late_is_named_with_its_remedy(
    tmp_path: Path, file: str, text: str, name: str, remedy: str
) -> None:
    findings = examine_box(box(tmp_path, **{file: text}))
    (found,) = [finding for finding in findings if finding.grade == "warning"]
    assert found.name == name
    assert remedy in found.remedy


def test_a_clock_that_nothing_sets_is_told(tmp_path: Path) -> None:
    (box(tmp_path) / "run/systemd/timesync/synchronized").unlink()
    assert [f.name for f in examine_box(tmp_path) if f.grade == "warning"] == ["time"]


def test_what_cannot_be_seen_is_not_called_well(tmp_path: Path) -> None:
    root = box(tmp_path, **{"proc/swaps": "", "proc/1/cmdline": ""})
    found = {finding.name: finding.grade for finding in examine_box(root)}
    assert (found["swap"], found["realtime programs"]) == ("unknown", "unknown")


def test_the_command_looks_at_this_box(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["box"]) in (Exit.DONE, Exit.CAMERA)
    assert "realtime throttling" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("priority", "policy", "command", "grade"),
    [(11, 1, "jackd", "warning"), (10, 1, "jackd", "ok"), (99, 1, "", "ok"), (0, 0, "make", "ok")],
)
def test_programs_that_come_before_the_gateway_are_named(
    tmp_path: Path, priority: int, policy: int, command: str, grade: str
) -> None:
    """The kernel's own threads, without a command line, are none of them."""
    stat = f"9 (x) S {' '.join(str(n) for n in range(4, 40))} {priority} {policy} 0"
    root = box(tmp_path, **{"proc/9/cmdline": command, "proc/9/task/12/stat": stat})
    found = {finding.name: finding for finding in examine_box(root)}["realtime programs"]
    assert found.grade == grade
    assert ("jackd (9)" in found.found) == (grade == "warning")
