"""The numerical core written from its definitions, in float64, with loops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

F64 = NDArray[np.float64]


# Tiling


def mirrored(position: int, length: int) -> int:
    """Walk from 0 to a position, turning round at the first and the last line."""
    at, step = 0, 1 if position >= 0 else -1
    for _ in range(abs(position)):
        if length == 1:
            return 0
        if not 0 <= at + step < length:
            step = -step
        at += step
    return at


def origins(length: int, core: int, stride: int) -> list[int]:
    """Where the cores start: a stride apart, until the last line is scored."""
    found = [0]
    while found[-1] + core < length:
        found.append(found[-1] + stride)
    return found


def tile(pixels: NDArray[np.uint8], top: int, left: int, size: int) -> NDArray[np.uint8]:
    """The square whose first pixel is (top, left), which may lie outside the frame."""
    out = np.empty((size, size, *pixels.shape[2:]), np.uint8)
    for y in range(size):
        for x in range(size):
            row = mirrored(top + y, pixels.shape[0])
            out[y, x] = pixels[row, mirrored(left + x, pixels.shape[1])]
    return out


# Joining


def join(distances: ArrayLike, corners: Sequence[tuple[int, int]], rows: int, columns: int) -> F64:
    """Mean of the tiles that score each position; corners are in positions."""
    tiles = np.asarray(distances, np.float64)
    out = np.empty((rows, columns))
    for y in range(rows):
        for x in range(columns):
            seen = [
                tiles[n, y - top, x - left]
                for n, (top, left) in enumerate(corners)
                if 0 <= y - top < tiles.shape[1] and 0 <= x - left < tiles.shape[2]
            ]
            out[y, x] = sum(seen) / len(seen)
    return out


def smooth(values: ArrayLike, sigma: float) -> F64:
    """Convolution with a Gaussian cut at 4 sigma, the map mirrored at its border."""
    source = np.asarray(values, np.float64)
    reach = math.ceil(4 * sigma)
    weights = {
        (dy, dx): math.exp(-(dy * dy + dx * dx) / (2 * sigma * sigma))
        for dy in range(-reach, reach + 1)
        for dx in range(-reach, reach + 1)
    }
    total = sum(weights.values())
    out = np.zeros_like(source)
    for y, x in np.ndindex(*source.shape):
        for (dy, dx), weight in weights.items():
            row = mirrored(y + dy, source.shape[0])
            out[y, x] += weight / total * source[row, mirrored(x + dx, source.shape[1])]
    return out


def bilinear(values: ArrayLike, height: int, width: int) -> F64:
    """Each value sits in the middle of its square; beyond the outer middles it stays."""
    source = np.asarray(values, np.float64)
    out = np.empty((height, width))
    for y in range(height):
        top, bottom, down = _between(y, height, source.shape[0])
        for x in range(width):
            left, right, across = _between(x, width, source.shape[1])
            above = (1 - across) * source[top, left] + across * source[top, right]
            below = (1 - across) * source[bottom, left] + across * source[bottom, right]
            out[y, x] = (1 - down) * above + down * below
    return out


def _between(position: int, length: int, source_length: int) -> tuple[int, int, float]:
    place = (position + 0.5) * source_length / length - 0.5
    place = min(max(place, 0.0), source_length - 1.0)
    low = int(place)
    return low, min(low + 1, source_length - 1), place - low


# Distances


def mahalanobis(patch: ArrayLike, mean: ArrayLike, precision: ArrayLike) -> float:
    """sqrt((x - mean).T @ precision @ (x - mean)) of one patch."""
    delta = np.asarray(patch, np.float64) - np.asarray(mean, np.float64)
    matrix = np.asarray(precision, np.float64)
    total = 0.0
    for i in range(len(delta)):
        for j in range(len(delta)):
            total += delta[i] * matrix[i, j] * delta[j]
    return math.sqrt(max(total, 0.0))


def mean_and_covariance(patches: ArrayLike) -> tuple[F64, F64]:
    """Mean and unbiased covariance of (N, D) patches."""
    rows = np.asarray(patches, np.float64)
    count, dims = rows.shape
    mean = np.array([sum(rows[:, d]) / count for d in range(dims)])
    covariance = np.zeros((dims, dims))
    for row in rows:
        covariance += np.outer(row - mean, row - mean)
    return mean, covariance / (count - 1)


def euclidean(a: ArrayLike, b: ArrayLike) -> float:
    pairs = zip(np.ravel(a).tolist(), np.ravel(b).tolist(), strict=True)
    return math.sqrt(sum((x - y) ** 2 for x, y in pairs))


def nearest(query: ArrayLike, bank: ArrayLike) -> tuple[float, int]:
    """Distance to the nearest bank row, and its number."""
    distances = [euclidean(query, row) for row in np.asarray(bank)]
    return min(distances), distances.index(min(distances))


def reweighting(query: ArrayLike, bank: ArrayLike, row: int, neighbours: int) -> float:
    """1 - softmax weight of m* among the bank rows nearest to it, m* included."""
    rows = np.asarray(bank, np.float64)
    order = sorted(range(len(rows)), key=lambda m: (m != row, euclidean(rows[m], rows[row])))
    distances = [euclidean(query, rows[m]) for m in order[:neighbours]]
    return 1 - 1 / sum(math.exp(distance - distances[0]) for distance in distances)


# Who shares with whom


def group_of(row: int, column: int, cells: int, granularity: str) -> int:
    """The Gaussian of a patch position, counted row by row."""
    if granularity == "single":
        return 0
    if granularity == "columns":
        return column
    side = {"dense": 1, "1/4": 2, "1/16": 4}[granularity]
    return row // side * (cells // side) + column // side


def model_of(number: int, columns: int, share: str) -> int:
    """The model of a tile, whose grid has that many columns."""
    return {"tile": number, "column": number % columns, "frame": 0}[share]


# Embeddings


def average_pooled(values: ArrayLike, side: int) -> F64:
    """Mean over a side x side neighbourhood of (C, h, w); zeros count beyond the border."""
    source = np.asarray(values, np.float64)
    channels, height, width = source.shape
    reach = side // 2
    out = np.zeros_like(source)
    for c, y, x in np.ndindex(channels, height, width):
        for row in range(max(0, y - reach), min(height, y + reach + 1)):
            for column in range(max(0, x - reach), min(width, x + reach + 1)):
                out[c, y, x] += source[c, row, column] / side**2
    return out


def nearest_upsampled(values: ArrayLike, height: int, width: int) -> F64:
    """(C, h, w) brought to (C, height, width) by repeating values."""
    source = np.asarray(values, np.float64)
    out = np.empty((source.shape[0], height, width))
    for y in range(height):
        for x in range(width):
            row = y * source.shape[1] // height
            out[:, y, x] = source[:, row, x * source.shape[2] // width]
    return out


# Coresets


def k_centre_greedy(points: ArrayLike, rows: int, first: int) -> list[int]:
    """Sener and Savarese, algorithm 1; the lower number at a tie."""
    places = np.asarray(points, np.float64)
    chosen = [first]
    while len(chosen) < min(rows, len(places)):
        gaps = [min(euclidean(p, places[c]) for c in chosen) for p in places]
        if max(gaps) == 0:
            break
        chosen.append(gaps.index(max(gaps)))
    return chosen


def regions_over(values, threshold):
    """Cells above a threshold that touch each other, corners too: a set of (row, col) each."""
    waiting = {(int(r), int(c)) for r, c in zip(*np.nonzero(values > threshold), strict=True)}
    found = []
    while waiting:
        region, edge = set(), {min(waiting)}
        while edge:
            region |= edge
            waiting -= edge
            near = {(r + i, c + j) for r, c in edge for i in (-1, 0, 1) for j in (-1, 0, 1)}
            edge = near & waiting
        found.append(region)
    return found


def waited(spent_ms, every_ms):
    """Milliseconds from each frame's arrival to its end, one frame at a time."""
    free, found = 0.0, []
    for number, spent in enumerate(spent_ms):
        arrived = number * every_ms
        free = max(free, arrived) + spent
        found.append(free - arrived)
    return np.array(found)
