"""The drop-in module on a platform that lacks something."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("missing", "absent"),
    [
        ("vars(os).pop('fork', None)", "Forking"),
        ("vars(socket).pop('AF_UNIX', None)", "Unix"),
        ("vars(os).pop('fork', None); vars(socket).pop('AF_UNIX', None)", "Unix Forking"),
    ],
)
def test_names_of_what_the_platform_lacks_are_absent(missing, absent):
    """Without fork or AF_UNIX the module imports, and only the names that need it are missing."""
    program = f"""if True:
        import os, socket
        {missing}
        from netserve import socketserver
        for word in {absent!r}.split():
            assert not [name for name in dir(socketserver) if word in name], dir(socketserver)
            assert not [name for name in socketserver.__all__ if word in name]
        assert all(hasattr(socketserver, name) for name in socketserver.__all__)
        assert ("Unix" in {absent!r}) != hasattr(socketserver, "ThreadingUnixStreamServer")
        assert ("Forking" in {absent!r}) != hasattr(socketserver, "ForkingTCPServer")
        with socketserver.ThreadingTCPServer(("127.0.0.1", 0), print):
            pass
    """
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
