"""netserve.core: the contract that netserve's packages share.

The loop and the lifecycle of a server (:class:`BaseServer`), its limits and
statistics, the Protocols through which mix-ins meet servers, the base of the
mix-ins, and the types of requests and addresses. The errors of TLS are imported when
they are asked for, and absent where Python was built without it.
"""

import importlib.util
from typing import TYPE_CHECKING

from netserve.core._admission import Admission, Overload, admit, admit_peer, peer_key
from netserve.core._background import Running
from netserve.core._batches import AnswerQueue, RequestBatch
from netserve.core._coroutines import (
    AsyncConnection,
    CoroutineHandler,
    CoroutineServer,
    is_coroutine_handler,
)
from netserve.core._deadlines import Deadline, Deadlines
from netserve.core._drain import StopResult
from netserve.core._errors import (
    DeadlineError,
    ExhaustedError,
    FramingError,
    LineTooLongError,
    MixInOrderError,
    NetserveError,
    PeerError,
    RefusedError,
    StateError,
    TruncatedError,
    UnnamedPeerError,
)
from netserve.core._framing import Decoder, Framing
from netserve.core._later import import_later
from netserve.core._ledger import Entry, Ledger, Place
from netserve.core._lifecycle import Lifecycle, needs_no_interval
from netserve.core._logs import log
from netserve.core._loop import Loop
from netserve.core._messages import (
    ForwardedHandler,
    MessageDriver,
    MessageForwarder,
    MessageHandler,
)
from netserve.core._mixin import ServerMixIn
from netserve.core._notify import sd_notify
from netserve.core._opening import Opening, Wait, finish_opening
from netserve.core._outcome import Outcome, Stats
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
    TruncatedDatagram,
    UnixAddress,
    UnixPath,
)
from netserve.core._waker import Waker

__all__ = [
    "TRANSITIONS",
    "AddressT",
    "Admission",
    "AnswerQueue",
    "AsyncConnection",
    "BaseServer",
    "CoroutineHandler",
    "CoroutineServer",
    "DatagramRequest",
    "Deadline",
    "DeadlineError",
    "Deadlines",
    "Decoder",
    "Entry",
    "ExhaustedError",
    "ForkHooks",
    "ForwardedHandler",
    "Framing",
    "FramingError",
    "HookAddressT",
    "HookRequestT",
    "Inet6Address",
    "InetAddress",
    "Ledger",
    "Lifecycle",
    "LineTooLongError",
    "Loop",
    "MessageDriver",
    "MessageForwarder",
    "MessageHandler",
    "MixInOrderError",
    "NetserveError",
    "Opening",
    "Outcome",
    "Overload",
    "PeerError",
    "Place",
    "RefusedError",
    "RequestBatch",
    "RequestHooks",
    "RequestT",
    "Running",
    "ServerMixIn",
    "State",
    "StateError",
    "Stats",
    "StopResult",
    "StreamRequest",
    "TruncatedDatagram",
    "TruncatedError",
    "UnixAddress",
    "UnixPath",
    "UnnamedPeerError",
    "Wait",
    "Waker",
    "admit",
    "admit_peer",
    "end_request",
    "finish_opening",
    "import_later",
    "is_coroutine_handler",
    "log",
    "may_follow",
    "needs_no_interval",
    "peer_key",
    "report_error",
    "run_request",
    "sd_notify",
]

if importlib.util.find_spec("_ssl") is not None:
    __all__ += ["PlainTextError", "TLSError"]

    if TYPE_CHECKING:
        from netserve.core._tls_errors import PlainTextError, TLSError
    else:
        # A checker would take any name for one that it has.
        __getattr__ = import_later(__name__, {"_tls_errors": ["PlainTextError", "TLSError"]})
