"""Tests of netserve.concurrency._prefork and the processes behind it, on a server of core's.

The main thread serves, or a thread of ``background``, which is started when what forks
has been forked.
"""

import contextlib
import os
import select
import signal
import socket
import socketserver
import sys
import threading
import time

import pytest

if not hasattr(os, "fork"):
    pytest.skip("the platform can't fork", allow_module_level=True)

from netserve.concurrency import ForkingMixIn, PreforkMixIn, ThreadingMixIn, WorkerError
from netserve.concurrency._nursery import ENDED, FORKED, LEFT, READY, UNBORN, Nursery, report
from netserve.concurrency._worker import WorkerProcess, end_with_parent
from netserve.concurrency._worker_table import Order, WorkerTable
from netserve.core import BaseServer, Loop, State, StateError

PATIENCE = 20


class Connections(BaseServer):
    """A server of connections."""

    grace = 5
    request_queue_size = 10

    def __init__(self, handler):
        self.socket = socket.create_server(("127.0.0.1", 0))
        super().__init__(self.socket.getsockname(), handler)

    def fileno(self):
        """The listening socket's."""
        return self.socket.fileno()

    def get_request(self):
        """Accept a connection."""
        return self.socket.accept()

    def close_request(self, request):
        """Close it in this process."""
        request.close()
        self.request_closed(request)

    def shutdown_request(self, request):
        """End it."""
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_WR)
        self.close_request(request)

    def end_input(self, request):
        """End one direction."""
        request.shutdown(socket.SHUT_RD)

    def abort_request(self, request):
        """End both directions."""
        request.shutdown(socket.SHUT_RDWR)

    def server_close(self):
        """Close the socket."""
        super().server_close()
        self.socket.close()


def echo(request, _address, _server):
    """Say which process this is, then send back what comes."""
    request.sendall(b"%d\n" % os.getpid())
    while data := request.recv(100):
        request.sendall(data)


class Server(PreforkMixIn, Connections):
    """Two processes, each of which has one connection at a time."""

    processes = 2


class Threaded(PreforkMixIn, ThreadingMixIn, Connections):
    """One process, with threads."""

    processes = 1


@pytest.fixture
def make():
    """A function that makes servers, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make(kind=Server, handler=echo, **attributes):
            return stack.enter_context(type(kind.__name__, (kind,), attributes)(handler))

        yield make


@contextlib.contextmanager
def client_of(server):
    """A connection, and the process that has it."""
    with socket.create_connection(server.server_address, timeout=PATIENCE) as client:
        yield client, int(client.recv(100))


def visit(server):
    """Be its client for a moment."""
    with client_of(server):
        pass


def wait_for(condition):
    """Wait until *condition* holds."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def in_main_thread(server, visit):
    """Serve here, while another thread, which begins when it serves, calls *visit*."""
    failures = []

    def run():
        try:
            wait_for(lambda: server.worker_pids)
            visit()
        except BaseException as error:
            failures.append(error)
        finally:
            server.shutdown()

    visitor = threading.Thread(target=run)
    server.prefork()
    visitor.start()
    server.serve_forever(0.01)
    visitor.join()
    assert not failures


def test_requests_are_handled_in_workers(make):
    """Each of which is another process, and the first one serves nothing."""
    server = make()
    with server.background() as running:
        assert repr(server).endswith(" workers>")
        assert server.worker_pids
        with client_of(server) as (_, process):
            assert process != os.getpid()
            assert server.requests_in_progress.active == 0
            wait_for(lambda: server.stats().active == 1)
            result = running.stop()
        assert (result.drained, result.forced) == (1, 0)
    assert server.stats().drained == 1
    assert server.worker_pids == []
    assert server.state is State.CLOSED


def test_there_is_a_worker_for_each_processor_unless_a_number_is_given(make):
    """Of the processors that this process may use."""
    server = make(processes=None)
    processors = (
        os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    )
    with server.background():
        wait_for(lambda: len(server.worker_pids) == len(processors))


