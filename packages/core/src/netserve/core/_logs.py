"""The loggers: ``netserve.server`` for what operators want to know, ``netserve.access``.

A program's logging may be broken: a filter or a handler of its own may raise. That
must not end the loop any more than a hook that raises, so that nothing escapes
from these two.
"""

import logging
import sys
import traceback
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    _Adapter = logging.LoggerAdapter[logging.Logger]
else:
    _Adapter = logging.LoggerAdapter


# Up to 3.10 the frames of logging itself are counted too.
_BEYOND_THIS: Final = 2 if sys.version_info >= (3, 11) else 3


class _Unbreakable(_Adapter):
    """A logger that prints what logging raises, as logging itself does, and goes on."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave *extra* to each call."""
        return msg, kwargs

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        """As :meth:`logging.Logger.log`, but raise nothing."""
        # This method isn't where the record comes from.
        kwargs.setdefault("stacklevel", _BEYOND_THIS)
        try:
            super().log(level, msg, *args, **kwargs)
        except Exception:
            if logging.raiseExceptions and sys.stderr is not None:
                traceback.print_exc()


log: Final = _Unbreakable(logging.getLogger("netserve.server"), {})
"""The logger ``netserve.server``, for what operators want to know; raises nothing."""

access_log: Final = _Unbreakable(logging.getLogger("netserve.access"), {})
