"""One small application for each engine. They run as scripts, with the interpreter of their own environment."""
