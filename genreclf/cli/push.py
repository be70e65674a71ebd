"""``python -m genreclf push RUN --repo USER/NAME``: share a trained model on the Hugging Face hub."""

from genreclf.cli.parser import Parser


def main(arguments: list[str]) -> None:
    """Upload weights, configuration, results, split and a model card; print the address."""
    options = parser().parse(arguments)
    from genreclf.hub.remote import push
    from genreclf.reports.card import UNKNOWN_LICENSE
    from genreclf.run_directory import RunDirectory

    license = options.license or UNKNOWN_LICENSE
    print(push(RunDirectory(options.run), options.repo, license=license, private=options.private))


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "push",
        "Share a finished run on the Hugging Face hub: weights (safetensors), configuration, results, "
        "split and a model card. The ids of all tracks and their artists are in split.json; paths of this machine "
        "are left out.",
    )
    command.add_run("run directory, finished", trust=False)
    command.add_argument("--repo", required=True, metavar="USER/NAME", help="repository; created if it does not exist")
    command.add_argument("--license", help="license of the weights, as the hub abbreviates it; default: unknown")
    command.add_argument("--private", action="store_true", help="make a new repository private")
    return command
