"""Commands that hold and release submissions, and recover after a restore."""

from typing import Annotated

import typer

from app.cli.output import print_json
from app.cli.run_on_database import with_context
from app.cli.shared_options import AlwaysJson, time_of

app = typer.Typer(no_args_is_help=True, help="Stop and start sending by hand.")


@app.command("hold")
def hold_submissions(
    reason: Annotated[str, typer.Option(help="Why, for whoever looks at 'submissions show'.")] = "",
) -> None:
    """Send nothing more, no probe either, until it is released. Holds for all processes and over restarts."""
    from app.audit import audit
    from app.submissions import hold_by_hand

    with_context(lambda context: hold_by_hand.hold(context, audit.command_line(), reason))
    typer.echo("Submissions are held. What is being sent now is still sent: 'submissions show' lists it.")


@app.command("release")
def release_submissions() -> None:
    """End the hold by hand. Where there is none, the next probe of what stands still is due now, and models that are
    held go on."""
    from app.audit import audit
    from app.submissions import hold_by_hand

    state = with_context(lambda context: hold_by_hand.release(context, audit.command_line()))
    holds = {what: hold["reason"] for what, hold in state["standing_still"].items() if hold is not None}
    held = ", ".join(f"{what} ({reason})" for what, reason in holds.items())
    typer.echo(f"Released. Still held: {held}; a probe decides." if held else "Released: submissions go on.")


@app.command("show")
def show_submissions(_as_json: AlwaysJson = True) -> None:
    """Show as JSON who holds each slot and since when, who waits, and why things stand still."""
    from app.submissions import hold_by_hand

    print_json(with_context(hold_by_hand.show))


def recover_tasks(
    sent_since: Annotated[str, typer.Option(metavar="TIME", help="The database is complete up to here (RFC 3339).")],
    accepted_before: Annotated[
        str | None, typer.Option(metavar="TIME", help="The moment of the recovery; now, if not given.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    _as_json: AlwaysJson = True,
) -> None:
    """After a restore or failover: tasks that may have been sent already become unconfirmed, and are not sent again.

    All that are queued or being sent, as this database has it, and were accepted before the recovery. Hold first.
    """
    from app.audit import audit
    from app.submissions.recover_after_restore import recover

    since, before = time_of(sent_since), time_of(accepted_before)
    actor = audit.command_line()
    print_json(with_context(lambda context: recover(context, actor, since, before, dry_run=dry_run)))
