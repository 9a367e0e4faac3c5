"""The path of a Unix domain socket: taken without stealing it, given back as ours alone.

Theory of operation. A socket's file stays behind when its server is killed, and
then nobody can bind there. Whether it is such a stale one, a connection tells: it
is refused. But it is refused as well between ``bind`` and ``listen``, and somebody
else may look at the same moment, remove the file, and bind. So who takes a path
first takes a lock (:manpage:`flock(2)`) on a file beside it, and keeps it until
the socket answers. The lock file is removed before the lock is let go; who has
locked a removed one notices, and begins anew. One that a killed process has left
is taken like any other. Whoever finds the lock taken has lost the race.

The file of the socket is made with no permissions, and gets its owner and then
its mode before anyone could have connected or sent. On Linux the mode of the
socket itself limits that of the file to be; elsewhere the umask does, which for
that moment is the whole process's.

At the end the file is removed if it is the one that was made: the same inode,
and the same process, so that a forked child leaves it to its parent. That happens
while the socket is still open, and nobody who follows these rules takes a path
whose socket is.
"""

import contextlib
import errno
import fcntl
import os
import socket as _socket
import stat
import sys
import threading
from pathlib import Path
from typing import Final, NamedTuple

from typing_extensions import Self

from netserve.transports._bind import MAX_PATH

_DEFAULT_MODE: Final = 0o660
_MODE_BY_SOCKET: Final = sys.platform == "linux"
_umask_lock: Final = threading.Lock()


class Access(NamedTuple):
    """Who may connect to a path: its mode, and the ids of its owner and group, or -1."""

    mode: int
    uid: int
    gid: int


def access(mode: int | None, owner: str | int | None, group: str | int | None) -> Access | None:
    """What is asked for by *mode*, *owner* and *group*; None if nothing is.

    The mode of a path that gets an owner or group is ``0o660`` unless given: they
    are to connect. Raises :class:`ValueError` for a name that the system doesn't
    know, and for a mode that is none.
    """
    if mode is None and owner is None and group is None:
        return None
    if mode is None:
        mode = _DEFAULT_MODE
    elif not 0 <= mode <= 0o777:
        msg = f"socket_mode must be permissions such as 0o660, not {mode!r}"
        raise ValueError(msg)
    return Access(mode, _user(owner), _group(group))


def _user(owner: str | int | None) -> int:
    if isinstance(owner, str):
        import pwd  # not on every platform that runs the rest

        try:
            return pwd.getpwnam(owner).pw_uid
        except KeyError:
            msg = f"socket_owner: there is no user {owner!r}"
            raise ValueError(msg) from None
    return -1 if owner is None else owner


def _group(group: str | int | None) -> int:
    if isinstance(group, str):
        import grp

        try:
            return grp.getgrnam(group).gr_gid
        except KeyError:
            msg = f"socket_group: there is no group {group!r}"
            raise ValueError(msg) from None
    return -1 if group is None else group


def check_length(path: str | bytes) -> None:
    """Raise :class:`OSError` with ``ENAMETOOLONG`` if no socket can have *path*."""
    size = len(os.fsencode(path))
    if size > MAX_PATH:
        msg = f"the path has {size} bytes, and may have {MAX_PATH}"
        raise OSError(errno.ENAMETOOLONG, msg)


def bind_path(socket: _socket.socket, path: str | bytes, granted: Access | None) -> None:
    """Bind *socket* to *path*, with what is *granted* before anyone can connect."""
    if granted is None:
        socket.bind(path)
        return
    _bind_closed(socket, path)
    made = Path(os.fsdecode(path))
    try:
        os.chown(made, granted.uid, granted.gid, follow_symlinks=False)
        made.chmod(granted.mode)
    except BaseException:
        made.unlink()
        raise


def _bind_closed(socket: _socket.socket, path: str | bytes) -> None:
    """Bind *socket* to *path*, which has no permissions yet."""
    if _MODE_BY_SOCKET:
        os.fchmod(socket.fileno(), 0)
        socket.bind(path)
        return
    with _umask_lock:
        before = os.umask(0o777)
        try:
            socket.bind(path)
        finally:
            os.umask(before)


class Hold:
    """A server's hold on the path of its socket."""

    def __init__(self, path: Path, lock: "_Lock") -> None:
        self._path = path
        self._lock = lock
        self._inode = _inode(path)
        self._pid = os.getpid()

    @classmethod
    def take(cls, socket: _socket.socket, path: str | bytes, granted: Access | None) -> Self:
        """Bind *socket* to *path*, in place of what a server that is gone has left there.

        Others are kept from the path until :meth:`settle`. Raises
        :class:`FileExistsError` if something else than a socket is there, and
        another :class:`OSError`, with ``EADDRINUSE`` if a server has the path or is
        about to.
        """
        check_length(path)
        # Absolute, because the program may change its working directory.
        place = Path(os.fsdecode(path)).absolute()
        lock = _Lock(place.with_name(f"{place.name}.lock"))
        try:
            _make_room(place, path, socket.type)
            bind_path(socket, path, granted)
            return cls(place, lock)
        except BaseException:
            lock.release()
            raise

    def settle(self) -> None:
        """Let others look at the path, whose socket answers from now on."""
        self._lock.release()

    def release(self) -> None:
        """Remove the path, if it is still this socket's, and made by this process."""
        if os.getpid() == self._pid and _inode(self._path) == self._inode:
            with contextlib.suppress(OSError):
                self._path.unlink()
        self._lock.release()


def _make_room(place: Path, path: str | bytes, socket_type: int) -> None:
    """Remove a stale socket at *place*, which is *path* made absolute."""
    try:
        mode = place.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    if _is_live(path, socket_type):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    place.unlink(missing_ok=True)


def _is_live(path: str | bytes, socket_type: int) -> bool:
    """Whether a process has a socket at *path*; yes too if that can't be found out."""
    with _socket.socket(_socket.AF_UNIX, socket_type) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            # A full queue, another type of socket, or no permission: somebody's.
            return True
    return True


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


class _Lock:
    """The right to take a path: a locked file at *path*, which the holder removes.

    Raises :class:`OSError` with ``EADDRINUSE`` if another process has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._pid = os.getpid()
        self._descriptor = -1
        while self._descriptor < 0:
            self._descriptor = self._try()

    def _try(self) -> int:
        """The descriptor of the locked file; -1 if it was removed at that moment."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_at_path(descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            reason = f"another server is taking it, and has locked {self._path.name}"
            raise OSError(errno.EADDRINUSE, reason) from None
        os.close(descriptor)
        return -1

    def _is_at_path(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        return _inode(self._path) == (found.st_dev, found.st_ino)

    def release(self) -> None:
        """Let go; may be called twice."""
        if self._descriptor < 0:
            return
        # A forked child has the same lock, which is its parent's to let go.
        if os.getpid() == self._pid:
            with contextlib.suppress(OSError):
                self._path.unlink()
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        os.close(self._descriptor)
        self._descriptor = -1
