"""One question to a guest over QMP, its monitor protocol, by the qemu.qmp library."""

from __future__ import annotations

import contextlib
import logging
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from engine.guests import unix
from steps.base import Json

if TYPE_CHECKING:
    from qemu.qmp import QMPClient


_POLL = 0.05


def query_qmp(path: Path, command: str, arguments: Mapping[str, Json] | None = None, *, timeout: float = 10.0) -> Json:
    """What the guest behind a unix socket answers to a QMP command (the `return` of its reply).

    Raises ConnectionError where nobody answers or the guest ends meanwhile, TimeoutError after `timeout` seconds (a
    monitor speaks to one client at a time), ValueError where the guest refuses the command.
    """
    import asyncio  # asyncio and qemu.qmp cost 80 ms: only where a guest is spoken to

    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL + 1)  # it logs every failure that it raises, too
    with contextlib.ExitStack() as stack:
        try:
            address = stack.enter_context(unix.address(path))
        except OSError as error:
            raise ConnectionError(f"{path}: {error.strerror}") from error
        return asyncio.run(_ask(address, str(path), command, dict(arguments or {}), timeout))


async def _ask(address: str, shown: str, command: str, arguments: dict[str, Json], timeout: float) -> Json:
    import asyncio  # as above

    from qemu.qmp import ExecuteError, QMPClient, QMPError

    client = QMPClient("vfiostate")
    with socket.socket(socket.AF_UNIX) as line:
        try:
            async with asyncio.timeout(timeout):
                await _connect(line, address)
                await client.connect(line)
                return cast(Json, await client.execute(command, arguments or None))
        except ExecuteError as error:
            raise ValueError(f"{command}: {error}") from error
        except TimeoutError as error:
            raise TimeoutError(f"{shown}: no answer to {command} within {timeout:g} s") from error
        except (QMPError, OSError, EOFError) as error:
            raise ConnectionError(f"{shown}: {error}") from error
        finally:
            await _leave(client)


async def _connect(line: socket.socket, address: str) -> None:
    """Connect, as soon as the queue before the monitor is not full: connect(2) says EAGAIN then, which asyncio takes
    for a connection that is under way."""
    import asyncio  # as above

    line.setblocking(False)
    while True:
        try:
            return line.connect(address)
        except BlockingIOError:
            await asyncio.sleep(_POLL)


async def _leave(client: QMPClient) -> None:
    """End the session; that the other side was faster, or never spoke QMP, was already told."""
    with contextlib.suppress(Exception):
        await client.disconnect()
