"""Statements are compiled once in a worker: each test opens engines of its own, and would compile them anew."""

import sqlalchemy as sa

_first: dict[str, sa.Engine] = {}


@sa.event.listens_for(sa.Engine, "engine_connect")
def _share_compiled(connection: sa.Connection) -> None:
    engine = connection.engine
    first = _first.setdefault(engine.dialect.driver, engine)
    if engine.dialect is not first.dialect:
        # What is compiled is kept under the dialect that it was compiled for.
        engine.dialect = connection.dialect = first.dialect
        engine._compiled_cache = first._compiled_cache
