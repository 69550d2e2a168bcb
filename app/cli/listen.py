"""The command that forwards a client's notifications to a local receiver."""

from typing import Annotated

import typer

from app.cli.output import fail
from app.cli.shared_options import AsJson


def listen(
    to: Annotated[str, typer.Option(metavar="URL", help="Where to, as http://localhost:3000/hooks.")],
    url: Annotated[str, typer.Option(envvar="TEMPOLOR_GATEWAY_URL", help="The gateway.")] = "http://localhost:8000",
    key: Annotated[
        str,
        typer.Option(
            envvar="TEMPOLOR_GATEWAY_KEY",
            show_default=False,
            help="The client's API key; an admin's follows all clients.",
        ),
    ] = "",
    secret: Annotated[
        str | None,
        typer.Option(envvar="WEBHOOK_SECRET", show_default=False, help="Signs, as whsec_…; a new one if not given."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Follow a client's tasks, and forward each milestone as a signed notification to a local URL, until interrupted.

    Speaks HTTP with a running gateway, and needs neither its database nor its settings. Nothing is sent twice or kept
    for later: what the receiver answered is printed, and that was it.
    """
    import asyncio

    from app.cli.forwarding import Forwarder, StreamRefused, check_secret
    from app.errors import InvalidRequest
    from app.runtime.signing import new_webhook_secret
    from app.tasks.webhook_url import read_url

    if not key:
        fail("Give an API key: --key, or TEMPOLOR_GATEWAY_KEY.")
    for option, given in (("--to", to), ("--url", url)):
        try:
            read_url(given)
        except InvalidRequest as error:
            fail(f"{option}: {error.detail}")
    signing = secret or new_webhook_secret()
    if not check_secret(signing):
        fail("--secret: it must be whsec_ and base64, as Standard Webhooks have it.")
    typer.echo(f"Forwarding from {url} to {to}", err=True)
    if not secret:
        typer.echo(f"Signed with {signing}", err=True)
    try:
        asyncio.run(Forwarder(url, key, to, signing, as_json=as_json).run())
    except StreamRefused as error:
        fail(str(error))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
