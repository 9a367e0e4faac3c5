"""netserve.core: the contract that netserve's packages share.

The loop and the lifecycle of a server (:class:`BaseServer`), the Protocols
through which mix-ins meet servers, the base of the mix-ins, and the types of
requests and addresses.
"""

from netserve.core._errors import MixInOrderError, NetserveError, StateError
from netserve.core._mixin import ServerMixIn
from netserve.core._protocols import ForkHooks, RequestHooks
from netserve.core._requests import end_request, report_error, run_request
from netserve.core._server import BaseServer
from netserve.core._state import TRANSITIONS, State, may_follow
from netserve.core._types import (
    AddressT,
    DatagramRequest,
    HookAddressT,
    HookRequestT,
    Inet6Address,
    InetAddress,
    RequestT,
    StreamRequest,
    UnixAddress,
    UnixPath,
)
from netserve.core._waker import Waker

__all__ = [
    "TRANSITIONS",
    "AddressT",
    "BaseServer",
    "DatagramRequest",
    "ForkHooks",
    "HookAddressT",
    "HookRequestT",
    "Inet6Address",
    "InetAddress",
    "MixInOrderError",
    "NetserveError",
    "RequestHooks",
    "RequestT",
    "ServerMixIn",
    "State",
    "StateError",
    "StreamRequest",
    "UnixAddress",
    "UnixPath",
    "Waker",
    "end_request",
    "may_follow",
    "report_error",
    "run_request",
]
