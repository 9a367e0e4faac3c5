"""Starting the service anew when a file changes, for development.

The command runs once more in a process of its own, which is
interrupted as by Ctrl-C when a file below the current folder has changed, drains,
and is started again.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Final

from netserve.cli._errors import Refusal
from netserve.cli._settings import Settings

_MARK: Final = "NETSERVE_IS_RELOADED"

_PATIENCE: Final = 5.0
"""How long a process has to drain unless ``--grace`` is given, in seconds."""


def reloads(settings: Settings) -> bool:
    """Whether this process is the one that starts the service anew; then it does so, to the end.

    Raises :class:`Refusal` without the extra ``reload``.
    """
    if not settings.reload or _MARK in os.environ:
        return False
    try:
        import watchfiles
    except ImportError as error:
        msg = "--reload needs watchfiles: install netserve with the extra [reload]"
        raise Refusal(msg) from error
    os.environ[_MARK] = "1"
    grace = _PATIENCE if settings.grace is None else settings.grace
    watchfiles.run_process(
        Path.cwd(),
        target=shlex.join([sys.executable, "-m", "netserve.cli", *sys.argv[1:]]),
        target_type="command",
        # After that it is killed.
        sigint_timeout=int(grace) + 2,
    )
    return True
