"""What librosa compiles is compiled before processes of a pool could do so at once."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("librosa")

JOBS = """
import sys
from pathlib import Path
import numpy as np
from fastsag.evaluation import rhythm
from fastsag.kernels import compile_kernels

cache = Path(sys.argv[1])
compile_kernels()
first = sorted(path.name for path in cache.rglob("guf-*.nbc"))
clicks = np.zeros(3 * 22_050, dtype=np.float32)
clicks[::9_000] = 1
strength = rhythm.onset_strength(clicks)
assert len(rhythm.track_beats(strength)) > 2 and len(rhythm.onsets(strength)) > 2
assert first and first == sorted(path.name for path in cache.rglob("guf-*.nbc")), first
"""


@pytest.mark.slow
def test_scores_compile_nothing_more(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", JOBS, str(tmp_path)], env=environment, check=True)
