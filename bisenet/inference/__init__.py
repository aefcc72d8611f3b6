"""Networks at work: from frames to class maps, in several engines, as files for other runtimes; weights of others."""