def test_where_affinity_is_unknown_all_processors_count(make, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    server = make(processes=None)
    with server.background():
        wait_for(lambda: len(server.worker_pids) == 3)


def test_no_processes_are_a_mistake(make):
    """Which the message names."""
    with pytest.raises(ValueError, match=r"processes must be one or more.*not 0"):
        make(processes=0).prefork()


def test_it_doesnt_fork_beside_other_threads(make):
    """It says which they are, and what to do; done before, it serves."""
    server, other = make(), make()
    other.prefork()
    release = threading.Event()
    thread = threading.Thread(target=release.wait, name="watcher")
    thread.start()
    try:
        with pytest.raises(RuntimeError, match=r"watcher.*call prefork\(\) before"):
            server.serve_forever()
        with other.background(), client_of(other) as (_, process):
            assert process != os.getpid()
    finally:
        release.set()
        thread.join()


def test_what_the_system_cant_fork_is_the_callers_error(make, monkeypatch):
    """Nothing is left of it."""
    server = make()
    with monkeypatch.context() as patches:
        patches.setattr(os, "fork", lambda: (_ for _ in ()).throw(BlockingIOError(11, "full")))
        with pytest.raises(BlockingIOError):
            server.prefork()
    with server.background(), client_of(server):
        pass


def test_a_worker_prepares_itself(make):
    """Before it serves; and knows that it is one."""
    server = make(
        setup_worker=lambda self: self.told.append(repr(self)),
        handler=lambda request, _, server: request.sendall(
            f"{server.told} {server.worker_pids} {os.getpid()}".encode()
        ),
        told=[],
    )
    with server.background(), socket.create_connection(server.server_address) as client:
        answer = client.recv(1000).decode()
    process = answer.split()[-1]
    assert f", worker {process}>" in answer
    assert " [] " in answer
    assert server.told == []


def test_workers_that_fail_at_their_start_are_the_callers_error(make, caplog):
    """After some tries; the records tell why."""

    def fail(_self):
        raise LookupError

    server = make(setup_worker=fail, failed_starts=1, processes=1)
    with pytest.raises(WorkerError, match="its workers end before they serve"):
        with server.background():
            pass
    assert "ended before it served, with status 1" in caplog.text


def test_a_shutdown_leaves_threads_alone_and_the_end_waits_for_them(make):
    """As it does without workers."""
    server = make(Threaded)
    with contextlib.ExitStack() as stack:
        clients = []

        def come():
            clients.append(stack.enter_context(client_of(server))[0])

        in_main_thread(server, come)
        (client,) = clients
        assert server.state is State.STOPPED
        assert server.stats().active == 1
        client.sendall(b"still")
        assert client.recv(100) == b"still"
        client.shutdown(socket.SHUT_WR)
        server.server_close()
        assert client.recv(100) == b""
    assert server.stats().completed == 1


def test_a_stop_drains_what_a_shutdown_has_left(make):
    """Although no loop runs."""
    server = make(Threaded)
    with contextlib.ExitStack() as stack:
        in_main_thread(server, lambda: stack.enter_context(client_of(server)))
        assert server.stats().active == 1
        result = server.stop()
    assert (result.drained, result.forced) == (1, 0)


def test_who_doesnt_wait_at_the_end_kills_what_is_left(make):
    """It was told not to block."""
    server = make(Threaded, block_on_close=False)
    with contextlib.ExitStack() as stack:
        clients = []
        in_main_thread(server, lambda: clients.append(stack.enter_context(client_of(server))[0]))
        server.server_close()
        assert clients[0].recv(1) == b""
    assert server.stats().forced == 1


def test_a_stopped_server_serves_again(make):
    """With new workers, also in another thread: what forks them is there already."""
    server = make()
    seen = []

    def come():
        with client_of(server) as (_, process):
            seen.append(process)

    in_main_thread(server, come)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    come()
    server.stop()
    thread.join()
    assert seen[0] != seen[1]
    assert server.stats().accepted == 2


def test_a_shutdown_before_the_start_is_kept(make):
    """No worker is started."""
    server = make()
    server.shutdown()
    server.serve_forever()
    assert server.state is State.STOPPED
    assert server.worker_pids == []


def test_a_closed_server_serves_no_more(make, monkeypatch):
    """And nothing is forked for it, so that other threads are no matter."""
    server = make()
    server.server_close()
    monkeypatch.setattr(server, "prefork", lambda: pytest.fail("forked"))
    with pytest.raises(StateError):
        server.serve_forever()


def test_a_server_closed_by_another_thread_ends(make):
    """Both the call and the loop, with the workers gone."""
    server = make()
    in_main_thread(server, server.server_close)
    assert server.state is State.CLOSED


def test_a_server_closed_in_its_own_loop_ends(make):
    """From a signal handler, where it can't wait."""
    server = make()
    previous = signal.signal(signal.SIGUSR2, lambda *_: server.server_close())
    try:
        in_main_thread(server, lambda: os.kill(os.getpid(), signal.SIGUSR2))
    finally:
        signal.signal(signal.SIGUSR2, previous)
    assert server.state is State.CLOSED


def test_a_handler_that_heeds_nothing_is_killed_after_the_grace(make):
    """Its worker is, and the request is counted as forced."""

    def sleep(request, *_):
        request.sendall(b"1")
        time.sleep(600)

    server = make(handler=sleep)
    with server.background() as running, client_of(server):
        result = running.stop(0.1)
    assert (result.drained, result.forced) == (0, 1)
    assert result.elapsed < PATIENCE


def test_abandoning_kills_the_workers(make):
    """Whoever waits no longer."""
    server = make()
    with server.background():
        with client_of(server) as (client, process):
            server.abandon_requests()
            assert client.recv(1) == b""
        wait_for(lambda: process not in server.worker_pids)


@pytest.mark.parametrize("waits", [True, False])
def test_workers_are_replaced_on_demand(make, waits):
    """Without effect while nothing serves; a stop in the middle of it is none of its business."""
    server = make()
    server.replace_workers()
    with server.background():
        wait_for(lambda: len(server.worker_pids) == 2)
        before = set(server.worker_pids)
        server.replace_workers()
        if waits:
            wait_for(lambda: len(server.worker_pids) == 2 and not before & set(server.worker_pids))
            with client_of(server) as (_, process):
                assert process not in before


def test_sighup_replaces_the_workers_while_it_runs(make):
    """And means what it meant before, afterwards; SIGTERM ends it."""
    server = make()
    previous = signal.getsignal(signal.SIGHUP)
    server.prefork()
    seen = []

    def come():
        wait_for(lambda: len(server.worker_pids) == 2)
        before = set(server.worker_pids)
        os.kill(os.getpid(), signal.SIGHUP)
        wait_for(lambda: len(server.worker_pids) == 2 and not before & set(server.worker_pids))
        seen.append(before)
        os.kill(os.getpid(), signal.SIGTERM)

    visitor = threading.Thread(target=come)
    visitor.start()
    server.run()
    visitor.join()
    assert seen
    assert signal.getsignal(signal.SIGHUP) == previous


def test_a_hangup_that_was_ignored_is_heard_and_ignored_again(make):
    """It is no end of the terminal while the server runs."""
    server = make()
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        server.shutdown()
        heard = []
        original = server.make_loop
        server.make_loop = lambda: heard.append(signal.getsignal(signal.SIGHUP)) or original()
        server.run()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, previous)
    assert heard
    assert heard[0] != signal.SIG_IGN


