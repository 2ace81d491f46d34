"""Tiles that nobody has to name: of the network's own size, or the frame as a whole."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from kenpin.compile.importing.model_ensemble import ModelFiles, model_files
from kenpin.compile.importing.model_file import channels_last, read, sides_of, square_around
from kenpin.config.errors import ConfigError
from kenpin.config.recipe import Recipe, in_large_tiles
from kenpin.config.settings import problems
from kenpin.config.tiles import TileSpec
from kenpin.runtime.judging.telemetry import silence

silence()
import openvino as ov  # noqa: E402

__all__ = ["recipe_with_own_tiles"]

# Of images that a network of any size is shown, to see whether it makes them its own.
SIDES_PX = (256, 512, 768)


def recipe_with_own_tiles(recipe: Recipe) -> Recipe:
    """A recipe whose tiles are those of its network, where it does not say what they are.

    A network whose input is the frame's own size sees the frame as a whole, without a halo; so
    does one that makes images of any size its own. Others of a fixed size have tiles of it.
    A recipe without a network of somebody else's stays as it is.

    Raises
    ------
    ConfigError
        If the file is refused, or such tiles cannot be.
    """
    spec = recipe.model
    if spec is None or spec.file is None:
        return recipe
    files = model_files(spec.file)
    tiles = {**_told(recipe, files), **_said(recipe.tiles)}
    try:
        own = TileSpec.model_validate(tiles)
    except ValidationError as error:
        raise ConfigError(f"{files.name}: tiles: {problems(error)}") from None
    return recipe.model_copy(update={"tiles": own})


def _said(tiles: TileSpec) -> dict[str, Any]:
    """What the recipe itself says of its tiles."""
    return tiles.model_dump(include=tiles.model_fields_set)


def _told(recipe: Recipe, files: ModelFiles) -> dict[str, Any]:
    """The settings of tiles that follow from the file and the frame."""
    assert recipe.model is not None, "the recipe names no network of its own"
    frame, file = recipe.frame, files.files[0]
    model = read(file)
    last = channels_last(model, recipe.model, files)
    sides = sides_of(model, last)
    size = frame.height_px, frame.width_px
    # A frame that is cut up for networks of tiles is no network's own.
    alone = frame.geometry == "indexed" and files.shape is None
    if alone and sides == size:
        return {"size_px": square_around(*size), "halo_px": 0}
    if None not in sides:
        return {"size_px": sides[0]} if sides[0] == sides[1] else {}
    inside = _made_within(model, last) if alone and sides == (None, None) else None
    if inside is None:
        # Of any size: as ours.
        tree = recipe.model_dump(mode="json", include={"method", "frame"})
        return dict(in_large_tiles({**tree, "tiles": _said(recipe.tiles)})["tiles"])
    if "size_px" not in _said(recipe.tiles) and size[0] != size[1]:
        raise ConfigError(
            f"{files.name}: makes {inside[0]} x {inside[1]} px of every image, so it must see the "
            f"frame as a whole, and {size[0]} x {size[1]} px would be stretched: set "
            f"frame.height_px to {inside[0]}, frame.width_px to {inside[1]} and frame.fit to "
            '"resize"; or set tiles.size_px, if it was trained on pieces of that size'
        )
    return {"size_px": size[0], "halo_px": 0}


def _made_within(model: Any, channels_last: bool) -> tuple[int, int] | None:
    """(height, width) that a network makes of images of any size; None if it takes them as is."""
    found = {}
    for side in SIDES_PX:
        shape = list(model.inputs[0].partial_shape)
        first = 1 if channels_last else 2
        shape[first : first + 2] = [ov.Dimension(side)] * 2
        shown = model.clone()
        try:
            shown.reshape(ov.PartialShape(shape))
        except RuntimeError:
            return None
        found[side] = _resized(shown, side)
    made = {one for one in found.values() if one}
    if len(made) != 1:
        return None
    (inside,) = made
    # An image of that size already is not resized.
    alike = all(one or inside == (side, side) for side, one in found.items())
    return inside if alike else None


def _resized(model: Any, side: int) -> tuple[int, int] | None:
    """(height, width) to which a network stretches its image of `side` px; None if it does not."""
    for op in model.get_ordered_ops():
        if op.get_type_name() != "Interpolate" or op.input(0).get_partial_shape().rank.is_dynamic:
            continue
        before, after = list(op.input(0).get_partial_shape()), op.output(0).get_partial_shape()
        axes = [axis for axis, length in enumerate(before) if length == side][-2:]
        if len(axes) == 2 and not any(after[axis].is_dynamic for axis in axes):
            height, width = (int(after[axis].get_length()) for axis in axes)
            return None if (height, width) == (side, side) else (height, width)
    return None
