"""Tests of netserve.transports._bind."""

import errno
import socket

import pytest

from netserve.transports._bind import MAX_PATH, explain

INET = "give a (host, port) tuple such as ('127.0.0.1', 8000)"


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EADDRINUSE, "another socket holds it; stop its owner, or choose another address"),
        (errno.EADDRNOTAVAIL, "no interface of this machine has it; choose one that exists"),
        (
            errno.EACCES,
            "this user may not bind it; choose a port of 1024 or more, or a writable folder",
        ),
        (errno.EPERM, "this user may not do that there; choose another path, or owner and group"),
        (errno.EEXIST, "a file that isn't a socket is there; remove it, or choose another path"),
        (errno.ENOENT, "its folder doesn't exist; create that first"),
        (errno.ENOTDIR, "a part of its folder is a file; choose another path"),
        (
            errno.ENAMETOOLONG,
            f"choose a path of at most {MAX_PATH} bytes, or bind relative to its folder",
        ),
        (errno.EINVAL, INET),
    ],
)
def test_a_system_error_keeps_its_number_and_gains_a_remedy(number, remedy):
    """An OSError becomes one of its class and number that names address and remedy."""
    error = OSError(number, "reason")
    explained = explain(error, socket.AF_INET, ("host", 1))
    assert type(explained) is type(error)
    assert explained.errno == number
    assert explained.strerror == f"can't bind ('host', 1) (reason): {remedy}"


def test_a_system_error_without_a_number_is_a_path_too_long():
    """CPython's own refusal of a path has no number; it gets the one that fits."""
    explained = explain(OSError("AF_UNIX path too long"), socket.AF_INET, "path")
    assert explained.errno == errno.ENAMETOOLONG
    assert explained.strerror == (
        "can't bind 'path' (AF_UNIX path too long):"
        f" choose a path of at most {MAX_PATH} bytes, or bind relative to its folder"
    )


@pytest.mark.parametrize(
    ("family", "form"),
    [
        (socket.AF_INET, INET),
        (socket.AF_INET6, "give a (host, port) tuple such as ('::1', 8000)"),
        (getattr(socket, "AF_UNIX", 1), "give a path such as '/run/service.sock'"),
        (-5, "give an address of that family"),
    ],
)
def test_a_wrong_type_is_answered_with_the_familys_form(family, form):
    """A TypeError says which form an address of the family has."""
    explained = explain(TypeError("reason"), family, 42)
    assert type(explained) is TypeError
    assert str(explained) == f"can't bind 42 (reason): {form}"


def test_a_host_of_another_family_is_named():
    """A gaierror keeps its number, and names the family that the host isn't of."""
    error = socket.gaierror(socket.EAI_ADDRFAMILY, "reason")
    explained = explain(error, socket.AF_INET, ("::1", 1))
    assert type(explained) is socket.gaierror
    assert explained.errno == socket.EAI_ADDRFAMILY
    assert explained.strerror == (
        f"can't bind ('::1', 1) (reason): the host isn't one of AF_INET: {INET}"
    )


def test_a_port_out_of_range_is_answered_with_the_range():
    """An OverflowError says which ports there are."""
    explained = explain(OverflowError("reason"), socket.AF_INET, ("", 65536))
    assert type(explained) is OverflowError
    assert str(explained) == "can't bind ('', 65536) (reason): give a port from 0 to 65535"


def test_a_host_of_no_family_is_unknown():
    """Before the family has been chosen, the remedy shows one of each."""
    explained = explain(socket.gaierror(socket.EAI_NONAME, "reason"), -1, ("nowhere", 1))
    assert explained.strerror == (
        "can't bind ('nowhere', 1) (reason): the host isn't known:"
        " give a (host, port) tuple such as ('127.0.0.1', 8000) or ('::1', 8000)"
    )


def test_a_host_that_cannot_be_encoded_is_a_value_error():
    """A UnicodeError, which can't be made anew with a message, becomes a ValueError."""
    error = UnicodeEncodeError("idna", "x", 0, 1, "reason")
    explained = explain(error, socket.AF_INET, ("x", 1))
    assert type(explained) is ValueError
    assert str(explained) == f"can't bind ('x', 1) ({error}): {INET}"