def test_a_server_whose_signals_wake_somebody_else_wakes_by_itself(make):
    """It looks at its interval whether it was told something."""
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    previous = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    try:
        server = make()
        in_main_thread(server, lambda: visit(server))
    finally:
        signal.set_wakeup_fd(previous)
        reader.close()
        writer.close()


def test_connections_are_left_to_the_worker_that_has_fewer(make):
    """Each gets its share, although one alone would have been fast enough for all."""

    class Many(PreforkMixIn, ThreadingMixIn, Connections):
        processes = 2
        requests_per_wait = 64

    server = make(Many)
    with server.background(), contextlib.ExitStack() as stack:
        wait_for(lambda: len(server.worker_pids) == 2)
        processes = [stack.enter_context(client_of(server))[1] for _ in range(30)]
        assert min(processes.count(each) for each in server.worker_pids) >= 8


def test_a_worker_that_is_ahead_takes_connections_after_a_moment(make):
    """Those that have fewer may have no time for them."""

    class Stuck(Threaded):
        processes = 2

        def setup_worker(self):
            if os.read(gate, 1) == b"2":
                # It has nothing to do, and never looks.
                self.take_requests = lambda: time.sleep(0.01)

    gate, opener = os.pipe()
    os.write(opener, b"12")
    try:
        server = make(Stuck)
        with server.background(), contextlib.ExitStack() as stack:
            wait_for(lambda: len(server.worker_pids) == 2)
            processes = {stack.enter_context(client_of(server))[1] for _ in range(10)}
            assert len(processes) == 1
    finally:
        os.close(gate)
        os.close(opener)


