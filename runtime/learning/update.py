"""A bundle told of frames that it falsely rejected: the one file that knows the steps' order.

The network stays as it is, so no torch is needed. Statistics are told of the frames; each
frame is then judged by statistics that have not heard of it, thresholds are set again from
those scores and the ones that the bundle holds; and known defects must still be found.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kenpin.camera.frame import Frame, Pixels
from kenpin.config.methods import PatchCoreSpec
from kenpin.runtime.bundles.bundle import Bundle
from kenpin.runtime.bundles.manifest import (
    GoodScore,
    LearntFrame,
    Manifest,
    ThresholdRecord,
    UpdateRecord,
)
from kenpin.runtime.bundles.operating_point import operating_point
from kenpin.runtime.bundles.pack import file_hashes, keep_tuning, seal
from kenpin.runtime.bundles.promise import promise
from kenpin.runtime.bundles.staging import staging_folder
from kenpin.runtime.judging.crew import one_blas_thread
from kenpin.runtime.judging.network import Execution
from kenpin.runtime.judging.pipeline import Pipeline
from kenpin.runtime.judging.tiling import TileGrid
from kenpin.runtime.learning.brightness import BandLearner
from kenpin.runtime.learning.challenge import (
    HASH_DIGITS,
    Known,
    KnownAnswer,
    answers,
    known_of,
    record_of,
    refusals,
)
from kenpin.runtime.learning.drift import DriftLearner
from kenpin.runtime.learning.learner import CannotLearnError, Learner, load_learner
from kenpin.runtime.selftest import scored, selftest
from kenpin.runtime.web.pipeline import WebPipeline, open_pipeline

__all__ = ["MOST_FRAMES", "Updated", "update"]

F32 = NDArray[np.float32]
OnStep = Callable[[str], None]

# Frames that are learnt from in one update, the newest first.
MOST_FRAMES = 50
# Frames are judged by statistics that have heard of every other one of them.
HALVES = 2
PREFIX = "reviewed/"


@dataclass(frozen=True)
class Updated:
    """What became of an update.

    bundle    the new one; None if it was not let through
    refused   why not
    unjudged  frames that could not be judged, and were left alone
    frames    what was learnt from
    before, after  the challenge
    """

    bundle: Bundle | None
    refused: list[str]
    unjudged: list[str]
    frames: list[str]
    record: UpdateRecord
    threshold: ThresholdRecord
    seconds: float


class _Ears:
    """Hands what is judged to the learners, of the frame that is being judged; None: nobody's."""

    def __init__(self, learner: Learner, drift: DriftLearner) -> None:
        self.learner = learner
        self.drift = drift
        self.frame: int | None = None

    def __call__(self, features: F32, counts: NDArray[np.bool_] | None) -> None:
        if self.frame is not None:
            self.learner.take(self.frame, features, counts)
            self.drift.hear(features)


class _Pupil:
    """All that learns of a frame."""

    def __init__(self, ears: _Ears, bands: BandLearner) -> None:
        self.ears = ears
        self._bands = bands
        self._begun = 0
        # Of the frames that count, the numbers by which the learners know them.
        self._counting: list[int] = []

    def begin(self) -> None:
        """Another frame is going to be judged."""
        self.ears.frame = self._begun
        self.ears.drift.begin()
        self._begun += 1

    def see(self, pixels: Pixels) -> None:
        """The frame that was just judged counts."""
        number = self._begun - 1
        self._counting.append(number)
        self._bands.take(number, pixels)
        self.ears.drift.see(pixels)

    def arrays(self, left_out: Collection[int] = ()) -> tuple[dict[str, F32], int]:
        """See `Learner`; `left_out` of the frames that count, and the others always are.

        A web's rows are heard before anyone knows whether its frame can be judged.
        """
        told = {number for n, number in enumerate(self._counting) if n not in left_out}
        unheard = set(range(self._begun)) - told
        changed, added = self.ears.learner.arrays(unheard)
        return {**changed, **self._bands.arrays(unheard)}, added


