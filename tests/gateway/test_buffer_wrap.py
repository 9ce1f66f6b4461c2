"""Numbers that have run for years: the buffer at the edges of 31, 32 and 53 bits (fault 149)."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.gateway.test_buffer_contract import drain, number_of, open_sqlite, record


@pytest.mark.parametrize("bits", [31, 32, 53])
async def test_blob_numbers_go_on_beyond_32_bits(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "b.db"
    buffer = await open_sqlite(path)
    for number in range(2):
        buffer.put(record(number))
        await buffer.flush()
    await buffer.close()
    with sqlite3.connect(path) as conn:
        for table in ("blobs", "bodies"):
            conn.execute(f"UPDATE {table} SET seq = seq + {2**bits - 3}")
    conn.close()
    buffer = await open_sqlite(path)
    for number in range(2, 6):
        buffer.put(record(number))
        await buffer.flush()
    assert sorted(await drain(buffer)) == [0, 1, 2, 3, 4, 5]  # the newest go first
    await buffer.close()
    buffer = await open_sqlite(path)
    assert await drain(buffer) == []
    assert [number_of(r) async for r in buffer.replay(0)] == [0, 1, 2, 3, 4, 5]
    await buffer.close()