def test_the_children_of_a_worker_dont_outlive_it(make):
    """A worker that is killed can't collect them."""

    class Forking(PreforkMixIn, ForkingMixIn, Connections):
        processes = 1

    server = make(Forking)
    with server.background():
        (worker,) = server.worker_pids
        with client_of(server) as (client, child):
            assert child != worker
            os.kill(worker, signal.SIGKILL)
            if sys.platform == "linux":
                assert client.recv(1) == b""


# In front of the standard library's servers.


class StdlibTCP(PreforkMixIn, socketserver.TCPServer):
    """One of them."""

    processes = 2


class StdlibUDP(PreforkMixIn, socketserver.UDPServer):
    """Another."""

    processes = 1


def answer(request, address, _server):
    """Answer a datagram."""
    data, own = request
    own.sendto(data.upper(), address)


def test_the_standard_librarys_server_is_run_by_workers():
    """It has the lifecycle of that library, without its traps."""
    with StdlibTCP(("127.0.0.1", 0), echo) as server:
        assert repr(server)
        in_main_thread(server, lambda: visit(server))
        server.shutdown()
        server.serve_forever()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        wait_for(lambda: server.worker_pids)
        before = set(server.worker_pids)
        server.replace_workers()
        wait_for(lambda: len(server.worker_pids) == 2 and not before & set(server.worker_pids))
        assert repr(server).endswith(", 2 workers>")
        server.server_close()
        thread.join()
        assert server.worker_pids == []


def test_the_standard_librarys_datagrams_are_answered_by_workers():
    """A worker that was too slow for one goes on."""
    with StdlibUDP(("127.0.0.1", 0), answer) as server:

        def come():
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE)
                client.sendto(b"hello", server.server_address)
                assert client.recv(100) == b"HELLO"

        in_main_thread(server, come)


def test_a_shutdown_in_the_loops_own_thread_asks_and_returns():
    """Where the standard library's would wait for itself."""
    with StdlibTCP(("127.0.0.1", 0), echo) as server:
        previous = signal.signal(signal.SIGUSR2, lambda *_: server.shutdown())
        try:
            in_main_thread(server, lambda: os.kill(os.getpid(), signal.SIGUSR2))
        finally:
            signal.signal(signal.SIGUSR2, previous)


def test_a_closed_server_of_the_standard_library_serves_no_more():
    """Its workers can't, and nothing is left of them."""
    server = StdlibTCP(("127.0.0.1", 0), echo)
    server.failed_starts = 1
    server.server_close()
    with pytest.raises(WorkerError):
        server.serve_forever(0.01)


def test_any_server_that_has_no_socket_is_served():
    """It says itself when it is ready."""

    class Odd(PreforkMixIn, BaseServer):
        processes = 1

        def fileno(self):
            return reader

        def get_request(self):
            return os.read(reader, 1), None

    reader, writer = os.pipe()
    try:
        with Odd(None, lambda *_: os.write(writer, b"x")) as server, server.background():
            assert len(server.worker_pids) == 1
    finally:
        os.close(reader)
        os.close(writer)