# As a build does: see docs/decisions/0067.
@one_blas_thread()
def update(
    base: Bundle,
    lessons: Sequence[Known],
    known: Sequence[Known],
    store: Path,
    *,
    threads: int | None = None,
    say: OnStep = lambda _: None,
) -> Updated:
    """Make a bundle of the store that has learnt from frames, unless it would be worse.

    Parameters
    ----------
    base
        The bundle that rejected them.
    lessons
        Frames that were falsely rejected; those that it has learnt from already are left out.
    known
        Defects and good frames that the new one must tell apart, beside what the bundle brings.
    store
        Where the new bundle goes; its links stay as they are.
    threads
        Cores to use; None: all that this process may.

    Raises
    ------
    CannotLearnError
        If the bundle cannot be told of more frames, none of these can be learnt from, or a known
        defect was learnt as good before.
    BundleError
        If this box does not compute what the base's golden frames say.
    """
    begun = time.monotonic()
    _check_unlearnt(base, known)
    fresh = _fresh(base, lessons)
    grid = TileGrid.of(base.manifest.frame, base.manifest.tiles)
    with staging_folder(store) as folder:
        with staging_folder(store) as scratch:
            learner = load_learner(base, grid, scratch)
            earlier = sum(one.name.startswith(PREFIX) for one in base.manifest.good_scores)
            ears = _Ears(learner, DriftLearner(base))
            say("prove the bundle")
            pipeline = open_pipeline(base, execution=Execution(threads=threads, overhear=ears))
            selftest(pipeline)
            stages = pipeline.recipe_stages if isinstance(pipeline, WebPipeline) else None
            pupil = _Pupil(ears, BandLearner(base, earlier, stages))
            say(f"look at {len(fresh)} frames")
            heard, alone, unjudged = _heard(pipeline, pupil, fresh)
            say("judge each as if never seen")
            scores = _unseen_scores(base, pupil, heard, alone, threads)
            changed, added = pupil.arrays()
            drift, wider = ears.drift.widened()
            challenge = [*known_of(base), *known]
            say(f"judge {len(challenge)} known frames, before and after")
            before = list(answers(pipeline, challenge))
        manifest = _with_scores(base.manifest, heard, scores).model_copy(update={"drift": drift})
        updated = replace(base, arrays={**base.arrays, **changed}, manifest=manifest)
        learnt = open_pipeline(updated, execution=Execution(threads=threads))
        after = list(answers(learnt, challenge))
        judged = [(a, b) for a, b in zip(before, after, strict=True) if a and b]
        old, new = [a for a, _ in judged], [b for _, b in judged]
        record = _record(base, heard, added, old, new)
        why = [
            f"{a.known.name}: can no longer be judged"
            for a, b in zip(before, after, strict=True)
            if a and not b
        ]
        why += refusals(old, new)
        done = None
        if not why:
            say("write the bundle")
            golden = [one.model_copy(update={"score": score}) for one, score in scored(learnt)]
            update_of = {"update": record, "golden": golden}
            done = _written(
                base, manifest.model_copy(update=update_of), {**changed, **wider}, folder, store
            )
    return Updated(
        done,
        why,
        unjudged,
        [one.name for one in heard],
        record,
        manifest.threshold,
        time.monotonic() - begun,
    )


def _check_unlearnt(base: Bundle, known: Sequence[Known]) -> None:
    """A defect that was once called good stays learnt: nothing made of this bundle can find it."""
    update = base.manifest.update
    if update is None:
        return
    earlier = (one.name for one in base.manifest.good_scores if one.name.startswith(PREFIX))
    last = {one.sha256[:HASH_DIGITS] for one in update.frames}
    learnt = last | {name.rpartition("-")[2] for name in earlier}
    wrong = [one for one in known if one.bad and one.sha256[:HASH_DIGITS] in learnt]
    if not wrong:
        return
    just_now = last.issuperset(one.sha256[:HASH_DIGITS] for one in wrong)
    before = update.bases[-1 if just_now else 0]
    raise CannotLearnError(
        f"{base.label}: has learnt {', '.join(one.name for one in wrong)} as good, and a person "
        f"calls that a defect now; go back to {before}, which has not, with edge-run bundles use, "
        "and let it learn again"
    )


def _fresh(base: Bundle, lessons: Sequence[Known]) -> list[Known]:
    learnt = {one.name for one in base.manifest.good_scores}
    fresh = [one for one in lessons if PREFIX + one.name not in learnt]
    if not fresh:
        why = "has learnt from all of them already" if lessons else "there is nothing to learn from"
        raise CannotLearnError(
            f"{base.label}: {why}; say of archived frames that they are good, and come again"
        )
    return fresh[-MOST_FRAMES:]


