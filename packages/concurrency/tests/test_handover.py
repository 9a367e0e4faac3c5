"""A model of the multiplexer's hand-over, searched through in all its interleavings.

The threads are a leader (L), the monitor (M), which stands in for it, and a
worker (W); two connections have messages. Each step of the model is one access
to what ``_multiplexer`` shares between threads, under the same names, so that
whatever can happen between two of them in Python happens here too. The time is
left out: a handler may take as long as it likes, the monitor may look at any
time, the pool may go out of use at any time.

The search visits every state that can be reached. In each, a connection is in
one thread at most, one thread leads at most, and the monitor isn't asleep while
a handler runs that it couldn't notice; messages are answered in order; and from
each state one can be reached in which every message has been answered and all
is at rest: so none is lost, and nothing hangs for good.

That the model would find a mistake is tested by making some.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest


@dataclass(frozen=True)
class Thread:
    """Where a thread is, what it has polled, and the connection that it is at."""

    at: str
    batch: tuple[int, ...] = ()
    connection: int = -1
    messages: int = 0


@dataclass(frozen=True)
class Model:
    """What the threads share, and the threads."""

    # Of the serial number it matters whether it is odd, and whether the monitor
    # has seen it already.
    odd: bool = False
    seen: bool = False
    deposed: bool = False
    returning: bool = False
    pooled: bool = False
    idle: bool = False
    watching: bool = True
    activity: bool = False
    waker: bool = False
    lock: str = ""
    current: int = -1
    owned: tuple[bool, ...] = (False, False)
    armed: tuple[str, ...] = ("read", "read")
    inside: tuple[str, ...] = ("", "")
    to_come: tuple[int, ...] = (0, 0)
    unread: tuple[int, ...] = (0, 0)
    may_reset: bool = False
    reset: bool = False
    work: tuple[int, ...] = ()
    leader: Thread = field(default=Thread("poll"))
    monitor: Thread = field(default=Thread("look"))
    worker: Thread = field(default=Thread("idle"))


class BrokenError(AssertionError):
    """What must not happen has."""


def put(values: tuple, index: int, value: object) -> tuple:
    """The *values* with another one at *index*."""
    return (*values[:index], value, *values[index + 1 :])


NAMES = {"L": "leader", "M": "monitor", "W": "worker"}

# Where the leader is while somebody else may lead.
AWAY = {
    "handle", "handling", "leave", "deposed?", "lock", "arm", "free", "unlock", "return", "await",
}  # fmt: skip
STANDING_IN = {
    "returned?", "poll", "mode", "next", "owned?", "current", "enter", "pooled", "own it", "disarm",
    "submit", "unwatch", "unwatching",
}  # fmt: skip


class Search:
    """All the steps of the model, with the mistake *fault* in it, if any."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def steps(self, model: Model) -> Iterator[Model]:
        """Every state that may follow *model*."""
        for index, coming in enumerate(model.to_come):
            if coming:
                yield replace(
                    model,
                    to_come=put(model.to_come, index, coming - 1),
                    unread=put(model.unread, index, model.unread[index] + 1),
                )
        if model.may_reset:
            to_come = put(model.to_come, 0, 0)
            yield replace(model, may_reset=False, reset=True, to_come=to_come)
        if model.pooled:
            yield replace(model, pooled=False)
        for who, name in NAMES.items():
            thread = getattr(model, name)
            step = getattr(self, f"{name}_{clean(thread.at)}", None)
            if step is None:
                step = getattr(self, f"do_{clean(thread.at)}")
            yield from step(model, who, thread)

    def go(self, model: Model, who: str, at: str, **changes: object) -> Model:
        """*model* with *changes*, and the thread *who* further on."""
        mine = {name: changes.pop(name) for name in ("batch", "connection", "messages")
                if name in changes}  # fmt: skip
        name = NAMES[who]
        return replace(model, **changes, **{name: replace(getattr(model, name), at=at, **mine)})  # type: ignore[arg-type]

    # --- leading: the leader, and the monitor while it stands in

    def do_poll(self, model, who, thread):
        """Wait for connections, or to be woken."""
        ready = tuple(
            index
            for index, unread in enumerate(model.unread)
            if (unread and model.armed[index] == "read")
            # An error is reported as long as the selector knows the connection.
            or (model.reset and index == 0 and model.armed[0] in {"read", "off"})
        )
        if not ready and not model.waker:
            return
        at = "working" if who == "L" else "mode"
        # The monitor says that handlers go to the pool, whatever anybody has said.
        pooled = model.pooled or (who == "M" and self.fault != "pooled is set before the wait")
        for batch in {ready, ready[::-1]}:
            yield self.go(model, who, at, batch=batch, waker=False, pooled=pooled)

    def leader_poll(self, model, who, thread):
        """Say that it waits."""
        yield self.go(model, who, "waiting", idle=True)

    def do_waiting(self, model, who, thread):
        """Wait."""
        yield from self.do_poll(model, who, thread)

    def do_working(self, model, who, thread):
        """Say that it no longer waits."""
        swapped = self.fault == "idle is cleared after the look at watching"
        if swapped:
            activity = model.activity or not model.watching
            yield self.go(model, who, "activate?", activity=activity)
        else:
            yield self.go(model, who, "activate?", idle=False)

    def do_activate(self, model, who, thread):
        """Wake the monitor."""
        if self.fault == "idle is cleared after the look at watching":
            yield self.go(model, who, "mode", idle=False)
        else:
            activity = model.activity or not model.watching
            yield self.go(model, who, "mode", activity=activity)

    def do_mode(self, model, who, thread):
        """Look whether handlers go to the pool; the monitor has said so itself just now."""
        pooled = model.pooled or (who == "M" and self.fault != "pooled is set before the wait")
        yield self.go(model, who, "pooled" if pooled else "next")

    def do_next(self, model, who, thread):
        """Take the next connection of the batch, to run its handler inline."""
        if not thread.batch:
            yield self.go(model, who, "poll" if who == "L" else "returned?")
            return
        index, *rest = thread.batch
        at = "next" if model.armed[index] == "closed" else "owned?"
        yield self.go(model, who, at, batch=tuple(rest), connection=index)

    def do_owned(self, model, who, thread):
        """Look whether somebody has it."""
        at = "unwatch" if model.owned[thread.connection] else "current"
        yield self.go(model, who, at)

    def do_current(self, model, who, thread):
        """Say which connection it is."""
        yield self.go(model, who, "enter", current=thread.connection)

    def do_enter(self, model, who, thread):
        """Make the serial number odd."""
        yield self.go(model, who, "handle", odd=not model.odd, seen=False)

    def do_handle(self, model, who, thread):
        """Read, and begin with the handler."""
        index = thread.connection
        if model.inside[index]:
            msg = f"{who} and {model.inside[index]} are in one connection"
            raise BrokenError(msg)
        yield self.go(
            model,
            who,
            "handling",
            inside=put(model.inside, index, who),
            # On a connection that was reset the handler fails, and ends it.
            messages=-1 if model.reset and index == 0 else model.unread[index],
            unread=put(model.unread, index, 0),
        )

    def do_handling(self, model, who, thread):
        """Leave the handler: all that was read has been answered."""
        index = thread.connection
        if self.fault == "deposed is looked at before the serial":
            at = "deposed?"
        else:
            at = "leave" if who == "L" else "lock"
        yield self.go(model, who, at, inside=put(model.inside, index, ""))

    def do_leave(self, model, who, thread):
        """Make the serial number even."""
        if self.fault == "deposed is looked at before the serial":
            yield self.go(model, who, "next", odd=not model.odd, seen=False)
        else:
            yield self.go(model, who, "deposed?", odd=not model.odd, seen=False)

    def do_deposed(self, model, who, thread):
        """Look whether somebody has taken the lead."""
        if model.deposed:
            yield self.go(model, who, "lock")
        elif self.fault == "deposed is looked at before the serial":
            yield self.go(model, who, "leave")
        else:
            yield self.go(model, who, "next", armed=self.arm(model, thread), messages=0)

    def do_unwatch(self, model, who, thread):
        """Take the lock, to take an owned connection out of the selector."""
        if not model.lock:
            yield self.go(model, who, "unwatching", lock=who)

    def do_unwatching(self, model, who, thread):
        """Do so if it is still owned; release the lock."""
        armed = model.armed
        # A closed one is in the selector no more, nor in the table.
        if armed[thread.connection] == "closed":
            pass
        elif model.owned[thread.connection] or self.fault == "owned isn't looked at under the lock":
            armed = put(armed, thread.connection, "gone")
        at = "pooled" if model.pooled or who == "M" else "next"
        yield self.go(model, who, at, armed=armed, lock="")

    def do_pooled(self, model, who, thread):
        """Take the next connection of the batch, to hand it over."""
        if not thread.batch:
            yield self.go(model, who, "poll" if who == "L" else "returned?")
            return
        index, *rest = thread.batch
        at = "pooled" if model.armed[index] == "closed" else "own it"
        yield self.go(model, who, at, batch=tuple(rest), connection=index)

    def do_own_it(self, model, who, thread):
        """Take it for the worker, unless somebody has it."""
        index = thread.connection
        if model.owned[index]:
            yield self.go(model, who, "unwatch")
            return
        owned = model.owned
        if self.fault != "a worker's connection isn't owned":
            owned = put(owned, index, True)
        yield self.go(model, who, "disarm", owned=owned)

    def do_disarm(self, model, who, thread):
        """Have the connection watched no more."""
        armed = model.armed
        if armed[thread.connection] == "closed":
            msg = "a closed connection is handed over"
            raise BrokenError(msg)
        armed = put(armed, thread.connection, "off")
        yield self.go(model, who, "submit", armed=armed)

    def do_submit(self, model, who, thread):
        """Give it to the worker."""
        work = (*model.work, thread.connection)
        yield self.go(model, who, "pooled", work=work, connection=-1)

    # --- giving up a connection, by the leader or the worker

    def do_lock(self, model, who, thread):
        """Take the lock."""
        if not model.lock:
            first = (
                "free"
                if self.fault == "owned is cleared before arming, without the lock"
                else "arm"
            )
            lock = "" if self.fault.startswith("owned is cleared") else who
            yield self.go(model, who, first, lock=lock)

    def do_arm(self, model, who, thread):
        """Have the connection watched."""
        at = (
            "unlock" if self.fault == "owned is cleared before arming, without the lock" else "free"
        )
        yield self.go(model, who, at, armed=self.arm(model, thread), messages=0)

    def arm(self, model, thread):
        """The connection watched; or closed, if its handler has ended it."""
        if model.armed[thread.connection] == "closed":
            msg = "a closed connection is watched"
            raise BrokenError(msg)
        return put(model.armed, thread.connection, "closed" if thread.messages < 0 else "read")

    def do_free(self, model, who, thread):
        """Let others have it."""
        at = "arm" if self.fault == "owned is cleared before arming, without the lock" else "unlock"
        index = thread.connection
        closed = model.armed[index] == "closed" and self.fault != "a closed connection is free"
        yield self.go(model, who, at, owned=put(model.owned, index, closed))

    def do_unlock(self, model, who, thread):
        """Release the lock."""
        lock = "" if model.lock == who else model.lock
        at = {"L": "return", "W": "idle", "M": "return"}[who]
        yield self.go(model, who, at, lock=lock, connection=-1)

    def do_return(self, model, who, thread):
        """Ask for the lead, if it has been taken; under the lock."""
        if not model.lock:
            if model.deposed and self.fault != "nobody asks for the lead":
                yield self.go(model, who, "await", returning=True, waker=True)
            else:
                yield self.go(model, who, "await")

    def do_await(self, model, who, thread):
        """Wait until it is given back, and drop the rest of the batch."""
        if not model.deposed:
            yield self.go(model, who, "poll", batch=(), current=-1)

    # --- the worker

    def do_idle(self, model, who, thread):
        """Take work."""
        if model.work:
            yield self.go(model, who, "handle", connection=model.work[0], work=model.work[1:])

    def worker_handling(self, model, who, thread):
        """Leave the handler."""
        index = thread.connection
        yield self.go(model, who, "lock", inside=put(model.inside, index, ""))

    # --- the monitor

    def do_look(self, model, who, thread):
        """Look at the serial number."""
        if not model.seen:
            yield self.go(model, who, "look", seen=True)
        elif model.odd:
            yield self.go(model, who, "depose")
        else:
            yield self.go(model, who, "clear")

    def do_clear(self, model, who, thread):
        """Begin to sleep."""
        yield self.go(model, who, "unwatched", activity=False)

    def do_unwatched(self, model, who, thread):
        """Ask to be woken."""
        yield self.go(model, who, "sure?", watching=False)

    def do_sure(self, model, who, thread):
        """Look once more."""
        yield self.go(model, who, "asleep" if model.idle else "awake")

    def do_asleep(self, model, who, thread):
        """Sleep."""
        if model.activity:
            yield self.go(model, who, "awake")

    def do_awake(self, model, who, thread):
        """Watch again."""
        yield self.go(model, who, "look", watching=True)

    def do_depose(self, model, who, thread):
        """Say that the lead is taken."""
        yield self.go(model, who, "locking", deposed=True)

    def do_locking(self, model, who, thread):
        """Take the lock."""
        if not model.lock:
            yield self.go(model, who, "stuck?", lock=who)

    def do_stuck(self, model, who, thread):
        """Look at the serial number again."""
        stuck = model.seen or self.fault == "the serial isn't looked at again"
        yield self.go(model, who, "own" if stuck else "reinstating", lock=who if stuck else "")

    def do_own(self, model, who, thread):
        """Leave the leader its connection; release the lock."""
        owned = model.owned
        if model.current >= 0 and self.fault != "the stuck connection isn't owned":
            owned = put(owned, model.current, True)
        yield self.go(model, who, "returned?", owned=owned, lock="")

    def do_returned(self, model, who, thread):
        """Lead until the leader asks for it."""
        yield self.go(model, who, "reinstating" if model.returning else "poll")

    def do_reinstating(self, model, who, thread):
        """Give the lead back; under the lock."""
        if not model.lock:
            returning = model.returning and self.fault == "returning is left set"
            yield self.go(model, who, "look", deposed=False, returning=returning)

    # --- what must hold

    def check(self, model: Model) -> None:
        """What holds in every state."""
        if model.monitor.at in STANDING_IN and model.leader.at not in AWAY:
            msg = "two threads lead"
            raise BrokenError(msg)
        asleep = model.monitor.at == "asleep" and not model.activity
        if asleep and model.leader.at in {"handle", "handling"}:
            msg = "the monitor sleeps while a handler runs"
            raise BrokenError(msg)

    def at_rest(self, model: Model) -> bool:
        """Whether all messages have been answered, and nobody has anything left to do."""
        return (
            not any((*model.to_come, *model.inside))
            and all(
                model.armed[index] == "closed" or not (model.unread[index] or model.owned[index])
                for index in (0, 1)
            )
            and set(model.armed) <= {"read", "closed"}
            and not (model.work or model.deposed)
            and (model.leader.at, model.worker.at) == ("waiting", "idle")
        )

    def run(self, *starts: Model) -> int:
        """Visit every state from *starts* on; returns how many there are."""
        before: dict[Model, list[Model]] = {start: [] for start in starts}
        new = [*starts]
        while new:
            model = new.pop()
            for following in self.steps(model):
                if following in before:
                    before[following].append(model)
                else:
                    self.check(following)
                    before[following] = [model]
                    new.append(following)
        hopeful = set()
        new = [model for model in before if self.at_rest(model)]
        while new:
            model = new.pop()
            if model not in hopeful:
                hopeful.add(model)
                new += before[model]
        hopeless = [model for model in before if model not in hopeful]
        if hopeless:
            msg = f"never comes to rest: {hopeless[0]}"
            raise BrokenError(msg)
        return len(before)


