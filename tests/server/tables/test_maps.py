"""Large tables are read without becoming resident as a whole."""

import time
from pathlib import Path

import pytest

from server.tables import folder
from server.tables.folder import mapped_file

MB = 1 << 20


def resident_mb():
    """Memory of this process that belongs to mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:")) / 1024


def most_while_reading(path, size):
    before, most = resident_mb(), 0.0
    with mapped_file(path) as data:
        for at in range(0, size, MB):
            assert data[at] == data[at + MB - 1] == 0
            sum(data[at : at + MB : 4096])
            most = max(most, resident_mb() - before)
            time.sleep(0.001)
    return most


@pytest.fixture
def large_file(tmp_path):
    path = tmp_path / "large.table"
    with path.open("wb") as file:
        file.truncate(256 * MB)
    return path


def test_large_map_is_given_back_while_it_is_read(large_file, monkeypatch):
    assert most_while_reading(large_file, 256 * MB) < 160
    monkeypatch.setattr(folder, "_LARGE", 1 << 40)
    assert most_while_reading(large_file, 256 * MB) > 250
