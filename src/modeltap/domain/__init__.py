"""Values and rules of modeltap. Pure: no I/O, no clock, no asyncio; numpy and msgspec alone."""
