"""`nel-action schema`: the JSON Schema of specs, for editors."""

from __future__ import annotations

import click

__all__ = ["schema"]


@click.command()
def schema() -> None:
    r"""Print the JSON Schema of specs.

    \b
    For editors: nel-action schema > spec.schema.json, and as the first line of a spec
    # yaml-language-server: $schema=spec.schema.json
    """
    import json

    from nel_action.spec.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
