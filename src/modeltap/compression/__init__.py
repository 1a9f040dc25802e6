"""Smaller forms of what was trained or imported, and the certificate that says what they cost and gain."""
