"""structlog set-up: one JSON object a line for machines, colours for a person at a terminal.

Every line carries `timestamp` (UTC, ISO 8601), `level`, `logger`, `event` and whatever is bound: `operation`, `service`, `step`,
`module`. Lines of other libraries come through the same processors, from WARNING on.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from contextlib import AbstractContextManager
from typing import Any, Literal, TextIO

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, Processor, WrappedLogger

from daemon.observability.redaction import mask_field

Level = Literal["debug", "info", "warning", "error"]

_NUMBERS: dict[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
_OWN = frozenset({"_record", "_from_structlog"})
"""What structlog's formatter itself keeps in a line; it takes them out again."""


def configure(level: Level = "info", *, stream: TextIO | None = None, colours: bool | None = None) -> None:
    """Send all logs of the process to `stream` (standard error when None).

    `colours` None: colours on a terminal, JSON elsewhere. May be called again, for a new level.
    """
    stream = sys.stderr if stream is None else stream
    colours = stream.isatty() if colours is None else colours
    shared = _shared_processors()
    structlog.configure(
        processors=[*shared, _renderer(colours=colours)],
        wrapper_class=structlog.make_filtering_bound_logger(_NUMBERS[level]),
        logger_factory=_Lines(stream),
        cache_logger_on_first_use=False,  # a second call must reach loggers that were used before it
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(colours=colours)],
    )
    _route_libraries(formatter, stream, max(_NUMBERS[level], logging.WARNING))


def bound(
    *,
    operation: int | None = None,
    service: int | None = None,
    step: str | None = None,
    module: str | None = None,
    **more: str | int,
) -> AbstractContextManager[None]:
    """Within the block, every line of this task and of tasks started in it carries these; None adds nothing."""
    values: dict[str, Any] = {"operation": operation, "service": service, "step": step, "module": module, **more}
    return bound_contextvars(**{name: value for name, value in values.items() if value is not None})


def _shared_processors() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        _exception_text,
        _redacted,
    ]


def _renderer(*, colours: bool) -> Processor:
    if colours:
        return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    return structlog.processors.JSONRenderer(default=str)


_exception_text = structlog.processors.ExceptionRenderer()
"""Tracebacks as plain text: file, line and message, never the values of local variables."""


def _logger_name(logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if isinstance(record, logging.LogRecord) else getattr(logger, "name", None)
    if name:
        event["logger"] = name
    return event


def _redacted(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: value if name in _OWN else mask_field(name, value) for name, value in event.items()}


class _Lines:
    """Makes the loggers that write finished lines."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, *names: Any) -> _Line:
        return _Line(self._stream, str(names[0]) if names else None)


class _Line:
    """Writes one line a call. A log that can't be written (a full disk, a closed pipe) must not stop the work that logs."""

    def __init__(self, stream: TextIO, name: str | None) -> None:
        self._stream = stream
        self.name = name

    def msg(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(_writable(line, self._stream) + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = exception = log = msg


def _writable(line: str, stream: TextIO) -> str:
    """Characters that the stream can't carry (lone surrogates, or all but ASCII in a bare locale) come as escapes."""
    encoding = stream.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


class _Handler(logging.Handler):
    """Takes the lines of libraries to the same place."""

    def __init__(self, formatter: logging.Formatter, stream: TextIO) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._line = _Line(stream, None)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._line.msg(self.format(record))
        except Exception:  # noqa: BLE001 - logging's own way: a line that can't be made is not worth the work
            self.handleError(record)


def _route_libraries(formatter: logging.Formatter, stream: TextIO, level: int) -> None:
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    root.addHandler(_Handler(formatter, stream))
    root.setLevel(level)
    logging.captureWarnings(capture=True)
    logging.raiseExceptions = False  # otherwise a broken line prints its arguments, unmasked
