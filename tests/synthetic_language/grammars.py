"""Small grammar files: one with five sentences, one with endless recursion."""

FIVE_SENTENCES = """\
start: Sentence
zipf: {exponent: 1, shift: 1}
variables:
  n: {sg: 1, pl: 1}
rules:
  Sentence:
    the Noun[n] Verb[n]: 3
    Name Verb[sg]: 1
lexicon:
  Noun[n]: dog/dogs mouse/mice
  Verb[n]: runs/run
  Name: Ann
phenomena:
  agreement:
    field: morphology
    term: subject_verb_agreement
    pairs:
      - {good: "the Noun[n] Verb[n]", bad: "the Noun[n] Verb[!n]"}
"""

RECURSIVE = """\
start: Sentence
zipf: {exponent: 1, shift: 1}
variables:
  n: {sg: 1, pl: 1}
rules:
  Sentence:
    Word: 3
    very Sentence: 1
lexicon:
  Word: ja ok
phenomena:
  order:
    field: syntax
    term: word_order
    pairs:
      - {good: very Word, bad: Word very}
"""
