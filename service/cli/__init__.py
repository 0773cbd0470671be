"""The `vitals` command, one module a subcommand: they parse, print and exit, and leave work to the layers below."""
