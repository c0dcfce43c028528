"""``make update``: the project's new version, with the learner's answers merged into it.

``upstream`` finds and fetches what is new, ``merge`` joins three texts, ``plan`` decides what every
file becomes, ``finish`` writes it (and can be run alone, where an update was interrupted),
``command`` says what was done.
"""