# The process that forks, and what a worker hears.


@pytest.fixture
def nursery():
    """A function that makes a nursery of workers that do *work*."""
    with contextlib.ExitStack() as stack:

        def make(work, patience=5):
            nursery = Nursery(work, patience)
            stack.callback(nursery.close)
            return nursery

        yield make


def news_of(nursery, count):
    """The next *count* messages."""
    news = []
    until = time.monotonic() + PATIENCE
    while len(news) < count:
        assert time.monotonic() < until, news
        select.select(nursery.descriptors(), [], [], 1)
        news += nursery.news()
    return news


def test_the_nursery_forks_and_tells_how_its_workers_end(nursery):
    """With their status, or the signal that killed them."""
    made = nursery(lambda slot, wire: 3 if slot else signal.pause() or 0)
    made.start(1)
    forked, ended = news_of(made, 2)
    assert (forked.kind, forked.slot) == (FORKED, 1)
    assert (ended.kind, ended.slot, ended.value) == (ENDED, 1, 3)
    # It is gone, and nobody gets it.
    made.signal(1, signal.SIGKILL)
    made.start(0)
    assert news_of(made, 1)[0].kind == FORKED
    made.signal(0, signal.SIGKILL)
    assert news_of(made, 1) == [(ENDED, 0, -signal.SIGKILL)]


def test_workers_report_by_the_same_way(nursery):
    """In the order in which things happened."""

    def work(slot, wire):
        report(wire, READY, slot)
        report(wire, LEFT, slot)
        return 0

    made = nursery(work)
    made.start(5)
    kinds = [news.kind for news in news_of(made, 4)]
    assert kinds.index(READY) < kinds.index(LEFT) < kinds.index(ENDED)
    assert FORKED in kinds


def test_a_worker_that_cant_be_forked_is_reported(nursery):
    """With the error's number."""

    def full():
        raise BlockingIOError(11, "full")

    fork, calls = os.fork, []

    def once():
        # The first is the nursery itself, in which the next ones fail.
        calls.append(1)
        return fork() if len(calls) == 1 else full()

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, "fork", once)
        made = nursery(lambda slot, wire: 0)
    made.start(2)
    assert news_of(made, 1) == [(UNBORN, 2, 11)]


def test_workers_are_told_to_end_when_there_are_no_more_orders_and_killed_if_they_dont(nursery):
    """The end of the nursery waits for theirs, but not for ever."""

    def work(slot, wire):
        if slot:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        report(wire, READY, slot)
        while True:
            signal.pause()

    made = nursery(work, 0.2)
    made.start(0)
    made.start(1)
    pids = [news.value for news in news_of(made, 4) if news.kind == FORKED]
    made.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_nursery_has_no_hold_on_an_earlier_one(nursery):
    """Or that would outlive the server's process, until this one's workers have ended, too."""

    def work(slot, wire):
        held = 0
        for descriptor in earlier:
            with contextlib.suppress(OSError):
                os.fstat(descriptor)
                held += 1
        return held

    earlier = nursery(work).descriptors()
    made = nursery(work)
    made.start(0)
    assert [news.value for news in news_of(made, 2) if news.kind == ENDED] == [0]


def test_a_nursery_ends_although_another_process_holds_its_descriptors(nursery):
    """One that the program has forked for itself."""
    made = nursery(lambda slot, wire: 0)
    leaves, stays = socket.socketpair()
    pid = os.fork()
    if not pid:
        stays.close()
        leaves.recv(1)
        os._exit(0)
    leaves.close()
    closing = threading.Thread(target=made.close)
    closing.start()
    closing.join(PATIENCE)
    ended = not closing.is_alive()
    stays.close()
    os.waitpid(pid, 0)
    closing.join()
    assert ended


def test_of_two_servers_the_first_may_be_closed_first(make):
    """The other goes on; nobody waits for it."""
    first, second = make(), make()
    with contextlib.ExitStack() as later:
        with contextlib.ExitStack() as sooner:
            for server in (first, second):
                server.prefork()
            sooner.enter_context(first.background())
            later.enter_context(second.background())
            visit(first)
        assert first.state is State.CLOSED
        visit(second)


