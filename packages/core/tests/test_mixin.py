"""Tests of netserve.core._mixin."""

import socketserver

import pytest

from netserve.core import BaseServer, MixInOrderError, ServerMixIn


class Server(BaseServer):
    """A server class of this project's."""


class MixIn(ServerMixIn):
    """A mix-in that overrides a hook."""

    def process_request(self, request, client_address):
        """Do otherwise."""


class OtherMixIn(ServerMixIn):
    """Another one."""


@pytest.mark.parametrize("server", [BaseServer, Server, socketserver.TCPServer])
def test_a_mix_in_before_the_server_is_right(server):
    """The documented order makes a class in which the mix-in's hook is found first."""
    made = type("Made", (MixIn, server), {})
    assert made.process_request is MixIn.process_request


@pytest.mark.parametrize("server", [BaseServer, Server, socketserver.UDPServer])
def test_a_mix_in_after_the_server_is_refused(server):
    """The wrong order is an error, whose message names the right one."""
    with pytest.raises(MixInOrderError) as caught:
        type("Made", (server, MixIn), {})
    assert str(caught.value) == (
        f"Made: MixIn overrides methods of {server.__qualname__} and must come before it:"
        f" class Made(MixIn, {server.__name__})"
    )


def test_the_message_names_the_mix_in_that_is_misplaced():
    """Of several mix-ins, the message names the one behind, with the class to put it before."""
    with pytest.raises(MixInOrderError, match=r"class Made\(OtherMixIn, Server\)"):
        type("Made", (MixIn, Server, OtherMixIn), {})


def test_a_mix_in_that_python_puts_before_the_server_is_right():
    """Behind a server made with another mix-in, Python still finds it before the server."""
    mixed = type("Mixed", (MixIn, Server), {})
    made = type("Made", (mixed, OtherMixIn), {})
    assert made.__mro__.index(OtherMixIn) < made.__mro__.index(Server)


def test_the_message_skips_servers_made_with_the_mix_in():
    """The class to put a mix-in before is the first that isn't itself made with it."""
    with pytest.raises(MixInOrderError, match=r"class Made\(MixIn, Server\)"):

        class Made(Server, MixIn):
            pass


def test_mix_ins_may_be_stacked_and_derived_from():
    """Several mix-ins, and classes derived from them or from their servers, are right."""

    class Both(OtherMixIn, MixIn, Server):
        pass

    class Derived(Both):
        pass

    class Again(Derived, MixIn):
        pass

    assert Again.process_request is MixIn.process_request


def test_a_users_own_mix_in_is_right_wherever_it_stands():
    """A class that is neither a server nor one of our mix-ins may stand anywhere."""

    class Logging:
        def finish_request(self, request, client_address):
            super().finish_request(request, client_address)

        def serve_forever(self, poll_interval=0.5):
            super().serve_forever(poll_interval)

    class Front(Logging, MixIn, Server):
        pass

    class Between(MixIn, Logging, Server):
        pass

    class Behind(MixIn, Server, Logging):
        pass

    assert Front.process_request is Between.process_request is Behind.process_request


def test_a_mix_in_of_a_users_own_derived_from_ours_is_held_to_the_order():
    """A subclass of a mix-in is one as well."""

    class Own(MixIn):
        pass

    assert type("Right", (Own, Server), {})
    with pytest.raises(MixInOrderError):
        type("Wrong", (Server, Own), {})


def test_a_mix_in_behind_a_sibling_server_is_right():
    """Two server classes may be joined when the mix-in still precedes their common root."""

    class Plain(Server):
        pass

    class Mixed(MixIn, Server):
        pass

    class Joined(Plain, Mixed):
        pass

    assert Joined.process_request is MixIn.process_request


def test_a_mix_in_may_override_the_loop_as_well():
    """A mix-in that defines every hook is a server that it itself precedes."""

    class Whole(MixIn):
        serve_forever = shutdown = handle_request = verify_request = None
        finish_request = handle_error = server_close = None

    assert type("Right", (Whole, Server), {})


def test_the_order_may_be_left_to_the_user():
    """A mix-in that doesn't enforce the order is without effect behind the server, as CPython's."""

    class Lenient(MixIn):
        _enforce_order = False

    class Made(Server, Lenient):
        pass

    assert Made.process_request is BaseServer.process_request


def test_class_keywords_are_passed_on():
    """A class that takes keywords when it is derived from works with a mix-in in front."""

    class Configured(Server):
        def __init_subclass__(cls, *, colour, **keywords):
            super().__init_subclass__(**keywords)
            cls.colour = colour

    class Made(MixIn, Configured, colour="red"):
        pass

    assert Made.colour == "red"


def test_a_mix_in_reaches_the_server_with_super():
    """What a mix-in passes on arrives at the server's own hook."""

    class Closing(ServerMixIn):
        def server_close(self):
            super().server_close()

    with type("Made", (Closing, Server), {})("address", print) as server:
        pass
    assert str(server.state) == "closed"
