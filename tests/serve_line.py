"""edge-run with a pipeline that can be made to misbehave: `serve_line.py LINE.toml`."""

from __future__ import annotations

import sys
from pathlib import Path

from faulty_pipelines import FaultyPipeline
from kenpin.config.line import load_line
from kenpin.runtime.service.gateway import Gateway
from kenpin.runtime.service.logs import LogQueue, configure, to_stderr

if __name__ == "__main__":
    log = LogQueue(to_stderr)
    configure(log, level="debug")
    code = Gateway(load_line(Path(sys.argv[1])), make_pipeline=FaultyPipeline, log=log).run()
    log.close()
    sys.exit(code)
