"""What the parts of a chaos must show afterwards: each score again, each frame once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import zmq

__all__ = ["check", "table"]


def replayed(folder: Path, label: str, names: set[str]) -> dict[str, dict[str, Any]]:
    """What edge-replay says of recorded frames with a bundle, by the frame's name."""
    chosen = folder / f"replay-{label}"
    chosen.mkdir(exist_ok=True)
    for name in names:
        if not (chosen / name).exists():
            os.link(folder / "frames" / name, chosen / name)
    bundle = folder / "built" / label.replace("@", "-")
    endpoint, found = f"ipc://{folder}/replay", {}
    with zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.SUBSCRIBE, b"v1/verdict/")
        socket.setsockopt(zmq.RCVHWM, 100_000)
        socket.connect(endpoint)
        words = [str(chosen), "--bundle", str(bundle), "--publish", endpoint, "--encoding", "json"]
        command = [sys.executable, "-m", "kenpin.runtime.replay", *words, "--threads", "1"]
        replay = subprocess.Popen([*command, "--wait-s", "20"], stdout=subprocess.DEVNULL)
        while replay.poll() is None or socket.poll(200):
            if socket.poll(200):
                verdict = json.loads(socket.recv_multipart()[1])
                found[verdict["name"]] = verdict
    return found


def check(folder: Path, parts: list[dict[str, Any]]) -> tuple[list[str], Counter[str]]:
    """What is wrong with verdicts that were given, and counts of what was looked at."""
    wrong, counts = [], Counter[str]()
    began = dict(line.split() for line in (folder / "frames.log").read_text().splitlines())
    scored = [part for part in parts if part["answer"].get("score") is not None]
    by_label: dict[str, set[str]] = defaultdict(set)
    for part in scored:
        by_label[part["answer"]["bundle"]].add(part["answer"]["name"])
    truth = {label: replayed(folder, label, names) for label, names in by_label.items()}
    used: dict[str, str] = {}
    for part in scored:
        verdict = part["answer"]
        name, again = verdict["name"], truth[verdict["bundle"]].get(verdict["name"])
        ok = verdict["verdict"] == 1
        counts["OK verdicts" if ok else "NG verdicts with a score"] += 1
        if again is None or again["score"] != verdict["score"] or (ok and again["verdict"] != 1):
            wrong.append(f"not as the replay says: {verdict} {again}")
        else:
            counts["bit-equal to the replay"] += 1
        if int(began[name]) < part["sent_ns"]:
            wrong.append(f"frame {name} began before trigger {part['trig']} was sent")
        who = f"{part['session']} {part['trig']}"
        if used.setdefault(name, who) != who:
            wrong.append(f"frame {name} is the answer to {who} and to {used[name]}")
    for part in parts:
        given = part["end"] == "verdict" or part["published"]
        if (
            part["end"] == "verdict"
            and part["answer"]["verdict"] == 1
            and not part["answer"]["name"]
        ):
            wrong.append(f"an OK without a frame: {part}")
        if part["end"] == "session ended" and part["published"] != 1:
            counts["of an ended session, whose verdict was not seen"] += 1
        counts["with exactly one verdict" if given else f"without: {part['end']}"] += 1
    return wrong, counts


def table(parts: list[dict[str, Any]], faults: Counter[str]) -> str:
    """Markdown: what was sent while a fault was on, and how it was answered."""
    rows: dict[str, Counter[str]] = defaultdict(Counter)
    for part in parts:
        fields = part["answer"]
        answer = part["end"]
        if answer == "verdict":
            reason = fields["reason"]
            judged = reason in ("defect", "unsure")
            answer = (
                "OK" if fields["verdict"] == 1 else "NG, judged" if judged else "NG, not judged"
            )
        for name in part["during"]:
            rows[name]["triggers"] += 1
            rows[name][answer] += 1
            rows[name]["gate opened"] += part["opened"]
    columns = ["triggers", "OK", "gate opened", "NG, judged", "NG, not judged", "error",
               "boot ended", "session ended"]  # fmt: skip
    lines = [f"| while | times | {' | '.join(columns)} |", "| --- " * (len(columns) + 2) + "|"]
    for name in sorted(rows, key=lambda name: (name == "none", name)):
        cells = " | ".join(str(rows[name][column]) for column in columns)
        lines.append(f"| {name} | {faults[name] or ''} | {cells} |")
    return "\n".join(lines)
