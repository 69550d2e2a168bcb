"""HTTP for every route: bodies, problems, cursors, connections, request ids. It knows nothing of tasks."""