def test_a_lost_nursery_is_noticed(nursery):
    """By its silence, and by whoever orders something."""
    made = nursery(lambda slot, wire: 0)
    (pid,) = made._children
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: made.news() == [] and made.lost)
    made.lost = False
    made.start(0)
    assert made.lost


def in_child(work):
    """Whether *work* returns true in a process of its own."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_worker_finds_its_orders_where_the_signal_makes_it_look():
    """Without one, the signal means a drain; each signal counts."""
    table = WorkerTable(1)
    here, there = socket.socketpair()

    def work():
        heard = []
        worker = WorkerProcess(0, table[0], there, 7, 60)
        worker.listen(lambda order, seconds: heard.append((order, round(seconds))))
        for order, until in (
            (Order.NONE, 0),
            (Order.SHUT_DOWN, 1e9),
            (Order.DRAIN, 0),
        ):
            table[0].order = (order, until)
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGINT)
        orders = [order for order, _ in heard]
        assert orders == [Order.DRAIN, Order.SHUT_DOWN, Order.DRAIN]
        return (
            heard[0][1] == 7
            and heard[2][1] == 0
            and repr(worker) == f"<WorkerProcess {os.getpid()}>"
        )

    try:
        assert in_child(work)
    finally:
        here.close()
        there.close()
        table.close()


@pytest.mark.parametrize("how", ["signal", "look", "before"])
def test_a_worker_drains_when_its_parent_is_gone(how):
    """Told so by the signal of its end, or because it looks; and once."""
    table = WorkerTable(1)
    here, there = socket.socketpair()

    def work():
        heard = []
        worker = WorkerProcess(0, table[0], there, 7, 60)
        if how == "before":
            worker._parent = -1
        worker.listen(lambda *told: heard.append(told))
        worker._parent = -1
        if how == "signal":
            os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(2):
            worker.look_around()
        left = signal.setitimer(signal.ITIMER_REAL, 0)[0]
        return heard == [(Order.DRAIN, 7)] and 50 < left <= 60

    try:
        assert in_child(work)
    finally:
        here.close()
        there.close()
        table.close()


def test_where_the_system_cant_tell_of_the_parents_end_nothing_happens(monkeypatch):
    """The socket tells."""
    monkeypatch.setattr(sys, "platform", "darwin")
    end_with_parent(signal.SIGKILL)


def test_a_loop_of_ones_own_is_the_workers(make):
    """The server's own process has a plain one."""

    class Special(Loop):
        """Marked."""

    class WithLoop(Connections):
        def make_loop(self):
            """Make one."""
            return Special()

    class Mixed(PreforkMixIn, WithLoop):
        processes = 1

    server = make(
        Mixed,
        lambda request, _, server: request.sendall(type(server.current_loop).__name__.encode()),
    )
    with server.background(), socket.create_connection(server.server_address) as client:
        assert client.recv(100) == b"Special"
        assert type(server.current_loop) is Loop


def test_abandoning_before_there_are_workers_is_passed_on(make):
    """To whatever else has requests of its own."""
    told = []

    class Told(Connections):
        def abandon_requests(self):
            told.append(True)

    class Both(PreforkMixIn, Told):
        processes = 1

    make(Both).abandon_requests()
    assert told == [True]


def test_a_server_of_the_standard_library_is_reloaded_by_its_workers():
    """It has nothing of its own to read again; without workers nothing happens."""
    with StdlibTCP(("127.0.0.1", 0), echo) as server:
        server.reload()

        def reload():
            (old,) = server.worker_pids
            server.reload()
            wait_for(lambda: server.worker_pids and old not in server.worker_pids)
            visit(server)

        server.processes = 1
        in_main_thread(server, reload)


def test_workers_that_are_gone_are_not_waited_for_again(make):
    """The loop and whoever closes the server may both do it."""
    server = make()
    in_main_thread(server, lambda: visit(server))
    server._ns_dismiss()
    server._ns_dismiss()
    assert server.worker_pids == []
