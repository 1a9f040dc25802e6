"""The data plane below the protocols: which versions a name leads to, and the replicas that answer."""
