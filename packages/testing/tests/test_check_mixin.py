"""Tests of netserve.testing._check_mixin: a good mix-in passes, each broken one is caught."""

import contextlib
import os
import threading

import pytest

from netserve.core import ServerMixIn, run_request
from netserve.testing import ContractError, check_mixin
from netserve.testing._loopback import LoopbackServer


class Threads(ServerMixIn):
    """A thread for each request."""

    def process_request(self, request, client_address):
        """Start it."""
        threads = vars(self).setdefault("threads", [])
        thread = threading.Thread(target=self.work, args=(request, client_address))
        threads.append(thread)
        thread.start()

    def work(self, request, client_address):
        """Run it."""
        run_request(self, request, client_address)

    def server_close(self):
        """Wait for them."""
        super().server_close()
        for thread in vars(self).pop("threads", []):
            thread.join(20)


class Indifferent:
    """One of the standard library's kind."""


@pytest.fixture
def impatient(monkeypatch):
    """Wait less for what will never come."""
    monkeypatch.setattr("netserve.testing._check_server._PATIENCE", 0.4)
    monkeypatch.setattr("netserve.testing._check_mixin.PATIENCE", 0.4)


@pytest.mark.parametrize("mixin", [Threads, Indifferent])
def test_a_good_mixin_passes(mixin):
    """One that does nothing, too."""
    check_mixin(mixin)


def test_a_server_is_no_mixin():
    """It is checked by another."""
    with pytest.raises(TypeError, match="not the server class LoopbackServer"):
        check_mixin(LoopbackServer)


class Constructed(Threads):
    """Has a constructor."""

    def __init__(self, *arguments):
        super().__init__(*arguments)


class Lenient(Threads):
    """May stand anywhere, without effect."""

    _enforce_order = False


class KeepsActivation(Threads):
    """Doesn't let the server listen."""

    def server_activate(self):
        """Nothing."""


class KeepsClosing(Threads):
    """Doesn't let the server close."""

    def server_close(self):
        """Nothing."""


class Picky(Threads):
    """Composes with nothing."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if issubclass(cls, LoopbackServer) and cls.__mro__[0] is not LoopbackServer:
            raise TypeError("not with this")


class Ours(Threads):
    """Composes with servers of this project alone."""

    def __init_subclass__(cls, **keywords):
        super().__init_subclass__(**keywords)
        if hasattr(cls, "serve_forever") and not hasattr(cls, "stop"):
            raise TypeError("not with this")


class OnlyOurs(Threads):
    """Uses what the standard library's servers don't have."""

    def process_request(self, request, client_address):
        """Start it."""
        assert self.stats()
        super().process_request(request, client_address)


class Forgetful(Threads):
    """Doesn't wait for its threads."""

    gate = threading.Event()

    def work(self, request, client_address):
        """Run it."""
        super().work(request, client_address)
        self.gate.wait(5)

    def server_close(self):
        """Forget them."""
        vars(self).pop("threads", [])
        super().server_close()


class Silent(Threads):
    """Reports no error."""

    def work(self, request, client_address):
        """Run it."""
        with contextlib.suppress(Exception):
            self.finish_request(request, client_address)
        self.shutdown_request(request)


class Open(Threads):
    """Doesn't shut requests down."""

    def work(self, request, client_address):
        """Run it."""
        try:
            self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        self.close_request(request)


@pytest.mark.parametrize(
    ("mixin", "guarantee", "contract"),
    [
        (Constructed, "a mix-in has no constructor", "ServerMixIn"),
        (Lenient, "puts the mix-in behind the server", "ServerMixIn"),
        (KeepsActivation, r"passes on with super(.|\n)*server_activate", "ServerMixIn"),
        (KeepsClosing, r"passes on with super(.|\n)*server_close", "ServerMixIn"),
        (Picky, "composes with every class", "ServerMixIn"),
        (Ours, "composes with every class", "ServerMixIn"),
        (OnlyOurs, "each request comes to its end once", "ServerMixIn"),
        (Forgetful, "leaves no thread", "RequestHooks"),
        (Silent, "told once to handle_error", "RequestHooks"),
        (Open, "is shut down once", "RequestHooks"),
    ],
)
def test_a_broken_mixin_is_caught(impatient, mixin, guarantee, contract):
    """The failure says which guarantee it doesn't keep."""
    with pytest.raises(ContractError, match=guarantee) as caught:
        check_mixin(mixin)
    assert caught.value.contract == contract
    if mixin is Forgetful:
        Forgetful.gate.set()
    for thread in threading.enumerate():
        if "work" in thread.name:
            thread.join(20)


def test_what_is_left_of_the_standard_librarys_server_is_caught():
    """It is run in front of that as well."""
    kept = []

    class Leaves(Threads):
        def server_close(self):
            if not hasattr(self, "stop"):
                kept.append(os.open("/dev/null", os.O_RDONLY))
            super().server_close()

    with pytest.raises(ContractError, match="leaves no thread, child process or descriptor"):
        check_mixin(Leaves)
    for descriptor in kept:
        os.close(descriptor)


def test_the_standard_librarys_server_may_be_left_out():
    """For a mix-in that refuses it."""
    check_mixin(Ours, stdlib=False)
