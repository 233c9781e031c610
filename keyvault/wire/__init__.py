"""One framing for every process of the house: calls and answers over a Unix socket.

A frame is its length (4 bytes, big-endian) and a msgpack array. A frame of calls holds
[id, method, arguments] each, a frame of answers [id, True, result] or [id, False, error].
An empty frame of answers is the server's farewell: what it has not answered, it has not begun.
"""

from keyvault.wire.client import AsyncClient, Client
from keyvault.wire.errors import RemoteError
from keyvault.wire.frames import MAX_FRAME, FrameError
from keyvault.wire.server import Server, batch, listen, peer_uid

__all__ = [
    "MAX_FRAME",
    "AsyncClient",
    "Client",
    "FrameError",
    "RemoteError",
    "Server",
    "batch",
    "listen",
    "peer_uid",
]
