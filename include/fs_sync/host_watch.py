"""One connection and one exec to a host, by which the triggerer watches all its jobs; it is made again when it breaks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fs_sync import job as jobs
from fs_sync.errors import AuthenticationError, ConnectionFailed, FsSyncError, HostKeyError
from fs_sync.records import printable

if TYPE_CHECKING:
    import asyncssh

ANSWER = 60.0
BLOCK = 65536
LONGEST_PAUSE = 30.0
KILL_TRIES = 3

_shared: dict[tuple[str, asyncio.AbstractEventLoop], HostWatch] = {}


@asynccontextmanager
async def shared(conn_id: str) -> AsyncIterator[HostWatch]:
    """The watch of a Connection's host, one for all who ask for it at a time; the last one closes it."""
    key = (conn_id, asyncio.get_running_loop())
    watch = _shared.setdefault(key, HostWatch(conn_id))
    watch.users += 1
    try:
        yield watch
    finally:
        watch.users -= 1
        if not watch.users:
            _shared.pop(key, None)
            watch.close("nobody watches any more")


async def kill(conn_id: str, job: jobs.Job) -> str:
    """End a job, over a connection of its own: the one that watches may allow no second exec. Return what the host says."""
    for rest in reversed(range(KILL_TRIES)):
        try:
            connection = await login(conn_id)
            async with connection:
                ran = await connection.run("exec sh", input=jobs.killer(job), encoding=None, stderr=-3)
                said = ran.stdout or b""
                return printable(said[-500:].strip())
        except ConnectionFailed:
            if not rest:
                raise
        except _broken() as error:
            if not rest:
                raise ConnectionFailed(f"connection {conn_id!r}: it broke ({error})") from None
        await asyncio.sleep(1)
    raise AssertionError


async def login(conn_id: str) -> asyncssh.SSHClientConnection:
    """Log in as the Connection says, its host key checked. Raise the error that says what went wrong."""
    import asyncssh

    from fs_sync import hooks

    # It logs ten lines a command, and at INFO.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    conn = await hooks.connection_async(conn_id)
    try:
        return await hooks.connect_async(conn)
    except asyncssh.PermissionDenied as error:
        raise AuthenticationError(f"connection {conn_id!r}: the login was refused ({error})") from None
    except asyncssh.HostKeyNotVerifiable as error:
        raise HostKeyError(f"connection {conn_id!r}: the server is not the one of the connection's `host_key` ({error})") from None
    except _broken() as error:
        raise ConnectionFailed(f"connection {conn_id!r}: {error or type(error).__name__}") from None


def _broken(*more: type[Exception]) -> tuple[type[Exception], ...]:
    import asyncssh

    return (asyncssh.Error, asyncssh.KeyImportError, OSError, TimeoutError, *more)


class HostWatch:
    """Answers looks at jobs; many may be asked for at once."""

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self.users = 0
        self._lock = asyncio.Lock()
        self._connection: asyncssh.SSHClientConnection | None = None
        self._process: asyncssh.SSHClientProcess[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._waiting: dict[str, asyncio.Future[jobs.Answer]] = {}
        self._asked = 0
        self._refused: FsSyncError | None = None
        self._not_before = 0.0
        self._pause = 1.0

    async def ask(self, job: jobs.Job, offset: int, *, resumed: bool = False) -> jobs.Answer:
        """
        Look at a job, its log from `offset` on, or with `resumed` from where the last one who looked went on, if that is further.

        Raise ConnectionFailed if no answer comes; the next one who asks connects anew.
        """
        async with self._lock:
            process = await self._connected()
            self._asked += 1
            word = str(self._asked)
            answer: asyncio.Future[jobs.Answer] = asyncio.get_running_loop().create_future()
            self._waiting[word] = answer
        try:
            process.stdin.write(jobs.request(word, job, offset, resumed=resumed))
            return await asyncio.wait_for(answer, ANSWER)
        except TimeoutError:
            self.close(f"the watch did not answer within {ANSWER:.0f} s")
            raise ConnectionFailed(f"connection {self.conn_id!r}: the watch did not answer within {ANSWER:.0f} s") from None
        except _broken() as error:
            self.close(str(error))
            raise ConnectionFailed(f"connection {self.conn_id!r}: the watch broke ({error})") from None
        finally:
            self._waiting.pop(word, None)

    def close(self, reason: str) -> None:
        """Hang up; who waits for an answer is told why."""
        connection, reader = self._connection, self._reader
        self._connection = self._process = self._reader = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionFailed(f"connection {self.conn_id!r}: the watch broke ({reason})"))
        if connection is not None:
            connection.close()
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()

    async def _connected(self) -> asyncssh.SSHClientProcess[bytes]:
        if self._process is not None:
            return self._process
        clock = asyncio.get_running_loop().time
        if self._refused is not None and clock() < self._not_before:
            raise self._refused  # many ask, and each of them would knock at a closed door
        try:
            self._connection = await login(self.conn_id)
            # The watch says nothing on stderr; whatever a login shell says there is thrown away.
            self._process = await self._connection.create_process(jobs.watch_command(), encoding=None, stderr=-3)
        except _broken(FsSyncError) as error:
            self.close("it could not begin")
            self._refused = error if isinstance(error, FsSyncError) else ConnectionFailed(f"connection {self.conn_id!r}: {error}")
            self._not_before = clock() + self._pause
            self._pause = min(self._pause * 2, LONGEST_PAUSE)
            raise self._refused from None
        self._refused, self._pause = None, 1.0
        # A context of its own: that of the trigger which came first would lead all log lines into its log.
        self._reader = asyncio.get_running_loop().create_task(self._read(self._process), context=contextvars.Context())
        return self._process

    async def _read(self, process: asyncssh.SSHClientProcess[bytes]) -> None:
        answers = jobs.Answers()
        reason = "it ended"
        try:
            while data := await process.stdout.read(BLOCK):
                for answer in answers.feed(data):
                    waiting = self._waiting.get(answer.id)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(answer)
        except _broken(FsSyncError) as error:
            reason = str(error)
        if self._process is process:
            self.close(reason)
