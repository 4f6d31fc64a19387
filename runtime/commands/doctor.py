"""`tfm doctor`: what is installed, what is wrong with it, and what to do."""

import json
from dataclasses import asdict

import click

from tfm.runtime.files.display import printable


@click.command()
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Model folder or bundled model to try; may be given several times."
    "  [env var: TFM_MODEL; default: all bundled models]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def doctor(models: tuple[str, ...], as_json: bool) -> None:
    """Examine this installation: libraries, processors, models, and a sentence translated.

    Each line is ok, a warning, or a problem, which keeps tfm from translating, and says what to do.
    The exit status is 0 where tfm can translate, and 1 where it cannot.
    """
    from tfm.runtime.doctor.examination import can_translate, examine

    findings = []
    for finding in examine(models):
        findings.append(finding)
        if not as_json:
            advice = f"; to do: {finding.advice}" if finding.advice else ""
            line = f"{finding.level:<8} {finding.check}: {finding.message}{advice}"
            click.echo(printable(line))
    works = can_translate(findings)
    if as_json:
        rows = [asdict(finding) for finding in findings]
        click.echo(json.dumps({"can_translate": works, "findings": rows}, indent=2))
    else:
        click.echo("tfm can translate." if works else "tfm cannot translate: see the problems.")
    raise click.exceptions.Exit(0 if works else 1)
