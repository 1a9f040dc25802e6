"""Which requests run together and when, decided without clock, thread or event loop; and how their tensors are joined."""
