"""Command line interface: one module per command, each with a ``parser`` and a ``main`` function."""

COMMANDS = {
    "train": "train, test and report a run; the default, so that its name can be left out",
    "refit": "train again with the settings of a run, on its training and validation tracks",
    "ensemble": "average the predictions of finished runs, as a run of its own",
    "evaluate": "test a finished run again, on any data and devices",
    "predict": "predict the genres of audio files",
    "index": "index a music collection, in which recommend finds songs",
    "recommend": "find songs that are similar to a song",
    "compare": "compare finished runs and write a report",
    "dashboard": "show finished runs in W&B, as a workspace and a report",
    "export": "write a trained model as one file, for ONNX or torch.export",
    "push": "share a trained model on the Hugging Face hub",
    "pull": "fetch a shared model from the Hugging Face hub",
    "app": "serve a web page that predicts the genres of songs and recommends similar ones",
    "prepare": "compute, store and check the spectrograms of a dataset",
    "audit": "look for repeats, shared artists, odd sound and doubtful labels in a dataset",
    "show": "draw waveforms and spectrograms of a dataset",
    "trial": "train one trial of a W&B sweep; `wandb agent` calls it",
    "list": "list the groups of settings, or the options of one group",
}
"""Commands, each a module of this package, with a line of help."""

OVERRIDDEN = ("train", "refit", "ensemble", "evaluate", "index", "recommend", "prepare", "audit", "show", "trial")
"""Commands that accept configuration overrides (``KEY=VALUE``)."""
