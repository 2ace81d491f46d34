"""Results where others look at theirs: TensorBoard, MLflow, Weights & Biases; all on disk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from kenpin.config.errors import ConfigError

__all__ = ["TRACKERS", "Run", "Tracker", "tracker_of"]

_PROJECT: Final = "kenpin"


@dataclass(frozen=True, slots=True)
class Run:
    """One thing that was measured.

    settings  of its recipe, each as text
    figures   by name
    """

    name: str
    settings: Mapping[str, str]
    figures: Mapping[str, float]


# Tells one tracker of a run.
Tracker = Callable[[Run], None]


def tracker_of(asked: str) -> Tracker:
    """What `--track KIND=FOLDER` asks for. Nothing is sent anywhere.

    Raises
    ------
    ConfigError
        If the kind is not known, or its library is not installed.
    """
    kind, equals, folder = asked.partition("=")
    if not equals or not folder or kind not in TRACKERS:
        raise ConfigError(
            f"--track {asked}: expected KIND=FOLDER, with one of {', '.join(TRACKERS)}"
        )
    try:
        return TRACKERS[kind](Path(folder))
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--track {kind}: {error.name} is not installed; pip install 'kenpin[track]'"
        ) from None


def _tensorboard(folder: Path) -> Tracker:
    writer = import_module("torch.utils.tensorboard").SummaryWriter

    def track(run: Run) -> None:
        with writer(str(folder / _file_name(run.name))) as board:
            # One row of its table of hyperparameters.
            board.add_hparams(dict(run.settings), dict(run.figures), run_name=".")

    return track


def _mlflow(folder: Path) -> Tracker:
    # Before it is imported: it tells its makers of its use, unless told not to.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Files are all that its small package keeps; it asks for a word that this is meant.
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
    tracking = import_module("mlflow.tracking")
    client = tracking.MlflowClient(tracking_uri=folder.resolve().as_uri())
    found = client.get_experiment_by_name(_PROJECT)
    experiment = found.experiment_id if found else client.create_experiment(_PROJECT)

    def track(run: Run) -> None:
        number = client.create_run(experiment, run_name=run.name).info.run_id
        for name, text in run.settings.items():
            client.log_param(number, name, text)
        for name, value in run.figures.items():
            client.log_metric(number, name, value)
        client.set_terminated(number)

    return track


def _wandb(folder: Path) -> Tracker:
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    wandb = import_module("wandb")
    folder.mkdir(parents=True, exist_ok=True)

    def track(run: Run) -> None:
        settings = wandb.Settings(silent=True, console="off")
        own = wandb.init(
            mode="offline", dir=str(folder), project=_PROJECT, name=run.name,
            config=dict(run.settings), settings=settings, reinit="create_new",
        )  # fmt: skip
        own.log(dict(run.figures))
        own.finish()

    return track


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


# By name: makes a tracker that writes below a folder.
TRACKERS: Final[Mapping[str, Callable[[Path], Tracker]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
