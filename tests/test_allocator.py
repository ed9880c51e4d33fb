"""Freed memory is used again instead of being asked from the kernel anew."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys, torch
from fastsag.cli.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def work():
    for size in (8, 48, 16):  # MB
        torch.ones(size * 2**18).add(1)
for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    command = [sys.executable, "-c", SCRIPT, how]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_pages_are_asked_for_once():
    assert faults("keep") < 0.1 * faults("leave")
