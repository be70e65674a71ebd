"""Apply a trained run to a user's own music: from an audio file to genres over time."""
