"""A trained run on a user's own music: audio file to genres over time."""
