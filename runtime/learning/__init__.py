"""Learning from frames that were falsely rejected, on the box: statistics, thresholds, a gate."""
