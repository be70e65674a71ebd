"""A page in the browser that hears songs with a trained run."""
