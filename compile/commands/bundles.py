"""What is done with bundles: looked at, proven, given another threshold, signed, handed out."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from kenpin.compile.progress import Steps
from kenpin.config.console import plain_console
from kenpin.config.errors import ConfigError
from kenpin.config.exits import Exit
from kenpin.runtime.bundles.bundle import read_bundle
from kenpin.runtime.bundles.manifest import canonical

__all__ = [
    "inspect",
    "key",
    "publish",
    "sign_bundle",
    "threshold",
    "update_bundle",
    "verify",
]

# Of a key's number, for people.
_KEY_DIGITS = 16


def inspect(options: argparse.Namespace) -> int:
    """Say what is in a bundle."""
    from kenpin.compile.reporting.report import contents

    plain_console().print(contents(read_bundle(options.bundle)))
    return Exit.DONE


def verify(options: argparse.Namespace) -> int:
    """See that every byte is as it was compiled, and every golden score."""
    bundle = read_bundle(options.bundle, options.trust)
    lines = [f"{bundle.label}: all {len(bundle.manifest.files)} files are as they were compiled"]
    if not options.files_only:
        from kenpin.runtime.selftest import selftest
        from kenpin.runtime.web.pipeline import open_pipeline

        for name, score in selftest(open_pipeline(bundle)).items():
            lines.append(f"  {name} scores {score:.6g}, as recorded")
    sys.stdout.write("\n".join(lines) + "\n")
    return Exit.DONE


def threshold(options: argparse.Namespace) -> int:
    """Give a bundle another threshold.

    Raises
    ------
    ConfigError
        If several ways to choose it were named, or the stored scores do not allow it.
    """
    from pydantic import ValidationError

    from kenpin.compile.operating_point.calibrate import calibrate
    from kenpin.compile.reporting.trade_report import trade_of, trade_table, write_trade
    from kenpin.config.recipe import ThresholdSpec
    from kenpin.config.settings import problems
    from kenpin.runtime.bundles.pack import by_hand, rethreshold
    from kenpin.runtime.bundles.store import Store
    from kenpin.runtime.selftest import open_tested
    from kenpin.runtime.service.audit import log_in_force, store_audit, who_runs

    bundle = read_bundle(options.bundle)
    manifest = bundle.manifest
    changes = _threshold_changes(options)
    asked = (options.ok, options.false_rejects, options.f1 or None, options.escape_cost)
    count = sum(one is not None for one in asked)
    if count != 1 or (options.ng is not None and options.ok is None):
        plain_console().print(trade_table(trade_of(manifest)))
        if count == 0 and options.ng is None:
            return Exit.DONE
        raise ConfigError(
            "choose one threshold: --false-rejects RATE (a row of the table above, or any other), "
            "--f1, --escape-cost TIMES, or --ok SCORE [--ng SCORE]"
        )
    # Whoever sets a threshold does so from scores: they must be those that the box will see.
    open_tested(bundle)
    try:
        if options.ok is not None:
            record = by_hand(manifest.threshold, options.ok, options.ng)
        else:
            # What nobody asks to change stays as the recipe had it.
            said = manifest.threshold.settings
            kept = {"unsure_band": said.unsure_band, "ng_share": said.ng_share}
            spec = ThresholdSpec.model_validate({**kept, **changes})
            record = calibrate(
                spec,
                manifest.good_scores,
                list(manifest.ng_scores.values()),
                strips=manifest.frame.geometry == "continuous",
            )
    except ValidationError as error:
        raise ConfigError(f"thresholds: {problems(error)}") from None
    store = Store(options.output or bundle.folder.parent)
    log, before = store_audit(store.folder), store.current
    fresh = rethreshold(bundle, record, store.folder)
    if log.path.exists():
        # A line may run what lies here: its store keeps account of what came into force.
        log_in_force(log, store, before, who_runs("edge-compile threshold"), record.source)
    write_trade(fresh.manifest, trade_of(fresh.manifest), store.folder / fresh.folder.name)
    sys.stderr.write(
        f"OK up to {record.ok:.6g}: {record.source}\n{fresh.folder.parent / 'current'} names it: a "
        "line that starts from now on judges by it; one that runs goes on as it is until PREPARE "
        "and ACTIVATE\n"
    )
    sys.stdout.write(f"{fresh.folder}\n")
    return Exit.DONE


def update_bundle(options: argparse.Namespace) -> int:
    """Make a bundle that has learnt from reviews."""
    from kenpin.runtime.learning.update import update
    from kenpin.runtime.service.lessons import lessons_in
    from kenpin.runtime.service.relearn import summary_of

    bundle = read_bundle(options.bundle)
    lessons = lessons_in(options.reviews, bundle.manifest.name)
    store = options.output or bundle.folder.parent
    with Steps(plain_console()) as steps:
        found = update(bundle, lessons.wrong, lessons.known, store, say=steps.say)
    summary = summary_of(found)
    sys.stderr.write(summary["text"] + "\n")
    if found.bundle is None:
        return Exit.REFUSED
    sys.stdout.write(f"{found.bundle.folder}\n")
    return Exit.DONE


def key(options: argparse.Namespace) -> int:
    """Make a key pair."""
    from kenpin.runtime.bundles.signature import make_key

    public = make_key(options.private)
    sys.stdout.write(
        f"{options.private}: keep it secret, and off the box\n"
        f"{public}: put it into the folder that `trust` names in the line's settings\n"
    )
    return Exit.DONE


def sign_bundle(options: argparse.Namespace) -> int:
    """Sign a bundle."""
    from kenpin.runtime.bundles.signature import sign

    bundle = read_bundle(options.bundle)
    identity = sign(bundle.folder, canonical(bundle.manifest), options.key)
    sys.stdout.write(f"{bundle.label}: signed by key {identity[:_KEY_DIGITS]}\n")
    return Exit.DONE


def publish(options: argparse.Namespace) -> int:
    """Put a bundle into a depot, and order lines to it."""
    from kenpin.runtime.bundles.depot import Depot
    from kenpin.runtime.bundles.signature import sign

    bundle = read_bundle(options.bundle)
    depot = Depot.at(options.depot)
    if options.key is not None:
        sign(bundle.folder, canonical(bundle.manifest), options.key)
    name = depot.put(bundle)
    sys.stdout.write(f"{name}: published\n")
    for line in options.line:
        order = depot.order(line, name, options.key)
        sys.stdout.write(f"{line}: order {order.serial}\n")
    return Exit.DONE


def _threshold_changes(options: argparse.Namespace) -> dict[str, Any]:
    """What is asked of the method, as the recipe's table would say it; empty: set by hand."""
    changes: dict[str, Any] = {}
    if options.false_rejects is not None:
        changes = {"method": "false_rejects", "false_rejects": options.false_rejects}
    if options.f1:
        changes |= {"method": "f1"}
    if options.escape_cost is not None:
        changes |= {"method": "cost", "escape_cost": options.escape_cost}
    return changes
