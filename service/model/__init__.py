"""The health model as a file: its format, its loader, its JSON Schema and the default model."""
