"""How fast networks are: the protocol, the machine, the networks, their ways from frame to map, steps of training."""
