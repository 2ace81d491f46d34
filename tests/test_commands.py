"""The commands as a person runs them: errors in one or two lines, documented exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bundles import Workshop, with_patch
from kenpin.camera.files.images import read_pixels, write_png
from kenpin.compile import precision
from kenpin.compile.cli import main as edge_compile
from kenpin.config.exits import EPILOG, Exit, run
from kenpin.runtime.bundles.bundle import Bundle, read_bundle
from kenpin.runtime.judging.overlay import CONTOUR_COLOUR
from kenpin.runtime.replay import main as edge_replay


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@pytest.fixture
def frames(workshop: Workshop, tmp_path: Path) -> Path:
    """Two good frames, one with a defect, one cut off, one of a wrong size."""
    folder = tmp_path / "frames"
    folder.mkdir()
    test = workshop.data / "test"
    for name, source in {"a": "good/000", "c": "good/001"}.items():
        (folder / f"{name}.png").write_bytes((test / f"{source}.png").read_bytes())
    write_png(folder / "b.png", with_patch(read_pixels(test / "good" / "001.png")))
    (folder / "d.png").write_bytes((test / "good/002.png").read_bytes()[:3000])
    write_png(folder / "e.png", read_pixels(test / "good" / "003.png")[:100].copy())
    return folder


def test_replay_gives_every_frame_its_verdict_and_a_summary(
    patchcore: Bundle, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_replay([str(frames), "--bundle", str(patchcore.folder)]) == Exit.DONE
    out = lines(capsys.readouterr().out)
    words = [line.split()[1:3] for line in out[:5]]
    assert [w[0] for w in words] == ["OK", "NG", "OK", "NG", "NG"]
    assert [w[1] for w in words if w[0] == "NG"] == [
        "defect", "incomplete_frame", "recipe_mismatch",
    ]  # fmt: skip
    assert out[5].startswith("5 frames: 2 OK, 3 NG (")
    assert "p50" in out[5]


def test_replay_can_fail_on_ng(patchcore: Bundle, frames: Path) -> None:
    arguments = [str(frames), "--bundle", str(patchcore.folder), "--fail-on-ng"]
    assert edge_replay(arguments) == Exit.NG
    for name in "bde":
        (frames / f"{name}.png").unlink()
    assert edge_replay(arguments) == Exit.DONE


def test_replay_writes_a_picture_for_every_readable_frame(
    patchcore: Bundle, frames: Path, tmp_path: Path
) -> None:
    pictures = tmp_path / "pictures"
    edge_replay([str(frames), "--bundle", str(patchcore.folder), "--overlays", str(pictures)])
    found = sorted(path.name for path in pictures.iterdir())
    assert found == [
        "000000-OK-a.png", "000001-NG-b.png", "000002-OK-c.png", "000004-NG-e.png",
    ]  # fmt: skip
    good, bad = (read_pixels(pictures / name) for name in found[:2])
    assert good.shape == (128 + 28, 320, 3)
    assert [bool((p == CONTOUR_COLOUR).all(axis=2).any()) for p in (good, bad)] == [False, True]


@pytest.mark.clock
def test_replay_publishes_to_a_subscriber_in_another_process(
    patchcore: Bundle, frames: Path, tmp_path: Path
) -> None:
    endpoint = f"ipc://{tmp_path}/v"
    received = tmp_path / "received.jsonl"
    with subprocess.Popen(
        [
            sys.executable, "-m", "kenpin.runtime.wire.subscriber", endpoint, "--encoding", "json",
            "--count", "5", "--timeout-s", "60", "--json-lines", str(received),
        ],
        stdout=subprocess.PIPE,
    ) as listener:  # fmt: skip
        code = edge_replay(
            [
                str(frames), "--bundle", str(patchcore.folder), "--publish", endpoint,
                "--encoding", "json", "--wait-s", "30", "--line", "L7", "--budget-ms", "60000",
            ]
        )  # fmt: skip
        listener.communicate(timeout=60)
    assert (code, listener.returncode) == (0, 0)
    messages: list[dict[str, Any]] = [json.loads(line) for line in lines(received.read_text())]
    verdicts = [m for m in messages if m["type"] == "verdict"]
    assert messages[0]["type"] == "state"
    assert [v["seq"] for v in verdicts] == [1, 2, 3, 4, 5]
    assert [v["verdict"] for v in verdicts] == [1, 2, 1, 2, 2]
    assert {v["sim"] for v in verdicts} == {True}
    assert {v["line"] for v in verdicts} == {"L7"}
    assert {v["bundle"] for v in verdicts} == {patchcore.label}
    assert {v["deadline_us"] for v in verdicts} == {60_000_000}


def test_two_replays_of_one_recording_score_bit_for_bit_the_same(
    patchcore: Bundle, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    for _ in range(2):
        edge_replay([str(frames), "--bundle", str(patchcore.folder)])
        seen.append([line.split()[1:4] for line in lines(capsys.readouterr().out)[:5]])
    assert seen[0] == seen[1]


def test_a_damaged_bundle_stops_replay_before_any_frame(
    own_bundle: Path, frames: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_bundle / "features.bin").write_bytes(b"")
    assert edge_replay([str(frames), "--bundle", str(own_bundle)]) == Exit.BUNDLE
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(lines(shown.err)) == 1
    assert "features.bin" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nowhere"], Exit.IMAGES, "nowhere"),
        (["{frames}", "--publish", "tcp://0.0.0.0:5556"], Exit.CONFIG, "0.0.0.0"),
    ],
)
def test_replay_explains_what_it_cannot_use(
    patchcore: Bundle,
    frames: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: Exit,
    text: str,
) -> None:
    filled = [a.format(frames=frames) for a in arguments]
    assert edge_replay([*filled, "--bundle", str(patchcore.folder)]) == code
    error = capsys.readouterr().err
    assert text in error
    assert len(lines(error)) <= 2
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("change", "code", "text"),
    [
        ("surprise=1", Exit.CONFIG, "surprise: unknown key"),
        ("tiles.halo_px=96", Exit.CONFIG, "leaves a core of 0 px"),
        ("tiles.stride_px=200", Exit.CONFIG, "stride_px 200 is larger than the core"),
        ("tiles.halo_px=30", Exit.CONFIG, "halo_px 30 is not a multiple of 8"),
        ("images.good=nowhere", Exit.IMAGES, "nowhere"),
        (
            "backbone.name=alexnet",
            Exit.CONFIG,
            "'alexnet' is not known; expected one of: efficientnet_lite0",
        ),
        ("frame.height_px=129", Exit.CONFIG, "000.png: frame is 128 x 320 px, expected 129"),
        ("frame.channels=3", Exit.CONFIG, "gabor looks at grey only"),
        ("method.name=magic", Exit.CONFIG, "method"),
        ("backbone.layers=['layer9']", Exit.CONFIG, "no layer 'layer9'"),
        ("backbone.weights=w.pth", Exit.CONFIG, "takes no weights"),
    ],
)
def test_a_wrong_recipe_is_refused_with_its_remedy(
    workshop: Workshop,
    capsys: pytest.CaptureFixture[str],
    change: str,
    code: Exit,
    text: str,
) -> None:
    assert edge_compile(["check", str(workshop.recipe), "--set", change]) == code
    error = capsys.readouterr().err
    assert text in error
    assert "Traceback" not in error


def test_learned_weights_without_a_file_name_both_remedies(
    workshop: Workshop, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", "/nonexistent/kenpin")
    arguments = ["check", str(workshop.recipe), "--set", "backbone.name=resnet18"]
    monkeypatch.setattr("torch.hub.download_url_to_file", _offline)
    assert edge_compile(arguments) == Exit.CONFIG
    error = capsys.readouterr().err
    assert "--weights FILE" in error
    assert "connect this machine" in error


def _offline(*_: Any, **__: Any) -> None:
    from urllib.error import URLError

    raise URLError("no route")


def test_check_says_what_would_be_compiled(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    (workshop.data / "train" / "good" / "notes.txt").write_text("x")
    try:
        assert edge_compile(["check", str(workshop.recipe)]) == Exit.DONE
    finally:
        (workshop.data / "train" / "good" / "notes.txt").unlink()
    out = capsys.readouterr().out
    assert "1 x 3 tiles of 192 px" in out
    assert "16 good images, 3 parts" in out
    assert "notes.txt is no image" in out
    assert "16 good scores are too few to have seen one in 100" in out
    assert "99 are enough" in out


def test_build_tells_where_the_bundle_is(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_compile(["build", str(workshop.recipe), "-o", str(tmp_path)]) == Exit.DONE
    out = capsys.readouterr().out
    assert str(read_bundle(tmp_path).folder) in "".join(out.split("\n"))
    assert "threshold  OK up to" in out
    assert "of real defects it says nothing" in out
    assert "how many are found, for how many false rejects" in out


def test_a_failed_guard_has_its_own_exit_code(
    workshop: Workshop,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No choice of what stays in float mends it.
    monkeypatch.setattr(precision, "_within", lambda model, _: model)
    arguments = ["build", str(workshop.recipe), "-o", str(tmp_path)]
    code = edge_compile([*arguments, "--set", "quantize.calibrate_on=normals"])
    assert code == Exit.QUANTIZATION
    assert "INT8 shrinks" in capsys.readouterr().err


def test_verify_inspect_threshold(
    patchcore: Bundle, own_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_compile(["verify", str(patchcore.folder)]) == Exit.DONE
    assert "golden/good-0.png scores" in capsys.readouterr().out
    assert edge_compile(["inspect", str(patchcore.folder)]) == Exit.DONE
    assert patchcore.sha256[:12] in capsys.readouterr().out.replace("\n", "")
    store = tmp_path / "store"
    arguments = ["threshold", str(patchcore.folder), "--ok", "1.25", "-o", str(store)]
    assert edge_compile(arguments) == Exit.DONE
    assert f"{store / 'current'} names it" in capsys.readouterr().err
    assert read_bundle(store).manifest.threshold.ok == 1.25
    (own_bundle / "bank.npy").unlink()
    assert edge_compile(["verify", str(own_bundle)]) == Exit.BUNDLE


def test_a_rate_of_false_rejects_is_chosen_from_the_stored_scores(
    patchcore: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at = {}
    for rate in ("0.1%", "10%", "0.3"):
        store = tmp_path / rate
        arguments = ["threshold", str(patchcore.folder), "--false-rejects", rate, "-o", str(store)]
        assert edge_compile(arguments) == Exit.DONE
        at[rate] = read_bundle(store).manifest.threshold
    scores = sorted(one.score for one in patchcore.manifest.good_scores)
    # Of 16 images and 17 places between them.
    assert at["0.3"].ok == scores[11]
    assert at["10%"].settings.false_rejects == 0.1
    assert at["0.1%"].ok > at["10%"].ok > at["0.3"].ok
    assert (at["0.1%"].rule, at["10%"].rule) == ("gumbel", "conformal")
    capsys.readouterr()
    assert edge_compile(["threshold", str(patchcore.folder)]) == Exit.DONE
    assert "0.5 %*" in capsys.readouterr().out
    assert edge_compile(["threshold", str(patchcore.folder), "--ng", "3"]) == Exit.CONFIG
    assert "choose one threshold" in capsys.readouterr().err
    code = edge_compile(["threshold", str(patchcore.folder), "--f1"])
    assert code == Exit.CONFIG
    assert "16 good and 0 NG scores" in capsys.readouterr().err


def test_thresholds_in_the_wrong_order_are_refused(
    patchcore: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    code = edge_compile(["threshold", str(patchcore.folder), "--ok", "2", "--ng", "1"])
    assert code == Exit.CONFIG
    assert "expected ok <= ng" in capsys.readouterr().err


def test_eval_prints_and_writes_its_figures(
    workshop: Workshop, padim: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    arguments = ["eval", str(padim.folder), str(workshop.data), "--json", str(target)]
    assert edge_compile([*arguments, "--tile-px", "64"]) == Exit.DONE
    out = capsys.readouterr().out
    assert "AUPRO" in out
    assert "of labelled images so many are rejected" in " ".join(out.split())
    assert "tiles within their image" in out
    figures = json.loads(target.read_text())
    assert figures["images"]["good"] == 4
    assert figures["images"]["ng"] == 10
    assert 0.5 < figures["images"]["auroc"] <= 1
    assert 0 <= figures["pixels"]["aupro"] <= 1
    assert figures["tiles"]["good"] + figures["tiles"]["ng"] == 14 * 2 * 5
    assert set(figures["images"]["kinds"]) == {"scratch", "spot", "dark_band", "stain", "subtle"}


def test_eval_refuses_another_layout(
    padim: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert edge_compile(["eval", str(padim.folder), str(tmp_path)]) == Exit.CONFIG
    told = capsys.readouterr().err
    assert "is not laid out as expected" in told
    assert "test/good/" in told


def test_every_exit_code_is_documented() -> None:
    documented = {int(line.split()[0]) for line in lines(EPILOG)[1:]}
    assert documented == {int(code) for code in Exit}


def test_an_unexpected_error_says_so_and_debug_shows_where(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail() -> int:
        raise ZeroDivisionError("oops")

    assert run(fail, {}, debug=False) == Exit.UNEXPECTED
    shown = capsys.readouterr().err
    assert "Traceback" not in shown
    assert "--debug" in shown
    run(fail, {}, debug=True)
    assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    def stop() -> int:
        raise KeyboardInterrupt

    assert run(stop, {}, debug=False) == Exit.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_the_help_of_threshold_says_that_current_moves(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        edge_compile(["threshold", "--help"])
    assert "`current` names it" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["edge-compile", "edge-replay"])
def test_help_teaches(command: str) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / command, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert "examples:" in done.stdout
    assert "exit codes:" in done.stdout
