"""Encrypted connections, logins and rights, on a real broker and a real Redis."""
