"""Bridges to other programs; each is a module of its own, and imports the other program only when it is used."""
