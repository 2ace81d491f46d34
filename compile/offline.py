"""Building a bundle from a Python program."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.recipe import Recipe, load_recipe

if TYPE_CHECKING:  # torch and NNCF take seconds to import
    from kenpin.compile.reporting.build_report import BuildResult

__all__ = ["build"]


def build(
    recipe: Recipe | Path | str,
    store: Path | str,
    *,
    changes: Sequence[str] = (),
    weights: Path | str | None = None,
    progress: bool = False,
    lowest: bool = True,
) -> BuildResult:
    """Compile good images into a bundle, offline: what `edge-compile build` does.

    Parameters
    ----------
    recipe
        Its file, or the recipe itself.
    store
        The folder that the bundle is written into, as `<name>-<hash>`.
    changes
        Settings to use instead of the file's, each as `table.key=value`.
    weights
        Of the backbone, instead of the recipe's or the published file.
    progress
        Show the steps on standard output.
    lowest
        Score the golden frames again under the lowest instruction set: some seconds.

    Returns
    -------
    `bundle`, whose `folder` goes to `kenpin.load`; `page`, the report, and `report_file`, its
    figures; `advice`; `good`; `rerun`.

    Raises
    ------
    ImportError
        If torch and NNCF are not installed.
    ConfigError, ImageError
        If the recipe, its images or its weights cannot be used.
    QuantizationError
        If INT8 would see defects worse than the recipe allows.
    ProcessorError
        If other processors would compute other scores.

    Examples
    --------
    >>> import kenpin
    >>> result = kenpin.build("recipe.toml", "bundles")
    >>> kenpin.load(result.bundle.folder).label == result.bundle.label
    True
    """
    try:
        from kenpin.compile.build import build as compile_recipe
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "nncf", "safetensors"):
            raise
        raise ImportError(
            f"compiling needs {error.name}, which is not installed; pip install 'kenpin[compile]'",
            name=error.name,
        ) from error
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(Path(recipe), changes)
    elif changes:
        raise TypeError("changes are of a recipe file's settings; change the recipe itself")
    console = plain_console() if progress else Console(quiet=True)
    with Steps(console) as steps:
        return compile_recipe(
            recipe,
            Path(store),
            steps,
            weights=None if weights is None else Path(weights),
            lowest=lowest,
        )
