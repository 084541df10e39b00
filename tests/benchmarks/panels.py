"""The sandbox as a process: `python -m tests.benchmarks.panels SETTINGS_AS_JSON FOLDER`; ends with SIGTERM."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from daemon.sandbox.run import run_sandbox
from daemon.sandbox.settings import SandboxSettings

if __name__ == "__main__":
    asyncio.run(
        run_sandbox(SandboxSettings.from_texts(json.loads(sys.argv[1])), json=True, config_dir=Path(sys.argv[2]))
    )
