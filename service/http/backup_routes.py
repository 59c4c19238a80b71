"""Routes of a session's backup, and what says of a session that is gone that there is one."""

from msgspec.structs import replace

from service.backups import backup_not_found
from service.clock import rfc3339
from service.errors import NotFound, session_not_found
from service.http import scalars
from service.http.answers import done_headers, json_response, session_document
from service.http.call import Call
from service.http.queries import RESTORE_PARAMETERS
from service.http.response import Response
from service.model import Reading, View


async def read_backup(call: Call) -> Response:
    """Answer what is known of the copy of a session's state."""
    call.query()
    backup = await call.parts["backups"].find(call.ref)
    if backup is None:
        raise backup_not_found()
    document = {"at": rfc3339(backup.at_ms), "bytes": backup.size_bytes, "keys": backup.keys}
    return json_response(document)


async def restore_session(call: Call) -> Response:
    """Make a session of the copy of its state, in the place of what is there only if told to."""
    sent = call.query(*RESTORE_PARAMETERS).get("replace", "false")
    replaces = scalars.switch(sent.encode(), "/query/replace")
    done = await call.parts["backups"].restore(call.ref, call.conditions(), replaces=replaces)
    status = 201 if done.created else 200
    return json_response(session_document(done.session), done_headers(done), status)


async def read_existing(call: Call, reading: Reading) -> View:
    """Read the session. Raises NotFound if there is none, which tells of its backup."""
    is_told = call.parts["backups"].are_here
    reading = replace(reading, finds_backup=is_told)
    view = await call.parts["sessions"].read(call.ref, reading, call.freshness())
    if view is None:
        raise session_not_found() if is_told else await gone(call)
    return view


async def gone(call: Call) -> NotFound:
    """Return the error of a session that is not there, when it was asked for its backup."""
    return session_not_found(has_backup=await call.parts["backups"].has(call.ref))
