"""What the command logs, and how."""

import logging
from typing import Any

from pythonjsonlogger.json import JsonFormatter

_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

# Attributes that the server's records have besides those of every record.
_OURS = ("server", "peer", "handler", "duration", "outcome")


class _Objects(JsonFormatter):
    """An object a line: what every record has, and what the server's have besides."""

    def __init__(self) -> None:
        super().__init__(
            # In the one way to name them that every version knows.
            "%(asctime)s %(levelname)s %(name)s %(message)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            json_default=repr,
        )

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        """Say in text what isn't text: a server, a handler, an outcome."""
        for name in _OURS:
            value = log_data.get(name)
            if name == "outcome" and value is not None:
                log_data[name] = value.name.lower()
            elif name == "handler" and isinstance(value, type):
                log_data[name] = value.__qualname__
        return log_data


def set_up_logging(level: str, style: str, *, access: bool) -> None:
    """Log to standard error from *level* up, as ``text`` or ``json``."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Objects() if style == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    if access:
        logging.getLogger("netserve.access").setLevel(logging.INFO)
