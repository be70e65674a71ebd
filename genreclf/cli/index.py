"""``python -m genreclf index RUN FOLDER...``: index a music collection for the command ``recommend``."""

import os
import sys

from genreclf.cli.parser import Parser
from genreclf.cli.printing import note
from genreclf.errors import UserError
from genreclf.escaping import say


def main(arguments: list[str]) -> None:
    """Index new and changed songs, drop songs that no longer exist, and report songs that cannot be read."""
    options = parser().parse(arguments)
    folders = [word for word in options.what if "=" not in word or os.path.isdir(word)]
    overrides = [word for word in options.what if word not in folders]
    if overrides and folders:
        raise UserError(f"index takes folders or a dataset (data=NAME ...), not both: {folders[0]}, {overrides[0]}.")
    if overrides and options.artists:
        raise UserError("--artists is for folders; a dataset takes data.artists=FILE.")
    if folders and options.config_dir:
        raise UserError("--config-dir is for a dataset (data=NAME ...) and has no effect on folders; omit it.")
    from genreclf.recommend.vectors import load_faiss

    load_faiss()
    from genreclf.inference.predictor import GenrePredictor
    from genreclf.recommend import indexing
    from genreclf.recommend.library import library_directory
    from genreclf.run_directory import RunDirectory

    run = RunDirectory(options.run)
    predictor = GenrePredictor.of_run(options.run, device=options.device, trust=options.trust)
    if overrides:
        from genreclf.cli.compose import load_corpus_for

        corpus = load_corpus_for(
            predictor.spec, run, overrides, device=predictor.device, trust=options.trust, config_dir=options.config_dir
        )
        stored = [track for track in corpus.tracks.values() if track.id in corpus.store.lengths_frames]
        entries = indexing.entries_of_dataset(corpus.dataset_name, stored)
        describe = indexing.describe_stored(predictor, corpus.store)
        note(*corpus.warnings)
    else:
        entries = indexing.entries_of_folders(folders, options.artists, say)
        describe = indexing.describe_file(predictor)
        note(predictor.feature_extractor.notice)
    directory = library_directory(options.run, options.library)
    changes = indexing.update(directory, run, predictor, entries=entries, describe=describe, say=say)
    say(
        f"{changes.added} indexed, {changes.unchanged} unchanged, {changes.dropped} dropped, "
        f"{changes.left_out} left out: {directory}",
        sys.stdout,
    )
    if not changes.added + changes.unchanged:
        raise UserError("No song could be indexed.")


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "index",
        "Index a music collection with the trained model of a run, so that recommend finds songs in it. "
        "The same command again indexes only new and changed songs and drops those that are gone.",
    )
    command.add_run()
    command.add_argument(
        "what", metavar="FOLDER", nargs="+", help="folder of audio files; or a dataset (data=gtzan data.root=DIR)"
    )
    command.add_argument(
        "--artists",
        metavar="FILE",
        help="file with the artists of the songs, as for data.artists; default: the tags of the files",
    )
    command.add_argument("--library", metavar="DIR", help="folder of the library; default: RUN/library")
    command.add_device()
    command.add_config_dir()
    return command
