"""``install`` and ``uninstall``, each in a fresh process, as they change the whole process."""

import subprocess
import sys
import textwrap

import pytest


def run(program: str) -> list[str]:
    """Run *program* with warnings as errors; returns the lines that it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


CATCH = """
import sys, warnings
from netserve import socketserver as ours

def install():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours.install()
    for warning in caught:
        print(warning.category.__name__, warning.filename, warning.message)
"""


def test_modules_imported_afterwards_get_ours() -> None:
    """The name, and the servers of the standard library that derive from it."""
    assert run("""
        from netserve import socketserver as ours
        ours.install()
        import socketserver, http.server, xmlrpc.server, wsgiref.simple_server
        from socketserver import TCPServer
        assert socketserver is ours and TCPServer is ours.TCPServer
        assert issubclass(http.server.HTTPServer, ours.TCPServer)
        assert issubclass(http.server.ThreadingHTTPServer, ours.ThreadingMixIn)
        assert issubclass(http.server.SimpleHTTPRequestHandler, ours.StreamRequestHandler)
        assert issubclass(xmlrpc.server.SimpleXMLRPCServer, ours.TCPServer)
        assert issubclass(wsgiref.simple_server.WSGIServer, ours.TCPServer)
        print("swapped")
    """) == ["swapped"]


def test_a_server_of_the_standard_library_serves_on_ours() -> None:
    """http.server answers a client with our loop below it."""
    assert run("""
        from netserve import socketserver as ours
        ours.install()
        import http.client, http.server, threading

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.path.upper().encode())

            def log_message(self, *arguments):
                pass

        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            client = http.client.HTTPConnection(*server.server_address)
            client.request("GET", "/hello")
            with client.getresponse() as response:
                print(response.read().decode())
            client.close()
            server.shutdown()
            thread.join()
    """) == ["/HELLO"]


def test_nobody_is_warned_when_nobody_imported_it() -> None:
    """There is nothing to say when each module will get ours."""
    assert run(CATCH + "assert 'socketserver' not in sys.modules; install()") == []


def test_nobody_is_warned_when_nobody_holds_it() -> None:
    """A module that was imported, and let go of, keeps nothing."""
    assert run(CATCH + "import socketserver; del socketserver; install()") == []


@pytest.mark.parametrize(
    ("imports", "holders"),
    [
        ("import http.server", "http.server"),
        ("import xmlrpc.server", "http.server, xmlrpc.server"),
        ("import socketserver", "__main__"),
        ("from socketserver import TCPServer", "__main__"),
        ("import wsgiref.simple_server", "http.server, wsgiref.simple_server"),
    ],
)
def test_the_warning_names_those_that_keep_the_old_one(imports: str, holders: str) -> None:
    """Exactly they are named, at the line of the caller."""
    assert run(CATCH + imports + "\ninstall()") == [
        f"RuntimeWarning <string> {holders} imported the standard library's socketserver"
        " before install() and will keep it: call install() before they are imported"
    ]


def test_installing_twice_is_installing_once() -> None:
    """The second call does nothing, and one uninstall undoes both."""
    assert run(
        CATCH
        + """
install()
install()
assert sys.modules["socketserver"] is ours
ours.uninstall()
import socketserver
assert socketserver is not ours
print("restored")
"""
    ) == ["restored"]


def test_installing_twice_warns_once() -> None:
    """The module that keeps the old one is named by the first call alone."""
    assert len(run(CATCH + "import http.server\ninstall()\ninstall()")) == 1


def test_uninstall_puts_the_same_module_back() -> None:
    """Not a second copy, whose classes would be others."""
    assert run(
        CATCH
        + """
import socketserver as theirs
held = [theirs]
del theirs
install()
ours.uninstall()
import socketserver
assert socketserver is held[0]
print("restored")
"""
    ) == ["restored"]


def test_modules_imported_after_uninstall_get_the_standard_librarys() -> None:
    """Those that were imported between keep ours."""
    assert run("""
        from netserve import socketserver as ours
        ours.install()
        import xmlrpc.server
        ours.uninstall()
        import socketserver
        assert socketserver.__name__ == "socketserver"
        assert issubclass(xmlrpc.server.SimpleXMLRPCServer, ours.TCPServer)
        assert not issubclass(xmlrpc.server.SimpleXMLRPCServer, socketserver.TCPServer)
        print("restored")
    """) == ["restored"]


def test_uninstall_without_install_does_nothing() -> None:
    """Harmless, whether somebody imported the module or not."""
    assert run("""
        from netserve import socketserver as ours
        ours.uninstall()
        import socketserver
        ours.uninstall()
        import sys
        assert sys.modules["socketserver"] is socketserver is not ours
        print("harmless")
    """) == ["harmless"]


def test_install_and_uninstall_can_be_repeated() -> None:
    """Each pair leaves things as they were."""
    assert run("""
        from netserve import socketserver as ours
        import sys
        for _ in range(3):
            ours.install()
            import socketserver
            assert socketserver is ours
            del socketserver
            ours.uninstall()
            import socketserver
            assert socketserver is not ours
            del socketserver
        print("repeated")
    """) == ["repeated"]


def test_a_program_that_derived_from_the_old_one_is_named() -> None:
    """Its classes stay what they are, even when it has let go of the module."""
    (line,) = run(
        CATCH
        + """
import socketserver
class Server(socketserver.TCPServer):
    pass
del socketserver
install()
"""
    )
    assert "__main__ imported the standard library's socketserver" in line


def test_a_module_with_an_alias_of_a_generic_is_looked_through() -> None:
    """On 3.10 such an alias passes for a class, but has no method resolution order."""
    (line,) = run(CATCH + "Numbers = list[int]\nimport http.server\ninstall()")
    assert "RuntimeWarning <string> http.server imported" in line