# Two messages on one connection, one on each, and one on one that may be reset. The
# three together would take minutes, and have found nothing more.
STARTS = [
    Model(to_come=(2, 0)),
    Model(to_come=(1, 0), may_reset=True),
    Model(to_come=(1, 1)),
]


def clean(name: str) -> str:
    """*name* as a part of a method's."""
    return name.rstrip("?").replace(" ", "_")


@pytest.mark.timeout(600)
def test_every_interleaving_of_the_hand_over():
    """No thread meets another in a connection or in leading, and every message is answered."""
    assert Search().run(*STARTS) > 10_000


def run_each(fault):
    """Search from one start after the other, because the first finds most."""
    for start in STARTS:
        Search(fault).run(start)


FAULTS = {
    "pooled is set before the wait": "never comes to rest",
    "idle is cleared after the look at watching": "the monitor sleeps",
    "deposed is looked at before the serial": "two threads lead",
    "owned isn't looked at under the lock": "never comes to rest",
    "a worker's connection isn't owned": "a closed connection is",
    "owned is cleared before arming, without the lock": "a closed connection is",
    "a closed connection is free": "a closed connection is",
    "nobody asks for the lead": "never comes to rest",
    "the serial isn't looked at again": "two threads lead",
    "the stuck connection isn't owned": "are in one connection",
    "returning is left set": "never comes to rest",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("fault", FAULTS)
def test_the_model_finds_a_mistake(fault):
    """One step that is changed breaks what must hold."""
    with pytest.raises(BrokenError, match=FAULTS[fault]):
        run_each(fault)
