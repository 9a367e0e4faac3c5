"""The keyword options of the transports' constructors, for those here that pass them on."""

from typing_extensions import TypedDict

from netserve.transports import SocketOptions


class InternetOptions(TypedDict, total=False):
    """Those of :class:`~netserve.transports.UDPServer`."""

    allow_reuse_address: bool | None
    allow_reuse_port: bool | None
    dual_stack: bool | None
    socket_options: SocketOptions | None


class InternetStreamOptions(InternetOptions, total=False):
    """Those of :class:`~netserve.transports.TCPServer`."""

    request_queue_size: int | None


class UnixOptions(TypedDict, total=False):
    """Those of :class:`~netserve.transports.UnixDatagramServer`."""

    socket_mode: int | None
    socket_owner: str | int | None
    socket_group: str | int | None
    socket_options: SocketOptions | None


class UnixStreamOptions(UnixOptions, total=False):
    """Those of :class:`~netserve.transports.UnixStreamServer`."""

    request_queue_size: int | None
