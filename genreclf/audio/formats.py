"""Suffixes of audio and picture files."""

AUDIO_SUFFIXES = (".wav", ".au", ".flac", ".ogg", ".mp3")
"""Audio that soundfile always reads, and the only audio that a dataset is made of."""

SONG_SUFFIXES = (
    *AUDIO_SUFFIXES,
    *(".aif", ".aifc", ".aiff", ".caf", ".oga", ".opus", ".snd", ".w64", ".wave"),
    *(".aac", ".ac3", ".ape", ".m4a", ".m4b", ".mka", ".mp2", ".mp4", ".mpc", ".tta", ".webm", ".wma", ".wv"),
)
"""Audio that commands look for in a folder of songs; the last row needs FFmpeg."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Spectrogram pictures."""

UNREAD_SUFFIXES = (".bmp", ".gif", ".npy", ".webp")
"""Spectrograms in other formats, which are not read."""

TRACK_SUFFIXES = (*SONG_SUFFIXES, *PICTURE_SUFFIXES, *UNREAD_SUFFIXES)
"""Suffixes that a list of tracks may write and that do not matter: the same track may lie there in another format."""
