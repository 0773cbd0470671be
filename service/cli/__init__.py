"""The `vitals` command, one module for each subcommand; they parse, print and exit, and leave work to the layers below."""
