"""A real daemon that kills itself with SIGKILL at one edge of one step: `python -m tests.crash.victim CONFIG [STEP ORDINAL EDGE ...]`.

For the edges `sent` and `effect`, further arguments name the fault of the sandbox that takes the answer away:
DOORS PANEL FUNC NTH KIND SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path

from daemon.app import run
from daemon.domain.operation import Step


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Blade:
    def __init__(self, step: str, ordinal: int, edge: str, fault: list[str]) -> None:
        self._where = (step, ordinal)
        self._edge = edge
        self._fault = fault

    def __call__(self, edge: str, step: Step) -> None:
        if (step.name, step.ordinal) != self._where:
            return
        if self._fault:
            if edge == "intended":
                self._set_fault()
            if edge == "lost":
                die()
        elif edge == self._edge:
            die()

    def _set_fault(self) -> None:
        doors, panel, func, nth, kind, seconds = self._fault
        body = {"panel": panel, "func": func, "nth": int(nth), "times": 1, "kind": kind, "seconds": float(seconds)}
        request = urllib.request.Request(
            f"{doors}/faults", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            answer.read()


def main() -> int:
    config, *point = sys.argv[1:]
    blade = Blade(point[0], int(point[1]), point[2], point[3:]) if point else None
    return asyncio.run(run(Path(config), edge=blade))


if __name__ == "__main__":
    sys.exit(main())
