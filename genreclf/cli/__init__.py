"""The command line: one file per command, each with its `parser` and its `main`."""

COMMANDS = {
    "train": "train, test and report a run; the default, so that its name can be left out",
    "refit": "train with what a run has chosen, on training and validation tracks",
    "ensemble": "average the predictions of finished runs, as a run of its own",
    "evaluate": "test a finished run again, on any data and devices",
    "predict": "predict the genres of audio files",
    "index": "index a music collection for recommend",
    "recommend": "find songs like a song",
    "compare": "compare finished runs and write a report",
    "dashboard": "compare finished runs in W&B, as a workspace and a report",
    "export": "write a trained model as one ONNX file",
    "push": "share a trained model on the Hugging Face hub",
    "pull": "fetch a shared model from the Hugging Face hub",
    "app": "open a page in the browser that predicts and recommends",
    "prepare": "compute and check the spectrograms of a dataset",
    "audit": "look for repeats, shared artists, odd sound and doubtful labels in a dataset",
    "show": "draw waveform, spectrograms and genres of a dataset",
    "trial": "train a trial of a W&B sweep, as `wandb agent` calls it",
    "list": "list the groups of the configuration, or the options of one",
}
"""The commands, each a module of this package, with a line of help."""

OVERRIDDEN = ("train", "refit", "ensemble", "evaluate", "index", "recommend", "prepare", "audit", "show", "trial")
"""The commands that take overrides (``KEY=VALUE``)."""
