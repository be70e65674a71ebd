"""A web page that predicts the genres of songs with a trained run."""
