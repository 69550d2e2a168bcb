"""Files of a task's page: result files, members of kept zips, lyrics; each as the API answers it."""

from typing import Literal

from fastapi import APIRouter, Response

from app.archive import routes as archive
from app.archive.routes import ArtifactNameInPath, TheStore
from app.clients.auth import TheContext
from app.console.pages import PageRoute, page
from app.console.signed_in import TheVisitor
from app.console.task_items import MOST_MIXED_BYTES, Member, members_of
from app.errors import GatewayError
from app.watching import task_routes as watching

router = APIRouter(route_class=PageRoute, include_in_schema=False)
_FILE = "/console/items/{item_id:path}/files/{name}"


# The longest path first: an item's id may hold slashes, and so may the name of a member.
@router.get(_FILE + "/members/{member:path}")
async def member_file(
    item_id: str, name: ArtifactNameInPath, member: str, visitor: TheVisitor, context: TheContext, store: TheStore
) -> Response:
    """One file of a kept zip."""
    return await archive.get_artifact_member(item_id, name, member, visitor.client, context, store)


@router.get(_FILE + "/members")
async def list_members(
    item_id: str, name: ArtifactNameInPath, visitor: TheVisitor, context: TheContext, store: TheStore
) -> Response:
    """The part of a task's page that lists the files of a kept zip. A zip that cannot be read is told in it, with 200:
    it is a part of a page that holds more."""
    found: list[Member] = []
    fault = None
    try:
        found = members_of(item_id, name, await archive.members_of(item_id, name, visitor.client, context, store))
    except GatewayError as error:
        fault = error.detail
    return page("_members.html", visitor=visitor, members=found, fault=fault, most_mixed=MOST_MIXED_BYTES)


@router.get(_FILE)
async def item_file(
    item_id: str, name: ArtifactNameInPath, visitor: TheVisitor, context: TheContext, store: TheStore
) -> Response:
    """A result file: the archive's copy, or a redirect to the vendor's link."""
    return await archive.get_artifact(item_id, name, visitor.client, context, store)


@router.get("/console/items/{item_id:path}/lyrics.{form}")
async def lyrics_file(item_id: str, form: Literal["lrc", "srt"], visitor: TheVisitor, context: TheContext) -> Response:
    """Aligned lyrics as a subtitle file."""
    return await watching.get_lyrics(item_id, form, visitor.client, context)
