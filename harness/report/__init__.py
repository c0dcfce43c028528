"""One page about a learner's work: ``collect`` gathers it as plain data, ``page`` makes it HTML."""
