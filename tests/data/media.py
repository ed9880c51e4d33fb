"""Files that only FFmpeg reads."""

from pathlib import Path
from typing import Any

import numpy as np

from tests.data.songs import RATE


def write_m4a(av: Any, path: Path, tracks: list[np.ndarray]) -> Path:
    """AAC in MP4, one stereo stream for each track (N,)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = [container.add_stream("aac", rate=RATE) for _ in tracks]
        for stream, samples in zip(streams, tracks, strict=True):
            stereo = np.stack([samples, samples]).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(stereo, format="fltp", layout="stereo")
            frame.sample_rate = RATE
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
    return path
