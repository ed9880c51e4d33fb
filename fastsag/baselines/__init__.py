"""The systems that the paper compares with: SingSong and RandSong."""
