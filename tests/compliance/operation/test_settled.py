"""What a process that serves does about its memory, seen by what the C library says of itself."""

import subprocess
import sys

import pytest

from compliance.operation.settled import HEAPS

# Sixteen threads take and give back memory at once; then the heaps are counted.
PROBE = """
import ctypes, re, sys, tempfile, threading
from compliance.operation.settled import share_heaps
{first}
ready = threading.Barrier(16)
def work():
    ready.wait()
    for _ in range(200):
        bytearray(5_000)
    ready.wait()
threads = [threading.Thread(target=work) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
with tempfile.NamedTemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fopen(file.name.encode(), b"w"))
    libc.malloc_info(0, stream)
    libc.fclose(stream)
    print(len(re.findall("<heap nr=", file.read().decode())))
"""


def heaps(first):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(first=first)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="heaps of glibc")
def test_threads_share_a_few_heaps():
    assert heaps("") > HEAPS
    assert heaps("share_heaps()") <= HEAPS
