"""What is written to the log: structlog's and the libraries' lines in one form, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog

# Lines for each poll or tick say nothing that our own lines do not.
_QUIET_LIBRARIES = ("asyncio", "alembic", "sqlalchemy", "urllib3", "pyomo", "ocpp")
# It warns of each run that is left out because the one before has not ended, which is what it is told to do.
_SILENT_LIBRARIES = ("apscheduler",)


def configure_logging(level: Literal["debug", "info", "warning", "error"], form: Literal["json", "console"]) -> None:
    """Set up logging of the whole process; done once, by the command line.

    Args:
        level: Least level.
        form: One JSON object a line, or lines for people.
    """
    before: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *before,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(before, form))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _SILENT_LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)


def _formatter(
    before: list[structlog.typing.Processor], form: Literal["json", "console"]
) -> structlog.stdlib.ProcessorFormatter:
    last: list[structlog.typing.Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if form == "json":
        last += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
    else:
        last.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()))
    return structlog.stdlib.ProcessorFormatter(foreign_pre_chain=before, processors=last)
