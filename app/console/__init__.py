"""The console: pages for people, rendered by the server, over what the stories offer. No SQL and no rule of its own."""
