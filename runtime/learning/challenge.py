"""Known defects and known good frames: what an updated bundle must still tell apart."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kenpin.camera.frame import Frame, Pixels
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import ChallengeRecord
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.subtle_twins import Subtle, draw, subtle_kinds
from kenpin.runtime.judging.verdict import Outcome
from kenpin.runtime.selftest import golden_pixels
from kenpin.runtime.web.pipeline import WebPipeline

__all__ = [
    "HASH_DIGITS",
    "LEAST_MARGIN",
    "Known",
    "KnownAnswer",
    "answers",
    "known_of",
    "record_of",
    "refusals",
]

Box = tuple[float, float, float, float]

# So much of a frame's hash ends its name, by which a bundle that learnt from it remembers it.
HASH_DIGITS = 8
# Of the known defects' score over the threshold, their median: it may shrink to so much.
LEAST_MARGIN = 0.8
# What was drawn counts as known where it is found so clearly: of those that lie on the threshold
# one or the other is lost with every new threshold, and says nothing.
CLEARLY = 1.25
# What is drawn into the bundle's own good golden frames, brighter or darker by so much.
TWINS = (("spot", 12), ("scratch", 2), ("stain", 32), ("band", 16))
CONTRASTS = (25, 50, 100)


@dataclass(frozen=True)
class Known:
    """A frame of which a person, or a pencil, has said what it shows.

    name    for people; of a reviewed frame it ends in a hyphen and HASH_DIGITS of its hash
    sha256  of its file, or of what was drawn
    bad     a defect, or good
    load    its pixels
    region  left, top, right, bottom as shares of the frame, where the defect is; None: anywhere
    by      who said so
    ready   of the bundle's own size, depth and colours, as golden frames are
    from_times
            a defect counts if its score over the threshold is at least so much, before
    """

    name: str
    sha256: str
    bad: bool
    load: Callable[[], Pixels]
    region: Box | None = None
    by: str = ""
    ready: bool = False
    from_times: float = 0.0


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What a bundle says of a known frame.

    times  its score over the threshold, at its place
    ng     rejected
    """

    known: Known
    times: float
    ng: bool

    @property
    def knows(self) -> bool:
        """Whether it finds a defect, and so well that it must not be lost."""
        return self.known.bad and self.ng and self.times >= self.known.from_times


def known_of(bundle: Bundle) -> Iterator[Known]:
    """What a bundle brings along: its golden frames, and defects drawn into the good ones."""
    for golden in bundle.manifest.golden:
        yield Known(
            golden.file,
            bundle.manifest.files[golden.file],
            golden.kind == "twin",
            lambda name=golden.file: golden_pixels(bundle, name),  # type: ignore[misc]
            ready=True,
        )
        if golden.kind == "good":
            yield from _drawn(golden.file, golden_pixels(bundle, golden.file))


def _drawn(name: str, pixels: Pixels) -> Iterator[Known]:
    height, width = pixels.shape[:2]
    field = slice(0, height), slice(0, width)
    fitting = subtle_kinds(min(height, width))
    for number, (kind, size) in enumerate(TWINS):
        for contrast in CONTRASTS:
            what = Subtle(kind, size, contrast)
            if what not in fitting:
                continue
            drawn = pixels.copy()
            draw(drawn, what, field, np.random.default_rng([number, contrast]))
            label = f"{name} with a {kind} of {size} px, {contrast} grey levels"
            sha256 = hashlib.sha256(drawn.tobytes()).hexdigest()
            yield Known(
                label,
                sha256,
                True,
                lambda drawn=drawn: drawn,  # type: ignore[misc]
                ready=True,
                from_times=CLEARLY,
            )


def answers(
    pipeline: Pipeline | WebPipeline, known: Sequence[Known]
) -> Iterator[KnownAnswer | None]:
    """What a bundle says of each; None where it cannot judge the frame at all."""
    limit = pipeline.thresholds.ok
    for number, one in enumerate(known):
        frame = Frame(one.load(), time.monotonic_ns(), number, one.name)
        judged = pipeline.in_one_measure(pipeline.judge_single(frame, ready=one.ready))
        verdict, found = judged.verdict, judged.score_map
        if verdict.score is None or not math.isfinite(verdict.score):
            yield None
            continue
        value = verdict.score
        # Of a web some lines may not have been inspected: what the others score counts.
        ng = verdict.outcome is Outcome.NG if verdict.by_its_score else value > limit
        if one.region is not None and found is not None and verdict.web is None:
            left, top, right, bottom = one.region
            rows, cols = found.values.shape
            inside = found.values[
                math.floor(top * rows) : math.ceil(bottom * rows),
                math.floor(left * cols) : math.ceil(right * cols),
            ]
            value = float(inside.max())
            ng = value > limit
        yield KnownAnswer(one, value / limit if limit > 0 else value, ng)


def refusals(before: Sequence[KnownAnswer], after: Sequence[KnownAnswer]) -> list[str]:
    """Why an updated bundle is not let through; nothing if it is.

    Parameters
    ----------
    before, after
        What the bundle it came from, and what it says of the same frames.
    """
    why = []
    for old, new in zip(before, after, strict=True):
        if old.knows and not new.ng:
            why.append(
                f"{old.known.name}: is no longer found; its score was {old.times:.2f} times the "
                f"threshold and is {new.times:.2f} times"
            )
    defects = [(old.times, new.times) for old, new in zip(before, after, strict=True) if old.knows]
    if defects and not why:
        was, now = (float(np.median(times)) for times in zip(*defects, strict=True))
        if now < LEAST_MARGIN * was:
            why.append(
                f"the known defects' median score falls from {was:.2f} to {now:.2f} times the "
                f"threshold; allowed is {LEAST_MARGIN:.0%} of what it was"
            )
    worse = [
        new.known.name
        for old, new in zip(before, after, strict=True)
        if not old.known.bad and new.ng and not old.ng
    ]
    if _rejected(after) > _rejected(before):
        why.append(f"more known good frames are rejected than before: {', '.join(worse[:5])}")
    return why


def record_of(before: Sequence[KnownAnswer], after: Sequence[KnownAnswer]) -> ChallengeRecord:
    """For the manifest."""
    digest = hashlib.sha256()
    for one in sorted((one.known.name, one.known.sha256) for one in before):
        digest.update(f"{one[0]} {one[1]}\n".encode())
    kept = [new.ng for old, new in zip(before, after, strict=True) if old.knows]
    return ChallengeRecord(
        sha256=digest.hexdigest(),
        defects=sum(one.known.bad for one in before),
        found=(len(kept), sum(kept)),
        good=sum(not one.known.bad for one in before),
        rejected=(_rejected(before), _rejected(after)),
    )


def _rejected(given: Sequence[KnownAnswer]) -> int:
    return sum(not one.known.bad and one.ng for one in given)
