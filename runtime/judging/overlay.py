"""A frame with its map laid over it, for people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from kenpin.runtime.judging.join import ScoreMap, upsample
from kenpin.runtime.judging.verdict import Defect, Outcome, Verdict

__all__ = ["folded", "heated", "on_canvas", "overlay", "striped"]

U8 = NDArray[np.uint8]

# Longer pictures are cut into rows below each other, so that a strip can be seen.
LONGEST_PX = 1600
BANNER_PX = 28
OK_COLOUR = (40, 160, 60)
NG_COLOUR = (200, 40, 40)
CONTOUR_COLOUR = (255, 230, 0)
BOX_COLOUR = (255, 255, 255)
BOX_MARGIN_PX = 4
TEXT_PX = 12
PEAK_COLOUR = (0, 200, 255)
PEAK_PX = 15
# The heat is transparent where the map is below this share of the threshold; in an OK
# frame below this share of its peak: it, too, shows where it is the least good.
CLEAR_SHARE, OK_CLEAR_SHARE = 0.85, 0.7
NG_ALPHA, OK_ALPHA = 0.9, 0.6
# What is not inspected: the picture keeps this share of its contrast, under stripes.
HIDDEN_SHARE = 0.35
HIDDEN_GREY = 150
STRIPE_PX = 12


def overlay(pixels: NDArray[Any], score_map: ScoreMap | None, verdict: Verdict) -> U8:
    """The frame, heat where the map is high, a line around all above the threshold.

    A part's defects are in boxes, each with its peak. An OK frame shows its peak, and
    the map around it more faintly. What is not inspected, where the map is 0, is
    striped in grey.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3) uint8
        The frame as the camera saw it.
    score_map
        Stretched to the frame if the bundle resizes; None draws no heat.

    Returns
    -------
    (H', W', 3) uint8 red, green, blue, with a banner that states the verdict.
    """
    canvas = on_canvas(pixels)
    if score_map is not None and verdict.thresholds is not None:
        heated(canvas, score_map, verdict.thresholds.ok)
        striped(canvas, score_map)
    for defect in verdict.defects:
        _boxed(canvas, defect)
    if verdict.peak_xy is not None and not verdict.defects:
        for thickness, colour in ((3, (0, 0, 0)), (1, PEAK_COLOUR)):
            cv2.drawMarker(canvas, verdict.peak_xy, colour, cv2.MARKER_CROSS, PEAK_PX, thickness)
    return _bannered(folded(canvas), verdict)


def on_canvas(pixels: NDArray[Any]) -> U8:
    """A copy of a frame to draw on: (H, W, 3) uint8."""
    picture = pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    return np.ascontiguousarray(picture, np.uint8).copy()


def heated(canvas: U8, score_map: ScoreMap, threshold: float) -> None:
    """Draw heat where the map is high, and a line around all above the threshold.

    Heat is a colour only: the picture keeps its own lightness, for what lies under the
    heat is what a person looks for.

    Parameters
    ----------
    canvas : (H, W, 3) uint8, changed in place
    threshold
        The score from which on it is loud.
    """
    full = upsample(score_map, *canvas.shape[:2])
    share = np.nan_to_num(full / max(threshold, 1e-12), nan=2.0, posinf=2.0)
    highest = float(share.max())
    loud = highest > 1
    clear = CLEAR_SHARE if loud else OK_CLEAR_SHARE * highest
    strength = np.clip((share - clear) / max((1.5 if loud else highest) - clear, 1e-12), 0, 1)
    heat = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    alpha = ((NG_ALPHA if loud else OK_ALPHA) * strength)[..., None]
    lab = cv2.cvtColor(canvas, cv2.COLOR_RGB2LAB)
    colour = cv2.cvtColor(heat, cv2.COLOR_BGR2LAB)[..., 1:]
    lab[..., 1:] = ((1 - alpha) * lab[..., 1:] + alpha * colour).astype(np.uint8)
    # Where there is no heat the picture stays as it is, to the last bit.
    warm = strength > 0
    canvas[warm] = cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)[warm]
    outline, _ = cv2.findContours(
        (share > 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
    )
    cv2.drawContours(canvas, outline, -1, CONTOUR_COLOUR, 2)


def striped(canvas: U8, score_map: ScoreMap) -> None:
    """Draw grey stripes on (H, W, 3) uint8 over all that is not inspected: where the map is 0."""
    height, width = canvas.shape[:2]
    rows, cols = score_map.values.shape
    stride, (frame_h, frame_w) = score_map.stride_px, score_map.frame_size
    if score_map.values.all():
        return
    # The row and column of the map that each pixel of the canvas lies in.
    row = np.minimum(np.arange(height) * frame_h // height // stride, rows - 1)
    col = np.minimum(np.arange(width) * frame_w // width // stride, cols - 1)
    hidden = (score_map.values == 0)[row][:, col]
    slope = (np.arange(height)[:, None] + np.arange(width)) // STRIPE_PX % 2
    dim = HIDDEN_SHARE * canvas + (1 - HIDDEN_SHARE) * (HIDDEN_GREY + 50 * slope)[..., None]
    canvas[hidden] = dim[hidden].astype(np.uint8)
    outline, _ = cv2.findContours(hidden.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(canvas, outline, -1, (255, 255, 255), 1)


def _boxed(canvas: U8, defect: Defect) -> None:
    # Around it, so that what is seen is not painted over; drawn inside where the frame ends.
    left, top = max(0, defect.left_px - BOX_MARGIN_PX), max(0, defect.top_px - BOX_MARGIN_PX)
    right = min(canvas.shape[1] - 1, defect.right_px + BOX_MARGIN_PX)
    bottom = min(canvas.shape[0] - 1, defect.bottom_px + BOX_MARGIN_PX)
    cv2.rectangle(canvas, (left, top), (right, bottom), BOX_COLOUR, 1)
    below = bottom + TEXT_PX if bottom + TEXT_PX < canvas.shape[0] else max(TEXT_PX, top - 3)
    cv2.putText(
        canvas, f"{defect.peak:.2f}", (left, below), cv2.FONT_HERSHEY_SIMPLEX, 0.4, BOX_COLOUR, 1,
        cv2.LINE_AA,
    )  # fmt: skip


def folded(canvas: U8) -> U8:
    """A wide strip (H, W, 3) as rows below each other, none wider than `LONGEST_PX`."""
    height, width = canvas.shape[:2]
    if width <= LONGEST_PX:
        return canvas
    rows = -(-width // LONGEST_PX)
    each = -(-width // rows)
    gap = 6
    sheet = np.full((rows * (height + gap) - gap, each, 3), 255, np.uint8)
    for row in range(rows):
        part = canvas[:, row * each : (row + 1) * each]
        top = row * (height + gap)
        sheet[top : top + height, : part.shape[1]] = part
    return sheet


def _bannered(canvas: U8, verdict: Verdict) -> U8:
    ok = verdict.outcome is Outcome.OK
    score = "no score" if verdict.score is None else f"score {verdict.score:.2f}"
    limit = "" if verdict.thresholds is None else f" / {verdict.thresholds.ok:.2f}"
    text = f"{verdict.outcome.name} {verdict.reason or ''}  {score}{limit}  {verdict.frame_name}"
    banner = np.full((BANNER_PX, canvas.shape[1], 3), OK_COLOUR if ok else NG_COLOUR, np.uint8)
    cv2.putText(
        banner, text, (8, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA
    )
    return np.vstack([banner, canvas])
