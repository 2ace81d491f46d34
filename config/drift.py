"""How a line watches whether its pictures still look as the good images did: the table [drift]."""

from __future__ import annotations

from pydantic import Field

from kenpin.config.settings import Settings

__all__ = ["DriftSpec"]


class DriftSpec(Settings):
    """When pictures that have changed are an alarm; docs/drift.md has the rule.

    watch            false: nobody looks
    window           looks that are counted, the newest
    alarms_per_look  the chance of a false alarm that is borne, for each look and cause
    slack            a change by less than this share is none, whatever the good images say
    """

    watch: bool = True
    window: int = Field(default=200, ge=20, le=10_000)
    alarms_per_look: float = Field(default=1e-6, gt=0, lt=0.1)
    slack: float = Field(default=0.02, ge=0, lt=1)
