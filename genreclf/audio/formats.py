"""Which files are audio, by their names."""

AUDIO_SUFFIXES = (".wav", ".au", ".flac", ".ogg", ".mp3")
"""Of audio files that soundfile always reads."""

OTHER_SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".caf", ".oga", ".opus", ".snd", ".w64", ".wave"),
    *(".aac", ".ac3", ".ape", ".m4a", ".m4b", ".mka", ".mp2", ".mp4", ".mpc", ".tta", ".webm", ".wma", ".wv"),
)
"""Of audio files beside `AUDIO_SUFFIXES`; the second row takes FFmpeg."""
