"""The command line: one thin file per command group; starts roles; talks to the admin API."""
