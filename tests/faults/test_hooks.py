"""A hook raises: its request ends, with one record, and the next client is served."""

import time
from collections.abc import Callable

import pytest
from _harness import KINDS, Program, ask, level, stdlib

# The last two are no hooks: it is the program's own logging that raises.
HOOKS = [
    "setup",
    "handle",
    "finish",
    "get_request",
    "verify_request",
    "process_request",
    "finish_request",
    "shutdown_request",
    "close_request",
    "handle_error",
    "service_actions",
    "logging",
    "logging, each time",
]
# What has to go wrong before these are called.
FIRST = {"handle_error": "handle", "logging": "handle", "logging, each time": "handle"}
# What has no place where one loop has all connections.
UNCALLED = {"finish_request", "shutdown_request"}


@pytest.mark.fault("a hook raises")
@pytest.mark.parametrize("server", [*KINDS, "drop-in TCPServer"])
def test_hooks(seen: Callable[..., None], server: str) -> None:
    """The loop goes on, whichever it is; with the exception there is one record."""
    # CPython prints, and so does the drop-in module.
    silent = [hook for hook in HOOKS if not hook.startswith("logging")]
    hooks = silent if server.startswith("drop-in") else HOOKS
    if server == "AsyncioMixIn":
        hooks = [hook for hook in hooks if hook not in UNCALLED]
    outcomes = {hook: misfortune(server, hook) for hook in hooks}
    theirs = {hook: misfortune(stdlib(server), hook) for hook in silent}
    told = [hook for hook, (_, records) in outcomes.items() if records == 1]
    lost = [hook for hook, (served, _) in outcomes.items() if not served]
    ended = [hook for hook, (served, _) in theirs.items() if not served]
    seen(
        server,
        f"next client served after {len(hooks) - len(lost)} of {len(hooks)};"
        f" one record after {len(told)}",
        f"after {len(silent) - len(ended)} of {len(silent)}, not after {', '.join(ended)}",
    )
    assert lost == []
    if not server.startswith("drop-in"):
        # What logging has lost is not to be found in it.
        assert told == [hook for hook in silent if hook in hooks]


def misfortune(server: str, hook: str) -> tuple[bool, int]:
    """Let *hook* raise once: whether a client is served after that, and the number of records."""
    bases = ["FaultyHooks"]
    with Program(server, bases=bases, poll_interval=0.05) as program:
        armed = [program.folder / f"armed-{name}" for name in (FIRST.get(hook), hook) if name]
        if hook.endswith("each time"):
            armed.pop()
            (program.folder / "broken-logging").touch()
        for path in armed:
            path.touch()
        ask(program.port, timeout=0.5)
        until = time.monotonic() + 5
        while any(path.exists() for path in armed) and time.monotonic() < until:
            time.sleep(0.01)
        assert not any(path.exists() for path in armed), f"{hook} hasn't been called"
        time.sleep(0.1)
        try:
            served = ask(program.port, timeout=2) == b"HELLO\n"
        except OSError:
            served = False
        return served, len(level(program.records(), "WARNING", "ERROR"))
