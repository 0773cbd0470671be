"""The page for people: made on the server, kept fresh by the stream, with nothing from elsewhere in it."""