def _heard(
    pipeline: Pipeline | WebPipeline, pupil: _Pupil, lessons: Sequence[Known]
) -> tuple[list[Known], list[float], list[str]]:
    """Those that could be judged, their scores by the bundle as it is, and the others."""
    heard: list[Known] = []
    scores, unjudged = [], []
    for one in lessons:
        pupil.begin()
        pixels = one.load()
        frame = Frame(pixels, time.monotonic_ns(), 0, one.name)
        verdict = pipeline.in_one_measure(pipeline.judge_single(frame, ready=one.ready)).verdict
        # Who looks at the frame once more for its brightness must not be heard.
        pupil.ears.frame = None
        if verdict.score is None or not verdict.by_its_score:
            unjudged.append(f"{one.name}: {verdict.reason}: {verdict.detail}")
        else:
            pupil.see(pixels)
            heard.append(one)
            scores.append(verdict.score)
    if not heard:
        raise CannotLearnError(f"none of the frames can be judged: {'; '.join(unjudged[:3])}")
    return heard, scores, unjudged


def _unseen_scores(
    base: Bundle,
    pupil: _Pupil,
    heard: Sequence[Known],
    alone: Sequence[float],
    threads: int | None,
) -> list[float]:
    """Each frame's score by statistics that have heard of half of the others, but not of it."""
    scores = list(alone)
    if len(heard) < HALVES:
        return scores
    for half in range(HALVES):
        own: Collection[int] = range(half, len(heard), HALVES)
        changed, _ = pupil.arrays(own)
        updated = replace(base, arrays={**base.arrays, **changed})
        pipeline = open_pipeline(updated, execution=Execution(threads=threads))
        for number in own:
            one = heard[number]
            frame = Frame(one.load(), time.monotonic_ns(), 0, one.name)
            found = pipeline.in_one_measure(pipeline.judge_single(frame, ready=one.ready))
            assert found.verdict.score is not None
            assert found.verdict.by_its_score
            scores[number] = found.verdict.score
    return scores


def _with_scores(manifest: Manifest, heard: Sequence[Known], scores: Sequence[float]) -> Manifest:
    """The manifest with more good scores, and the threshold that they give."""
    good = [
        *manifest.good_scores,
        *(
            GoodScore(name=PREFIX + one.name, part=PREFIX + one.name, score=score)
            for one, score in zip(heard, scores, strict=True)
        ),
    ]
    strips = manifest.web is not None
    threshold = _threshold(manifest.threshold, good, strips=strips)
    return manifest.model_copy(update={"good_scores": good, "threshold": threshold})


def _threshold(old: ThresholdRecord, good: Sequence[GoodScore], *, strips: bool) -> ThresholdRecord:
    """Set again where it rests on good scores; kept where a person or NG images set it."""
    plain = [one for one in good if not one.odd]
    usual = float(np.median([one.score for one in plain]))
    if old.settings.method != "false_rejects":
        kept = f"kept when the bundle was told of more good frames: {old.source}"
        return old.model_copy(update={"usual": usual, "source": kept})

    def point(of: Sequence[GoodScore]) -> float:
        parts = [one.part for one in of]
        return operating_point([one.score for one in of], parts, share).threshold

    share = old.settings.false_rejects
    found = operating_point([one.score for one in plain], [one.part for one in plain], share)
    return old.model_copy(
        update={
            "ok": found.threshold,
            "ng": found.threshold * (1 + old.settings.unsure_band),
            "source": promise(found, strips=strips),
            "rule": found.rule,
            "at_most": found.at_most,
            "usual": usual,
            "with_odd": point(good) if len(good) > len(plain) else None,
        }
    )


def _record(
    base: Bundle,
    heard: Sequence[Known],
    added: int,
    before: Sequence[KnownAnswer],
    after: Sequence[KnownAnswer],
) -> UpdateRecord:
    manifest = base.manifest
    earlier = manifest.update
    rows = None
    if isinstance(manifest.method, PatchCoreSpec):
        rows = earlier.compiled_rows if earlier else base.arrays["bank"].shape[1]
    return UpdateRecord(
        bases=[*(earlier.bases if earlier else []), base.label],
        base_sha256=base.sha256,
        frames=[LearntFrame(name=one.name, sha256=one.sha256, by=one.by) for one in heard],
        added=added,
        compiled_rows=rows,
        ok_before=manifest.threshold.ok,
        ng_before=manifest.threshold.ng,
        challenge=record_of(before, after),
    )


def _written(
    base: Bundle, manifest: Manifest, changed: Mapping[str, F32], folder: Path, store: Path
) -> Bundle:
    for name in base.manifest.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.removesuffix(".npy") in changed:
            np.save(folder / name, changed[name.removesuffix(".npy")])
        else:
            shutil.copyfile(base.folder / name, folder / name)
    # What was copied must be what was verified: only what was written here has a new hash.
    own = {name: value for name, value in file_hashes(folder).items() if name[:-4] in changed}
    files = {**base.manifest.files, **own}
    made = seal(folder, manifest.model_copy(update={"files": files}), store, current=False)
    keep_tuning(base, made)
    return made
