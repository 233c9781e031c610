"""Writes down, once a minute, what the clock has brought about. Nothing waits for it."""

import asyncio

import structlog

from api.telemetry import trace
from keyvault.domain.errors import VaultError
from keyvault.operations import expiry, quorums
from keyvault.operations.vault import Vault

INTERVAL = 60.0  # seconds


async def sweep_for_ever(vault: Vault, interval: float = INTERVAL) -> None:
    """Sweep until cancelled. A database that is away now is there again later."""
    while True:
        await asyncio.sleep(interval)
        try:
            await asyncio.to_thread(expiry.sweep, vault)
            await asyncio.to_thread(_watch, vault)
        except VaultError as error:
            structlog.get_logger().warning("sweep failed", **trace(error))


def _watch(vault: Vault) -> None:
    if quorums.sweep(vault) and (text := quorums.remark(vault)):
        structlog.get_logger().warning("quorum at risk", text=text)
