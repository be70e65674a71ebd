"""File name suffixes of audio and images."""

AUDIO_SUFFIXES = (".wav", ".au", ".flac", ".ogg", ".mp3")
"""Suffixes of audio that soundfile always reads; datasets consist of such files only."""

SONG_SUFFIXES = (
    *AUDIO_SUFFIXES,
    *(".aif", ".aifc", ".aiff", ".caf", ".oga", ".opus", ".snd", ".w64", ".wave"),
    *(".aac", ".ac3", ".ape", ".m4a", ".m4b", ".mka", ".mp2", ".mp4", ".mpc", ".tta", ".webm", ".wma", ".wv"),
)
"""Suffixes of audio that commands look for in a folder of songs; those in the last row need FFmpeg."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of spectrogram images."""

UNREAD_SUFFIXES = (".bmp", ".gif", ".npy", ".webp")
"""Suffixes of spectrograms in formats that are not read."""

TRACK_SUFFIXES = (*SONG_SUFFIXES, *PICTURE_SUFFIXES, *UNREAD_SUFFIXES)
"""Suffixes that are ignored in a list of tracks, since the dataset may have the same tracks in another format."""
