"""Planning from joint beliefs."""
