"""A GenTL-style test producer: a line camera in software, with every fault on request.

`python -m kenpin.camera.simulator build DIR` compiles it; docs/simulator.md tells the rest.
"""

from kenpin.camera.simulator.build import build
from kenpin.camera.simulator.control import Control, SimulatorError, SimulatorGoneError
from kenpin.camera.simulator.pattern import pattern_lines, row_numbers
from kenpin.camera.simulator.simulator import Simulator

__all__ = [
    "Control",
    "Simulator",
    "SimulatorError",
    "SimulatorGoneError",
    "build",
    "pattern_lines",
    "row_numbers",
]
